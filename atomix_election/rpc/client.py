"""The client: the service at the other end of a network."""

import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio
import betterproto2

from atomix_election.broadcast import Broadcast
from atomix_election.core.campaign import LONGEST_CALL_S, Answer, Timing
from atomix_election.errors import (
    ElectionError,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    PermissionDenied,
    SessionEnded,
    StoreError,
    Unauthenticated,
    Unavailable,
    doubt,
)
from atomix_election.model import ElectionDescription, ElectionId, ElectionPage, Event, EventType, Term
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix_election import v1 as ours_v1
from atomix_election.rpc.call import STORE_KEY, metadata_of, namespace_metadata, session_metadata
from atomix_election.rpc.client_call import ClientCall, Decode, Duplex
from atomix_election.rpc.client_connection import ClientConnection, Endpoint
from atomix_election.rpc.convert import term_of
from atomix_election.rpc.hot_messages import (
    answer_of_bytes,
    candidate_request_bytes,
    event_of_response,
    renewal_bytes,
    term_of_response,
)
from atomix_election.rpc.http2_connection import Headers
from atomix_election.rpc.inspection import description_of, page_of
from atomix_election.rpc.methods import (
    ADMINISTRATION_METHODS,
    ELECTION_METHODS,
    INSPECTION_METHODS,
    SESSION_METHODS,
    Method,
)
from atomix_election.rpc.quick_client import QuickCall
from atomix_election.service import MAX_PAGE_SIZE, PAGE_SIZE, WATCH_BUFFER, Call, Renewal
from atomix_election.tasks import LONGEST_PAUSE_S, Background, Pauses, background_tasks
from atomix_election.tls import ClientTls

log: logging.Logger = logging.getLogger(__name__)

_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)
_ResponseT = TypeVar("_ResponseT")

_GET_TERM = wire.encode(v1.GetTermRequest())
_EVENTS = wire.encode(v1.EventsRequest())


