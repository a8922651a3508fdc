"""The server: connections and calls on one side, a service for each connection on the other."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import betterproto2
from grpclib.const import Status
from grpclib.protocol import AbstractHandler, Stream
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from atomix_election.core.access import Principal
from atomix_election.errors import ElectionError, PermissionDenied, Unauthenticated
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix_election import v1 as sessions_v1
from atomix_election.rpc.call import PROTOCOL_KEY, STORE_KEY, ServerCall, call_of, protocol_of, session_of, timeout_s
from atomix_election.rpc.convert import answer_message, event_message, renewal_of, term_message
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.handshake import Handshakes
from atomix_election.rpc.http2 import Headers, Http2Protocol, configuration
from atomix_election.rpc.methods import ADMINISTRATION_METHODS, ELECTION_METHODS, SESSION_METHODS, Method
from atomix_election.rpc.protocol import agree, is_ours
from atomix_election.rpc.status import Failure, Rejected, deadline_exceeded, failure_of, unimplemented
from atomix_election.service import Call, ElectionService
from atomix_election.tasks import background_tasks

MAX_MESSAGE_BYTES = 64 * 1024
"""The largest request; a larger one is refused before it is read."""
MAX_STREAMS_PER_CONNECTION = 4096
"""Calls and watches that one connection may have open at a time."""
CLOSE_TIMEOUT_S = 2.0
"""How long a closing server waits for its last answers to be sent."""

PING_INTERVAL_S = 10.0
"""A silent client is pinged this often, and has as long to answer before its connection is closed."""

_CONFIG = configuration(connection_window=1024 * 1024, stream_window=64 * 1024, ping_interval_s=PING_INTERVAL_S)
_OPEN = Gate()
_OTHER_PRINCIPAL = failure_of(Unauthenticated("the credentials of this stream are those of another principal now"))
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


class Connect(Protocol):
    """Makes services."""

    def __call__(self, owner: str = "") -> ServedConnection:
        """Return the service that a principal's calls on one connection go to."""
        ...


