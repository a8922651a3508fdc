"""Every way out of a block leaves the queue, and the way itself comes out unchanged."""

import asyncio

import anyio
import pytest

from atomix_election import InvalidRequest, LeaderElection, Term, Unavailable, connect
from tests.face.party import Party

pytestmark = pytest.mark.anyio

PROMPT_S = 2.0
"""Leaving takes far less; a bound that still tells it from LEAVE_TIMEOUT_S."""


class Mishap(Exception):
    """What goes wrong in a body."""


@pytest.fixture
async def observer(target: str, party: Party) -> LeaderElection:
    """Election "e", as somebody else sees it."""
    return (await party.join()).client.election("e")


async def test_leaving_the_block_leaves_the_queue(target: str, observer: LeaderElection) -> None:
    """The candidate is gone when the block has ended."""
    async with LeaderElection("e", target=target, candidate_id="a") as election:
        await election.enter()
        assert (await observer.get_term()).leader == "a"
    assert await observer.get_term() == Term((), 1, 2)


async def test_leaving_the_clients_block_leaves_all_queues(target: str, observer: LeaderElection) -> None:
    """Also those of elections that were used without a block of their own."""
    async with connect(target) as client:
        await client.election("e", candidate_id="a").enter()
        await client.election("e", candidate_id="b").enter()
        await client.election("f", candidate_id="a").enter()
    assert (await observer.get_term()).candidates == ()
    async with connect(target) as client:
        assert await client.election("f").get_term() == Term((), 1, 2)


async def test_an_exception_comes_out_as_itself(target: str, observer: LeaderElection) -> None:
    """Neither grouped nor replaced, and the queue has been left."""
    mishap = Mishap("of the body")
    with pytest.raises(Mishap) as raised:  # noqa: PT012
        async with LeaderElection("e", target=target, candidate_id="a") as election, election.events() as events:
            await election.enter()
            await anext(events)
            raise mishap
    assert raised.value is mishap
    assert (await observer.get_term()).candidates == ()


async def test_an_exception_group_comes_out_as_itself(target: str) -> None:
    """A group of the body's own is not taken apart."""
    group = BaseExceptionGroup("of the body", [Mishap(), KeyboardInterrupt()])
    with pytest.raises(BaseExceptionGroup) as raised:  # noqa: PT012
        async with connect(target) as client:
            await client.election("e").enter()
            raise group
    assert raised.value is group


async def test_cancelled_by_a_scope(target: str, observer: LeaderElection, caplog: pytest.LogCaptureFixture) -> None:
    """The scope catches it, and the queue has been left, promptly and without a complaint."""
    began = anyio.current_time()
    with anyio.CancelScope() as scope:
        async with LeaderElection("e", target=target, candidate_id="a") as election:
            await election.enter()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert await observer.get_term() == Term((), 1, 2)
    assert not caplog.records
    assert anyio.current_time() - began < PROMPT_S


async def test_out_of_time(target: str, observer: LeaderElection, caplog: pytest.LogCaptureFixture) -> None:
    """``fail_after`` raises its TimeoutError, and the queue has been left."""
    began = anyio.current_time()
    with pytest.raises(TimeoutError):  # noqa: PT012
        with anyio.fail_after(0.1):
            async with connect(target) as client, client.election("e", candidate_id="a").events() as events:
                await client.election("e", candidate_id="a").enter()
                async for _ in events:
                    pass
    assert (await observer.get_term()).candidates == ()
    assert not caplog.records
    assert anyio.current_time() - began < PROMPT_S


async def test_cancelled_while_entering(target: str, observer: LeaderElection) -> None:
    """An entry of unknown outcome is left like any other."""
    for _ in range(20):
        with anyio.CancelScope() as scope:
            async with LeaderElection("e", target=target, candidate_id="a") as election:
                scope.cancel()
                await election.enter()
        assert (await observer.get_term()).candidates == ()


async def test_a_cancelled_block_that_goes_on_for_a_while_is_idle(target: str) -> None:
    """Shielded work in a cancelled block is not disturbed: the loop comes to rest beside it."""
    ticks = 0
    with anyio.CancelScope() as scope:
        async with connect(target) as client:
            await client.election("e", candidate_id="a").enter()
            scope.cancel()
            with anyio.CancelScope(shield=True):
                until = anyio.current_time() + 0.05
                while anyio.current_time() < until:
                    await anyio.sleep(0.01)
                    ticks += 1
                async with client.election("e").events() as events:
                    assert (await anext(events)).term.leader == "a"
    assert 2 <= ticks <= 6


