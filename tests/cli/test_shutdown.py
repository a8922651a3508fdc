"""How a real server process goes when it is told to: step by step, and bounded in time."""

import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from atomix_election.rpc.server import CLOSE_TIMEOUT_S, DRAIN_TIMEOUT_S
from tests.cli.processes import PROMPT_S, Running
from tests.rpc.raw import RawConnection, about, headers_of, message

pytestmark = pytest.mark.anyio

OK, NOT_FOUND, ABORTED, UNAVAILABLE = 0, 5, 10, 14
HEALTH = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
EMPTY = message(b"")


@pytest.fixture
def anyio_backend() -> str:
    """The raw connection needs asyncio."""
    return "asyncio"


@dataclass(eq=False)
class Stage:
    """A server process, a connection to it, and a watch of its health."""

    server: Running
    port: int
    client: RawConnection
    health: int

    async def tell_to_end(self) -> None:
        """Send SIGTERM, and wait until it says that it does not serve any more."""
        self.server.process.send_signal(signal.SIGTERM)
        answer = self.client.answers[self.health]
        await self.client.until(lambda: answer.messages[-1:] == [NOT_SERVING])

    async def status(self) -> int:
        """Wait for the end of the process and return its exit status."""
        return await anyio.to_thread.run_sync(self.server.process.wait, PROMPT_S)


@asynccontextmanager
async def staged() -> AsyncGenerator[Stage]:
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://") as server:
        port = int(server.target().rpartition(":")[2])
        async with RawConnection(port) as client:
            health = client.begin(headers_of(HEALTH + "Watch"))
            client.send(health, EMPTY, end=True)
            await client.until(lambda: client.answers[health].messages == [SERVING])
            yield Stage(server, port, client, health)


async def test_what_has_begun_is_answered_and_nothing_begins() -> None:
    """A read and a write whose requests are still on their way; a call that comes later is refused, health is not."""
    async with staged() as stage:
        client = stage.client
        begun = [client.begin(headers_of(method, *about("e", "s"))) for method in ("GetTerm", "Create")]
        await client.call(headers_of("GetTerm", *about("e")))  # so that both have reached the server
        await stage.tell_to_end()
        late = await client.call(headers_of("GetTerm", *about("e")), EMPTY)
        assert (late.status, late.error) == (UNAVAILABLE, "Unavailable")
        assert (await client.call(headers_of(HEALTH + "Check"), EMPTY)).messages == [NOT_SERVING]
        with pytest.raises(OSError):  # noqa: PT011 - whatever the system calls it
            await anyio.connect_tcp("127.0.0.1", stage.port)
        for stream in begun:
            client.send(stream, EMPTY, end=True)
            assert (await client.ended(stream)).status == OK
        assert await stage.status() == 0


async def test_streams_end_so_that_clients_go_elsewhere() -> None:
    """A watch, and a stream of renewals."""
    async with staged() as stage:
        client = stage.client
        watch = client.begin(headers_of("Events", *about("e")))
        client.send(watch, EMPTY, end=True)
        renewals = client.begin(headers_of("/atomix_election.v1.Sessions/KeepAlive", *about("", "s")[1:]))
        client.send(renewals, message(b"\x08\x01\x10\x01"))
        await client.until(lambda: all(client.answers[each].messages for each in (watch, renewals)))
        began = time.monotonic()
        await stage.tell_to_end()
        for stream in (watch, renewals, stage.health):
            assert (await client.ended(stream)).status == UNAVAILABLE
        await client.until_closed()
        assert await stage.status() == 0
        assert time.monotonic() - began < DRAIN_TIMEOUT_S, "nobody had to be waited for"


async def test_a_client_that_does_nothing_is_not_waited_for_for_ever() -> None:
    """Its read is Unavailable, of its write nobody knows; then the process ends."""
    async with staged() as stage:
        client = stage.client
        read, write = (client.begin(headers_of(method, *about("e", "s"))) for method in ("GetTerm", "Create"))
        await client.call(headers_of("GetTerm", *about("e")))
        began = time.monotonic()
        await stage.tell_to_end()
        assert (await client.ended(read)).status == UNAVAILABLE
        assert (await client.ended(write)).status == ABORTED
        assert client.answers[write].error == "OutcomeUnknown"
        assert await stage.status() == 0
        assert time.monotonic() - began < DRAIN_TIMEOUT_S + 2 * CLOSE_TIMEOUT_S


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(second: signal.Signals) -> None:
    """Whoever is still waited for."""
    async with staged() as stage:
        client = stage.client
        client.begin(headers_of("GetTerm", *about("e")))
        await client.call(headers_of("GetTerm", *about("e")))
        await stage.tell_to_end()
        began = time.monotonic()
        stage.server.process.send_signal(second)
        assert await stage.status() == -second
        assert time.monotonic() - began < DRAIN_TIMEOUT_S / 2
        _, log = stage.server.process.communicate()
        assert "SIGTERM received, shutting down" in log
        assert "Traceback" not in log
