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
from atomix_election.errors import ElectionError, PermissionDenied, Unauthenticated
from atomix_election.observer import NoObserver, Observer
from atomix_election.rpc.call import ServerCall, timeout_s
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.handshake import Handshakes
from atomix_election.rpc.http2 import Headers, Http2Protocol, configuration
from atomix_election.rpc.services import elections, inspection, sessions
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

MAX_MESSAGE_BYTES = 64 * 1024
"""The largest request; a larger one is refused before it is read."""
MAX_STREAMS_PER_CONNECTION = 4096
"""Calls and watches that one connection may have open at a time."""
DRAIN_TIMEOUT_S = 2.0
"""How long a closing server lets calls that it has begun go on; then they end with UNAVAILABLE."""
CLOSE_TIMEOUT_S = 2.0
"""How long it waits after that for its last answers to be sent, and again for connections to close."""

UNKNOWN_METHOD = "unknown"
"""What is counted as the method of a call that names none of ours."""

PING_INTERVAL_S = 10.0
"""A silent client is pinged this often, and has as long to answer before its connection is closed."""

_CONFIG = configuration(connection_window=1024 * 1024, stream_window=64 * 1024, ping_interval_s=PING_INTERVAL_S)
_OPEN = Gate()
_OTHER_PRINCIPAL = failure_of(Unauthenticated("the credentials of this stream are those of another principal now"))
_TOO_MANY_STREAMS = "too many streams on a connection"

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
class _Shared:
    """What the connections of a server have in common."""

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
    """

    def __init__(self, connect: Connect, gate: Gate = _OPEN, observer: Observer | None = None) -> None:
        methods = by_path(elections.METHODS, sessions.METHODS, inspection.METHODS)
        services = {served.method.service for served in methods.values()}
        self._health = Health(services)
        methods |= by_path(self._health.methods)
        methods |= by_path(Reflection({served.method.service for served in methods.values()}).methods)
        self._shared = _Shared(connect, gate, methods, observer or NoObserver())
        self._connections = self._shared.connections
        self._listener: asyncio.Server | None = None
        self._handshakes: Handshakes | None = None

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
        self._shared.closing = False
        self._health.start()
        accept: Callable[[], asyncio.Protocol] = self._accept
        if tls is not None:
            self._handshakes = Handshakes(tls, self._accept)
            accept = self._handshakes.accept
        if listener is None:
            self._listener = await loop.create_server(accept, host, port)
        else:
            self._listener = await loop.create_server(accept, sock=listener)
        address: tuple[str, int] = self._listener.sockets[0].getsockname()[:2]
        return address

    def use_certificates(self, tls: ssl.SSLContext) -> None:
        """Use other certificates from the next connection on. Only for a server that began with TLS."""
        assert self._handshakes is not None
        self._handshakes.context = tls

    def use_gate(self, gate: Gate) -> None:
        """Ask other things of callers from now on, and end the streams of those that have not got them."""
        self._shared.gate = gate
        for connection in list(self._connections):
            connection.check_calls()

    async def close(self) -> None:
        """Say NOT_SERVING, stop listening, end streams with UNAVAILABLE, answer what has begun, and close connections.

        Every step is bounded in time. Sessions are left as they are: none ends by it.
        """
        self._health.shut_down()
        self._shared.closing = True
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
        if self._handshakes is not None:
            with anyio.CancelScope(shield=True):
                await self._handshakes.close()

    def _accept(self) -> Http2Protocol:
        return _ServerConnection(self._shared).protocol


class _ServerConnection(AbstractHandler):
    """One connection and its calls. A call is cancelled through a scope, so that shields hold."""

    def __init__(self, shared: _Shared) -> None:
        self.protocol = Http2Protocol(
            self,
            _CONFIG,
            client=False,
            max_streams=MAX_STREAMS_PER_CONNECTION,
            on_made=self._made,
            on_lost=self._lost,
        )
        self._shared = shared
        self._services: dict[str, ServedConnection] = {}
        self._calls: dict[Stream, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()
        self._shutting_down = False

    def accept(self, stream: Stream, headers: Headers, release_stream: Callable[[], None]) -> None:
        """Begin a call. Called by grpclib."""
        if len(self._calls) >= MAX_STREAMS_PER_CONNECTION:
            self._shared.observer.rejected(_TOO_MANY_STREAMS)
            stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
            release_stream()
            return
        running = self._calls[stream] = _Running(late=self._shutting_down)
        task = asyncio.get_running_loop().create_task(self._serve(stream, headers, release_stream, running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
            if admitted is None or (admitted.call.was_read and not admitted.served.endless):
                continue  # what has been asked for is answered
            try:
                principal = self._admit(admitted.served, admitted.call)
            except (Unauthenticated, PermissionDenied) as error:
                running.refuse(failure_of(error))
            else:
                if principal.name != admitted.principal.name:
                    running.refuse(_OTHER_PRINCIPAL)

    def _admit(self, served: ServedMethod, call: ServerCall) -> Principal:
        return self._shared.gate.admit(served.method, call.headers, self.protocol.peer_certificate)

    def _service_of(self, principal: Principal) -> ServedConnection:
        service = self._services.get(principal.name)
        if service is None:
            service = self._shared.connect(owner=principal.name, peer=self.protocol.peer)
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
        self._shared.connections.add(self)
        self._shared.observer.connections(len(self._shared.connections))
        if self._shared.closing:  # it was accepted before the end, and made after it
            self.protocol.abort()

    def _lost(self) -> None:
        self._shared.connections.discard(self)
        self._shared.observer.connections(len(self._shared.connections))
        for service in self._services.values():
            service.disconnect(by_peer=self.protocol.closed_by_peer)
        self._gone.set()

    async def _serve(
        self, stream: Stream, headers: Headers, release_stream: Callable[[], None], running: "_Running"
    ) -> None:
        call = ServerCall(stream, headers, MAX_MESSAGE_BYTES)
        began = asyncio.get_running_loop().time()
        try:
            failure: Failure | None = None
            with running.scope() as scope:
                failure = await self._answer(call, running)
            unheard = scope.cancelled_caught and not (self._shutting_down and stream in self._calls)
            if running.refusal is not None:
                failure, unheard = running.refusal, False
            elif scope.cancelled_caught:
                failure = shutting_down(may_have_been_applied=running.writes)
            if failure is not None and (running.refusal or not scope.cancelled_caught):
                self._shared.observer.rejected(failure.error)
            if not running.endless:
                status = Status.CANCELLED if unheard else failure.status if failure else Status.OK
                self._shared.observer.answered(running.path, status.name, asyncio.get_running_loop().time() - began)
            if unheard:
                return
            with anyio.move_on_after(CLOSE_TIMEOUT_S):
                await call.finish(failure)
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
        served = self._shared.methods.get(call.path)
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
            running.admitted = _Admitted(served, call, principal)
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
    call: ServerCall
    principal: Principal


class _Running:
    """A call that can be cancelled, also before its task has begun.

    Args:
        late: it came when the server was shutting down already.
    """

    def __init__(self, *, late: bool) -> None:
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
