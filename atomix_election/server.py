"""An election server: an engine, and gRPC in front of it."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from atomix_election.clock import Clock, SystemClock
from atomix_election.engine import Connection, ElectionLimits, SessionLimits
from atomix_election.errors import InvalidRequest, Unavailable
from atomix_election.model import DEFAULT_SESSION_TTL_S, MAX_SESSION_TTL_S, MIN_SESSION_TTL_S
from atomix_election.rpc.limits import ConnectionLimits
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
        limits: how many sessions, elections, candidates and watchers there may be.
        connection_limits: what connections and the calls on them may cost.
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
        limits: ElectionLimits | None = None,
        connection_limits: ConnectionLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not 0 <= port < 1 << 16:
            raise InvalidRequest(f"port {port} is not between 0 and 65535")
        least_s = min(MIN_SESSION_TTL_S, session_ttl) if min_session_ttl is None else min_session_ttl
        most_s = max(MAX_SESSION_TTL_S, session_ttl) if max_session_ttl is None else max_session_ttl
        self._session_limits = SessionLimits(least_s, session_ttl, most_s)
        self._limits = limits or ElectionLimits()
        self._connection_limits = connection_limits or ConnectionLimits()
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
            opening = open_engine(self._store, self._session_limits, self._clock, election_limits=self._limits)
            engine = await starting.enter_async_context(opening)
            rpc = RpcServer(lambda: Connection(engine), self._connection_limits)
            starting.push_async_callback(rpc.close)
            try:
                host, port = await rpc.start(self._host, self._port)
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
