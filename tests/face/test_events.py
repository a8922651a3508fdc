"""Watching is the same in memory and over gRPC."""

import anyio
import pytest

from atomix_election import Event, EventType, InvalidRequest, LeaderElection, Term, connect
from tests.face.party import Party, until

pytestmark = pytest.mark.anyio


async def test_a_snapshot_comes_first_and_then_every_change(target: str) -> None:
    """NONE with the current term, CHANGED for each change, with consecutive revisions."""
    async with connect(target) as client:
        a, b = (client.election("e", candidate_id=each) for each in "ab")
        await a.enter()
        async with b.events() as events:
            assert await anext(events) == Event(EventType.NONE, Term(("a",), 1, 1))
            await b.enter()
            await a.anoint("b")
            await a.enter()
            await a.anoint("b")
            await a.evict("a")
            assert [await anext(events) for _ in range(3)] == [
                Event(EventType.CHANGED, Term(("a", "b"), 1, 2)),
                Event(EventType.CHANGED, Term(("b", "a"), 2, 3)),
                Event(EventType.CHANGED, Term(("b",), 2, 4)),
            ]


async def test_an_election_that_nobody_entered_can_be_watched(target: str) -> None:
    """The snapshot is the empty term."""
    async with LeaderElection("e", target=target) as election, election.events() as events:
        assert await anext(events) == Event(EventType.NONE, Term())


async def test_the_end_of_the_last_leader_is_announced(party: Party) -> None:
    """Nobody leads is an event like any other."""
    watcher, one = await party.join(), await party.join()
    await one.enter("a")
    async with watcher.client.election("e").events() as events:
        assert (await anext(events)).term.leader == "a"
        await one.leave()
        assert await anext(events) == Event(EventType.CHANGED, Term((), 1, 2))


async def test_a_watch_without_changes_stays_silent(target: str) -> None:
    """Commands without effect, and those on other elections, are no events."""
    async with connect(target) as client:
        election = client.election("e", candidate_id="a")
        await election.enter()
        async with election.events() as events:
            await anext(events)
            await election.enter()
            await client.election("other", candidate_id="a").enter()
            await election.withdraw()
            assert (await anext(events)).term == Term((), 1, 2)


async def test_who_falls_behind_gets_the_newest_and_skips_those_between(target: str) -> None:
    """No more than the buffer waits; the last one is the current term; revisions rise and show the gap."""
    async with connect(target) as client:
        election = client.election("e")
        async with election.events(buffer=2) as slow, election.events() as quick:
            term = Term()
            term = Term()
            for number in range(11):
                term = await client.election("e", candidate_id=f"c{number}").enter()
            await until(quick, lambda now: now.revision == term.revision)
            revisions = [(await anext(slow)).term.revision]
            while revisions[-1] != term.revision:
                revisions.append((await anext(slow)).term.revision)
            assert revisions[0] == 0
            assert len(revisions) <= 3
            assert revisions == sorted(set(revisions))
            await election.evict("c0")
            assert (await anext(slow)).term.revision == term.revision + 1


async def test_a_buffer_without_room_is_refused(target: str) -> None:
    """A buffer holds at least one event."""
    async with LeaderElection("e", target=target) as election:
        for buffer in (0, -1):
            with pytest.raises(InvalidRequest, match=f"buffer is {buffer}"):
                async with election.events(buffer=buffer):
                    pass


async def test_a_late_watcher_of_the_same_client_begins_with_the_present(target: str) -> None:
    """Its snapshot is the current term, not the one that an earlier watch began with, and no change comes twice."""
    async with connect(target) as client:
        election = client.election("e", candidate_id="a")
        async with election.events() as early:
            term = await election.enter()
            async with election.events() as late:
                assert await anext(late) == Event(EventType.NONE, term)
                after = await election.withdraw()
                assert (await anext(late)).term == after
            assert [(await anext(early)).term.revision for _ in range(3)] == [0, 1, 2]


async def test_ending_one_watch_keeps_the_others(target: str) -> None:
    """Watches of one client end independently, also the one that came first."""
    async with connect(target) as client, anyio.create_task_group() as tasks:
        election = client.election("e", candidate_id="a")
        end_first = anyio.Event()
        ended = anyio.Event()

        async def first(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with election.events() as events:
                await anext(events)
                task_status.started()
                await end_first.wait()
            ended.set()

        await tasks.start(first)
        async with election.events() as events:
            await anext(events)
            end_first.set()
            await ended.wait()
            await election.enter()
            assert (await anext(events)).term.candidates == ("a",)


@pytest.mark.parametrize("clients", [1, 10])
async def test_two_hundred_watchers_see_the_same(target: str, clients: int) -> None:
    """Each of them sees every change, whether they share a client or not."""
    seen: list[list[int]] = []

    async def watch(client_number: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with connect(target) as client, anyio.create_task_group() as watchers:
            election = client.election("e")

            async def one(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                async with election.events() as events:
                    revisions = [(await anext(events)).term.revision]
                    task_status.started()
                    while revisions[-1] < 3:
                        revisions.append((await anext(events)).term.revision)
                seen.append(revisions)

            for _ in range(200 // clients):
                await watchers.start(one)
            task_status.started()

    async with connect(target) as client:
        async with anyio.create_task_group() as tasks:
            for number in range(clients):
                await tasks.start(watch, number)
            for each in "abc":
                await client.election("e", candidate_id=each).enter()
        assert seen == [[0, 1, 2, 3]] * 200


async def test_an_exception_in_the_loop_comes_out_as_itself(target: str) -> None:
    """Leaving a watch with an exception does not group it, and the client goes on."""
    async with connect(target) as client:
        election = client.election("e")
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with election.events() as events:
                async for _ in events:
                    raise ZeroDivisionError
        assert await election.get_term() == Term()


async def test_watching_is_left_when_it_is_cancelled(target: str) -> None:
    """A cancelled watch ends at once, and a new one begins with a snapshot."""
    async with connect(target) as client:
        election = client.election("e")
        for _ in range(3):
            with anyio.CancelScope() as scope:
                async with election.events() as events:
                    async for event in events:
                        assert event.type is EventType.NONE
                        scope.cancel()
            assert scope.cancelled_caught