class RpcClient:
    """An election service on one of several servers. An async context manager.

    Watches of one election share one stream, so that a connection's limit on streams is not used up by them.

    A call whose connection breaks is tried again where that is safe: a read once, a write that carries an operation
    number until the call's time is over.

    Args:
        endpoints: where the servers are.
        tls: how to speak to them; None for plain text.
        token: returns the token to send, as it is now; None for none.
        call_timeout_s: how long one call may take, with all its tries.
        longest_pause_s: the most between two tries.
        pings: whether a server that answers no ping is given up. Not where the end of the connection ends the session:
            whoever sends renewals notices by them, and decides when to close.
        chance: returns numbers from 0 to 1, so that clients do not come back all at the same time.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        tls: ClientTls | None = None,
        token: Callable[[], str] | None = None,
        call_timeout_s: float = LONGEST_CALL_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        pings: bool = True,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._connection = ClientConnection(endpoints, tls, token, pings=pings)
        self._call_timeout_s = call_timeout_s
        self._pauses = Pauses(longest_pause_s, chance)
        self._tries = len(endpoints)
        self._streams = 0
        self._watches: dict[ElectionId, _Watch] = {}
        self._running = AsyncExitStack()
        self._tasks: Background | None = None

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

    @asynccontextmanager
    async def keep_alive(self, namespace: str, session: str) -> AsyncGenerator["_RpcKeepAlive"]:
        """See ``ElectionService.keep_alive``."""
        self._spawner()
        method = SESSION_METHODS["KeepAlive"]
        client_call = ClientCall(self._connection, method, session_metadata(namespace, session), write=False)
        self._streams += 1
        try:
            async with client_call.duplex(answer_of_bytes) as stream:
                yield _RpcKeepAlive(stream, self._connection, self._connection.authority)
        finally:
            self._streams -= 1

    def session_granted(self, ttl_s: float) -> None:
        """See ``ElectionService.session_granted``."""
        timing = Timing(ttl_s)
        self._call_timeout_s = min(self._call_timeout_s, timing.call_timeout_s)
        # One target that does not answer must leave time for another, within one try of a call.
        longest_connect_s = min(timing.connect_timeout_s, self._call_timeout_s / self._tries / 2)
        self._connection.connect_timeout_s = min(self._connection.connect_timeout_s, longest_connect_s)
        self._pauses.limit(timing.longest_pause_s)

    async def end_session(self, namespace: str, session: str) -> None:
        """See ``ElectionService.end_session``."""
        self._spawner()
        metadata = session_metadata(namespace, session)
        client_call = ClientCall(self._connection, SESSION_METHODS["End"], metadata, write=True)
        await client_call.unary(wire.encode(ours_v1.EndRequest()), _decoding(ours_v1.EndResponse), self._call_timeout_s)

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        await self._call("Create", call, v1.CreateRequest(config=v1.LeaderElectionConfig()), v1.CreateResponse)

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        await self._call("Close", call, v1.CloseRequest(), v1.CloseResponse)

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        return await self._term("Enter", call, candidate_request_bytes(candidate_id))

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        return await self._term("Withdraw", call, candidate_request_bytes(candidate_id))

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        return await self._term("Anoint", call, candidate_request_bytes(candidate_id))

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        return await self._term("Promote", call, candidate_request_bytes(candidate_id))

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        return await self._term("Evict", call, candidate_request_bytes(candidate_id))

    async def forget(self, call: Call) -> Term:
        """See ``ElectionService.forget``."""
        method, request = ADMINISTRATION_METHODS["Forget"], wire.encode(ours_v1.ForgetRequest())
        left = await self._try(method, metadata_of(call), request, _decoding(ours_v1.ForgetResponse), write=True)
        return Term((), left.number, left.revision)

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        return await self._term("GetTerm", call, _GET_TERM, write=False)

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
                try:
                    first = await watch.first(self._call_timeout_s)
                except TimeoutError as error:
                    self._give_up_unless_kept()
                    raise Unavailable(f"Events: no answer within {self._call_timeout_s:g} s") from error
                subscription.begin(first if begun_here else await self.get_term(call))
                yield subscription
        finally:
            watch.users -= 1
            if not watch.users:
                self._drop(call.election_id, watch)
                watch.scope.cancel()

    async def list_elections(self, namespace: str, *, page_size: int = PAGE_SIZE, page_token: str = "") -> ElectionPage:
        """See ``InspectionService.list_elections``."""
        if page_size < 1:
            raise InvalidRequest(f"a page of {page_size} elections has no room: ask for at least 1")
        request = ours_v1.ListRequest(page_size=min(page_size, MAX_PAGE_SIZE), page_token=page_token)
        method = INSPECTION_METHODS["List"]
        return page_of(
            await self._try(
                method, namespace_metadata(namespace), wire.encode(request), _decoding(ours_v1.ListResponse)
            )
        )

    async def describe(self, call: Call) -> ElectionDescription:
        """See ``InspectionService.describe``."""
        method = INSPECTION_METHODS["Describe"]
        request = wire.encode(ours_v1.DescribeRequest())
        return description_of(await self._try(method, metadata_of(call), request, _decoding(ours_v1.DescribeResponse)))

    async def _term(self, name: str, call: Call, request: bytes, *, write: bool = True) -> Term:
        """Make a call that is answered by a term: the first try without much ado, if it can be sent at once."""
        self._spawner()
        method = ELECTION_METHODS[name]
        first = self._connection.begin(method, call, request, self._call_timeout_s / self._tries)
        answer = None if first is None else await first.answer()
        if answer is not None:
            with suppress(InvalidRequest):  # the plain way says what follows from that
                return term_of_response(answer, method.response)
        kind = cast("type[v1.GetTermResponse]", method.response)  # all of these have a term, and nothing else
        again = call.operation is not None
        response = await self._try(
            method, metadata_of(call), request, _decoding(kind), write=write, repeatable=again, first=first
        )
        return term_of(response.term)

    async def _call(self, name: str, call: Call, request: betterproto2.Message, response: type[_MessageT]) -> _MessageT:
        again = call.operation is not None
        return await self._try(
            ELECTION_METHODS[name],
            metadata_of(call),
            wire.encode(request),
            _decoding(response),
            write=True,
            repeatable=again,
        )

    async def _try(
        self,
        method: Method,
        metadata: Headers,
        request: bytes,
        decode: Decode[_ResponseT],
        *,
        write: bool = False,
        repeatable: bool = False,
        first: QuickCall | None = None,
    ) -> _ResponseT:
        began = anyio.current_time() if first is None else first.began
        deadline = began + self._call_timeout_s
        was_sent = False
        for attempt in count():
            if first is None:
                self._spawner()
            client_call = ClientCall(self._connection, method, metadata, write=write)
            try:
                if first is not None:
                    resumed, first = first, None
                    return await client_call.resume(resumed, decode)
                return await client_call.unary(request, decode, self._time_for_a_try(attempt, deadline))
            except (Unavailable, OutcomeUnknown, StoreError) as error:
                if client_call.timed_out or isinstance(error, StoreError):
                    self._give_up_unless_kept()
                was_sent = was_sent or isinstance(error, OutcomeUnknown)
                pause_s = self._pauses.after(attempt)
                again = repeatable or (not was_sent and client_call.connected and attempt < self._tries)
                again = again and not (isinstance(error, StoreError) and self._tries == 1)
                if not again or anyio.current_time() + pause_s >= deadline:
                    if was_sent and not isinstance(error, OutcomeUnknown):
                        raise OutcomeUnknown.after(error) from error
                    raise
            except (SessionEnded, LimitExceeded, Unauthenticated, PermissionDenied) as error:
                doubt(error, tried_before=was_sent)
                raise
            await anyio.sleep(pause_s)
        raise AssertionError("the tries end with an answer or an error")

    def _time_for_a_try(self, attempt: int, deadline: float) -> float:
        """Return how long one try may take: a server that hangs must leave time for the others.

        The first one always has the same time, so that calls say the same of themselves.
        """
        longest_s = self._call_timeout_s / self._tries
        return min(deadline - anyio.current_time(), longest_s) if attempt else longest_s

    def _give_up_unless_kept(self) -> None:
        """Use another server from now on, if there is one. Where a session is kept, its renewals see to that."""
        if not self._streams and self._tries > 1:
            self._connection.give_up()

    async def _read(self, watch: "_Watch", call: Call) -> None:
        """Keep the stream of a watch going: what has begun goes on after a lost connection."""
        method = ELECTION_METHODS["Events"]
        with watch.scope:
            while True:
                client_call = ClientCall(self._connection, method, metadata_of(call), write=False)
                try:
                    await client_call.watch(_EVENTS, event_of_response, watch.receive)
                except (Unavailable, StoreError, Unauthenticated) as error:
                    if not watch.begun or (isinstance(error, Unauthenticated) and not client_call.credentials_changed):
                        self._end(call.election_id, watch, error)
                        return
                    log.info("the watch of election %s was interrupted, trying again: %s", call.election, error)
                except ElectionError as error:
                    self._end(call.election_id, watch, error)
                    return
                watch.attempt += 1
                await anyio.sleep(self._pauses.after(watch.attempt))

    def _end(self, election_id: ElectionId, watch: "_Watch", error: ElectionError) -> None:
        self._drop(election_id, watch)
        watch.fail(error)

    def _drop(self, election_id: ElectionId, watch: "_Watch") -> None:
        if self._watches.get(election_id) is watch:
            del self._watches[election_id]

    def _spawner(self) -> Background:
        if self._tasks is None:
            raise _closed()
        return self._tasks


class _Watch:
    """One stream of events, and the watchers here that share it."""

    def __init__(self) -> None:
        self.broadcast = Broadcast()
        self.scope = anyio.CancelScope()
        self.users = 0
        self.attempt = 0
        self._first: Term | ElectionError | None = None
        self._begun = anyio.Event()
        self._store_id = ""
        self._newest = Term()

    @property
    def begun(self) -> bool:
        """Whether the first term came."""
        return isinstance(self._first, Term)

    async def first(self, timeout_s: float) -> Term:
        """Return the term that the stream began with, or raise why it did not, or TimeoutError."""
        with anyio.fail_after(timeout_s):
            await self._begun.wait()
        if isinstance(self._first, ElectionError):
            raise self._first
        return self._first or Term()

    def receive(self, event: Event, headers: dict[str, str]) -> None:
        """Take an event. A later snapshot, after a lost connection, is a change if it shows anything new."""
        self.attempt = 0
        former_term, self._newest = self._newest, event.term
        if event.type is EventType.CHANGED:
            self.broadcast.publish(event)
            return
        former, self._store_id = self._store_id, headers.get(STORE_KEY, "")
        if self._first is None:
            self._first = event.term
            self._begun.set()
        elif event.term != former_term:
            self.broadcast.publish(Event(EventType.CHANGED, event.term), anew=self._store_id != former)

    def fail(self, error: ElectionError) -> None:
        if not self._begun.is_set():
            self._first = error
            self._begun.set()
        self.broadcast.fail(error)


class _RpcKeepAlive:
    """The client's end of a keep-alive stream."""

    def __init__(self, stream: Duplex[Answer], connection: ClientConnection, target: str) -> None:
        self.target = target
        self._stream = stream
        self._connection = connection

    async def send(self, renewal: Renewal) -> None:
        """See ``KeepAlive.send``."""
        await self._stream.send(renewal_bytes(renewal))

    async def receive(self) -> Answer:
        """See ``KeepAlive.receive``."""
        return await self._stream.receive()

    def give_up(self) -> None:
        """See ``KeepAlive.give_up``."""
        self._connection.give_up()

    def prefer_another(self) -> None:
        """See ``KeepAlive.prefer_another``."""
        self._connection.prefer_another()


def _decoding(response: type[_MessageT]) -> Decode[_MessageT]:
    return partial(wire.decode, kind=response)


def _closed() -> Unavailable:
    return Unavailable("the client is closed")
