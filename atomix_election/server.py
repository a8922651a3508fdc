"""An election server: an engine, and gRPC in front of it."""

import os
import socket
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from atomix_election.addresses import Endpoint, require_asyncio
from atomix_election.clock import Clock, SystemClock
from atomix_election.core.access import Access
from atomix_election.core.access_file import parse_access
from atomix_election.engine import Connection, ElectionLimits, SessionLimits
from atomix_election.engines import open_engine
from atomix_election.errors import InvalidRequest, Unavailable
from atomix_election.model import DEFAULT_SESSION_TTL_S, MAX_SESSION_TTL_S, MIN_SESSION_TTL_S
from atomix_election.observer import Observer
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.rpc.server import RpcServer
from atomix_election.stores.base import Store
from atomix_election.tls import ClientTls, File, ServerTls
from atomix_election.tokens import Token


class ElectionServer:
    """Serves elections over gRPC for as long as its ``async with`` block lasts. It needs asyncio.

    Args:
        store: where elections are kept: ``memory://`` (of this server alone) or ``memory://name`` (shared within the
            process), neither of which outlives the process, or the file ``sqlite:///relative.db`` or
            ``sqlite:////absolute.db``, which also clients in this process may use, and no other process; or an etcd
            cluster, ``etcd://host:port[,host:port]`` or ``etcds://…``, which any number of servers use. Or a store of
            one's own (``atomix_election.stores.Store``) that is open for longer than the server runs.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.
        session_ttl: seconds that a session of a published client lasts after its last connection has closed, and what a
            client of this package gets that does not ask.
        min_session_ttl: the least that a client of this package gets, in seconds; by default 1 s, or session_ttl where
            that is less.
        max_session_ttl: the most that it gets, in seconds; by default 300 s, or session_ttl where that is more.
        limits: how many sessions, elections, candidates and watchers there may be.
        connection_limits: what connections and the calls on them may cost.
        listener: a socket that listens already, as a process manager may hand it over, instead of host and port. It is
            closed with the server.
        observer: is told what can be counted, see ``atomix_election.metrics``; of a shared store the first user's is.
        tls: certificates, for a ``grpcs://`` target; None for plain text.
        access: the file that says who may do what (see ``docs/operating.md``); None where whoever gets here may do all.
        store_tls: certificates for an ``etcds://`` store; by default etcd is trusted as the system trusts it.
        store_token: ``USER:PASSWORD`` for etcd. A ``str`` is that itself, a ``Path`` the file that it is in.
        insecure: listen on an address that other machines reach, without TLS or without asking who calls.
        clock: what time it is.

    Raises:
        InvalidRequest: the three time-to-lives contradict each other, the port is none, or the address may be reached
            by other machines and the server is not secured. On entry: the store is not known or in use elsewhere, a
            file cannot be used, or this is not asyncio.
        StoreError: on entry, the store cannot be opened: another process has it, it is damaged, or cannot be written.
        Unavailable: on entry, the address cannot be listened on.
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
        if not 0 <= port < 1 << 16:
            raise InvalidRequest(f"port {port} is not between 0 and 65535")
        if listener is not None:
            host, port = listener.getsockname()[:2]
        if not insecure:
            _check_secured(Endpoint(host, port), tls, access)
        least_s = min(MIN_SESSION_TTL_S, session_ttl) if min_session_ttl is None else min_session_ttl
        most_s = max(MAX_SESSION_TTL_S, session_ttl) if max_session_ttl is None else max_session_ttl
        self._session_limits = SessionLimits(least_s, session_ttl, most_s)
        self._limits = limits or ElectionLimits()
        self._connection_limits = connection_limits or ConnectionLimits()
        self._listener = listener
        self._observer = observer
        self._clock = clock or SystemClock()
        self._store = store
        self._host = host
        self._port = port
        self._tls = tls
        self._access = access
        self._store_tls = store_tls
        self._store_token = store_token
        self._rpc: RpcServer | None = None
        self._running = AsyncExitStack()
        self._target: str | None = None

    @property
    def target(self) -> str:
        """What a client is given: ``grpc://host:port``, or ``grpcs://host:port`` with TLS.

        Raises:
            Unavailable: the server is not running.
        """
        if self._target is None:
            raise Unavailable("the server is not running: use it inside its `async with` block")
        return self._target

    def reload(self) -> None:
        """Read certificates and access file again.

        New connections get the new certificates, those in use live on. New calls need the new file's leave; streams
        that it does not allow any more are ended, and the sessions of whom it shuts out end one time-to-live later at
        the latest. A file that cannot be used is left aside, and what it said before stays in force.

        Raises:
            InvalidRequest: a file cannot be used.
            Unavailable: the server is not running.
        """
        if self._rpc is None:
            raise Unavailable("the server is not running: use it inside its `async with` block")
        failures: list[str] = []
        try:
            if self._tls is not None:
                self._rpc.use_certificates(self._tls.context())
        except InvalidRequest as error:
            failures.append(str(error))
        try:
            self._rpc.use_gate(self._gate())
        except InvalidRequest as error:
            failures.append(str(error))
        if failures:
            raise InvalidRequest("; ".join(failures))

    def _gate(self) -> Gate:
        needs_certificate = self._tls is not None and self._tls.client_ca is not None
        return Gate(None if self._access is None else _read_access(self._access), needs_certificate)

    async def __aenter__(self) -> Self:
        require_asyncio("an ElectionServer")
        if self._target is not None:
            raise InvalidRequest("this ElectionServer is running already")
        async with AsyncExitStack() as starting:
            opening = open_engine(
                self._store,
                self._session_limits,
                self._clock,
                observer=self._observer,
                election_limits=self._limits,
                tls=self._store_tls,
                token=self._store_token,
            )
            engine = await starting.enter_async_context(opening)
            rpc = RpcServer(partial(Connection, engine), self._gate(), self._observer, self._connection_limits)
            starting.push_async_callback(rpc.close)
            try:
                host, port = await rpc.start(
                    self._host, self._port, tls=self._tls and self._tls.context(), listener=self._listener
                )
            except (OSError, UnicodeError) as error:
                raise Unavailable(f"cannot listen on {self._host}:{self._port}: {error}") from error
            self._target = f"{'grpcs' if self._tls else 'grpc'}://{Endpoint(host, port)}"
            self._rpc = rpc
            self._running = starting.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._target = None
        self._rpc = None
        return await self._running.__aexit__(kind, error, trace)


def _check_secured(endpoint: Endpoint, tls: ServerTls | None, access: File | None) -> None:
    asks_who_calls = access is not None or (tls is not None and tls.client_ca is not None)
    if not endpoint.is_loopback and not (tls and asks_who_calls):
        raise InvalidRequest(
            f"{endpoint} may be reached from other machines: that needs TLS (--certificate, --key) and asking who "
            "calls (an access file, --auth, or client certificates, --client-ca). Without them whoever gets there may "
            "do everything; insecure=True (--insecure) allows it"
        )


def _read_access(path: File) -> Access:
    name = os.fspath(path)
    try:
        return parse_access(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"access file {name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise InvalidRequest(f"access file {name} is not text in UTF-8") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"access file {name}, {error}") from None