@pytest.mark.parametrize("face", ["memory-asyncio", "sqlite", "grpc"], indirect=True)
async def test_cancelled_natively(target: str, observer: LeaderElection) -> None:
    """``task.cancel()`` cancels the task, which counts one cancellation and has left the queue."""
    entered = asyncio.Event()
    counts: list[int] = []

    async def stand() -> None:
        try:
            async with LeaderElection("e", target=target, candidate_id="a") as election:
                await election.enter()
                entered.set()
                await asyncio.sleep(60)
        finally:
            task = asyncio.current_task()
            assert task is not None
            counts.append(task.cancelling())

    standing = asyncio.create_task(stand())
    await entered.wait()
    standing.cancel("of the test")
    await asyncio.wait([standing])
    assert standing.cancelled()
    assert counts == [1]
    assert await observer.get_term() == Term((), 1, 2)


@pytest.mark.parametrize("face", ["memory-asyncio", "sqlite", "grpc"], indirect=True)
async def test_a_native_cancellation_can_be_taken_back(target: str, observer: LeaderElection) -> None:
    """Who catches it outside and calls ``uncancel`` goes on as if nothing had happened (as asyncio.timeout does)."""
    with pytest.raises(TimeoutError):  # noqa: PT012
        async with asyncio.timeout(0.1), LeaderElection("e", target=target, candidate_id="a") as election:
            await election.enter()
            await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert (await observer.get_term()).candidates == ()
    await asyncio.sleep(0)


async def test_outside_its_block_an_election_is_refused(target: str) -> None:
    """Before and after the block every call says so."""
    election = LeaderElection("e", target=target, candidate_id="a")

    async def refuses_everything() -> None:
        for call in (election.enter, election.withdraw, election.get_term):
            with pytest.raises(InvalidRequest, match="async with"):
                await call()
        for method in (election.anoint, election.promote, election.evict):
            with pytest.raises(InvalidRequest, match="async with"):
                await method("a")
        with pytest.raises(InvalidRequest, match="async with"):
            async with election.events():
                pass

    await refuses_everything()
    async with election:
        await election.enter()
    await refuses_everything()


async def test_a_block_can_be_entered_anew(target: str) -> None:
    """The same object stands again, with a new session."""
    election = LeaderElection("e", target=target, candidate_id="a")
    async with connect(target):
        for number in (1, 2):
            async with election:
                assert (await election.enter()).number == number


async def test_after_its_block_a_client_is_closed(target: str, party: Party) -> None:
    """Its elections raise Unavailable, also while others use the same target, and nobody enters any more."""
    other = await party.join()
    async with connect(target) as client:
        election = client.election("e", candidate_id="a")
    with pytest.raises(Unavailable):
        await election.get_term()
    with pytest.raises(Unavailable):
        await election.enter()
    assert (await other.term()).candidates == ()


async def test_a_watch_that_outlives_its_client_ends(target: str, party: Party) -> None:
    """It raises Unavailable, also while others use the same target."""
    other = await party.join()
    watching = anyio.Event()
    ended: list[str] = []

    async def watch(election: LeaderElection) -> None:
        try:
            async with election.events() as events:
                await anext(events)
                watching.set()
                await anext(events)
        except Unavailable:
            ended.append("told")

    async with anyio.create_task_group() as tasks:
        async with connect(target) as client:
            tasks.start_soon(watch, client.election("e"))
            await watching.wait()
        with anyio.move_on_after(1):
            while not ended:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert ended
    assert await other.term() == Term()


async def test_ids_are_checked_when_the_object_is_made(target: str) -> None:
    """Malformed ids never reach a service."""
    async with connect(target) as client:
        for bad in ("", " e", "e\t", "x" * 257, "é"):
            with pytest.raises(InvalidRequest, match="election name"):
                LeaderElection(bad, target=target)
            with pytest.raises(InvalidRequest, match="election name"):
                client.election(bad)
            with pytest.raises(InvalidRequest, match="namespace"):
                LeaderElection("e", target=target, namespace=bad)
            with pytest.raises(InvalidRequest, match="namespace"):
                async with connect(target, namespace=bad):
                    pass
        for bad in ("", " a", "a\n", "x" * 257, "é" * 129):
            with pytest.raises(InvalidRequest, match="candidate id"):
                LeaderElection("e", target=target, candidate_id=bad)
            with pytest.raises(InvalidRequest, match="candidate id"):
                client.election("e", candidate_id=bad)


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
async def test_a_time_to_live_is_more_than_nothing(target: str, ttl: float) -> None:
    """The message names the value."""
    with pytest.raises(InvalidRequest, match=r"session_ttl|time-to-live"):
        async with connect(target, session_ttl=ttl):
            pass


async def test_default_candidate_ids_differ(target: str) -> None:
    """Two objects without an id of their own are two candidates."""
    async with LeaderElection("e", target=target) as one, LeaderElection("e", target=target) as two:
        await one.enter()
        assert (await two.enter()).candidates == (one.candidate_id, two.candidate_id)
