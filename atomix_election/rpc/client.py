"""The client: the service at the other end of a network."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar

import anyio
import betterproto2
from anyio.abc import TaskGroup

from atomix_election.broadcast import Broadcast
from atomix_election.errors import ElectionError, Unavailable
from atomix_election.model import ElectionId, Event, EventType, Term
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc.call import metadata_of
from atomix_election.rpc.client_call import ClientCall
from atomix_election.rpc.client_connection import ClientConnection, Endpoint
from atomix_election.rpc.convert import event_of, term_of
from atomix_election.rpc.methods import ELECTION_METHODS
from atomix_election.service import WATCH_BUFFER, Call
from atomix_election.tasks import background_tasks

CALL_TIMEOUT_S = 5.0
"""How long one call may take."""

_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)


class RpcClient:
    """An election service on one of several servers. An async context manager.

    Watches of one election share one stream, so that a connection's limit on streams is not used up by them.

    Args:
        endpoints: where the servers are.
        tls: how to speak to them; None for plain text.
        call_timeout_s: how long one call may take.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        tls: ssl.SSLContext | None = None,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self._connection = ClientConnection(endpoints, tls)
        self._call_timeout_s = call_timeout_s
        self._watches: dict[ElectionId, _Watch] = {}
        self._running = AsyncExitStack()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        await self._running.__aenter__()
        self._running.push_async_callback(self._connection.close)
        self._tasks = await self._running.enter_async_context(background_tasks())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._tasks = None
        for watch in self._watches.values():
            watch.fail(_closed())
        return await self._running.__aexit__(kind, error, trace)

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        await self._call(call, v1.CreateRequest(config=v1.LeaderElectionConfig()), v1.CreateResponse)

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        await self._call(call, v1.CloseRequest(), v1.CloseResponse)

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        return term_of((await self._call(call, v1.EnterRequest(candidate_id), v1.EnterResponse)).term)

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        return term_of((await self._call(call, v1.WithdrawRequest(candidate_id), v1.WithdrawResponse)).term)

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        return term_of((await self._call(call, v1.AnointRequest(candidate_id), v1.AnointResponse)).term)

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        return term_of((await self._call(call, v1.PromoteRequest(candidate_id), v1.PromoteResponse)).term)

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        return term_of((await self._call(call, v1.EvictRequest(candidate_id), v1.EvictResponse)).term)

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        return term_of((await self._call(call, v1.GetTermRequest(), v1.GetTermResponse)).term)

    @asynccontextmanager
    async def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator[AsyncIterator[Event]]:
        """See ``ElectionService.events``."""
        watch = self._watches.get(call.election_id)
        begun_here = watch is None
        if watch is None:
            watch = self._watches[call.election_id] = _Watch()
            self._spawner().start_soon(self._read, watch, call)
        watch.users += 1
        try:
            with watch.broadcast.subscribe(buffer) as subscription:
                first = await watch.first(self._call_timeout_s)
                subscription.begin(first if begun_here else await self.get_term(call))
                yield subscription
        finally:
            watch.users -= 1
            if not watch.users:
                self._drop(call.election_id, watch)
                watch.scope.cancel()

    async def _call(self, call: Call, request: betterproto2.Message, response: type[_MessageT]) -> _MessageT:
        self._spawner()
        method = _METHOD_OF[type(request)]
        write = not isinstance(request, v1.GetTermRequest)
        client_call = ClientCall(self._connection, method, metadata_of(call), write=write)
        return await client_call.unary(request, response, self._call_timeout_s)

    async def _read(self, watch: "_Watch", call: Call) -> None:
        client_call = ClientCall(self._connection, ELECTION_METHODS["Events"], metadata_of(call), write=False)
        try:
            with watch.scope:
                await client_call.watch(v1.EventsRequest(), v1.EventsResponse, watch.receive)
        except ElectionError as error:
            self._drop(call.election_id, watch)
            watch.fail(error)

    def _drop(self, election_id: ElectionId, watch: "_Watch") -> None:
        if self._watches.get(election_id) is watch:
            del self._watches[election_id]

    def _spawner(self) -> TaskGroup:
        if self._tasks is None:
            raise _closed()
        return self._tasks


class _Watch:
    """One stream of events, and the watchers here that share it."""

    def __init__(self) -> None:
        self.broadcast = Broadcast()
        self.scope = anyio.CancelScope()
        self.users = 0
        self._first: Term | ElectionError | None = None
        self._begun = anyio.Event()

    async def first(self, timeout_s: float) -> Term:
        """Return the term that the stream began with."""
        with anyio.move_on_after(timeout_s):
            await self._begun.wait()
        if isinstance(self._first, Term):
            return self._first
        raise Unavailable(str(self._first)) if self._first else Unavailable(f"Events: no answer within {timeout_s:g} s")

    def receive(self, message: v1.EventsResponse) -> None:
        event = event_of(message)
        if event.type is EventType.NONE and self._first is None:
            self._first = event.term
            self._begun.set()
        else:
            self.broadcast.publish(event)

    def fail(self, error: ElectionError) -> None:
        if not self._begun.is_set():
            self._first = error
            self._begun.set()
        self.broadcast.fail(error)


_METHOD_OF = {method.request: method for method in ELECTION_METHODS.values()}


def _closed() -> Unavailable:
    return Unavailable("the client is closed")
