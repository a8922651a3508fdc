"""What a target says: read from its text and checked, without connecting to anything."""

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

from atomix_election.errors import InvalidRequest
from atomix_election.model import ElectionId
from atomix_election.tls import ClientTls
from atomix_election.tokens import Token

DEFAULT_PORT = 5678
"""The port of a server whose address names none."""
ETCD_PORT = 2379
"""The port of a member of etcd whose address names none."""

REMOTE = ("grpc", "grpcs")
"""Schemes of servers."""
ETCD = ("etcd", "etcds")
"""Schemes of stores in etcd."""
IN_PROCESS = ("memory", "sqlite")
"""Schemes of stores that this process has to itself."""
WITH_TLS = ("grpcs", "etcds")
"""Schemes of what is spoken to over TLS."""

_KNOWN = (
    "memory://, memory://NAME, sqlite:///FILE, grpc://HOST:PORT[,HOST:PORT], grpcs://HOST:PORT[,HOST:PORT], "
    "etcd://HOST:PORT[,HOST:PORT][/PREFIX], etcds://HOST:PORT[,HOST:PORT][/PREFIX]"
)
_PREFIX = re.compile(r"(?=.{1,256}$)[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_ENDPOINT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s\x00-\x1f\x7f:/\[\]@?#%]+))(?::(?P<port>[0-9]{1,5}))?"
)


class Endpoint(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine gets there. A name other than ``localhost`` is taken for another machine's."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def check_target(target: object, tls: ClientTls | None = None, token: Token | None = None) -> None:
    """Refuse what is no target, and what does not go with it, without connecting to anything.

    Args:
        target: as text; anything else is taken for a store, which shows when it is used whether it is one.
        tls: certificates that are given with it.
        token: what is given with it to prove who calls.

    Raises:
        InvalidRequest: it is malformed, its scheme is not known, or it does not go with TLS or a token.
    """
    if not isinstance(target, str):
        if tls is not None or token is not None:
            raise InvalidRequest("a store that is handed over is open: it takes neither certificates nor a token")
        return
    scheme, rest = split_target(target)
    endpoints: list[Endpoint] = []
    if scheme == "sqlite":
        sqlite_path(target, rest)
    elif scheme in REMOTE:
        endpoints = parse_endpoints(target, rest)
    elif scheme in ETCD:
        endpoints, _ = etcd_members(target, rest)
    elif scheme not in IN_PROCESS:
        raise unknown_target(target)
    if tls is not None and scheme not in WITH_TLS:
        raise InvalidRequest(f"target {target!r} does not use TLS, but certificates are given: is it {scheme}s://?")
    if token is not None and scheme in IN_PROCESS:
        raise InvalidRequest(f"target {target!r} is in this process, and takes no token")
    if token is not None and scheme not in WITH_TLS and not all(each.is_loopback for each in endpoints):
        raise InvalidRequest(
            f"target {target!r} would send the token in plain text to another machine: use {scheme}s://"
        )


def split_target(target: str) -> tuple[str, str]:
    """Return the scheme of a target, and what follows ``://``.

    Raises:
        InvalidRequest: it has no scheme.
    """
    scheme, separator, rest = target.partition("://")
    if not separator:
        raise unknown_target(target)
    return scheme, rest


def unknown_target(target: str) -> InvalidRequest:
    """Return how a target is refused whose scheme is not known."""
    return InvalidRequest(f"target {target!r} is not known; known are {_KNOWN}")


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
        if match["host"] and match["host"].isdecimal():
            raise InvalidRequest(f"target {target!r}: {part!r} names no host: give HOST:PORT, as in 127.0.0.1:5679")
        endpoints.append(Endpoint(match["ipv6"] or match["host"], port))
    return endpoints


def preferred_first(endpoints: Sequence[Endpoint], election_id: ElectionId) -> list[Endpoint]:
    """Return the endpoints, the one in front that comes first for an election, and the others in their order."""
    from atomix_election.core.rendezvous import rank  # who has one server does not pay for it

    names = [str(each) for each in endpoints]
    preferred = min(endpoints, key=lambda each: rank(str(each), names, "\0".join(election_id)))
    return [preferred, *(each for each in endpoints if each != preferred)]


def path_of_file(text: str) -> str:
    """Return the path of a store's file, which may be written as a target too.

    Raises:
        InvalidRequest: it is a target that names no file.
    """
    if "://" not in text:
        return text
    scheme, rest = split_target(text)
    if scheme != "sqlite":
        raise InvalidRequest(f"{text!r} names no file: write a path, or sqlite:///FILE")
    return sqlite_path(text, rest)


def sqlite_path(target: str, rest: str) -> str:
    """Return the path in what follows ``sqlite://``.

    Raises:
        InvalidRequest: there is none.
    """
    path = rest.removeprefix("/")
    if path == rest:
        raise InvalidRequest(
            f"target {target!r} has no third slash: sqlite:///relative.db, or sqlite:////absolute.db, names a file"
        )
    if not path or path == ":memory:" or "\0" in path:
        raise InvalidRequest(f"target {target!r} names no file: write sqlite:///relative.db, or use memory://")
    return path


def etcd_members(target: str, rest: str) -> tuple[list[Endpoint], str]:
    """Return the members of an etcd cluster, and the prefix of all keys there; "" where none is named.

    Raises:
        InvalidRequest: one of them is malformed.
    """
    addresses, slash, prefix = rest.partition("/")
    if slash and not _PREFIX.fullmatch(prefix):
        raise InvalidRequest(
            f"target {target!r}: {prefix!r} is no prefix of keys: letters, digits and -._ between slashes, and no more "
            "than 256 of them"
        )
    return parse_endpoints(target, addresses, default_port=ETCD_PORT), prefix and f"{prefix}/"


def require_asyncio(what: str) -> None:
    """Refuse what only works on asyncio.

    Raises:
        InvalidRequest: this is another event loop; the message begins with ``what``.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise InvalidRequest(f"{what} needs asyncio, as grpclib does: under Trio, use memory://") from error
