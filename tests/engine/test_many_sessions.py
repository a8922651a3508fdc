"""What many open sessions cost: a renewal of one costs as much as ever, and one timer waits for all of them."""

import sys
from contextlib import AsyncExitStack
from types import FrameType

import anyio
import pytest
import trio

from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.engine.keepalive import EngineKeepAlive
from atomix_election.service import Renewal
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import VirtualClock

pytestmark = pytest.mark.anyio

FEW = 10
MANY = 10_000
TTL_S = 10.0
RENEWALS = 50


class CountingClock(VirtualClock):
    """Counts who waits for a time at the moment, and how often somebody began to."""

    def __init__(self) -> None:
        self.waiting = 0
        self.waits = 0

    async def sleep_until(self, when: float) -> None:
        """See ``Clock.sleep_until``."""
        self.waiting += 1
        self.waits += 1
        try:
            await super().sleep_until(when)
        finally:
            self.waiting -= 1


async def open_many(engine: Engine, stack: AsyncExitStack, how_many: int) -> list[EngineKeepAlive]:
    """Open sessions that are kept alive, each on a stream of its own."""
    connection = Connection(engine)
    streams: list[EngineKeepAlive] = []
    for number in range(how_many):
        stream = await stack.enter_async_context(connection.keep_alive("default", f"s{number}"))
        await stream.send(Renewal(1, open=True, ttl_s=TTL_S))
        await stream.receive()
        streams.append(stream)
    assert len(engine.sessions) == how_many
    return streams


async def calls_of_renewals(streams: list[EngineKeepAlive]) -> int:
    """Count the calls of functions that some renewals take, in all tasks, with the timer's part afterwards."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    former = sys.getprofile()
    sys.setprofile(count)
    try:
        for number in range(RENEWALS):
            stream = streams[number % len(streams)]
            await stream.send(Renewal(2 + number))
            answer = await stream.receive()
            assert not answer.ended
        await anyio.lowlevel.checkpoint()
    finally:
        sys.setprofile(former)
    return calls


async def test_a_renewal_costs_the_same_however_many_there_are() -> None:
    """With a thousand times as many sessions, counted in calls of functions, within a tenth."""
    costs: list[int] = []
    for how_many in (FEW, MANY):
        engine = Engine(MemoryStore(), clock=VirtualClock(), limits=SessionLimits())
        async with engine.running(), AsyncExitStack() as stack:
            streams = await open_many(engine, stack, how_many)
            await calls_of_renewals(streams)
            costs.append(await calls_of_renewals(streams))
    few, many = costs
    assert few > RENEWALS
    assert abs(many - few) <= few / 10, costs


async def test_one_timer_for_all() -> None:
    """No session adds a task or somebody who waits for a time; a renewal does not wake the timer."""
    clock = CountingClock()
    engine = Engine(MemoryStore(), clock=clock, limits=SessionLimits())
    async with engine.running(), AsyncExitStack() as stack:
        streams = await open_many(engine, stack, 1)
        await anyio.sleep(0.001)
        tasks = trio.lowlevel.current_statistics().tasks_living
        assert clock.waiting == 1
        more = Connection(engine)
        for number in range(1, 1000):
            stream = await stack.enter_async_context(more.keep_alive("default", f"s{number}"))
            await stream.send(Renewal(1, open=True, ttl_s=TTL_S))
            streams.append(stream)
        await anyio.sleep(0.001)
        assert len(engine.sessions) == 1000
        assert clock.waiting == 1
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        waits = clock.waits
        for stream in streams:
            await stream.send(Renewal(2))
        await anyio.sleep(0.001)
        assert clock.waits == waits
        assert clock.waiting == 1
        assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_the_timer_wakes_once_for_all_that_end_together() -> None:
    """A thousand sessions that end at the same time, and the one that is renewed stays."""
    clock = CountingClock()
    engine = Engine(MemoryStore(), clock=clock, limits=SessionLimits())
    async with engine.running(), AsyncExitStack() as stack:
        streams = await open_many(engine, stack, 1000)
        await anyio.sleep(TTL_S / 2)
        await streams[7].send(Renewal(2))
        waits = clock.waits
        await anyio.sleep(TTL_S / 2 + 0.1)
        assert len(engine.sessions) == 1
        assert clock.waits - waits <= 3
        assert clock.waiting == 1
        await anyio.sleep(TTL_S / 2)
        assert len(engine.sessions) == 0