class RpcServer:
    """Serves elections to gRPC clients.

    Args:
        connect: makes the services of each connection, one for each principal that calls on it.
        gate: what is asked of callers.
    """

    def __init__(self, connect: Connect, gate: Gate = _OPEN) -> None:
        self.gate = gate
        self.connect = connect
        self._connections: set[_ServerConnection] = set()
        self._listener: asyncio.Server | None = None
        self._handshakes: Handshakes | None = None

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Begin to listen, and return the address and port that a client is to use.

        Raises:
            OSError: the address cannot be listened on.
        """
        accept: Callable[[], asyncio.Protocol] = self._accept
        if tls is not None:
            self._handshakes = Handshakes(tls, self._accept)
            accept = self._handshakes.accept
        self._listener = await asyncio.get_running_loop().create_server(accept, host, port)
        address: tuple[str, int] = self._listener.sockets[0].getsockname()[:2]
        return address

    def use_certificates(self, tls: ssl.SSLContext) -> None:
        """Use other certificates from the next connection on. Only for a server that began with TLS."""
        assert self._handshakes is not None
        self._handshakes.context = tls

    def use_gate(self, gate: Gate) -> None:
        """Ask other things of callers from now on, and end the streams of those that have not got them."""
        self.gate = gate
        for connection in list(self._connections):
            connection.check_calls()

    async def close(self) -> None:
        """Stop listening, end every call with UNAVAILABLE, and close the connections."""
        if self._listener is not None:
            self._listener.close()
        if self._handshakes is not None:
            with anyio.CancelScope(shield=True):
                await self._handshakes.close()
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

    def _accept(self) -> Http2Protocol:
        return _ServerConnection(self, self._connections).protocol


class _ServerConnection(AbstractHandler):
    """One connection and its calls. A call is cancelled through a scope, so that shields hold."""

    def __init__(self, server: RpcServer, connections: "set[_ServerConnection]") -> None:
        self.protocol = Http2Protocol(
            self,
            _CONFIG,
            client=False,
            max_streams=MAX_STREAMS_PER_CONNECTION,
            on_made=self._made,
            on_lost=self._lost,
        )
        self._server = server
        self._connections = connections
        self._services: dict[str, ServedConnection] = {}
        self._calls: dict[Stream, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()
        self._shutting_down = False

    def accept(self, stream: Stream, headers: Headers, release_stream: Callable[[], None]) -> None:
        """Begin a call. Called by grpclib."""
        if len(self._calls) >= MAX_STREAMS_PER_CONNECTION:
            stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
            release_stream()
            return
        running = self._calls[stream] = _Running()
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
        """End all calls with UNAVAILABLE."""
        self._shutting_down = True
        for running in self._calls.values():
            running.cancel()

    def check_calls(self) -> None:
        """End the streams, and the calls that have only begun, whose credentials would not be accepted any more."""
        for running in self._calls.values():
            admitted = running.admitted
            if admitted is None or (admitted.call.was_read and admitted.method.name not in _STREAMS):
                continue  # what has been asked for is answered
            try:
                principal = self._admit(admitted.method, admitted.call)
            except (Unauthenticated, PermissionDenied) as error:
                running.refuse(failure_of(error))
            else:
                if principal.name != admitted.principal.name:
                    running.refuse(_OTHER_PRINCIPAL)

    def _admit(self, method: Method, call: ServerCall) -> Principal:
        return self._server.gate.admit(method, call.headers, self.protocol.peer_certificate)

    def _service_of(self, principal: Principal) -> ServedConnection:
        service = self._services.get(principal.name)
        if service is None:
            service = self._services[principal.name] = self._server.connect(principal.name)
        return service

    async def wait_ended(self) -> None:
        """Wait until no call is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_lost(self) -> None:
        """Wait until the connection is gone."""
        await self._gone.wait()

    def _made(self) -> None:
        self._connections.add(self)

    def _lost(self) -> None:
        self._connections.discard(self)
        for service in self._services.values():
            service.disconnect(by_peer=self.protocol.closed_by_peer)
        self._gone.set()

    async def _serve(
        self, stream: Stream, headers: Headers, release_stream: Callable[[], None], running: "_Running"
    ) -> None:
        call = ServerCall(stream, headers, MAX_MESSAGE_BYTES)
        try:
            failure: Failure | None = _SHUTTING_DOWN
            with running.scope() as scope:
                failure = await self._answer(call, running)
            if running.refusal is not None:
                failure = running.refusal
            elif scope.cancelled_caught and not (self._shutting_down and stream in self._calls):
                return  # nobody is there to hear an answer
            with anyio.move_on_after(CLOSE_TIMEOUT_S):
                await call.finish(failure)
        except ProtocolError as error:
            log.debug("call ended, its stream is closed: %s", error)
        finally:
            self._calls.pop(stream, None)
            release_stream()

    async def _answer(self, call: ServerCall, running: "_Running") -> Failure | None:
        """Serve a call up to its trailers, and return how it failed, if it did."""
        try:
            method = _method_of(call)
            principal = self._admit(method, call)
            running.admitted = _Admitted(method, call, principal)
            if is_ours(method):
                call.add_header(PROTOCOL_KEY, str(agree(protocol_of(call.headers))))
            limit_s = timeout_s(call.headers)
            if limit_s == 0:
                return deadline_exceeded(may_have_been_applied=False)
            with anyio.move_on_after(limit_s) as limit:
                await _serve_method(method, self._service_of(principal), call)
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


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A call that goes on, and by whose right."""

    method: Method
    call: ServerCall
    principal: Principal


class _Running:
    """A call that can be cancelled, also before its task has begun."""

    def __init__(self) -> None:
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
        await call.send(sessions_v1.EndResponse())
        return
    about = call_of(call.headers)
    request = await call.read(method.request)
    if method.name == "Events":
        call.add_header(STORE_KEY, service.store_id)
        async with service.events(about) as events:
            async for event in events:
                await call.send(event_message(event))
    else:
        await call.send(await _UNARY[method.name](service, about, request))


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
            await call.send(answer_message(answer))
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


async def _forget(service: ElectionService, call: Call, _: Any) -> betterproto2.Message:
    term = await service.forget(call)
    return sessions_v1.ForgetResponse(number=term.number, revision=term.revision)


_UNARY: dict[str, Callable[[ElectionService, Call, Any], Awaitable[betterproto2.Message]]] = {
    "Create": _create,
    "Close": _close,
    "Enter": _enter,
    "Withdraw": _withdraw,
    "Anoint": _anoint,
    "Promote": _promote,
    "Evict": _evict,
    "Forget": _forget,
    "GetTerm": _get_term,
}
_WRITES = _UNARY.keys() - {"GetTerm"}
_STREAMS = {"Events", "KeepAlive"}
"""What goes on for long, so that the caller's right to it may end meanwhile."""
_SERVICES = (ELECTION_METHODS, SESSION_METHODS, ADMINISTRATION_METHODS)
_BY_PATH = {method.path: method for service in _SERVICES for method in service.values()}
