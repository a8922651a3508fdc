"""Where elections are: a target as text becomes a service. The one place where engine, stores and RPC meet."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio
from anyio.lowlevel import RunVar

from atomix_election.clock import Clock
from atomix_election.engine import Connection, ElectionLimits, Engine, SessionLimits
from atomix_election.engine.limits import NO_LIMITS
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S
from atomix_election.observer import Observer
from atomix_election.rpc.client import RpcClient
from atomix_election.rpc.client_connection import Endpoint
from atomix_election.service import Service
from atomix_election.stores.base import Store
from atomix_election.stores.memory import MemoryStore
from atomix_election.tasks import see_through
from atomix_election.tls import ClientTls
from atomix_election.tokens import Token, token_source

DEFAULT_PORT = 5678
"""The port of a server whose address names none."""

_KNOWN = "memory://, memory://NAME, sqlite:///FILE, grpc://HOST:PORT[,HOST:PORT], grpcs://HOST:PORT[,HOST:PORT]"
_REMOTE = ("grpc", "grpcs")
_ENDPOINT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s\x00-\x1f\x7f:/\[\]@?#%]+))(?::(?P<port>[0-9]{1,5}))?"
)


def check_target(target: str, tls: ClientTls | None = None, token: Token | None = None) -> None:
    """Refuse what is no target, and what does not go with it, without connecting to anything.

    Raises:
        InvalidRequest: it is malformed, its scheme is not known, or it does not go with TLS or a token.
    """
    scheme, rest = _split(target)
    if scheme in _STORES:
        _STORES[scheme](target, rest)
    elif scheme not in _REMOTE:
        raise _unknown(target)
    if tls is not None and scheme != "grpcs":
        raise InvalidRequest(f"target {target!r} does not use TLS, but certificates are given: is it grpcs://?")
    if token is not None and scheme not in _REMOTE:
        raise InvalidRequest(f"target {target!r} is in this process, and takes no token")
    endpoints = parse_endpoints(target, rest) if scheme in _REMOTE else []
    if token is not None and scheme == "grpc" and not all(each.is_loopback for each in endpoints):
        raise InvalidRequest(f"target {target!r} would send the token in plain text to another machine: use grpcs://")


@asynccontextmanager
async def open_service(
    target: str,
    *,
    session_ttl_s: float,
    clock: Clock,
    tls: ClientTls | None = None,
    token: Token | None = None,
    release_on_disconnect: bool = False,
) -> AsyncGenerator[Service]:
    """Connect to the service that a target names.

    Args:
        target: ``memory://`` for one of its own, ``memory://name`` for one that is shared within the process,
            ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` for a file, also shared within the process,
            ``grpc://host:port`` for a server, with more ``,host:port`` for others that serve the same elections, and
            ``grpcs://host:port`` for the same with TLS.
        session_ttl_s: time-to-live that the client asks for, in seconds.
        clock: what time it is.
        tls: certificates for a ``grpcs://`` target; by default those of the system.
        token: what proves who calls, or the file that it is in.
        release_on_disconnect: the connection is closed only when its user says so.

    Raises:
        InvalidRequest: the target is malformed or cannot be used here, or a file cannot be.
        StoreError: it names a store that cannot be opened.
    """
    check_target(target, tls, token)
    scheme, rest = _split(target)
    if scheme in _REMOTE:
        require_asyncio(f"target {target!r}")
        endpoints = parse_endpoints(target, rest)
        if scheme == "grpcs":
            tls = tls or ClientTls()
            tls.context()  # files that cannot be used are found now, not when a server is there
        service = RpcClient(
            endpoints,
            tls=tls,
            token=None if token is None else token_source(token),
            pings=not release_on_disconnect,
        )
        service.session_granted(session_ttl_s)  # as long as it is not known better
        async with service:
            yield service
    else:
        limits = SessionLimits(min(session_ttl_s, DEFAULT_SESSION_TTL_S))
        async with open_engine(target, limits, clock) as engine:
            connection = Connection(engine)
            try:
                yield connection
            finally:
                connection.disconnect()


@asynccontextmanager
async def open_engine(
    target: str,
    limits: SessionLimits,
    clock: Clock,
    *,
    observer: Observer | None = None,
    election_limits: ElectionLimits = NO_LIMITS,
) -> AsyncGenerator[Engine]:
    """Run the elections of a store in this process.

    Args:
        target: ``memory://`` for a store of its own, ``memory://name`` for one that is shared within the process, as is
            a file, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.
        limits: time-to-lives of sessions; of a shared store the first user's hold.
        clock: what time it is; of a shared store the first user's holds.
        observer: is told what can be counted; of a shared store the first user's is.
        election_limits: how much is kept; of a shared store the first user's hold.

    Raises:
        InvalidRequest: the target names no store, or the store is in use by another event loop.
        StoreError: it cannot be opened: another process has it, it is damaged, or the disk does not let us.
    """
    scheme, rest = _split(target)
    if scheme not in _STORES:
        raise _unknown(target)
    make_engine = partial(Engine, limits=limits, clock=clock, observer=observer, election_limits=election_limits)
    found = _STORES[scheme](target, rest)
    if found.shared_as is not None:
        async with _shared_engine(target, found.shared_as, found.open, make_engine) as engine:
            yield engine
    else:
        async with found.open() as store:
            engine = make_engine(store)
            async with engine.running():
                yield engine


def path_of_file(text: str) -> str:
    """Return the path of a store's file, which may be written as a target too.

    Raises:
        InvalidRequest: it is a target that names no file.
    """
    if "://" not in text:
        return text
    scheme, rest = _split(text)
    if scheme != "sqlite":
        raise InvalidRequest(f"{text!r} names no file: write a path, or sqlite:///FILE")
    return _sqlite_path(text, rest)


def parse_endpoints(target: str, text: str, *, lowest_port: int = 1) -> list[Endpoint]:
    """Return the endpoints in ``host:port[,host:port]``; an IPv6 address stands in brackets.

    Args:
        target: what the user wrote, for the message.
        text: the part of it with the endpoints.
        lowest_port: 0 where that stands for any free port.

    Raises:
        InvalidRequest: one of them is malformed; the message begins with the target.
    """
    endpoints: list[Endpoint] = []
    for part in text.rstrip("/").split(","):
        match = _ENDPOINT.fullmatch(part)
        port = int(match["port"] or DEFAULT_PORT) if match else -1
        if match is None or not lowest_port <= port < 1 << 16:
            raise InvalidRequest(f"target {target!r}: {part!r} is not HOST:PORT (an IPv6 address stands in brackets)")
        endpoints.append(Endpoint(match["ipv6"] or match["host"], port))
    return endpoints


def _split(target: str) -> tuple[str, str]:
    scheme, separator, rest = target.partition("://")
    if not separator:
        raise _unknown(target)
    return scheme, rest


def _unknown(target: str) -> InvalidRequest:
    return InvalidRequest(f"target {target!r} is not known; known are {_KNOWN}")


def require_asyncio(what: str) -> None:
    """Refuse what only works on asyncio.

    Raises:
        InvalidRequest: this is another event loop; the message begins with ``what``.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise InvalidRequest(f"{what} needs asyncio, as grpclib does: under Trio, use memory://") from error


class _OpenStore(Protocol):
    """How a kind of store is opened, for as long as the block lasts."""

    def __call__(self) -> AbstractAsyncContextManager[Store]: ...


@dataclass(frozen=True, slots=True)
class _StoreTarget:
    """A target that names a store.

    Args:
        open: opens it.
        shared_as: what all targets in this process have in common that share its engine; None if it is private.
    """

    open: _OpenStore
    shared_as: str | None


def _memory(target: str, name: str) -> _StoreTarget:
    return _StoreTarget(partial(_open_memory, name), target if name else None)


def _sqlite(target: str, rest: str) -> _StoreTarget:
    path = _sqlite_path(target, rest)
    return _StoreTarget(partial(_open_sqlite, path), f"sqlite:///{os.path.realpath(path)}")


def _sqlite_path(target: str, rest: str) -> str:
    path = rest.removeprefix("/")
    if path == rest:
        raise InvalidRequest(
            f"target {target!r} has no third slash: sqlite:///relative.db, or sqlite:////absolute.db, names a file"
        )
    if not path or path == ":memory:" or "\0" in path:
        raise InvalidRequest(f"target {target!r} names no file: write sqlite:///relative.db, or use memory://")
    return path


_STORES: dict[str, Callable[[str, str], _StoreTarget]] = {"memory": _memory, "sqlite": _sqlite}
"""For each scheme: from the target, and what follows ``scheme://``, to the store."""

_memories: dict[str, MemoryStore] = {}


@asynccontextmanager
async def _open_memory(name: str) -> AsyncGenerator[Store]:
    """Give a store that lives as long as the process, if it has a name."""
    yield _memories.setdefault(name, MemoryStore()) if name else MemoryStore()


@asynccontextmanager
async def _open_sqlite(path: str) -> AsyncGenerator[Store]:
    from atomix_election.stores.sqlite import open_sqlite_store  # who does not need it does not pay for it

    async with open_sqlite_store(path) as store:
        yield store


class _Shared:
    """A store that several clients of this process use: open, with an engine on it, as long as there is one of them.

    A client that has left the engine uses the store until its part of the engine's work is done.
    """

    def __init__(self, event_loop: object) -> None:
        self.event_loop = event_loop
        self.engine: Engine | None = None
        self._engine_users = 0
        self._store_users = 0
        self._store: Store | None = None
        self._closing = AsyncExitStack()
        self._opening = anyio.Lock()

    @asynccontextmanager
    async def using_store(self, key: str, open_store: _OpenStore) -> AsyncGenerator[Store]:
        """Give the store, which the first one opens and the last one closes."""
        self._store_users += 1
        try:
            async with self._opening:
                if self._store is None:
                    self._store = await self._closing.enter_async_context(open_store())
            yield self._store
        finally:
            self._store_users -= 1
            if not self._store_users:
                await see_through(partial(self._close, key))

    async def _close(self, key: str) -> None:
        async with self._opening:
            if not self._store_users:  # else somebody has come meanwhile
                self._store = None
                await self._closing.aclose()
        if not self._store_users:
            _shared.pop(key, None)

    @contextmanager
    def using_engine(self, store: Store, make_engine: Callable[[Store], Engine]) -> Generator[Engine]:
        """Give the engine; who comes after the last one has left gets another."""
        self.engine = self.engine or make_engine(store)
        self._engine_users += 1
        try:
            yield self.engine
        finally:
            self._engine_users -= 1
            if not self._engine_users:
                self.engine = None


_shared: dict[str, _Shared] = {}
_event_loop: RunVar[object] = RunVar("atomix_election_event_loop")


@asynccontextmanager
async def _shared_engine(
    target: str, key: str, open_store: _OpenStore, make_engine: Callable[[Store], Engine]
) -> AsyncGenerator[Engine]:
    event_loop = _current_event_loop()
    shared = _shared.setdefault(key, _Shared(event_loop))
    if shared.event_loop is not event_loop:
        raise InvalidRequest(f"{target} is in use by another event loop: run an ElectionServer and connect to it")
    async with shared.using_store(key, open_store) as store:
        with ExitStack() as using:
            engine = using.enter_context(shared.using_engine(store, make_engine))
            async with engine.running():
                try:
                    yield engine
                finally:
                    using.close()  # before the engine winds up: who comes from now on gets another


def _current_event_loop() -> object:
    try:
        return _event_loop.get()
    except LookupError:
        _event_loop.set(object())
        return _event_loop.get()
