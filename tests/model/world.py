"""Clients, a server, and a world between them in which whatever can happen may happen next.

Messages take as long as they like and come in any order, and some come twice; one that is lost never comes. Anybody may
be paused at any time. Time goes on from one deadline to the next, by whichever clock it is, and stops there, so that
everything may happen exactly then; a few times it stops on its way.
"""

from collections.abc import Iterable, Iterator

from tests.model.client import Clients
from tests.model.messages import INSTANTS_PER_TTL, RATES, ToClient
from tests.model.parts import Bounds, Faults, Label, One, Side, State, spent
from tests.model.server import Server
from tests.model.servers import Servers
from tests.model.sides import ServerSide, Sides

HALFWAY = INSTANTS_PER_TTL // 2
"""Where time may stop that no deadline makes it stop; late enough that a renewal is due."""


class World:
    """All that can happen, within bounds."""

    def __init__(self, bounds: Bounds, clients: Clients, servers: Servers) -> None:
        self._bounds = bounds
        self._clients = clients
        self.sides = Sides(bounds, clients)
        self.server = ServerSide(bounds, servers)

    def first(self) -> Iterator[State]:
        """Return the states to begin with."""
        for rates in self._bounds.rates:
            sides = tuple(self.sides.one(Side(self._clients.new(name))) for name in "abc"[: len(rates) - 1])
            state = State(rates, self.server.one(Server()), sides, self._bounds.faults)
            yield self._begun(state) if self._bounds.begun else state

    def acting(self, state: State) -> list[str]:
        """Return who acts as the leader."""
        return [side.value.client.name for side in state.sides if self.sides.acting(side) is not None]

    def fault_in(self, state: State) -> str | None:
        """Say what is wrong with a state, or return None."""
        acting = self.acting(state)
        if len(acting) > 1:
            return f"{' and '.join(acting)} act as the leader at the same moment"
        return state.server.value.fault

    def moves_from(self, state: State) -> Iterator[tuple[Label, State]]:
        """Return what can happen next."""
        for place, side in enumerate(state.sides):
            for label, after, fault in self.sides.turns(side):
                faults = spent(state.faults, fault)
                if faults is not None:
                    yield label, _with(state, place, after, faults)
            yield from self._deliveries(state, place, side)
            name = side.value.client.name
            if name not in self.server.names(state.server):
                removed = self.sides.removed(side)
                if removed is not None:
                    yield Label(name, "sees that it is not in the queue"), _with(state, place, removed, state.faults)
        for label, server, sent, fault in self.server.turns(state.server):
            faults = spent(state.faults, fault)
            if faults is not None:
                yield label, self._served(state, state.sides, server, sent, faults)
        if not self._bounds.timeless:
            yield from self._time(state)
            yield from _changes(state)

    def later(self, state: State, instants: int, faults: Faults) -> State:
        """Return the state when so much time has passed and nothing has happened."""
        server_rate, *rates = state.rates
        server = self.server.later(state.server, instants * server_rate)
        sides = [self.sides.later(side, instants * rate) for rate, side in zip(rates, state.sides, strict=True)]
        return State(state.rates, server, tuple(sides), faults)

    def next_due(self, state: State) -> int | None:
        """Return after how many instants the next deadline comes, by any clock, or None when there is none."""
        server_rate, *rates = state.rates
        due = self.server.due_in(state.server, server_rate)[:1]
        for rate, side in zip(rates, state.sides, strict=True):
            due = due + self.sides.due_in(side, rate)[:1]
        return min(due) if due else None

    def _deliveries(self, state: State, place: int, side: One[Side]) -> Iterator[tuple[Label, State]]:
        """What is under way to the server comes."""
        for label, message in self.sides.outbox(side):
            reaction = self.server.reaction(state.server, message)
            if reaction is None:
                continue
            rest = _with(state, place, self.sides.without(side, message), state.faults).sides
            yield label, self._served(state, rest, *reaction, state.faults)
            faults = spent(state.faults, "duplicates")
            if faults is not None:
                yield label, self._served(state, state.sides, *reaction, faults)

    def _served(
        self, state: State, sides: Iterable[One[Side]], server: One[Server], sent: tuple[ToClient, ...], faults: Faults
    ) -> State:
        """Return the state in which the server is so, and has sent that."""
        return State(state.rates, server, tuple([self.sides.sent_to(side, sent) for side in sides]), faults)

    def _time(self, state: State) -> Iterator[tuple[Label, State]]:
        """Time goes on to the next deadline, or stops before it."""
        due = self.next_due(state)
        if due is not None:
            yield Label("time", "passes", instants=due), self.later(state, due, state.faults)
        faults = spent(state.faults, "pauses")
        if faults is not None:
            stops = {HALFWAY}
            for rate, side in zip(state.rates[1:], state.sides, strict=True):
                stops.update(self.sides.steps_down_in(side, rate))
            for stop in sorted(stops):
                if due is None or stop < due:
                    yield Label("time", "passes", instants=stop), self.later(state, stop, faults)

    def _begun(self, state: State) -> State:
        """Return the state in which one client after the other has opened a session and entered the queue."""
        for name in [side.value.client.name for side in state.sides]:
            wanted = [Label(name, "connects")]
            while wanted:
                state = next(after for label, after in self.moves_from(state) if label == wanted[0])
                wanted = [each for each, _ in self.moves_from(state) if each.message and each.message.client == name]
        return state


def _with(state: State, place: int, side: One[Side], faults: Faults) -> State:
    return State(state.rates, state.server, (*state.sides[:place], side, *state.sides[place + 1 :]), faults)


def _changes(state: State) -> Iterator[tuple[Label, State]]:
    """A clock begins to go as wrong as can be the other way."""
    faults = spent(state.faults, "changes")
    if faults is not None:
        names = ["the server", *(side.value.client.name for side in state.sides)]
        for place, (name, rate) in enumerate(zip(names, state.rates, strict=True)):
            for other in {min(RATES), max(RATES)} - {rate}:
                rates = (*state.rates[:place], other, *state.rates[place + 1 :])
                yield (
                    Label(name, "has a faster clock now" if other > rate else "has a slower clock now"),
                    state._replace(rates=rates, faults=faults),
                )
