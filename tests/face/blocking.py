"""The blocking face with asynchronous manners, each call in a thread, so that the same suite can judge it.

A thread that waits cannot be cancelled, as a task can: so events are waited for in short pieces.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio import to_thread

from atomix_election import ElectionDescription, ElectionSummary, Event, InvalidRequest, Term, sync
from atomix_election.leadership import Candidates
from atomix_election.service import Service
from atomix_election.sync.held import Held
from atomix_election.tasks import shielded
from tests.face import party

_T = TypeVar("_T")

PIECE_S = 0.1
OPEN_BARE = party.open_bare


async def in_thread(call: Callable[[], _T]) -> _T:
    """Make a blocking call, and say what the asynchronous face says where only a word differs."""
    try:
        return await to_thread.run_sync(call, limiter=anyio.CapacityLimiter(1))
    except InvalidRequest as error:
        raise InvalidRequest(str(error).replace("its `with`", "its `async with`")) from error


@asynccontextmanager
async def block(make: Callable[[], AbstractContextManager[_T]]) -> AsyncGenerator[_T]:
    """Enter a blocking context, and leave it whatever happens."""
    context = await in_thread(make)
    value = await shielded(in_thread(context.__enter__))
    try:
        yield value
    finally:
        await shielded(in_thread(lambda: context.__exit__(None, None, None)))


@asynccontextmanager
async def connect(*args: Any, **kwargs: Any) -> AsyncGenerator["Client"]:
    """See ``sync.connect``."""
    async with block(partial(sync.connect, *args, **kwargs)) as client:
        yield Client(client)


class Client:
    """See ``sync.Client``."""

    def __init__(self, client: sync.Client) -> None:
        self.blocking = client

    def election(self, name: str, *, candidate_id: str | None = None) -> "LeaderElection":
        """See ``sync.Client.election``."""
        return LeaderElection(name, candidate_id=candidate_id, namespace=self.blocking.namespace, client=self)

    async def list_elections(self, **kwargs: Any) -> AsyncIterator[ElectionSummary]:
        """See ``sync.Client.list_elections``."""
        found = self.blocking.list_elections(**kwargs)
        while (each := await in_thread(lambda: next(found, None))) is not None:
            yield each

    def candidates(self) -> Candidates:
        """Return what stands for candidates, which is the same as that of the asynchronous face."""
        return self.blocking.asynchronous.candidates()


class LeaderElection:
    """See ``sync.LeaderElection``."""

    def __init__(self, name: str, *, client: Client | None = None, **kwargs: Any) -> None:
        self._election = sync.LeaderElection(name, client=client and client.blocking, **kwargs)
        self._block: Any = None
        self.name = self._election.name
        self.namespace = self._election.namespace
        self.candidate_id = self._election.candidate_id

    async def __aenter__(self) -> Self:
        self._block = block(lambda: self._election)
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._block.__aexit__(None, None, None)

    async def enter(self) -> Term:
        """See ``sync.LeaderElection.enter``."""
        return await in_thread(self._election.enter)

    async def withdraw(self) -> Term:
        """See ``sync.LeaderElection.withdraw``."""
        return await in_thread(self._election.withdraw)

    async def get_term(self) -> Term:
        """See ``sync.LeaderElection.get_term``."""
        return await in_thread(self._election.get_term)

    async def describe(self) -> ElectionDescription:
        """See ``sync.LeaderElection.describe``."""
        return await in_thread(self._election.describe)

    async def forget(self) -> Term:
        """See ``sync.LeaderElection.forget``."""
        return await in_thread(self._election.forget)

    async def anoint(self, candidate_id: str) -> Term:
        """See ``sync.LeaderElection.anoint``."""
        return await in_thread(partial(self._election.anoint, candidate_id))

    async def promote(self, candidate_id: str) -> Term:
        """See ``sync.LeaderElection.promote``."""
        return await in_thread(partial(self._election.promote, candidate_id))

    async def evict(self, candidate_id: str) -> Term:
        """See ``sync.LeaderElection.evict``."""
        return await in_thread(partial(self._election.evict, candidate_id))

    @asynccontextmanager
    async def lead(self) -> AsyncGenerator["Leadership"]:
        """See ``sync.LeaderElection.lead``."""
        async with block(self._election.lead) as leadership:
            yield Leadership(leadership)

    @asynccontextmanager
    async def events(self, **kwargs: Any) -> AsyncGenerator[AsyncIterator[Event]]:
        """See ``sync.LeaderElection.events``."""
        async with block(partial(self._election.events, **kwargs)) as events:
            yield _Pieces(events)


class Leadership:
    """See ``sync.Leadership``."""

    def __init__(self, leadership: sync.Leadership) -> None:
        self.lost = Lost(leadership)


class Lost:
    """Its loss."""

    def __init__(self, leadership: sync.Leadership) -> None:
        self._lost = leadership.lost

    async def wait(self) -> None:
        """Wait for it."""
        await in_thread(self._lost.wait)


class _Pieces:
    """Events, each waited for piece by piece."""

    def __init__(self, events: sync.Events) -> None:
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            try:
                return await in_thread(partial(self._events.next, timeout_s=PIECE_S))
            except TimeoutError:
                pass


class _Bare:
    """A service that lives in the event loop of the blocking objects, as it has to share their memory or file."""

    def __init__(self, held: Held[Service], service: Service) -> None:
        self._held = held
        self._service = service

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._service, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await in_thread(lambda: self._held.event_loop.run(lambda: method(*args, **kwargs)))

        return call


@asynccontextmanager
async def open_bare(target: str) -> AsyncGenerator[Any]:
    """Connect as the published clients do."""
    held = Held(lambda: OPEN_BARE(target))
    service = await in_thread(held.enter)
    try:
        yield _Bare(held, service)
    finally:
        await shielded(in_thread(held.leave))
