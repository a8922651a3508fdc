"""A client to which nothing gets back any more, on a network of ours and over gRPC: both go the same way."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from atomix_election import Client, ElectionServer, Event, LeaderElection, Leadership, connect
from atomix_election.testing import Direction, Network, run_virtually
from tests.faults.proxy import Proxy


@dataclass(frozen=True)
class World:
    """Where a scenario takes place.

    Args:
        ttl_s: the time-to-live of all sessions.
        client: connects the client of that name.
        deafen: lets nothing get back to the client "a".
        mend: lets it hear again.
    """

    ttl_s: float
    client: Callable[[str], AbstractAsyncContextManager[Client]]
    deafen: Callable[[], None]
    mend: Callable[[], None]


@asynccontextmanager
async def our_network() -> AsyncGenerator[World]:
    """The link of "a" is cut one way."""
    async with Network() as network:
        yield World(
            3.0,
            lambda name: network.client(name, session_ttl=3.0),
            lambda: network.link("a").cut(Direction.BACK),
            lambda: network.link("a").mend(),
        )


@asynccontextmanager
async def real_network() -> AsyncGenerator[World]:
    """A proxy hands on all that "a" sends, and nothing of what it is answered."""
    async with ElectionServer(min_session_ttl=0.5) as server, Proxy(int(server.target.rpartition(":")[2])) as proxy:
        yield World(
            1.0,
            lambda name: connect(proxy.target if name == "a" else server.target, session_ttl=1.0),
            lambda: proxy.stall(up=False),
            proxy.resume,
        )


async def next_in_line_is_deaf(world: World, deaf_s: float) -> None:
    """The leader leaves; who stands behind it hears nothing, and so the one behind that leads before long."""
    async with (
        world.client("c") as c,
        world.client("a") as a,
        world.client("b") as b,
        world.client("observer") as observer,
        observer.election("e").events() as events,
        anyio.create_task_group() as tasks,
    ):
        leave = anyio.Event()

        async def work(leadership: Leadership) -> None:
            await (leave.wait() if leadership.token == 1 else anyio.sleep_forever())

        elections = {
            name: client.election("e", candidate_id=name) for name, client in zip("cab", (c, a, b), strict=True)
        }
        queue: tuple[str, ...] = ()
        for name, election in elections.items():
            tasks.start_soon(election.run, work)
            queue += (name,)
            await _queue(events, queue, world.ttl_s)
        world.deafen()
        leave.set()
        await _queue(events, ("b",), 3 * world.ttl_s)
        await anyio.sleep(deaf_s)
        assert (await observer.election("e").get_term()).candidates == ("b",)
        assert [name for name, election in elections.items() if election.is_leader] == ["b"]
        world.mend()
        await _queue(events, ("b", "a"), 3 * world.ttl_s)
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_over_grpc(anyio_backend: str) -> None:
    """It waits for a server that does not speak, and sends it nothing: its session ends."""
    async with real_network() as world:
        await next_in_line_is_deaf(world, world.ttl_s / 2)


def test_on_a_network() -> None:
    """The same, for ten minutes."""

    async def scenario() -> None:
        async with our_network() as world:
            await next_in_line_is_deaf(world, 600.0)

    run_virtually(scenario)


def test_a_candidate_without_a_block_goes_too() -> None:
    """Nobody who only entered holds up the queue either."""

    async def scenario() -> None:
        async with our_network() as world, world.client("a") as a, world.client("b") as b:
            first, second = (client.election("e", candidate_id=name) for name, client in (("a", a), ("b", b)))
            await first.enter()
            await second.enter()
            world.deafen()
            with anyio.fail_after(3 * world.ttl_s):
                await _led(second)

    run_virtually(scenario)


async def _led(election: LeaderElection) -> None:
    async with election.events() as events:
        async for event in events:
            if event.term.leader == election.candidate_id:
                return


async def _queue(events: AsyncIterator[Event], wanted: tuple[str, ...], limit_s: float) -> None:
    """Wait until the candidates are as wanted."""
    with anyio.fail_after(limit_s):
        async for event in events:
            if event.term.candidates == wanted:
                return
