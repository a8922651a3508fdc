"""The server: connections and calls on one side, a service for each connection on the other."""

import asyncio
import functools
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio
import betterproto2
from grpclib.const import Status
from grpclib.protocol import AbstractHandler, Stream
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from atomix_election.errors import ElectionError, LimitExceeded
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix_election import v1 as sessions_v1
from atomix_election.rpc.call import STORE_KEY, ServerCall, call_of, refusal_headers, session_of, timeout_s
from atomix_election.rpc.convert import answer_message, event_message, renewal_of, term_message
from atomix_election.rpc.http2 import (
    MIN_READ_BYTES,
    READ_BYTES,
    TURN_BYTES,
    Headers,
    Http2Protocol,
    Refusing,
    Serving,
    configuration,
    refuse,
    reset,
)
from atomix_election.rpc.limits import RESERVED_CALLS, ConnectionLimits, Outbox, Shared, reached
from atomix_election.rpc.methods import ELECTION_METHODS, SESSION_METHODS, Method
from atomix_election.rpc.notices import Notices
from atomix_election.rpc.status import Failure, Rejected, deadline_exceeded, failure_of, unimplemented
from atomix_election.service import Call, ElectionService
from atomix_election.tasks import background_tasks

CLOSE_TIMEOUT_S = 2.0
"""How long a closing server waits for its last answers to be sent."""

PING_INTERVAL_S = 10.0
"""A silent client is pinged this often, and has as long to answer before its connection is closed."""

SWEEP_INTERVAL_S = 1.0
"""How often the limits of time are looked after; more often where one of them is short."""
OVERSLEPT_S = 0.1
"""When that comes later than this, the process was stopped: what clients have sent meanwhile is read first."""

_CONFIG = configuration(connection_window=256 * 1024, stream_window=64 * 1024, ping_interval_s=PING_INTERVAL_S)
_SHUTTING_DOWN = Failure(Status.UNAVAILABLE, "the server is shutting down", "Unavailable")

log = logging.getLogger(__name__)


class ServedConnection(ElectionService, Protocol):
    """The service that a connection's calls go to."""

    @property
    def store_id(self) -> str:
        """Identity of the store."""
        ...

    def disconnect(self, *, by_peer: bool) -> None:
        """Called once, when the connection is gone, with whether the client closed it."""
        ...


