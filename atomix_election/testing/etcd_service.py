"""Connections to one of several simulated servers: what it says is witnessed, and may be late with all that it does."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeVar

import anyio

from atomix_election.core.campaign import Answer
from atomix_election.engine import Engine
from atomix_election.errors import ElectionError
from atomix_election.model import ElectionDescription, ElectionPage, Event, Term
from atomix_election.service import PAGE_SIZE, WATCH_BUFFER, Call, KeepAlive, Renewal, Service
from atomix_election.testing.etcd_witness import Witness
from atomix_election.testing.host import HostedConnection, Surroundings
from atomix_election.testing.streams import Direction, Link

_T = TypeVar("_T")


class LateConnection(HostedConnection):
    """A connection whose commands may take place when nobody waits for them any more.

    Args:
        engine: the server's.
        surroundings: those of the run.
        is_gone: returns whether the server was killed.
        late_s: how long after its failure a command may still take place.
    """

    def __init__(self, engine: Engine, surroundings: Surroundings, is_gone: Callable[[], bool], late_s: float) -> None:
        super().__init__(engine, surroundings.invariants, is_gone)
        self._surroundings = surroundings
        self._late_s = late_s

    @contextmanager
    def _operating(self, call: Call) -> Generator[None]:
        self._invariants.operators += 1
        try:
            yield
        except ElectionError:
            self._surroundings.start(self._operated_late)
            raise
        self._invariants.operators -= 1

    async def _operated_late(self) -> None:
        await anyio.sleep(self._late_s)
        self._invariants.operators -= 1


Repeat = Callable[[str, Call, str], None]
"""Lets a call come once more, some time later and to any server: the method, and its arguments."""
_MOVES = ("anoint", "promote")


class WitnessedService(Service):
    """A service that a witness compares with what was committed. What passes while its server is cut off comes late.

    Args:
        service: the server's.
        witness: sees what is committed.
        link: the way between the server and all of its clients.
        repeat: is told of each write that may come more than once, as it has a number.
    """

    def __init__(self, service: Service, witness: Witness, link: Link, repeat: Repeat) -> None:
        self._service = service
        self._witness = witness
        self._link = link
        self._repeat = repeat

    @asynccontextmanager
    async def keep_alive(self, namespace: str, session: str) -> AsyncGenerator[KeepAlive]:
        """See ``ElectionService.keep_alive``."""
        async with self._service.keep_alive(namespace, session) as stream:
            yield _WitnessedKeepAlive(stream, self._witness, self._link)

    def session_granted(self, ttl_s: float) -> None:
        """See ``ElectionService.session_granted``."""
        self._service.session_granted(ttl_s)

    async def end_session(self, namespace: str, session: str) -> None:
        """See ``ElectionService.end_session``."""
        await self._pass(partial(self._service.end_session, namespace, session))

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        await self._pass(partial(self._service.create, call))

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        await self._pass(partial(self._service.close, call))

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        return await self._change("enter", call, candidate_id)

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        return await self._change("withdraw", call, candidate_id)

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        return await self._change("anoint", call, candidate_id)

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        return await self._change("promote", call, candidate_id)

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        return await self._change("evict", call, candidate_id)

    async def forget(self, call: Call) -> Term:
        """See ``ElectionService.forget``."""
        return await self._ask(call, partial(self._service.forget, call))

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        return await self._ask(call, partial(self._service.get_term, call))

    @asynccontextmanager
    async def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator["WitnessedEvents"]:
        """See ``ElectionService.events``."""
        since = self._witness.latest(call.election).revision
        async with self._service.events(call, buffer=buffer) as events:
            yield WitnessedEvents(events, self._witness, call.election, since, buffer, self._link)

    async def list_elections(self, namespace: str, *, page_size: int = PAGE_SIZE, page_token: str = "") -> ElectionPage:
        """See ``InspectionService.list_elections``."""
        ask = partial(self._service.list_elections, namespace, page_size=page_size, page_token=page_token)
        return await self._pass(ask)

    async def describe(self, call: Call) -> ElectionDescription:
        """See ``InspectionService.describe``."""
        return await self._pass(partial(self._service.describe, call))

    async def _change(self, name: str, call: Call, candidate_id: str) -> Term:
        if call.operation is not None:
            self._repeat(name, call, candidate_id)
        ask = partial(getattr(self._service, name), call, candidate_id)
        if name not in _MOVES:
            return await self._ask(call, ask)
        with self._witness.moving(call.election, candidate_id):
            return await self._ask(call, ask)

    async def _ask(self, call: Call, ask: Callable[[], Awaitable[Term]]) -> Term:
        async def answer() -> Term:
            since = self._witness.latest(call.election).revision
            term = await ask()
            self._witness.answered(call.election, since, term)
            return term

        return await self._pass(answer)

    async def _pass(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        await self._link.passable(Direction.THERE)
        answer = await ask()
        await self._link.passable(Direction.BACK)
        return answer


class _WitnessedKeepAlive:
    """The server's end of a stream, whose answers are compared."""

    target = ""

    def __init__(self, stream: KeepAlive, witness: Witness, link: Link) -> None:
        self._stream = stream
        self._witness = witness
        self._link = link
        self._since: dict[int, Mapping[str, int]] = {}

    async def send(self, renewal: Renewal) -> None:
        """See ``KeepAlive.send``."""
        await self._link.passable(Direction.THERE)
        self._since[renewal.renewal] = self._witness.numbers()
        await self._stream.send(renewal)

    async def receive(self) -> Answer:
        """See ``KeepAlive.receive``."""
        answer = await self._stream.receive()
        self._witness.granted(self._since.get(answer.renewal, {}), answer)
        self._since = {number: since for number, since in self._since.items() if number >= answer.renewal}
        await self._link.passable(Direction.BACK)
        return answer

    def give_up(self) -> None:
        """See ``KeepAlive.give_up``."""
        self._stream.give_up()

    def prefer_another(self) -> None:
        """See ``KeepAlive.prefer_another``."""
        self._stream.prefer_another()


class WitnessedEvents:
    """The events of a watch, each compared with what was committed.

    Args:
        events: of the server.
        witness: compares.
        election: of which one.
        since: the revision that it had when the watch was opened.
        buffer: see ``ElectionService.events``.
        link: the way back.
    """

    def __init__(
        self,
        events: AsyncIterator[Event],
        witness: Witness,
        election: str,
        since: int,
        buffer: int,
        link: Link,
    ) -> None:
        self._events = events
        self._witness = witness
        self._election = election
        self._since = since
        self._buffer = buffer
        self._link = link
        self._is_first_change = False  # the buffer may have been full of what the snapshot shows
        self.last: Term | None = None

    def __aiter__(self) -> "WitnessedEvents":
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event."""
        event = await anext(self._events)
        if self.last is None:
            self._witness.answered(self._election, self._since, event.term)
        buffer = 1 if self._is_first_change else self._buffer
        self._is_first_change = self.last is None
        self._witness.told(self._election, self.last, event, buffer)
        self.last = event.term
        await self._link.passable(Direction.BACK)
        return event
