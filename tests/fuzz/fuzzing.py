"""Everything that is sent, and to whom: a real server, servers that go both ways, our client, and the metrics."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count

from tests.fuzz import hostile, http_inputs
from tests.fuzz.heard import Fault
from tests.fuzz.hunting import Found, Hunt, hunt
from tests.fuzz.inputs import KINDS
from tests.fuzz.live import PATIENCE_S, Live
from tests.fuzz.playing import Neighbour, play
from tests.fuzz.scripts import Script
from tests.fuzz.totals import Totals
from tests.fuzz.victim import Victim
from tests.fuzz.ways import compare, in_a_thread

EXAMPLES = 40
"""Inputs of each kind in one round."""
COMPARED = ("pipelines", "metadata", "blocks", "frames", "messages", "all", "bytes")
"""The kinds of which both ways have to make the same."""
CALLS_OF_A_NEIGHBOUR = 10_000
"""Then another one takes its place."""


class Fuzz:
    """Sends garbage. A context manager.

    Args:
        totals: what is counted.
        server: the real one.
        examples: inputs of each kind in a round.
        shrinks: whether it looks for shorter ones when it has found something.
    """

    def __init__(self, totals: Totals, server: Live, examples: int = EXAMPLES, *, shrinks: bool = True) -> None:
        self._totals = totals
        self._server = server
        self._examples = examples
        self._shrinks = shrinks
        self._goes_on: Callable[[], bool] = _always
        self._stack = ExitStack()
        self._names = count()
        self._neighbour: Neighbour | None = None

    def __enter__(self) -> "Fuzz":
        self._portal = self._stack.enter_context(in_a_thread())
        self._victim = self._stack.enter_context(Victim())
        return self

    def __exit__(self, *_: object) -> None:
        self._totals.outcomes += self._victim.outcomes
        self._stack.close()

    def round(self, seed: int, goes_on: Callable[[], bool], only: str = "") -> bool:
        """Do everything once, with one seed, and return whether nothing was found and it may go on.

        Args:
            seed: makes the same inputs in the same order.
            goes_on: where that says no, nothing is sent any more.
            only: what is to be done: all whose name begins so.
        """
        self._goes_on = goes_on
        for name, each in self._hunts().items():
            if not name.startswith(only):
                continue
            self._totals.doing = f"{name}, seed {seed}"
            found = hunt(each, seed, self._examples, shrinks=self._shrinks)
            self.leave()  # it would answer no ping while something else is done
            self._totals.inputs[name] += found.inputs
            if found.fault is not None:
                self._totals.found.append(_told(name, seed, found))
            if found.fault is not None or not goes_on():
                return False
        return True

    def leave(self) -> None:
        """Let the neighbour go."""
        if self._neighbour is not None:
            self._totals.calls_beside += self._neighbour.calls
            self._neighbour.__exit__()
            self._neighbour = None

    def play(self, script: Script) -> None:
        """Send a script to the server, with calls of a neighbour between its writes."""
        if not self._goes_on():
            return
        self._look_after_server()
        try:
            neighbour = self._neighbour_beside()
            self._totals.heard(play(self._server.port, script, between=neighbour.call))
            neighbour.call()
        except (Fault, OSError) as error:
            self.leave()
            self._server.check(PATIENCE_S)  # what it says goes before what was seen of it
            raise Fault(str(error)) from error
        self._server.check()

    def compare(self, script: Script) -> None:
        """Play a script both ways."""
        if not self._goes_on():
            return
        self._totals.at_once += compare(self._portal, script)

    def meet(self, answering: hostile.Answering) -> None:
        """Let our client meet a hostile server."""
        if not self._goes_on():
            return
        self._victim.meet(answering)

    def ask(self, request: bytes) -> None:
        """Ask for metrics, more or less."""
        if not self._goes_on():
            return
        self._look_after_server()
        self._totals.pages[str(http_inputs.ask(self._server.metrics_port, request))] += 1
        self._server.check()

    def _hunts(self) -> dict[str, Hunt]:
        """Return all that there is to do, by name."""
        found: dict[str, Hunt] = {}
        for part, kinds, check in (("server", KINDS, self.play), ("ways", COMPARED, self.compare)):
            for kind in kinds:
                found[f"{part} {kind}"] = Hunt(KINDS[kind], check, Script.replay, Script.shown)
        found["client answers"] = Hunt(hostile.answerings(), self.meet, hostile.Answering.replay, str)
        found["metrics requests"] = Hunt(http_inputs.requests(), self.ask, bytes.hex, repr)
        return found

    def _look_after_server(self) -> None:
        """Start another one where it has ended, to look for a shorter input that does that."""
        if self._server.has_ended:
            self.leave()
            self._server.start()

    def _neighbour_beside(self) -> Neighbour:
        if self._neighbour is not None and self._neighbour.calls > CALLS_OF_A_NEIGHBOUR:
            self.leave()
        if self._neighbour is None:
            self._neighbour = Neighbour(self._server.port, f"neighbour {next(self._names)}")
        return self._neighbour


def _always() -> bool:
    """Nothing speaks against it."""
    return True


def _told(name: str, seed: int, found: Found) -> str:
    return "\n".join(
        [
            f"FOUND by {name}, seed {seed}: {found.fault}",
            found.shown,
            f"  again: make fuzz SEED={seed}, or this input alone:",
            f"    python -m tests.fuzz.run --replay '{name.partition(' ')[0]} {found.replay}'",
        ]
    )
