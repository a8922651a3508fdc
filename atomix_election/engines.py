"""The engines that targets name: a store as text, or one that is open, becomes one. Here engine and stores meet."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from atomix_election.addresses import (
    ETCD,
    IN_PROCESS,
    WITH_TLS,
    check_target,
    etcd_members,
    require_asyncio,
    split_target,
    sqlite_path,
    unknown_target,
)
from atomix_election.clock import Clock
from atomix_election.engine import Connection, ElectionLimits, Engine, SessionLimits, SharedEngine
from atomix_election.engine.limits import NO_LIMITS
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S
from atomix_election.observer import Observer
from atomix_election.sharing import OpenStore, shared_engine, used_alone
from atomix_election.stores.base import SharedStore, Store
from atomix_election.stores.memory import MemoryStore
from atomix_election.tls import ClientTls
from atomix_election.tokens import Token

if TYPE_CHECKING:
    from atomix_election.etcd import EtcdClient


@asynccontextmanager
async def open_engine(
    target: str | Store,
    limits: SessionLimits,
    clock: Clock,
    *,
    observer: Observer | None = None,
    election_limits: ElectionLimits = NO_LIMITS,
    tls: ClientTls | None = None,
    token: Token | None = None,
) -> AsyncGenerator[Engine]:
    """Run the elections of a store in this process.

    Args:
        target: ``memory://`` for a store of its own, ``memory://name`` for one that is shared within the process, as is
            a file, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``; ``etcd://host:port[,host:port][/prefix]``
            or ``etcds://…`` for a cluster that any number of engines use; or a store that is open for longer than the
            block: all who are given the object share its engine, but for a ``SharedStore``, which has one user.
        limits: time-to-lives of sessions; of a store that is shared within the process the first user's hold, and
        clock: what time it is; and
        observer: is told what can be counted; and
        election_limits: how much is kept.
        tls: certificates for an ``etcds://`` target; by default those of the system.
        token: ``USER:PASSWORD`` for etcd, or the file that it is in.

    Raises:
        InvalidRequest: the target names no store and is none, or the store is in use by another event loop.
        StoreError: it cannot be opened: another process has it, it is damaged, the disk does not let us, or etcd does
            not answer.
    """
    check_target(target, tls, token)
    settings = _Settings(limits, clock, observer, election_limits)
    if not isinstance(target, str):
        opening = _engine_on(target, settings)
    elif split_target(target)[0] in ETCD:
        opening = _engine_on_etcd(target, tls, token, settings)
    else:
        opening = _engine_in_process(target, settings)
    async with opening as engine:
        yield engine


@asynccontextmanager
async def open_connection(
    target: str | Store, session_ttl_s: float, clock: Clock, *, tls: ClientTls | None = None, token: Token | None = None
) -> AsyncGenerator[Connection]:
    """Connect to the engine of a store, which runs in this process at least as long as the block.

    Args:
        target: see ``open_engine``, also for what is raised.
        session_ttl_s: time-to-live that the client asks for, in seconds; the least that is granted, up to the default.
        clock: what time it is.
        tls: certificates for an ``etcds://`` target; by default those of the system.
        token: ``USER:PASSWORD`` for etcd, or the file that it is in.
    """
    limits = SessionLimits(min(session_ttl_s, DEFAULT_SESSION_TTL_S))
    async with open_engine(target, limits, clock, tls=tls, token=token) as engine:
        connection = Connection(engine)
        try:
            yield connection
        finally:
            connection.disconnect()


@asynccontextmanager
async def open_etcd(
    target: str, *, tls: ClientTls | None = None, token: Token | None = None
) -> AsyncGenerator[tuple["EtcdClient", str]]:
    """Give a client of the etcd cluster that a target names, and what the keys of its store begin with.

    Args:
        target: ``etcd://host:port[,host:port][/prefix]``, or ``etcds://…`` for TLS.
        tls: certificates for an ``etcds://`` target; by default those of the system.
        token: ``USER:PASSWORD`` for etcd, or the file that it is in.

    Raises:
        InvalidRequest: the target names no etcd, or something does not go with it.
    """
    check_target(target, tls, token)
    scheme, rest = split_target(target)
    if scheme not in ETCD:
        raise InvalidRequest(
            f"target {target!r} names no etcd: write etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds://"
        )
    from atomix_election.etcd import EtcdClient  # who does not need it does not pay for it
    from atomix_election.stores.etcd_keys import DEFAULT_PREFIX

    endpoints, prefix = etcd_members(target, rest)
    user, password = ("", "") if token is None else _user_and_password(token)
    addresses = [(each.host, each.port) for each in endpoints]
    tls = (tls or ClientTls()) if scheme in WITH_TLS else None
    if tls is not None:
        tls.context()  # files that cannot be used are found now, not when etcd is there
    async with EtcdClient(addresses, tls=tls, user=user, password=password) as client:
        yield client, prefix or DEFAULT_PREFIX


@dataclass(frozen=True, slots=True)
class _Settings:
    """What an engine is told beside its store, see ``open_engine``."""

    limits: SessionLimits
    clock: Clock
    observer: Observer | None
    election_limits: ElectionLimits

    def engine(self, store: Store) -> Engine:
        """Return the engine of a store that has one user."""
        return Engine(
            store,
            limits=self.limits,
            clock=self.clock,
            observer=self.observer,
            election_limits=self.election_limits,
        )

    def shared_engine(self, store: SharedStore) -> SharedEngine:
        """Return one of the engines of a store that has several."""
        return SharedEngine(
            store,
            limits=self.limits,
            clock=self.clock,
            observer=self.observer,
            election_limits=self.election_limits,
        )


@asynccontextmanager
async def _engine_on(store: Store, settings: _Settings) -> AsyncGenerator[Engine]:
    """Run an engine on a store that its user has opened."""
    if _is_shared(store):
        engine = settings.shared_engine(store)
        with used_alone(store):
            async with engine.running():
                yield engine
    else:
        name = f"this {type(store).__name__}"
        async with shared_engine(name, id(store), partial(_opened, store), settings.engine) as engine:
            yield engine


def _is_shared(store: Store) -> TypeGuard[SharedStore]:
    """Return which kind of store it is.

    Raises:
        InvalidRequest: it is none.
    """
    is_shared = hasattr(store, "changes")
    kind = SharedStore if is_shared else Store
    missing = [name for name in dir(kind) if not name.startswith("_") and not hasattr(store, name)]
    if missing:
        raise InvalidRequest(
            f"{store!r} is neither a target nor a store: it has no {', '.join(missing)} "
            f"(see atomix_election.stores.{kind.__name__})"
        )
    return is_shared


@asynccontextmanager
async def _engine_on_etcd(
    target: str, tls: ClientTls | None, token: Token | None, settings: _Settings
) -> AsyncGenerator[Engine]:
    require_asyncio(f"target {target!r}")
    async with _open_etcd_store(target, tls, token) as store:
        engine = settings.shared_engine(store)
        async with engine.running():
            yield engine


@asynccontextmanager
async def _engine_in_process(target: str, settings: _Settings) -> AsyncGenerator[Engine]:
    scheme, rest = split_target(target)
    if scheme not in IN_PROCESS:
        raise unknown_target(target)
    found = _STORES[scheme](target, rest)
    if found.shared_as is not None:
        async with shared_engine(target, found.shared_as, found.open, settings.engine) as engine:
            yield engine
    else:
        async with found.open() as store:
            engine = settings.engine(store)
            async with engine.running():
                yield engine


@asynccontextmanager
async def _opened(store: Store) -> AsyncGenerator[Store]:
    """Give a store that its user opens and closes."""
    yield store


@dataclass(frozen=True, slots=True)
class _StoreTarget:
    """A target that names a store.

    Args:
        open: opens it.
        shared_as: what all targets in this process have in common that share its engine; None if it is private.
    """

    open: OpenStore
    shared_as: str | None


def _memory(target: str, name: str) -> _StoreTarget:
    return _StoreTarget(partial(_open_memory, name), target if name else None)


def _sqlite(target: str, rest: str) -> _StoreTarget:
    path = sqlite_path(target, rest)
    return _StoreTarget(partial(_open_sqlite, path), f"sqlite:///{os.path.realpath(path)}")


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


@asynccontextmanager
async def _open_etcd_store(target: str, tls: ClientTls | None, token: Token | None) -> AsyncGenerator[SharedStore]:
    from atomix_election.stores.etcd import open_etcd_store

    async with (
        open_etcd(target, tls=tls, token=token) as (client, prefix),
        open_etcd_store(client, prefix=prefix) as store,
    ):
        yield store


def _user_and_password(token: Token) -> tuple[str, str]:
    """Return who calls etcd. No message has any of it.

    Raises:
        InvalidRequest: it is not USER:PASSWORD, or the file cannot be read.
    """
    what = "the token" if isinstance(token, str) else f"token file {os.fspath(token)}"
    try:
        text = token if isinstance(token, str) else Path(token).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidRequest(f"{what} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise InvalidRequest(f"{what} is not text in UTF-8") from None  # the error has what is in the file
    user, colon, password = text.partition(":")
    if not user or not colon or not password:
        raise InvalidRequest(f"{what} is not USER:PASSWORD, which is what etcd asks for")
    return user, password
