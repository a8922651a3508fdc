"""A client that says nothing at all: its connection is closed after a ping, and its session ends a ttl later."""

import asyncio

import pytest

from atomix_election.rpc.http2 import configuration
from atomix_election.service import Call
from tests.rpc.conftest import SESSION_TTL_S, Served
from tests.rpc.raw import RawConnection, about, eventually, headers_of, message

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

PING_INTERVAL_S = 0.3
LATE_S = 2.0
"""A bound for slow machines."""
ELECTION = "pinged"


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the connections that the server accepts from now on."""
    config = configuration(connection_window=1024 * 1024, stream_window=64 * 1024, ping_interval_s=PING_INTERVAL_S)
    monkeypatch.setattr("atomix_election.rpc.server_connection._CONFIG", config)


async def stand(connection: RawConnection, name: str) -> None:
    """Create a session and enter a candidate, both of that name."""
    assert (await connection.call(headers_of("Create", *about(ELECTION, name)))).status == 0
    body = message(b"\x0a" + bytes([len(name)]) + name.encode())
    assert (await connection.call(headers_of("Enter", *about(ELECTION, name)), body)).status == 0


async def candidates(served: Served) -> tuple[str, ...]:
    """Return who stands, as one sees it inside."""
    return (await served.inside.get_term(Call(ELECTION))).candidates


async def keep_reading(connection: RawConnection) -> None:
    """Read and answer, as any client does: ``h2`` answers pings by itself."""
    while not connection.closed:
        await connection._receive()


@pytest.mark.parametrize("reads", [False, True], ids=["reads nothing", "reads and does not answer"])
async def test_a_silent_client_is_given_up(short_interval: None, served: Served, reads: bool) -> None:
    """Its connection stays open at TCP level; the server closes it, and its session has one time-to-live left."""
    loop = asyncio.get_running_loop()
    async with RawConnection(served.port) as honest, RawConnection(served.port) as silent:
        reading = asyncio.create_task(keep_reading(honest))
        other = asyncio.create_task(keep_reading(served.honest))
        swallowing: asyncio.Task[None] | None = None
        await stand(silent, "silent")
        since = loop.time()
        (connection,) = [each for each in served.rpc._connections if _port(each) == _own_port(silent)]
        if reads:
            swallowing = asyncio.create_task(_swallow(silent))
        await eventually(lambda: connection not in served.rpc._connections)
        closed = loop.time()
        assert served.observer.closings == ["unanswered_ping"]
        assert PING_INTERVAL_S / 2 <= closed - since <= 3 * PING_INTERVAL_S + LATE_S
        assert await candidates(served) == ("silent",)
        async with asyncio.timeout(SESSION_TTL_S + LATE_S), served.inside.events(Call(ELECTION)) as events:
            async for event in events:
                if not event.term.candidates:
                    break
        assert loop.time() - closed >= SESSION_TTL_S - 0.05
        for task in (reading, other, swallowing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])


async def test_an_honest_client_is_kept(short_interval: None, served: Served) -> None:
    """It says nothing by itself, but answers pings, for many intervals."""
    async with RawConnection(served.port) as honest:
        await stand(honest, "honest")
        before = len(served.rpc._connections)
        reading = [asyncio.create_task(keep_reading(each)) for each in (honest, served.honest)]
        await asyncio.sleep(6 * PING_INTERVAL_S + SESSION_TTL_S)
        assert len(served.rpc._connections) == before == 2
        assert await candidates(served) == ("honest",)
        for task in reading:
            task.cancel()
            await asyncio.wait([task])
        assert not honest.closed
        await stand(honest, "honest")


async def _swallow(connection: RawConnection) -> None:
    """Read, and tell ``h2`` nothing of it, so that no ping is answered."""
    while await connection._reader.read(1 << 16):
        pass


def _own_port(connection: RawConnection) -> int:
    return connection._writer.get_extra_info("sockname")[1]


def _port(connection: object) -> int:
    return connection.protocol._transport.get_extra_info("peername")[1]  # type: ignore[attr-defined]