class RpcServer:
    """Serves elections to gRPC clients.

    Args:
        connect: makes the service of each new connection.
        limits: what connections may cost.
    """

    def __init__(self, connect: Callable[[], ServedConnection], limits: ConnectionLimits | None = None) -> None:
        self._connect = connect
        self._limits = limits or ConnectionLimits()
        self._shared = Shared(self._limits, Notices(log, logging.INFO))
        self._connections: set[_ServerConnection] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        shortest_s = min(self._limits.header_timeout_s, self._limits.request_timeout_s, self._limits.send_timeout_s)
        self._sweep_interval_s = min(SWEEP_INTERVAL_S, shortest_s / 4)

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Begin to listen, and return the address and port that a client is to use.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._accept, host, port, ssl=tls)
        self._sweep()
        address: tuple[str, int] = self._listener.sockets[0].getsockname()[:2]
        return address

    async def close(self) -> None:
        """Stop listening, end every call with UNAVAILABLE, and close the connections."""
        if self._listener is not None:
            self._listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        connections = list(self._connections)
        for connection in connections:
            connection.shut_down()
        with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            for connection in connections:
                await connection.wait_ended()
        for connection in connections:
            connection.protocol.go_away()
        with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            for connection in connections:
                await connection.wait_lost()
        for connection in connections:
            connection.protocol.abort()
            with anyio.CancelScope(shield=True):
                await connection.wait_ended()
                await connection.wait_lost()
        if self._listener is not None:
            await self._listener.wait_closed()

    def _accept(self) -> asyncio.BaseProtocol:
        refusal = _too_many(len(self._connections) + 1, self._limits.max_connections)
        if refusal is not None:
            self._shared.notices.write(refusal, now=asyncio.get_running_loop().time())
            return Refusing(refusal)
        return _ServerConnection(self._connect, self._connections, self._shared).protocol

    def _sweep(self) -> None:
        """Look after the limits of time."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._sweeper is None or now <= self._sweeper.when() + OVERSLEPT_S:
            for connection in list(self._connections):
                connection.sweep(now)
        self._sweeper = loop.call_at(now + self._sweep_interval_s, self._sweep)


class _ServerConnection(AbstractHandler):
    """One connection and its calls. A call is cancelled through a scope, so that shields hold."""

    def __init__(
        self, connect: Callable[[], ServedConnection], connections: "set[_ServerConnection]", shared: Shared
    ) -> None:
        self.protocol = Http2Protocol(
            self,
            _CONFIG,
            max_streams=shared.limits.max_calls_per_connection,
            on_made=self._made,
            on_lost=self._lost,
            serving=Serving(shared.limits, self._read_bytes, self._give_up),
        )
        self._connect = connect
        self._connections = connections
        self._shared = shared
        self._outbox: Outbox
        self._service: ServedConnection
        self._calls: dict[Stream, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()
        self._shutting_down = False

    def accept(self, stream: Stream, headers: Headers, release_stream: Callable[[], None]) -> None:
        """Begin a call. Called by grpclib."""
        refusal = self._refusal()
        if refusal is not None:
            refuse(stream, refusal_headers(failure_of(LimitExceeded(refusal))))
            release_stream()
            return
        call = ServerCall(stream, headers, self._shared, self._outbox)
        running = self._calls[stream] = _Running(call)
        task = asyncio.get_running_loop().create_task(self._serve(stream, release_stream, running))
        self._tasks.add(task)
        self._shared.calls += 1
        task.add_done_callback(self._ended)

    def _refusal(self) -> str | None:
        """Return why one more call is too much. Calls count until their tasks have ended."""
        limits, own = self._shared.limits, len(self._tasks)
        if own >= limits.max_calls_per_connection:
            return reached("max_calls_per_connection", limits.max_calls_per_connection, "open calls of a connection")
        if own >= RESERVED_CALLS and self._shared.calls >= limits.max_calls:
            return reached("max_calls", limits.max_calls, "open calls of all connections")
        return None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._shared.calls -= 1

    def sweep(self, now: float) -> None:
        """Close the connection, or end the calls, of a peer that takes too long."""
        limits = self._shared.limits
        since = self.protocol.unfinished_since
        if since is not None and now >= since + limits.header_timeout_s:
            self._give_up(reached("header_timeout_s", limits.header_timeout_s, "seconds for headers, or any one frame"))
            return
        since = self.protocol.paused_since
        if since is not None and now >= since + limits.send_timeout_s:
            self._give_up(reached("send_timeout_s", limits.send_timeout_s, "seconds for answers to be read"))
            return
        for running in self._calls.values():
            overdue = running.call.overdue(now)
            if overdue is not None:
                running.refuse(failure_of(LimitExceeded(overdue)))

    def _give_up(self, why: str) -> None:
        if not self.protocol.connection.is_closing():
            self._shared.notices.write(f"connection closed: {why}", now=asyncio.get_running_loop().time())
            self.protocol.go_away(ErrorCodes.ENHANCE_YOUR_CALM, why)

    def _read_bytes(self) -> int:
        return max(MIN_READ_BYTES, min(READ_BYTES, TURN_BYTES // (len(self._connections) or 1)))

    def cancel(self, stream: Stream) -> None:
        """End a call that the peer has cancelled. Called by grpclib."""
        running = self._calls.pop(stream, None)
        if running is not None:
            running.cancel()

    def close(self) -> None:
        """End all calls, as the connection is closing. Called by grpclib, more than once."""
        for running in self._calls.values():
            running.cancel()
        self._calls.clear()

    def shut_down(self) -> None:
        """End all calls with UNAVAILABLE."""
        self._shutting_down = True
        for running in self._calls.values():
            running.cancel()

    async def wait_ended(self) -> None:
        """Wait until no call is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_lost(self) -> None:
        """Wait until the connection is gone."""
        await self._gone.wait()

    def _made(self) -> None:
        self._service = self._connect()
        self._outbox = self._shared.outboxes.open(self._give_up)
        self._connections.add(self)
        refusal = _too_many(len(self._connections), self._shared.limits.max_connections)
        if refusal is not None:  # several were accepted at a time
            self._give_up(refusal)

    def _lost(self) -> None:
        self._connections.discard(self)
        self._outbox.close()
        self._service.disconnect(by_peer=self.protocol.closed_by_peer)
        self._gone.set()

    async def _serve(self, stream: Stream, release_stream: Callable[[], None], running: "_Running") -> None:
        call = running.call
        try:
            failure: Failure | None = _SHUTTING_DOWN
            with running.scope() as scope:
                failure = await self._answer(call)
            if scope.cancelled_caught and running.refusal is not None:
                failure = running.refusal
            elif scope.cancelled_caught and not (self._shutting_down and stream in self._calls):
                return  # nobody is there to hear an answer
            with anyio.move_on_after(CLOSE_TIMEOUT_S) as unread:
                await call.finish(failure)
            if unread.cancelled_caught:
                reset(stream)
        except ProtocolError as error:
            log.debug("call ended, its stream is closed: %s", error)
        finally:
            self._calls.pop(stream, None)
            release_stream()

    async def _answer(self, call: ServerCall) -> Failure | None:
        """Serve a call up to its trailers, and return how it failed, if it did."""
        try:
            method = _method_of(call)
            limit_s = timeout_s(call.headers)
            if limit_s == 0:
                return deadline_exceeded(may_have_been_applied=False)
            with anyio.move_on_after(limit_s) as limit:
                await _serve_method(method, self._service, call)
            if limit.cancelled_caught:
                return deadline_exceeded(may_have_been_applied=method.name in _WRITES)
        except ElectionError as error:
            return failure_of(error)
        except Rejected as rejected:
            return rejected.failure
        except ProtocolError:
            raise
        except Exception:
            log.exception("fault of this package in %s", call.path)
            return Failure(Status.INTERNAL, "a fault of the server; its log says more")
        return None


