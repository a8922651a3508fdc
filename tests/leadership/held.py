"""A network on which a test holds back what it chooses: answers, events, reads, the writes for one candidate."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from atomix_election.core.campaign import Answer
from atomix_election.errors import Unavailable
from atomix_election.model import Event, Term
from atomix_election.service import WATCH_BUFFER, Call, KeepAlive, Renewal, Service
from atomix_election.tasks import Background
from atomix_election.testing.network import FaultyService


class Always(random.Random):
    """A chance that always comes out the same, from 0 to 1."""

    def __init__(self, outcome: float) -> None:
        super().__init__(0)
        self._outcome = outcome

    def random(self) -> float:
        """Return it."""
        return self._outcome


class Valve:
    """What all messages of one kind pass; while it is shut they wait."""

    def __init__(self) -> None:
        self._opened = anyio.Event()
        self._opened.set()

    def shut(self) -> None:
        """Let nothing through."""
        if self._opened.is_set():
            self._opened = anyio.Event()

    def open(self) -> None:
        """Let everything through."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait until it is open."""
        while not self._opened.is_set():
            await self._opened.wait()


class HeldService(FaultyService):
    """A ``FaultyService`` that can hold back messages of one kind, and notes when streams and renewals began."""

    def __init__(self, server: Callable[[], Service], tasks: Background, chance: random.Random) -> None:
        super().__init__(server, tasks, chance)
        self.answers = Valve()
        """Those to renewals, on their way back."""
        self.watched = Valve()
        """Events, on their way back."""
        self.reads = Valve()
        """Terms that were asked for, on their way back: they are as old as they are late."""
        self.writes_fail = False
        """Whether the writes for candidates find nobody."""
        self.slow_s: dict[str, float] = {}
        """How long a write for a candidate takes on its way there."""
        self.closing_s = 0.0
        """How long a watch takes to close."""
        self.streams: list[float] = []
        """When each stream of renewals was opened, or was to be."""
        self.renewals: list[float] = []
        """When each renewal was sent."""

    @asynccontextmanager
    async def keep_alive(self, namespace: str, session: str) -> AsyncGenerator[KeepAlive]:
        """See ``Service.keep_alive``."""
        self.streams.append(anyio.current_time())
        async with super().keep_alive(namespace, session) as stream:
            yield _HeldKeepAlive(stream, self)

    @asynccontextmanager
    async def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator[AsyncIterator[Event]]:
        """See ``Service.events``."""
        async with super().events(call, buffer=buffer) as events:
            try:
                yield _HeldEvents(events, self)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(self.closing_s)

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``Service.enter``."""
        await self._sent(candidate_id)
        return await super().enter(call, candidate_id)

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``Service.withdraw``."""
        await self._sent(candidate_id)
        return await super().withdraw(call, candidate_id)

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``Service.promote``."""
        await self._sent(candidate_id)
        return await super().promote(call, candidate_id)

    async def get_term(self, call: Call) -> Term:
        """See ``Service.get_term``."""
        term = await super().get_term(call)
        await self.reads.passed()
        return term

    async def _sent(self, candidate_id: str) -> None:
        await anyio.sleep(self.slow_s.get(candidate_id, 0.0))
        if self.writes_fail:
            raise Unavailable("the connection was lost before the call was sent")


class _HeldEvents:
    """The client's end of a watch."""

    def __init__(self, events: AsyncIterator[Event], service: HeldService) -> None:
        self._events = events
        self._service = service

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = await anext(self._events)
        await self._service.watched.passed()
        return event


class _HeldKeepAlive:
    """The client's end of a keep-alive stream."""

    def __init__(self, stream: KeepAlive, service: HeldService) -> None:
        self.target = stream.target
        self._stream = stream
        self._service = service

    async def send(self, renewal: Renewal) -> None:
        """See ``KeepAlive.send``."""
        self._service.renewals.append(anyio.current_time())
        await self._stream.send(renewal)

    async def receive(self) -> Answer:
        """See ``KeepAlive.receive``."""
        answer = await self._stream.receive()
        await self._service.answers.passed()
        return answer

    def give_up(self) -> None:
        """See ``KeepAlive.give_up``."""
        self._stream.give_up()

    def prefer_another(self) -> None:
        """See ``KeepAlive.prefer_another``."""
        self._stream.prefer_another()
