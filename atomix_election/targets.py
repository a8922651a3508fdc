"""Where elections are: a target as text becomes a service. The one place where engine, stores and RPC meet."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

from anyio.lowlevel import RunVar

from atomix_election.clock import Clock
from atomix_election.engine import Connection, ElectionLimits, Engine, SessionLimits
from atomix_election.engine.limits import NO_LIMITS
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S
from atomix_election.rpc.client import CALL_TIMEOUT_S, RpcClient
from atomix_election.rpc.client_connection import Endpoint
from atomix_election.service import ElectionService
from atomix_election.stores.memory import MemoryStore
from atomix_election.tasks import LONGEST_PAUSE_S

DEFAULT_PORT = 5678
"""The port of a server whose address names none."""

_KNOWN = "memory://, memory://NAME, grpc://HOST:PORT[,HOST:PORT]"
_ENDPOINT = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[^\s\x00-\x1f\x7f:/\[\]@?#%]+))(?::(?P<port>[0-9]{1,5}))?"
)


def check_target(target: str) -> None:
    """Refuse what is no target, without connecting to anything.

    Raises:
        InvalidRequest: it is malformed, or its scheme is not known.
    """
    scheme, rest = _split(target)
    if scheme == "grpc":
        parse_endpoints(target, rest)
    elif scheme != "memory":
        raise _unknown(target)


@asynccontextmanager
async def open_service(target: str, *, session_ttl_s: float, clock: Clock) -> AsyncGenerator[ElectionService]:
    """Connect to the service that a target names.

    Args:
        target: ``memory://`` for one of its own, ``memory://name`` for one that is shared within the process,
            ``grpc://host:port`` for a server, with more ``,host:port`` for others that serve the same elections.
        session_ttl_s: time-to-live that the client asks for, in seconds.
        clock: what time it is.

    Raises:
        InvalidRequest: the target is malformed, or cannot be used here.
    """
    scheme, rest = _split(target)
    if scheme == "grpc":
        require_asyncio(f"target {target!r}")
        longest_pause_s = min(session_ttl_s / 10, LONGEST_PAUSE_S)
        call_timeout_s = min(session_ttl_s / 2, CALL_TIMEOUT_S)  # a call that hangs must not use up a lease
        endpoints = parse_endpoints(target, rest)
        service = RpcClient(endpoints, call_timeout_s=call_timeout_s, longest_pause_s=longest_pause_s)
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
    target: str, limits: SessionLimits, clock: Clock, *, election_limits: ElectionLimits = NO_LIMITS
) -> AsyncGenerator[Engine]:
    """Run the elections of a store in this process.

    Args:
        target: ``memory://`` for a store of its own, ``memory://name`` for one that is shared within the process.
        limits: time-to-lives of sessions; of a shared store the first user's hold.
        clock: what time it is; of a shared store the first user's holds.
        election_limits: how much is kept; of a shared store the first user's hold.

    Raises:
        InvalidRequest: the target names no store, or the store is in use by another event loop.
    """
    scheme, name = _split(target)
    if scheme != "memory":
        raise _unknown(target)
    if name:
        async with _shared_engine(name, limits, clock, election_limits) as engine:
            yield engine
    else:
        engine = Engine(MemoryStore(), limits=limits, clock=clock, election_limits=election_limits)
        async with engine.running():
            yield engine


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


@dataclass(slots=True)
class _SharedMemory:
    """A named memory of this process: its store is kept, its engine runs while somebody uses it."""

    store: MemoryStore = field(default_factory=MemoryStore)
    engine: Engine | None = None
    event_loop: object = None
    users: int = 0

    def leave(self) -> None:
        """One user less; with the last one the engine is not used again."""
        self.users -= 1
        if not self.users:
            self.engine = None


_shared: dict[str, _SharedMemory] = {}


_event_loop: RunVar[object] = RunVar("atomix_election_event_loop")


@asynccontextmanager
async def _shared_engine(
    name: str, limits: SessionLimits, clock: Clock, election_limits: ElectionLimits
) -> AsyncGenerator[Engine]:
    memory = _shared.setdefault(name, _SharedMemory())
    event_loop = _current_event_loop()
    if memory.users and memory.event_loop is not event_loop:
        raise InvalidRequest(
            f"memory://{name} is in use by another event loop: run an ElectionServer and connect to it"
        )
    if memory.engine is None:
        memory.engine = Engine(memory.store, limits=limits, clock=clock, election_limits=election_limits)
        memory.event_loop = event_loop
    engine = memory.engine
    memory.users += 1
    with ExitStack() as using:
        using.callback(memory.leave)
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
