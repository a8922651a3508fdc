"""The engines that targets name: a store as text becomes one. The one place where engine and stores meet."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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
from atomix_election.engine import ElectionLimits, Engine, SessionLimits, SharedEngine
from atomix_election.engine.limits import NO_LIMITS
from atomix_election.errors import InvalidRequest
from atomix_election.observer import Observer
from atomix_election.sharing import OpenStore, shared_engine
from atomix_election.stores.base import SharedStore, Store
from atomix_election.stores.memory import MemoryStore
from atomix_election.tls import ClientTls
from atomix_election.tokens import Token

if TYPE_CHECKING:
    from atomix_election.etcd import EtcdClient


@asynccontextmanager
async def open_engine(
    target: str,
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
            or ``etcds://…`` for a cluster that any number of engines use.
        limits: time-to-lives of sessions; of a store that is shared within the process the first user's hold, and
        clock: what time it is; and
        observer: is told what can be counted; and
        election_limits: how much is kept.
        tls: certificates for an ``etcds://`` target; by default those of the system.
        token: ``USER:PASSWORD`` for etcd, or the file that it is in.

    Raises:
        InvalidRequest: the target names no store, or the store is in use by another event loop.
        StoreError: it cannot be opened: another process has it, it is damaged, the disk does not let us, or etcd does
            not answer.
    """
    check_target(target, tls, token)
    scheme, rest = split_target(target)
    if scheme in ETCD:
        require_asyncio(f"target {target!r}")
        async with _open_etcd_store(target, tls, token) as shared:
            engine = SharedEngine(
                shared, limits=limits, clock=clock, observer=observer, election_limits=election_limits
            )
            async with engine.running():
                yield engine
        return
    if scheme not in IN_PROCESS:
        raise unknown_target(target)
    make_engine = partial(Engine, limits=limits, clock=clock, observer=observer, election_limits=election_limits)
    found = _STORES[scheme](target, rest)
    if found.shared_as is not None:
        async with shared_engine(target, found.shared_as, found.open, make_engine) as engine:
            yield engine
    else:
        async with found.open() as store:
            engine = make_engine(store)
            async with engine.running():
                yield engine


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
