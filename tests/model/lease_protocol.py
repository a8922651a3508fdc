"""The lease protocol, explored: ``python -m tests.model.lease_protocol`` prints what docs/lease-protocol.md says."""

import sys
from collections.abc import Callable
from fractions import Fraction
from unittest import mock

from atomix_election.core import campaign
from tests.model.calm import Calm
from tests.model.cases import CASES, LONG_CASES, Case
from tests.model.client import Clients
from tests.model.explorer import Exploration, explore
from tests.model.flaws import FLAWS, NEEDED_MARGIN, Flaw
from tests.model.messages import INSTANTS_PER_TTL, TTL
from tests.model.parts import Bounds, Label, State
from tests.model.servers import Servers
from tests.model.transcript import transcript
from tests.model.world import World

MOST_MARGIN = TTL // 20
"""The least margin that is safe is looked for below a twentieth of the time-to-live."""


def run(
    bounds: Bounds,
    clients: Clients | None = None,
    servers: Servers | None = None,
    *,
    margin: Fraction | None = None,
    visit: Callable[[State], None] | None = None,
) -> tuple[World, Exploration[State, Label]]:
    """Explore a world, and return it with what was found.

    Args:
        bounds: how far.
        clients: how they use leaderships, and what is wrong with them.
        servers: what is wrong with them.
        margin: part of the time-to-live; None for that of the code.
        visit: is shown each state.
    """
    world = World(bounds, clients or Clients(), servers or Servers())
    part = campaign.MARGIN_PART if margin is None else margin
    with mock.patch.object(campaign, "MARGIN_PART", part):
        return world, explore(world.first(), world.moves_from, world.fault_in, visit=visit)


def least_margin() -> Fraction:
    """Return the least margin that is safe with the worst clocks, to one tick, as a part of the time-to-live."""
    unsafe, safe = 0, MOST_MARGIN
    while safe - unsafe > 1:
        middle = (safe + unsafe) // 2
        _, found = run(Bounds(), margin=Fraction(middle, TTL))
        if found.fault is None:
            safe = middle
        else:
            unsafe = middle
    return Fraction(safe, TTL)


class Recovery:
    """How long it takes at most until somebody leads again when nothing goes wrong any more, from any state of a world.

    Args:
        bounds: of that world.
        clients: its clients.
        servers: its servers.
    """

    def __init__(self, bounds: Bounds, clients: Clients | None = None, servers: Servers | None = None) -> None:
        self._calm = Calm(clients or Clients(), servers or Servers(), clocks=len(bounds.rates[0]))
        self.longest = 0
        """In instants."""
        self.stuck = 0
        """From how many states nobody ever leads again."""

    def visit(self, state: State) -> None:
        """Look at a state."""
        takes = self._calm.instants_to_lead(state)
        if takes is None:
            self.stuck += 1
        else:
            self.longest = max(self.longest, takes)


def _say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _explore(case: Case, *, recovery: Recovery | None = None) -> bool:
    world, found = run(case.bounds, case.clients, visit=recovery.visit if recovery else None)
    takes = f"{recovery.longest / INSTANTS_PER_TTL:.2f}" if recovery else ""
    _say(f"{found.states:>9,} {found.moves:>10,} {found.depth:>8} {takes:>9}  {case.name}")
    for line in transcript(world, found.path):
        _say(f"    {line}")
    return found.fault is None and found.states >= case.states and not (recovery and recovery.stuck)


def _show(flaw: Flaw) -> bool:
    world, found = run(flaw.bounds, flaw.clients, flaw.servers, margin=flaw.margin)
    steps = len(found.path) - 1
    _say()
    _say(f"{flaw.name}:")
    _say(f"{found.fault}, after {steps} steps" if found.fault else "NOTHING WAS FOUND")
    for line in transcript(world, found.path):
        _say(f"    {line}")
    return found.fault is not None


def main() -> int:
    """Explore everything, and return 0 if all is as it should be."""
    _say(f"Safe with the margin of the code, {campaign.MARGIN_PART:.2%} of the time-to-live:")
    _say()
    _say("   states      moves  longest  recovers  what may happen")
    as_expected = [_explore(case, recovery=Recovery(case.bounds, case.clients)) for case in CASES]
    as_expected += [_explore(case) for case in LONG_CASES]
    _say()
    least = least_margin()
    _say(f"The least margin that is safe is {float(least):.4%}; 1 - 0.99 / 1.01 is {float(NEEDED_MARGIN):.4%}.")
    as_expected.append(least == NEEDED_MARGIN)
    _say()
    _say("Unsafe without one of the rules, each shown by a shortest way:")
    as_expected += [_show(flaw) for flaw in FLAWS]
    return 0 if all(as_expected) else 1


if __name__ == "__main__":
    sys.exit(main())
