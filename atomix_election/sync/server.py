"""An election server for code that is not asynchronous."""

import socket
from types import TracebackType
from typing import Self

from atomix_election import server as asynchronous
from atomix_election.clock import Clock
from atomix_election.engine import ElectionLimits
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S
from atomix_election.observer import Observer
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.stores.base import Store
from atomix_election.sync.held import Held
from atomix_election.tls import ClientTls, File, ServerTls
from atomix_election.tokens import Token


class ElectionServer:
    """Serves elections over gRPC for as long as its ``with`` block lasts, in the thread of the event loop.

    For the arguments and errors see ``atomix_election.ElectionServer``.
    """

    def __init__(
        self,
        store: str | Store = "memory://",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        session_ttl: float = DEFAULT_SESSION_TTL_S,
        min_session_ttl: float | None = None,
        max_session_ttl: float | None = None,
        limits: ElectionLimits | None = None,
        connection_limits: ConnectionLimits | None = None,
        tls: ServerTls | None = None,
        access: File | None = None,
        store_tls: ClientTls | None = None,
        store_token: Token | None = None,
        insecure: bool = False,
        listener: socket.socket | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._server = asynchronous.ElectionServer(
            store,
            host=host,
            port=port,
            session_ttl=session_ttl,
            min_session_ttl=min_session_ttl,
            max_session_ttl=max_session_ttl,
            limits=limits,
            connection_limits=connection_limits,
            tls=tls,
            access=access,
            store_tls=store_tls,
            store_token=store_token,
            insecure=insecure,
            listener=listener,
            observer=observer,
            clock=clock,
        )
        self._held: Held[asynchronous.ElectionServer] | None = None

    @property
    def target(self) -> str:
        """What a client is given: ``grpc://host:port``, or ``grpcs://host:port`` with TLS.

        Raises:
            Unavailable: the server is not running.
        """
        return self._server.target

    def reload(self) -> None:
        """Read certificates and access file again, see ``atomix_election.ElectionServer.reload``.

        Raises:
            InvalidRequest: a file cannot be used.
            Unavailable: the server is not running.
        """
        _ = self.target  # raises where it is not running
        if self._held is not None:
            self._held.event_loop.run(self._reload)

    async def _reload(self) -> None:
        self._server.reload()

    def __enter__(self) -> Self:
        if self._held is not None:
            raise InvalidRequest("this ElectionServer is running already")
        self._held = Held(lambda: self._server)
        try:
            self._held.enter()
        except BaseException:
            held, self._held = self._held, None
            held.drop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.leave()
