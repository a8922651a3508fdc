"""What follows when nothing goes wrong any more: messages come at once, and everybody does at once what is due.

Then there is one way on from each state, so that it can be seen how long it takes until somebody leads again.
"""

from tests.model.client import Clients
from tests.model.parts import NO_FAULTS, Bounds, Label, State
from tests.model.servers import Servers
from tests.model.sides import instants
from tests.model.world import World

MOST_STEPS = 1000
"""Who has got no further after so many steps never will."""
_MANY = 1_000_000


class Calm:
    """Goes on from any state of a world without faults, and without its bounds."""

    def __init__(self, clients: Clients, servers: Servers, *, clocks: int = 3) -> None:
        bounds = Bounds(rates=((100,) * clocks,), renewals=_MANY, sessions=_MANY, terms=_MANY)
        self._world = World(bounds, clients, servers)
        self._known: dict[State, int | None] = {}

    def instants_to_lead(self, state: State) -> int | None:
        """Return after how many instants somebody leads who is rightly told so, or None for never."""
        state = self._taken_over(state)
        way: list[tuple[State, int]] = []
        while state not in self._known and len(way) < MOST_STEPS:
            if self._is_led(state):
                self._known[state] = 0
            else:
                passed, after = self._next(state)
                way.append((state, passed))
                state = after
        takes = self._known.get(state)
        for former, passed in reversed(way):
            takes = None if takes is None else takes + passed
            self._known[former] = takes
        return takes

    def _taken_over(self, state: State) -> State:
        """Return the same state, made of parts of this world."""
        sides = tuple(self._world.sides.one(side.value) for side in state.sides)
        return State(state.rates, self._world.server.one(state.server.value), sides, NO_FAULTS)

    def _is_led(self, state: State) -> bool:
        """Whether the server's leader acts."""
        server = state.server.value
        leader = server.election.acting
        acting = [self._world.sides.acting(side) for side in state.sides]
        return leader is not None and any(each and each.number == server.number for each in acting)

    def _next(self, state: State) -> tuple[int, State]:
        """Return what happens next, and how much time passes by it."""
        moves = [(label, after) for label, after in self._world.moves_from(state) if not label.instants]
        if moves:
            return 0, min(moves, key=lambda move: _order(move[0]))[1]
        stops = self._renewals_in(state)
        due = self._world.next_due(state)
        if due is not None:
            stops.append(due)
        return min(stops), self._world.later(state, min(stops), NO_FAULTS)

    def _renewals_in(self, state: State) -> list[int]:
        """Return after how many instants clients renew."""
        found: list[int] = []
        for rate, side in zip(state.rates[1:], state.sides, strict=True):
            client = side.value.client
            if client.field("_connected") and client.field("timing") is not None:
                found += instants([client.field("_renew_at")], rate)
        return found


def _order(label: Label) -> tuple[int, str]:
    """What happens first of what can happen: what has come is heard, then clocks are looked at."""
    return (0 if label.message else 1, repr(label))
