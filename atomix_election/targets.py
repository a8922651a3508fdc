"""Where elections are: a target as text becomes a service. The one place where engine, stores and RPC meet."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from atomix_election.clock import Clock
from atomix_election.core.rendezvous import rank
from atomix_election.engine import Connection, ElectionLimits, Engine, SessionLimits, SharedEngine
from atomix_election.engine.limits import NO_LIMITS
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S, ElectionId
from atomix_election.observer import Observer
from atomix_election.rpc.client import RpcClient
from atomix_election.rpc.client_connection import Endpoint
from atomix_election.service import Service
from atomix_election.sharing import OpenStore, shared_engine
from atomix_election.stores.base import SharedStore, Store
from atomix_election.stores.memory import MemoryStore
from atomix_election.tls import ClientTls
from atomix_election.tokens import Token, token_source

if TYPE_CHECKING:
    from atomix_election.etcd import EtcdClient

DEFAULT_PORT = 5678
"""The port of a server whose address names none."""
ETCD_PORT = 2379
"""The port of a member of etcd whose address names none."""

_KNOWN = (
    "memory://, memory://NAME, sqlite:///FILE, grpc://HOST:PORT[,HOST:PORT], grpcs://HOST:PORT[,HOST:PORT], "
    "etcd://HOST:PORT[,HOST:PORT][/PREFIX], etcds://HOST:PORT[,HOST:PORT][/PREFIX]"
)
_REMOTE = ("grpc", "grpcs")
_ETCD = ("etcd", "etcds")
_PREFIX = re.compile(r"(?=.{1,256}$)[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_WITH_TLS = ("grpcs", "etcds")
_ENDPOINT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s\x00-\x1f\x7f:/\[\]@?#%]+))(?::(?P<port>[0-9]{1,5}))?"
)


def check_target(target: str, tls: ClientTls | None = None, token: Token | None = None) -> None:
    """Refuse what is no target, and what does not go with it, without connecting to anything.

    Raises:
        InvalidRequest: it is malformed, its scheme is not known, or it does not go with TLS or a token.
    """
    scheme, rest = _split(target)
    endpoints: list[Endpoint] = []
    if scheme in _STORES:
        _STORES[scheme](target, rest)
    elif scheme in _REMOTE:
        endpoints = parse_endpoints(target, rest)
    elif scheme in _ETCD:
        endpoints, _ = _etcd(target, rest)
    else:
        raise _unknown(target)
    if tls is not None and scheme not in _WITH_TLS:
        raise InvalidRequest(f"target {target!r} does not use TLS, but certificates are given: is it {scheme}s://?")
    if token is not None and scheme in _STORES:
        raise InvalidRequest(f"target {target!r} is in this process, and takes no token")
    if token is not None and scheme not in _WITH_TLS and not all(each.is_loopback for each in endpoints):
        raise InvalidRequest(
            f"target {target!r} would send the token in plain text to another machine: use {scheme}s://"
        )


@asynccontextmanager
async def open_service(
    target: str,
    *,
    session_ttl_s: float,
    clock: Clock,
    tls: ClientTls | None = None,
    token: Token | None = None,
    release_on_disconnect: bool = False,
    election: ElectionId | None = None,
) -> AsyncGenerator[Service]:
    """Connect to the service that a target names.

    Args:
        target: ``memory://`` for one of its own, ``memory://name`` for one that is shared within the process,
            ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` for a file, also shared within the process,
            ``grpc://host:port`` for a server, with more ``,host:port`` for others that serve the same elections,
            ``etcd://host:port[,host:port][/prefix]`` for the members of an etcd cluster, and what the keys there begin
            with; with TLS ``grpcs://`` and ``etcds://``.
        session_ttl_s: time-to-live that the client asks for, in seconds.
        clock: what time it is.
        tls: certificates for a target with TLS; by default those of the system.
        token: what proves who calls, or the file that it is in; for etcd, ``USER:PASSWORD``.
        release_on_disconnect: the connection is closed only when its user says so.
        election: the one that this is for. Of several servers, the one is tried first that all clients try first for
            it, so that its commands meet in one server, and the others in their order; None for their order alone.

    Raises:
        InvalidRequest: the target is malformed or cannot be used here, or a file cannot be.
        StoreError: it names a store that cannot be opened.
    """
    check_target(target, tls, token)
    scheme, rest = _split(target)
    if scheme in _REMOTE:
        require_asyncio(f"target {target!r}")
        endpoints = parse_endpoints(target, rest)
        if election is not None:
            endpoints = preferred_first(endpoints, election)
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
        async with open_engine(target, limits, clock, tls=tls, token=token) as engine:
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
    scheme, rest = _split(target)
    if scheme in _ETCD:
        require_asyncio(f"target {target!r}")
        async with _open_etcd_store(target, tls, token) as shared:
            engine = SharedEngine(
                shared, limits=limits, clock=clock, observer=observer, election_limits=election_limits
            )
            async with engine.running():
                yield engine
        return
    if scheme not in _STORES:
        raise _unknown(target)
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
    scheme, rest = _split(target)
    if scheme not in _ETCD:
        raise InvalidRequest(
            f"target {target!r} names no etcd: write etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds://"
        )
    from atomix_election.etcd import EtcdClient  # who does not need it does not pay for it
    from atomix_election.stores.etcd_keys import DEFAULT_PREFIX

    endpoints, prefix = _etcd(target, rest)
    user, password = ("", "") if token is None else _user_and_password(token)
    addresses = [(each.host, each.port) for each in endpoints]
    tls = (tls or ClientTls()) if scheme in _WITH_TLS else None
    if tls is not None:
        tls.context()  # files that cannot be used are found now, not when etcd is there
    async with EtcdClient(addresses, tls=tls, user=user, password=password) as client:
        yield client, prefix or DEFAULT_PREFIX


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


def parse_endpoints(
    target: str, text: str, *, lowest_port: int = 1, default_port: int = DEFAULT_PORT
) -> list[Endpoint]:
    """Return the endpoints in ``host:port[,host:port]``; an IPv6 address stands in brackets.

    Args:
        target: what the user wrote, for the message.
        text: the part of it with the endpoints.
        lowest_port: 0 where that stands for any free port.
        default_port: the port where none is named.

    Raises:
        InvalidRequest: one of them is malformed; the message begins with the target.
    """
    endpoints: list[Endpoint] = []
    for part in text.rstrip("/").split(","):
        match = _ENDPOINT.fullmatch(part)
        port = int(match["port"] or default_port) if match else -1
        if match is None or not lowest_port <= port < 1 << 16:
            raise InvalidRequest(f"target {target!r}: {part!r} is not HOST:PORT (an IPv6 address stands in brackets)")
        endpoints.append(Endpoint(match["ipv6"] or match["host"], port))
    return endpoints


def preferred_first(endpoints: Sequence[Endpoint], election_id: ElectionId) -> list[Endpoint]:
    """Return the endpoints, the one in front that comes first for an election, and the others in their order."""
    names = [str(each) for each in endpoints]
    preferred = min(endpoints, key=lambda each: rank(str(each), names, "\0".join(election_id)))
    return [preferred, *(each for each in endpoints if each != preferred)]


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


def _etcd(target: str, rest: str) -> tuple[list[Endpoint], str]:
    """Return the members of an etcd cluster, and the prefix of all keys there; "" where none is named."""
    addresses, slash, prefix = rest.partition("/")
    if slash and not _PREFIX.fullmatch(prefix):
        raise InvalidRequest(
            f"target {target!r}: {prefix!r} is no prefix of keys: letters, digits and -._ between slashes, and no more "
            "than 256 of them"
        )
    return parse_endpoints(target, addresses, default_port=ETCD_PORT), prefix and f"{prefix}/"


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
