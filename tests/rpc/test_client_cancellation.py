"""A call may be cancelled wherever it waits: nothing is left of it, and the cancellation stays what it was."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest

from atomix_election.rpc.client import RpcClient
from atomix_election.service import Call
from tests.rpc import fake
from tests.rpc.conftest import Served
from tests.rpc.fake import listening
from tests.rpc.raw import WAIT_S, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

CALL = Call("e", session="s")
MOST_STEPS = 60
Attempt = Callable[[RpcClient], Awaitable[object]]


async def read(client: RpcClient) -> None:
    """Ask for the term."""
    await client.get_term(CALL)


async def write(client: RpcClient) -> None:
    """Open the session, which may be done any number of times."""
    await client.create(CALL)


async def watch(client: RpcClient) -> None:
    """Wait for the snapshot."""
    async with client.events(CALL) as events:
        await anext(events)


async def two_watches(client: RpcClient) -> None:
    """Wait for the snapshot of a second watcher, which shares the stream of the first."""
    async with client.events(CALL) as first, client.events(CALL) as second:
        await anext(first)
        await anext(second)


def open_streams(client: RpcClient) -> int:
    """Return how many calls the client still keeps track of on its connection."""
    protocol = client._connection._protocol
    return len(protocol.processor.streams) + len(protocol.quick) if protocol is not None else 0


async def steps(count: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_nothing_is_left(served: Served, client: RpcClient) -> None:
    """Wait until neither side knows of a call."""
    await eventually(lambda: not (served.calls or open_streams(client) or client._watches))


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("attempt", [read, write, watch, two_watches])
async def test_a_native_cancellation_at_any_step(served: Served, attempt: Attempt, connected: bool) -> None:
    """The task is cancelled, once; the client goes on as if nothing had been."""
    cancelled = finished = 0
    for step in range(MOST_STEPS):
        before = asyncio.all_tasks()
        async with RpcClient([served.endpoint]) as client:
            if connected:
                await read(client)
            protocol = client._connection._protocol
            task = asyncio.ensure_future(attempt(client))
            await steps(step)
            asked = task.cancel()
            await asyncio.wait([task])
            if asked:
                assert task.cancelled()
                assert task.cancelling() == 1
                cancelled += 1
            else:
                assert task.exception() is None
                finished += 1
            await read(client)
            await until_nothing_is_left(served, client)
            assert protocol in (None, client._connection._protocol), "the cancelled call cost the connection"
        assert asyncio.all_tasks() == before
        if finished:
            break
    assert cancelled > 1
    assert finished, "the call was never quick enough to finish: raise MOST_STEPS"


@pytest.mark.parametrize("attempt", [read, write, watch, two_watches])
async def test_a_cancelled_scope_at_any_step(served: Served, attempt: Attempt) -> None:
    """The scope catches it, and the task that it ran in has not been cancelled."""
    task = asyncio.current_task()
    assert task is not None
    before = asyncio.all_tasks()
    caught = 0
    for step in range(MOST_STEPS):
        async with RpcClient([served.endpoint]) as client:
            await read(client)
            protocol = client._connection._protocol
            with anyio.CancelScope() as scope:
                asyncio.get_running_loop().create_task(steps(step)).add_done_callback(lambda _, it=scope: it.cancel())
                await attempt(client)
            caught += scope.cancelled_caught
            assert task.cancelling() == 0
            await read(client)
            await until_nothing_is_left(served, client)
            assert client._connection._protocol is protocol, "the cancelled call cost the connection"
            await steps(step + 2)
        assert asyncio.all_tasks() == before
        if not scope.cancelled_caught and step > 3:
            break
    assert caught


@pytest.mark.parametrize("attempt", [read, write, watch])
async def test_a_cancellation_while_nobody_answers(attempt: Attempt) -> None:
    """It does not wait for the call's time limit."""
    never = fake.answering(lambda _, __: None)
    async with listening(never) as endpoint, RpcClient([endpoint], call_timeout_s=60.0) as client:
        task = asyncio.ensure_future(attempt(client))
        async with asyncio.timeout(WAIT_S):
            await eventually(lambda: open_streams(client) > 0)
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()
        assert task.cancelling() == 1
        await steps(3)
        assert not open_streams(client)
        assert not client._watches


async def test_a_time_limit_of_the_call_is_not_a_cancellation_of_the_task() -> None:
    """The error says so, and the count of the task's cancellations is as it was."""
    task = asyncio.current_task()
    assert task is not None
    async with listening(fake.silent) as endpoint, RpcClient([endpoint], call_timeout_s=0.05) as client:
        for attempt in (read, write, watch):
            with pytest.raises(Exception, match="no answer"):
                await attempt(client)
            assert task.cancelling() == 0
        await steps(3)
        assert not open_streams(client)


async def test_a_cancellation_and_a_lost_connection_at_once() -> None:
    """The cancellation wins; it is not turned into an error of the call."""
    hang_up = asyncio.Event()

    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await fake.Speaker(reader, writer).ended()
        hang_up.set()
        await reader.read()

    async with listening(leaving) as endpoint, RpcClient([endpoint]) as client:
        task = asyncio.ensure_future(read(client))
        await hang_up.wait()
        protocol = client._connection._protocol
        assert protocol is not None
        protocol.processor.close("lost")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
