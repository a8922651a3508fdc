"""Our client and our server, with very many watchers, calls and elections on one connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from atomix_election.client import connect
from atomix_election.errors import Unavailable
from atomix_election.model import Event, EventType
from atomix_election.rpc.client import RpcClient
from atomix_election.server import ElectionServer
from atomix_election.service import Call
from tests.rpc.conftest import Served
from tests.rpc.fake import answering, listening, silent

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

MANY = 1_000
FILES = Path("/proc/self/fd")
SETTLE_S = 10.0


async def read_until(events: AsyncIterator[Event], revision: int) -> list[Event]:
    """Return the events up to the one with that revision."""
    seen: list[Event] = []
    async for event in events:
        seen.append(event)
        if event.term.revision >= revision:
            break
    return seen


async def test_a_thousand_watchers_of_one_election_share_a_stream(served: Served) -> None:
    """Each sees the snapshot and every change, while calls go on beside them."""
    call = Call("one", session="s")
    async with RpcClient([served.endpoint]) as client, AsyncExitStack() as watches:
        await client.create(call)
        watchers = [await watches.enter_async_context(client.events(call)) for _ in range(MANY)]
        for each in watchers:
            assert (await anext(each)).type is EventType.NONE
        for number in range(5):
            await client.enter(call, f"c{number}")
        assert len(served.rpc._connections) <= 2
        assert served.calls == 1
        with anyio.fail_after(SETTLE_S):
            for each in watchers:
                assert [event.term.revision for event in await read_until(each, 5)] == [1, 2, 3, 4, 5]


async def test_a_thousand_elections_are_watched_on_one_connection(served: Served) -> None:
    """With as many calls beside the watches: none is stuck behind them."""
    calls = [Call(f"e{number}", session="s") for number in range(MANY)]
    seen: dict[str, list[Event]] = {}

    async def watch(call: Call, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        async with client.events(call) as events:
            seen[call.election] = [await anext(events)]
            task_status.started()
            seen[call.election].append(await anext(events))

    async def enter(call: Call) -> None:
        await client.enter(call, "a")

    with anyio.fail_after(4 * SETTLE_S):
        async with RpcClient([served.endpoint], call_timeout_s=30.0) as client:
            await client.create(calls[0])
            async with anyio.create_task_group() as tasks:
                async with anyio.create_task_group() as starting:
                    for call in calls:
                        starting.start_soon(tasks.start, watch, call)
                assert served.calls == MANY
                assert (await client.get_term(calls[0])).number == 0
                for call in calls:
                    tasks.start_soon(enter, call)
            assert len(served.rpc._connections) <= 2
    assert len(seen) == MANY
    for events in seen.values():
        assert [(event.type, event.term.candidates) for event in events] == [
            (EventType.NONE, ()),
            (EventType.CHANGED, ("a",)),
        ]


async def test_the_last_watcher_takes_the_stream_with_it(served: Served) -> None:
    """The first to leave does not; and a later watch begins with a stream of its own."""
    call = Call("one", session="s")
    async with RpcClient([served.endpoint]) as client:
        async with client.events(call) as stays:
            async with client.events(call) as leaves:
                await anext(leaves)
            assert (await anext(stays)).type is EventType.NONE
            await client.create(call)
            await client.enter(call, "a")
            assert (await anext(stays)).term.leader == "a"
        await client.get_term(call)
        await served.until_idle(connections=2)
        async with client.events(call) as again:
            snapshot = await anext(again)
        assert (snapshot.type, snapshot.term.leader) == (EventType.NONE, "a")


async def test_a_slow_watcher_skips_to_the_newest_term(served: Served) -> None:
    """Its neighbour with room for all of them sees every one."""
    call = Call("slow", session="s")
    async with RpcClient([served.endpoint]) as client:
        await client.create(call)
        async with client.events(call, buffer=2) as slow, client.events(call, buffer=200) as patient:
            for number in range(100):
                await client.enter(call, f"c{number}")
            with anyio.fail_after(SETTLE_S):
                assert [event.term.revision for event in await read_until(patient, 100)] == list(range(101))
                revisions = [event.term.revision for event in await read_until(slow, 100)]
        assert revisions[0] == 0
        assert revisions[-1] == 100
        assert len(revisions) <= 3
        assert revisions == sorted(set(revisions))


@pytest.mark.skipif(not FILES.exists(), reason="counts the process' open files in /proc")
async def test_nothing_is_left_when_the_blocks_have_ended() -> None:
    """No task and no socket, though watches and calls were under way."""
    await come_and_go()  # the first time loads what stays
    tasks, files = asyncio.all_tasks(), open_files()
    await come_and_go()
    assert asyncio.all_tasks() == tasks
    assert open_files() == files


def open_files() -> int:
    """Return how many files and sockets the process has open."""
    return len(list(FILES.iterdir()))


async def come_and_go() -> None:
    """Start a server, use it and leave it."""
    async with ElectionServer() as server:
        for _ in range(3):
            async with connect(server.target) as client:
                election = client.election("e", candidate_id="a")
                await election.enter()
                async with election.events() as events:
                    await anext(events)
                    assert (await election.get_term()).leader == "a"


async def test_a_target_that_says_nothing_does_not_use_up_a_short_session(served: Served) -> None:
    """The granted time-to-live bounds what one target may take, and what one call may; a longer one relaxes nothing."""
    async with listening(silent) as mute, RpcClient([mute, served.endpoint]) as client:
        client.session_granted(1.0)
        client.session_granted(300.0)
        began = anyio.current_time()
        assert (await client.get_term(Call("granted"))).number == 0
        assert 0.125 <= anyio.current_time() - began < 0.25


async def test_a_call_that_hangs_does_not_use_up_a_short_session() -> None:
    """It is given up after half of the granted time-to-live."""
    async with listening(answering(lambda *_: None)) as mute, RpcClient([mute]) as client:
        client.session_granted(0.4)
        began = anyio.current_time()
        with pytest.raises(Unavailable):
            await client.get_term(Call("granted"))
        assert 0.2 <= anyio.current_time() - began < 0.4
