"""The server: listens, accepts connections, looks after them, and closes them in order."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

import anyio

from atomix_election.observer import NoObserver, Observer
from atomix_election.rpc.callers import Connect
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.handshake import Handshakes
from atomix_election.rpc.http2 import Refusing
from atomix_election.rpc.limits import ConnectionLimits, Shared
from atomix_election.rpc.notices import Notices
from atomix_election.rpc.quick_calls import KnownRequests
from atomix_election.rpc.server_connection import Common, ServerConnection, too_many
from atomix_election.rpc.services import administration, elections, inspection, sessions
from atomix_election.rpc.services.base import by_path
from atomix_election.rpc.services.health import Health
from atomix_election.rpc.services.reflection import Reflection

DRAIN_TIMEOUT_S = 2.0
"""How long a closing server lets calls that it has begun go on; then they end with UNAVAILABLE."""
CLOSE_TIMEOUT_S = 2.0
"""How long it waits after that for its last answers to be sent, and again for connections to close."""

SWEEP_INTERVAL_S = 1.0
"""How often the limits of time are looked after; more often where one of them is short."""
OVERSLEPT_S = 0.1
"""When that comes later than this, the process was stopped: what clients have sent meanwhile is read first."""

_OPEN = Gate()

log: logging.Logger = logging.getLogger(__name__)


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
        self._common = Common(self._shared, connect, gate, methods, observer or NoObserver(), KnownRequests(methods))
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
        """Ask other things of callers from now on, and shut out those that have not got them: their
        streams end, and connections keep none of their sessions open any more."""
        self._common.gate = gate
        for connection in list(self._connections):
            connection.check_callers()

    async def close(self) -> None:
        """Say NOT_SERVING, stop listening, end streams with UNAVAILABLE, answer what has begun, and close connections.

        Every step is bounded in time. Sessions are left as they are: none ends by it.
        """
        self._health.shut_down()
        self._common.closing = True
        await self._stop_accepting()
        connections = list(self._connections)
        for connection in connections:
            connection.calls.shut_down()
        with anyio.move_on_after(DRAIN_TIMEOUT_S, shield=True):
            for connection in connections:
                await connection.calls.wait_ended()
        for connection in connections:
            connection.calls.end()
        with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            for connection in connections:
                await connection.calls.wait_ended()
        for connection in connections:
            connection.protocol.go_away()
        with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            for connection in connections:
                await connection.wait_lost()
        for connection in connections:
            connection.protocol.abort()
            with anyio.CancelScope(shield=True):
                await connection.calls.wait_ended()
                await connection.wait_lost()
        with anyio.CancelScope(shield=True):
            while self._shared.tasks:  # of connections that were lost before
                await asyncio.wait(self._shared.tasks)
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
        refusal = too_many(len(self._connections) + 1, self._limits.max_connections)
        if refusal is not None:
            self._common.observer.closed(refusal.limit)
            self._shared.notices.write(str(refusal), now=_now())
            return Refusing(str(refusal))
        return ServerConnection(self._common).protocol

    def _sweep(self) -> None:
        """Look after the limits of time."""
        now = _now()
        if self._sweeper is None or now <= self._sweeper.when() + OVERSLEPT_S:
            for connection in list(self._connections):
                connection.sweep(now)
        self._sweeper = asyncio.get_running_loop().call_at(now + self._sweep_interval_s, self._sweep)


def _now() -> float:
    return asyncio.get_running_loop().time()
