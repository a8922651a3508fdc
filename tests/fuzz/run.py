"""``make fuzz``: send garbage to a real server, and as a server to our client, and see that nobody else notices.

Exits with 1 when something was found, and prints how to see it again: a seed makes the same inputs in the same order,
and the shortest input that shows it can be sent alone.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz import live
from tests.fuzz.fuzzing import EXAMPLES, Fuzz
from tests.fuzz.heard import Fault
from tests.fuzz.hostile import answering
from tests.fuzz.live import Beside, Live
from tests.fuzz.scripts import script
from tests.fuzz.totals import Totals

NICE = 5
"""The fuzz gives way to the server and to the honest client, whose calls are timed."""


class Stage(NamedTuple):
    """A server that garbage is sent to.

    Args:
        store: where it keeps elections, in the directory that is put in.
        program: what is run.
        part: of the time.
        ttl_s: time-to-live of the honest client.
        longest_call_s: what its calls may take on a busy machine.
    """

    store: str
    program: tuple[str, ...]
    part: float = 1.0
    ttl_s: float = 3.0
    longest_call_s: float = 1.0


STAGES = (Stage("memory://", live.COMMAND, 0.8), Stage("sqlite:///{}/store.db", live.SERVED, 0.2, 6.0, 3.0))
"""A server as it is by default, and one on a file, where calls wait for a disk that others use too; the latter says how
many tasks it has."""


@contextmanager
def against(totals: Totals, directory: Path, stage: Stage, **options: Any) -> Generator[tuple[Fuzz, Beside]]:
    """Run a server with an honest client beside it, and note in the end what has become of both."""
    store = stage.store.format(directory)
    with Live(directory, store, stage.program) as server:
        before, first = server.figures(), server.pid
        with Beside(server.target, directory, stage.ttl_s, stage.longest_call_s) as beside:
            with Fuzz(totals, server, **options) as fuzz:
                yield fuzz, beside
            report = beside.end(kill=server.pid != first or server.has_ended)
        if report is None:
            return  # the server had ended, which was found
        after = server.settled(before)
        totals.servers += [f"server on {store.partition(':')[0]}: {before} -> {after}", f"  {report}"]
        totals.found += [f"NOTICED by the honest client, up to {totals.doing}: {each}" for each in report.judge()]
        totals.found += [f"FOUND in the end: {each}" for each in after.leaks(before)]
        try:
            server.end()
        except Fault as fault:
            totals.found.append(f"FOUND in the end: {fault}")


def run(
    seed: int, seconds: float | None, only: str = "", *, stages: Sequence[Stage] = STAGES, **options: Any
) -> Totals:
    """Search for so long, or for one round with each server, and return what was done and found.

    Args:
        seed: of the first round.
        seconds: how long; None for one round.
        only: see ``Fuzz.round``.
        stages: against what.
        options: of ``Fuzz``.
    """
    totals, seeds = Totals(), count(seed)
    for stage in stages:
        with (
            tempfile.TemporaryDirectory() as scratch,
            against(totals, Path(scratch), stage, **options) as (fuzz, beside),
        ):
            until = None if seconds is None else time.monotonic() + seconds * stage.part
            goes_on = _goes_on(beside, until)
            while fuzz.round(seed if seconds is None else next(seeds), goes_on, only) and until is not None:
                pass
        if totals.found:
            break
    return totals


def _goes_on(beside: Beside, until: float | None) -> Callable[[], bool]:
    return lambda: not beside.has_ended and (until is None or time.monotonic() < until)


def replay(line: str, program: tuple[str, ...] = live.COMMAND) -> str | None:
    """Send one input, and return what is wrong with what comes of it.

    Args:
        line: the input, as it was printed.
        program: the server.
    """
    part, _, rest = line.strip().partition(" ")
    with (
        tempfile.TemporaryDirectory() as scratch,
        Live(Path(scratch), program=program) as server,
        Fuzz(Totals(), server) as fuzz,
    ):
        checks: dict[str, Callable[[], None]] = {
            "server": lambda: fuzz.play(script(rest)),
            "ways": lambda: fuzz.compare(script(rest)),
            "client": lambda: fuzz.meet(answering(rest)),
            "metrics": lambda: fuzz.ask(bytes.fromhex(rest)),
        }
        try:
            checks[part]()
        except Fault as fault:
            return str(fault)
        finally:
            fuzz.leave()
    return None


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=None, help="search for so long")
    parser.add_argument(
        "--seed", type=int, default=None, help="begin with this one; without --minutes, one round of it"
    )
    parser.add_argument("--only", default="", help="what begins so, of: server, ways, client, metrics")
    parser.add_argument("--replay", default=None, help="send one input, as it was printed")
    given = parser.parse_args()
    if given.replay is not None:
        wrong = replay(given.replay)
        _say(wrong or "nothing was wrong")
        return 1 if wrong else 0
    os.nice(NICE)
    minutes = 1.0 if given.minutes is None and given.seed is None else given.minutes
    seed = time.time_ns() % 10**9 if given.seed is None else given.seed
    totals = run(seed, None if minutes is None else minutes * 60, given.only, examples=EXAMPLES)
    _say(f"seed {seed}\n{totals}")
    return 1 if totals.found else 0


if __name__ == "__main__":
    sys.exit(main())
