"""A server with nothing hidden, and the proof that whatever was done to it hurt nobody else."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from atomix_election.addresses import Endpoint
from atomix_election.observer import NoObserver
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.rpc.server import RpcServer
from atomix_election.server import ElectionServer
from atomix_election.service import Service
from tests.rpc.raw import RawConnection, about, eventually, headers_of

SESSION_TTL_S = 1.0


@pytest.fixture
def anyio_backend() -> str:
    """gRPC needs asyncio."""
    return "asyncio"


class Rejections(NoObserver):
    """Remembers why calls failed, and why connections were closed."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.closings: list[str] = []

    def rejected(self, reason: str) -> None:
        """See ``Observer.rejected``."""
        self.reasons.append(reason)

    def closed(self, reason: str) -> None:
        """See ``Observer.closed``."""
        self.closings.append(reason)


@dataclass(eq=False)
class Served:
    """A running server, and a client that has behaved well from the start."""

    rpc: RpcServer
    endpoint: Endpoint
    honest: RawConnection
    observer: Rejections

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.endpoint.port

    @cached_property
    def inside(self) -> Service:
        """A connection without a network."""
        return self.rpc._common.connect()

    @property
    def calls(self) -> int:
        """How many calls the server is serving."""
        return sum(len(connection.calls) for connection in self.rpc._connections)

    async def check_serves(self, *connections: RawConnection) -> None:
        """Fail unless the honest client, a new one, and the given connections are served."""
        async with RawConnection(self.port) as newcomer:
            for each in (self.honest, newcomer, *connections):
                answer = await each.call(headers_of("GetTerm", *about("honest")))
                assert answer.headers[":status"] == "200"
                assert answer.status == 0
                assert answer.messages == [b"\n\4\x1a\2\x22\0"]

    async def until_idle(self, *, connections: int = 1) -> None:
        """Wait until no call is served and so many connections are left; the honest client's is one."""
        await eventually(lambda: not self.calls and len(self.rpc._connections) <= connections)


@pytest.fixture
async def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Served]:
    """A server that leaves nothing behind when it is closed. Its parameter are the limits of its connections."""
    limits: ConnectionLimits | None = getattr(request, "param", None)
    made: list[RpcServer] = []

    class Recorded(RpcServer):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr("atomix_election.server.RpcServer", Recorded)
    observer = Rejections()
    async with ElectionServer(session_ttl=SESSION_TTL_S, connection_limits=limits, observer=observer) as server:
        (rpc,) = made
        host, _, port = server.target.removeprefix("grpc://").rpartition(":")
        async with RawConnection(int(port)) as honest:
            yield Served(rpc, Endpoint(host, int(port)), honest, observer)
    assert not rpc._connections


@pytest.fixture
async def quiet(caplog: pytest.LogCaptureFixture) -> AsyncGenerator[None]:
    """Nothing may be logged as a warning or worse, and nothing may reach the event loop's exception handler.

    To be named before ``served`` in a test's arguments, so that it judges the server's end too.
    """
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    unhandled: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    yield
    gc.collect(1)  # what is young: a full collection would be most of a test's time
    await asyncio.sleep(0)
    loop.set_exception_handler(handler)
    records = caplog.get_records("setup") + caplog.get_records("call") + caplog.get_records("teardown")
    assert not unhandled
    assert [record.getMessage() for record in records if record.levelno >= logging.WARNING] == []
