"""Where elections are: a target as text becomes a service. The one place where engine and RPC meet."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from atomix_election.addresses import (
    REMOTE,
    WITH_TLS,
    check_target,
    parse_endpoints,
    preferred_first,
    require_asyncio,
    split_target,
)
from atomix_election.clock import Clock
from atomix_election.model import ElectionId
from atomix_election.service import Service
from atomix_election.tls import ClientTls
from atomix_election.tokens import Token, token_source

if TYPE_CHECKING:
    from atomix_election.stores.base import Store


@asynccontextmanager
async def open_service(
    target: "str | Store",
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
            with; with TLS ``grpcs://`` and ``etcds://``; or a store that is open for longer than the block.
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
    if isinstance(target, str) and split_target(target)[0] in REMOTE:
        remote = _open_remote(target, session_ttl_s, tls, token, election, pings=not release_on_disconnect)
        async with remote as service:
            yield service
    else:
        from atomix_election.engines import open_connection  # who has a server does not pay for engine and store

        async with open_connection(target, session_ttl_s, clock, tls=tls, token=token) as service:
            yield service


@asynccontextmanager
async def _open_remote(
    target: str,
    session_ttl_s: float,
    tls: ClientTls | None,
    token: Token | None,
    election: ElectionId | None,
    *,
    pings: bool,
) -> AsyncGenerator[Service]:
    require_asyncio(f"target {target!r}")
    from atomix_election.rpc.client import RpcClient  # who has the elections in this process does not pay for it

    scheme, rest = split_target(target)
    endpoints = parse_endpoints(target, rest)
    if election is not None:
        endpoints = preferred_first(endpoints, election)
    if scheme in WITH_TLS:
        tls = tls or ClientTls()
        tls.context()  # files that cannot be used are found now, not when a server is there
    service = RpcClient(endpoints, tls=tls, token=None if token is None else token_source(token), pings=pings)
    service.session_granted(session_ttl_s)  # as long as it is not known better
    async with service:
        yield service
