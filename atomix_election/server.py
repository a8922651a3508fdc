"""An election server: an engine, and gRPC in front of it."""

import socket
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from atomix_election.clock import Clock, SystemClock
from atomix_election.engine import Connection, SessionLimits
from atomix_election.errors import InvalidRequest, Unavailable
from atomix_election.model import DEFAULT_SESSION_TTL_S, MAX_SESSION_TTL_S, MIN_SESSION_TTL_S
from atomix_election.observer import Observer
from atomix_election.rpc.server import RpcServer
from atomix_election.targets import open_engine, require_asyncio


class ElectionServer:
    """Serves elections over gRPC for as long as its ``async with`` block lasts. It needs asyncio.

    Args:
        store: where elections are kept: ``memory://`` (of this server alone) or ``memory://name`` (shared within the
            process). Neither outlives the process.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.
        session_ttl: seconds that a session of a published client lasts after its last connection has closed, and what a
            client of this package gets that does not ask.
        min_session_ttl: the least that a client of this package gets, in seconds; by default 1 s, or session_ttl where
            that is less.
        max_session_ttl: the most that it gets, in seconds; by default 300 s, or session_ttl where that is more.
        listener: a socket that listens already, as a process manager may hand it over, instead of host and port. It is
            closed with the server.
        observer: is told what can be counted, see ``atomix_election.metrics``; of a shared store the first user's is.
        clock: what time it is.

    Raises:
        InvalidRequest: the three time-to-lives contradict each other, or the port is none. On entry: the store is
            not known or in use elsewhere, or this is not asyncio.
        Unavailable: on entry, the address cannot be listened on.
    """

    def __init__(
        self,
        store: str = "memory://",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        session_ttl: float = DEFAULT_SESSION_TTL_S,
        min_session_ttl: float | None = None,
        max_session_ttl: float | None = None,
        listener: socket.socket | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not 0 <= port < 1 << 16:
            raise InvalidRequest(f"port {port} is not between 0 and 65535")
        least_s = min(MIN_SESSION_TTL_S, session_ttl) if min_session_ttl is None else min_session_ttl
        most_s = max(MAX_SESSION_TTL_S, session_ttl) if max_session_ttl is None else max_session_ttl
        self._limits = SessionLimits(least_s, session_ttl, most_s)
        self._listener = listener
        self._observer = observer
        self._clock = clock or SystemClock()
        self._store = store
        self._host = host
        self._port = port
        self._running = AsyncExitStack()
        self._target: str | None = None

    @property
    def target(self) -> str:
        """What a client is given: ``grpc://host:port``.

        Raises:
            Unavailable: the server is not running.
        """
        if self._target is None:
            raise Unavailable("the server is not running: use it inside its `async with` block")
        return self._target

    async def __aenter__(self) -> Self:
        require_asyncio("an ElectionServer")
        if self._target is not None:
            raise InvalidRequest("this ElectionServer is running already")
        async with AsyncExitStack() as starting:
            engine = await starting.enter_async_context(
                open_engine(self._store, self._limits, self._clock, self._observer)
            )
            rpc = RpcServer(lambda peer: Connection(engine, peer=peer), self._observer)
            starting.push_async_callback(rpc.close)
            try:
                host, port = await rpc.start(self._host, self._port, listener=self._listener)
            except (OSError, UnicodeError) as error:
                raise Unavailable(f"cannot listen on {self._host}:{self._port}: {error}") from error
            self._target = f"grpc://[{host}]:{port}" if ":" in host else f"grpc://{host}:{port}"
            self._running = starting.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._target = None
        return await self._running.__aexit__(kind, error, trace)
