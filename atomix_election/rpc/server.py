"""The server: connections and calls on one side, a service for each connection on the other."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio
from grpclib.const import Status
from grpclib.protocol import AbstractHandler, Stream
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from atomix_election.core.access import Principal
from atomix_election.errors import ElectionError, LimitExceeded, PermissionDenied, Unauthenticated
from atomix_election.observer import NoObserver, Observer
from atomix_election.rpc.call import PROTOCOL_KEY, ServerCall, protocol_of, refusal_headers, timeout_s
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.handshake import Handshakes
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
from atomix_election.rpc.notices import Notices
from atomix_election.rpc.protocol import agree, is_ours
from atomix_election.rpc.services import administration, elections, inspection, sessions
from atomix_election.rpc.services.base import ServedConnection, ServedMethod, by_path
from atomix_election.rpc.services.health import Health
from atomix_election.rpc.services.reflection import Reflection
from atomix_election.rpc.status import (
    Failure,
    Rejected,
    deadline_exceeded,
    failure_of,
    shutting_down,
    unimplemented,
)

DRAIN_TIMEOUT_S = 2.0
"""How long a closing server lets calls that it has begun go on; then they end with UNAVAILABLE."""
CLOSE_TIMEOUT_S = 2.0
"""How long it waits after that for its last answers to be sent, and again for connections to close."""

UNKNOWN_METHOD = "unknown"
"""What is counted as the method of a call that names none of ours."""

PING_INTERVAL_S = 10.0
"""A silent client is pinged this often, and has as long to answer before its connection is closed."""

SWEEP_INTERVAL_S = 1.0
"""How often the limits of time are looked after; more often where one of them is short."""
OVERSLEPT_S = 0.1
"""When that comes later than this, the process was stopped: what clients have sent meanwhile is read first."""

_CONFIG = configuration(connection_window=256 * 1024, stream_window=64 * 1024, ping_interval_s=PING_INTERVAL_S)
_OPEN = Gate()
_OTHER_PRINCIPAL = failure_of(Unauthenticated("the credentials of this stream are those of another principal now"))
_CALL_LIMITS = {
    "max_calls_per_connection": "open calls of a connection",
    "max_calls": "open calls of all connections",
}

log = logging.getLogger(__name__)


class Connect(Protocol):
    """Makes services."""

    def __call__(self, *, owner: str = "", peer: str = "") -> ServedConnection:
        """Return the service that a principal's calls on one connection go to.

        Args:
            owner: name of the principal; "" where none was asked for.
            peer: the address at the other end, for people.
        """
        ...


@dataclass(slots=True, eq=False)
class _Common:
    """What the connections of a server have in common."""

    shared: Shared
    connect: Connect
    gate: Gate
    methods: dict[str, ServedMethod]
    observer: Observer
    connections: "set[_ServerConnection]" = field(default_factory=lambda: set[_ServerConnection]())  # noqa: PLW0108
    closing: bool = False


class RpcServer:
    """Serves elections to gRPC clients, and the standard services for health and reflection.

    Args:
        connect: makes the services of each connection, one for each principal that calls on it.
        gate: what is asked of callers.
        observer: is told what can be counted.
        limits: what connections may cost.
    """

    def __init__(
        self,
        connect: Connect,
        gate: Gate = _OPEN,
        observer: Observer | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        methods = by_path(elections.METHODS, sessions.METHODS, inspection.METHODS, administration.METHODS)
        services = {served.method.service for served in methods.values()}
        self._health = Health(services)
        methods |= by_path(self._health.methods)
        methods |= by_path(Reflection({served.method.service for served in methods.values()}).methods)
        self._limits = limits or ConnectionLimits()
        self._shared = Shared(self._limits, Notices(log, logging.INFO))
        self._common = _Common(self._shared, connect, gate, methods, observer or NoObserver())
        self._connections = self._common.connections
        self._listener: asyncio.Server | None = None
        self._handshakes: Handshakes | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        shortest_s = min(self._limits.header_timeout_s, self._limits.request_timeout_s, self._limits.send_timeout_s)
        self._sweep_interval_s = min(SWEEP_INTERVAL_S, shortest_s / 4)

    async def start(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, listener: socket.socket | None = None
    ) -> tuple[str, int]:
        """Begin to listen, and return the address and port that a client is to use.

        Args:
            host: the address to listen on.
            port: the port to listen on; 0 for any free one.
            tls: how to speak to clients; None for plain text.
            listener: a socket that listens already, to be used instead of host and port.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._common.closing = False
        self._health.start()
        accept: Callable[[], asyncio.Protocol] = self._accept
        if tls is not None:
            self._handshakes = Handshakes(tls, self._accept, self._common.observer.closed)
            accept = self._handshakes.accept
        if listener is None:
            self._listener = await loop.create_server(accept, host, port)
        else:
            self._listener = await loop.create_server(accept, sock=listener)
        self._sweep()
        address: tuple[str, int] = self._listener.sockets[0].getsockname()[:2]
        return address

    def use_certificates(self, tls: ssl.SSLContext) -> None:
        """Use other certificates from the next connection on. Only for a server that began with TLS."""
        assert self._handshakes is not None
        self._handshakes.context = tls

    def use_gate(self, gate: Gate) -> None:
        """Ask other things of callers from now on, and end the streams of those that have not got them."""
        self._common.gate = gate
        for connection in list(self._connections):
            connection.check_calls()

    async def close(self) -> None:
        """Say NOT_SERVING, stop listening, end streams with UNAVAILABLE, answer what has begun, and close connections.

        Every step is bounded in time. Sessions are left as they are: none ends by it.
        """
        self._health.shut_down()
        self._common.closing = True
        await self._stop_accepting()
        connections = list(self._connections)
        for connection in connections:
            connection.shut_down()
        with anyio.move_on_after(DRAIN_TIMEOUT_S, shield=True):
            for connection in connections:
                await connection.wait_ended()
        for connection in connections:
            connection.end_calls()
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

    async def _stop_accepting(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._handshakes is not None:
            with anyio.CancelScope(shield=True):
                await self._handshakes.close()

    def _accept(self) -> asyncio.Protocol:
        refusal = _too_many(len(self._connections) + 1, self._limits.max_connections)
        if refusal is not None:
            self._common.observer.closed(refusal.limit)
            self._shared.notices.write(str(refusal), now=_now())
            return Refusing(str(refusal))
        return _ServerConnection(self._common).protocol

    def _sweep(self) -> None:
        """Look after the limits of time."""
        now = _now()
        if self._sweeper is None or now <= self._sweeper.when() + OVERSLEPT_S:
            for connection in list(self._connections):
                connection.sweep(now)
        self._sweeper = asyncio.get_running_loop().call_at(now + self._sweep_interval_s, self._sweep)


class _ServerConnection(AbstractHandler):
    """One connection and its calls. A call is cancelled through a scope, so that shields hold."""

    def __init__(self, common: _Common) -> None:
        self.protocol = Http2Protocol(
            self,
            _CONFIG,
            max_streams=common.shared.limits.max_calls_per_connection,
            on_made=self._made,
            on_lost=self._lost,
            serving=Serving(common.shared.limits, self._read_bytes, self._give_up, common.observer.closed),
        )
        self._common = common
        self._shared = common.shared
        self._outbox: Outbox
        self._services: dict[str, ServedConnection] = {}
        self._calls: dict[Stream, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()
        self._shutting_down = False

    def accept(self, stream: Stream, headers: Headers, release_stream: Callable[[], None]) -> None:
        """Begin a call. Called by grpclib."""
        limit = self._reached()
        if limit is not None:
            self._common.observer.rejected(limit)
            refusal = reached(limit, getattr(self._shared.limits, limit), _CALL_LIMITS[limit])
            refuse(stream, refusal_headers(failure_of(refusal)))
            release_stream()
            return
        call = ServerCall(stream, headers, self._shared, self._outbox)
        running = self._calls[stream] = _Running(call, late=self._shutting_down)
        task = asyncio.get_running_loop().create_task(self._serve(stream, release_stream, running))
        self._tasks.add(task)
        self._shared.calls += 1
        task.add_done_callback(self._ended)

    def _reached(self) -> str | None:
        """Return the name of the limit that one more call would pass. Calls count until their tasks have ended."""
        limits, own = self._shared.limits, len(self._tasks)
        if own >= limits.max_calls_per_connection:
            return "max_calls_per_connection"
        if own >= RESERVED_CALLS and self._shared.calls >= limits.max_calls:
            return "max_calls"
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
                running.refuse(failure_of(overdue))

    def _give_up(self, why: LimitExceeded) -> None:
        if not self.protocol.connection.is_closing():
            self._common.observer.closed(why.limit)
            self._shared.notices.write(f"connection closed: {why}", now=_now())
            self.protocol.go_away(ErrorCodes.ENHANCE_YOUR_CALM, str(why))

    def _read_bytes(self) -> int:
        return max(MIN_READ_BYTES, min(READ_BYTES, TURN_BYTES // (len(self._common.connections) or 1)))

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
        """Begin nothing more, and end streams with UNAVAILABLE; what else has begun goes on."""
        self._shutting_down = True
        for running in self._calls.values():
            if running.endless:
                running.cancel()

    def end_calls(self) -> None:
        """End all calls with UNAVAILABLE."""
        for running in self._calls.values():
            running.cancel()

    def check_calls(self) -> None:
        """End the streams, and the calls that have only begun, whose credentials would not be accepted any more."""
        for running in self._calls.values():
            admitted = running.admitted
            if admitted is None or (running.call.was_read and not admitted.served.endless):
                continue  # what has been asked for is answered
            try:
                principal = self._admit(admitted.served, running.call)
            except (Unauthenticated, PermissionDenied) as error:
                running.refuse(failure_of(error))
            else:
                if principal.name != admitted.principal.name:
                    running.refuse(_OTHER_PRINCIPAL)

    def _admit(self, served: ServedMethod, call: ServerCall) -> Principal:
        return self._common.gate.admit(served.method, call.headers, self.protocol.peer_certificate)

    def _service_of(self, principal: Principal) -> ServedConnection:
        service = self._services.get(principal.name)
        if service is None:
            service = self._common.connect(owner=principal.name, peer=self.protocol.peer)
            self._services[principal.name] = service
        return service

    async def wait_ended(self) -> None:
        """Wait until no call is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_lost(self) -> None:
        """Wait until the connection is gone."""
        await self._gone.wait()

    def _made(self) -> None:
        self._outbox = self._shared.outboxes.open(self._give_up)
        self._common.connections.add(self)
        self._common.observer.connections(len(self._common.connections))
        refusal = _too_many(len(self._common.connections), self._shared.limits.max_connections)
        if refusal is not None:  # several were accepted at a time
            self._give_up(refusal)
        if self._common.closing:  # it was accepted before the end, and made after it
            self.protocol.abort()

    def _lost(self) -> None:
        self._common.connections.discard(self)
        self._outbox.close()
        self._common.observer.connections(len(self._common.connections))
        for service in self._services.values():
            service.disconnect(by_peer=self.protocol.closed_by_peer)
        self._gone.set()

    async def _serve(self, stream: Stream, release_stream: Callable[[], None], running: "_Running") -> None:
        call, began = running.call, _now()
        try:
            failure: Failure | None = None
            with running.scope() as scope:
                failure = await self._answer(call, running)
            unheard = scope.cancelled_caught and not (self._shutting_down and stream in self._calls)
            if running.refusal is not None and (scope.cancelled_caught or failure is not None):
                failure, unheard = running.refusal, False
            elif scope.cancelled_caught:
                failure = shutting_down(may_have_been_applied=running.writes)
            if failure is not None and (running.refusal is not None or not scope.cancelled_caught):
                self._common.observer.rejected(failure.limit or failure.error)
            if not running.endless:
                status = Status.CANCELLED if unheard else failure.status if failure else Status.OK
                self._common.observer.answered(running.path, status.name, _now() - began)
            if unheard:
                return
            with anyio.move_on_after(CLOSE_TIMEOUT_S) as unread:
                await call.finish(failure)
            if unread.cancelled_caught:
                reset(stream)
        except ProtocolError as error:
            log.debug("call ended, its stream is closed: %s", error)
        finally:
            self._calls.pop(stream, None)
            release_stream()

    def _served(self, call: ServerCall) -> ServedMethod:
        headers = dict(call.headers)
        if headers.get(":method") != "POST":
            raise unimplemented("a gRPC call is a POST request")
        if headers.get("content-type", "").partition(";")[0] not in ("application/grpc", "application/grpc+proto"):
            raise unimplemented("the content-type must be application/grpc or application/grpc+proto")
        served = self._common.methods.get(call.path)
        if served is None:
            raise unimplemented(f"there is no method {call.path!a}")
        return served

    async def _answer(self, call: ServerCall, running: "_Running") -> Failure | None:
        """Serve a call up to its trailers, and return how it failed, if it did."""
        try:
            served = self._served(call)
            running.path, running.endless, running.writes = served.method.path, served.endless, served.writes
            if (running.late and not served.while_closing) or (self._shutting_down and served.endless):
                return shutting_down(may_have_been_applied=False)
            principal = self._admit(served, call)
            running.admitted = _Admitted(served, principal)
            if is_ours(served.method):
                call.add_header(PROTOCOL_KEY, str(agree(protocol_of(call.headers))))
            limit_s = timeout_s(call.headers)
            if limit_s == 0:
                return deadline_exceeded(may_have_been_applied=False)
            with anyio.move_on_after(limit_s) as limit:
                await served.serve(self._service_of(principal), call)
            if limit.cancelled_caught:
                return deadline_exceeded(may_have_been_applied=served.writes)
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


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A call that goes on, and by whose right."""

    served: ServedMethod
    principal: Principal


class _Running:
    """A call that can be cancelled, also before its task has begun.

    Args:
        call: what it is.
        late: it came when the server was shutting down already.
    """

    def __init__(self, call: ServerCall, *, late: bool) -> None:
        self.call = call
        self.late = late
        self.path = UNKNOWN_METHOD
        self.endless = False
        self.writes = False
        self.admitted: _Admitted | None = None
        self.refusal: Failure | None = None
        self._cancelled = False
        self._scope: anyio.CancelScope | None = None

    def cancel(self) -> None:
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def refuse(self, failure: Failure) -> None:
        """End the call with a failure."""
        self.refusal = failure
        self.cancel()

    def scope(self) -> anyio.CancelScope:
        """Return the scope to run in. Made by the call's own task, as anyio demands."""
        self._scope = anyio.CancelScope()
        if self._cancelled:
            self._scope.cancel()
        return self._scope


def _too_many(connections: int, limit: int) -> LimitExceeded | None:
    """Return why that many connections are too many, or None."""
    return reached("max_connections", limit, "connections") if connections > limit else None


def _now() -> float:
    return asyncio.get_running_loop().time()