class _Running:
    """A call that can be cancelled, also before its task has begun."""

    def __init__(self, call: ServerCall) -> None:
        self.call = call
        self.refusal: Failure | None = None
        self._cancelled = False
        self._scope: anyio.CancelScope | None = None

    def cancel(self) -> None:
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def refuse(self, refusal: Failure) -> None:
        """Cancel the call, and answer it with a failure."""
        self.refusal = refusal
        self.cancel()

    def scope(self) -> anyio.CancelScope:
        """Return the scope to run in. Made by the call's own task, as anyio demands."""
        self._scope = anyio.CancelScope()
        if self._cancelled:
            self._scope.cancel()
        return self._scope


def _too_many(connections: int, limit: int) -> str | None:
    """Return why that many connections are too many, or None."""
    return reached("max_connections", limit, "connections") if connections > limit else None


def _method_of(call: ServerCall) -> Method:
    headers = dict(call.headers)
    if headers.get(":method") != "POST":
        raise unimplemented("a gRPC call is a POST request")
    if headers.get("content-type", "").partition(";")[0] not in ("application/grpc", "application/grpc+proto"):
        raise unimplemented("the content-type must be application/grpc or application/grpc+proto")
    method = _BY_PATH.get(call.path)
    if method is None:
        raise unimplemented(f"there is no method {call.path!a}")
    return method


async def _serve_method(method: Method, service: ServedConnection, call: ServerCall) -> None:
    if method is SESSION_METHODS["KeepAlive"]:
        await _keep_alive(service, call)
        return
    if method is SESSION_METHODS["End"]:
        await call.read(method.request)
        await service.end_session(*session_of(call.headers))
        await call.send(sessions_v1.EndResponse)
        return
    about = call_of(call.headers)
    request = await call.read(method.request)
    if method.name == "Events":
        call.add_header(STORE_KEY, service.store_id)
        async with service.events(about) as events:
            async for event in events:
                await call.send(functools.partial(event_message, event))
    else:
        answer = await _UNARY[method.name](service, about, request)
        await call.send(lambda: answer)


async def _keep_alive(service: ElectionService, call: ServerCall) -> None:
    """Take renewals and send answers, until the client ends the stream or the session has ended."""
    fault: ElectionError | Rejected | None = None

    async def take_renewals() -> None:
        nonlocal fault
        try:
            while (message := await call.read_next(sessions_v1.KeepAliveRequest)) is not None:
                await stream.send(renewal_of(message))
        except (ElectionError, Rejected) as error:
            fault = error
        tasks.cancel_block()

    async with service.keep_alive(*session_of(call.headers)) as stream, background_tasks() as tasks:
        tasks.start_soon(take_renewals)
        ended = False
        while not ended:
            answer = await stream.receive()
            await call.send(functools.partial(answer_message, answer))
            ended = answer.ended
    if fault is not None:
        raise fault


async def _create(service: ElectionService, call: Call, _: Any) -> betterproto2.Message:
    await service.create(call)
    return v1.CreateResponse()


async def _close(service: ElectionService, call: Call, _: Any) -> betterproto2.Message:
    await service.close(call)
    return v1.CloseResponse()


async def _enter(service: ElectionService, call: Call, request: v1.EnterRequest) -> betterproto2.Message:
    return v1.EnterResponse(term=term_message(await service.enter(call, request.candidate_id)))


async def _withdraw(service: ElectionService, call: Call, request: v1.WithdrawRequest) -> betterproto2.Message:
    return v1.WithdrawResponse(term=term_message(await service.withdraw(call, request.candidate_id)))


async def _anoint(service: ElectionService, call: Call, request: v1.AnointRequest) -> betterproto2.Message:
    return v1.AnointResponse(term=term_message(await service.anoint(call, request.candidate_id)))


async def _promote(service: ElectionService, call: Call, request: v1.PromoteRequest) -> betterproto2.Message:
    return v1.PromoteResponse(term=term_message(await service.promote(call, request.candidate_id)))


async def _evict(service: ElectionService, call: Call, request: v1.EvictRequest) -> betterproto2.Message:
    return v1.EvictResponse(term=term_message(await service.evict(call, request.candidate_id)))


async def _get_term(service: ElectionService, call: Call, _: Any) -> betterproto2.Message:
    return v1.GetTermResponse(term=term_message(await service.get_term(call)))


_UNARY: dict[str, Callable[[ElectionService, Call, Any], Awaitable[betterproto2.Message]]] = {
    "Create": _create,
    "Close": _close,
    "Enter": _enter,
    "Withdraw": _withdraw,
    "Anoint": _anoint,
    "Promote": _promote,
    "Evict": _evict,
    "GetTerm": _get_term,
}
_WRITES = _UNARY.keys() - {"GetTerm"}
_BY_PATH = {method.path: method for method in (*ELECTION_METHODS.values(), *SESSION_METHODS.values())}
