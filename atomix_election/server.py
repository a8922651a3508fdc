"""An election server: an engine, and gRPC in front of it."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from atomix_election.engine import Connection
from atomix_election.errors import InvalidRequest, Unavailable
from atomix_election.model import DEFAULT_SESSION_TTL_S
from atomix_election.rpc.server import RpcServer
from atomix_election.targets import open_engine


class ElectionServer:
    """Serves elections over gRPC for as long as its ``async with`` block lasts. It needs asyncio.

    Args:
        store: where elections are kept: ``memory://`` (of this server alone) or ``memory://name`` (shared within the
            process). Neither outlives the process.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.
        session_ttl: seconds that a session lasts after the last connection that used it has closed.
    """

    def __init__(
        self,
        store: str = "memory://",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        session_ttl: float = DEFAULT_SESSION_TTL_S,
    ) -> None:
        if not session_ttl > 0:
            raise InvalidRequest(f"session_ttl is {session_ttl} s: it must be more than 0")
        self._store = store
        self._host = host
        self._port = port
        self._session_ttl = session_ttl
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
        async with AsyncExitStack() as starting:
            engine = await starting.enter_async_context(open_engine(self._store, session_ttl_s=self._session_ttl))
            rpc = RpcServer(lambda: Connection(engine))
            starting.push_async_callback(rpc.close)
            try:
                host, port = await rpc.start(self._host, self._port)
            except OSError as error:
                raise Unavailable(f"cannot listen on {self._host}:{self._port}: {error}") from error
            self._target = f"grpc://[{host}]:{port}" if ":" in host else f"grpc://{host}:{port}"
            self._running = starting.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._target = None
        return await self._running.__aexit__(kind, error, trace)
