"""How a block that leads ends, on Trio and on asyncio: who wins, and that nothing stays."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from atomix_election import Client, LeaderElection, Leadership, LeadershipLost, LossReason, connect

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return request.param


@asynccontextmanager
async def elections() -> AsyncGenerator[tuple[LeaderElection, LeaderElection]]:
    """One candidate, and an operator's view of its election."""
    async with connect("memory://") as client:
        yield client.election("e", candidate_id="a"), client.election("e", candidate_id="z")


async def nothing_stays(election: LeaderElection) -> None:
    """Nobody is in the queue."""
    assert (await election.get_term()).candidates == ()
    assert not election.is_leader


async def test_the_bodys_own_error_comes_out_as_itself() -> None:
    """Never in a group."""
    async with elections() as (election, _):
        with pytest.raises(ValueError, match="mine") as raised:
            async with election.lead():
                raise ValueError("mine")
        assert raised.value.__context__ is None
        await nothing_stays(election)


async def test_the_bodys_own_error_wins_over_the_loss() -> None:
    """The loss is its context."""
    async with elections() as (election, operator):
        with pytest.raises(ValueError, match="mine") as raised:  # noqa: PT012 - a block is what is tested
            async with election.lead():
                await operator.evict("a")
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.05)
                raise ValueError("mine")
        assert isinstance(raised.value.__context__, LeadershipLost)
        await nothing_stays(election)


async def test_a_loss_cancels_the_body() -> None:
    """And says why."""
    async with elections() as (election, operator):
        with pytest.raises(LeadershipLost) as raised:  # noqa: PT012 - a block is what is tested
            async with election.lead():
                await operator.evict("a")
                await anyio.sleep_forever()
        assert raised.value.reason is LossReason.EVICTED
        await nothing_stays(election)


async def test_a_block_that_ends_after_the_loss_raises() -> None:
    """Even if it noticed nothing."""
    async with elections() as (election, operator):
        with pytest.raises(LeadershipLost):  # noqa: PT012 - a block is what is tested
            async with election.lead():
                with anyio.CancelScope(shield=True):
                    await operator.evict("a")
                    await anyio.sleep(0.05)


async def test_an_outer_scope_wins() -> None:
    """Its cancellation is not swallowed, also when the leadership was lost."""
    async with elections() as (election, operator):
        with anyio.CancelScope() as outer:
            async with election.lead():
                outer.cancel()
                with anyio.CancelScope(shield=True):
                    await operator.evict("a")
                    await anyio.sleep(0.05)
            raise AssertionError("it went on")
        assert outer.cancelled_caught
        await nothing_stays(election)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_native_cancellation_wins(anyio_backend: str, lost: bool) -> None:
    """``Task.cancel`` comes out, and is counted once."""
    if anyio_backend != "asyncio":
        pytest.skip("asyncio's own")
    async with elections() as (election, operator):
        leads = asyncio.Event()

        async def work() -> None:
            try:
                async with election.lead():
                    leads.set()
                    await asyncio.sleep(60)
            finally:
                assert task.cancelling() == 1

        task = asyncio.create_task(work())
        await leads.wait()
        if lost:
            await operator.evict("a")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_stays(election)


async def test_a_task_group_in_the_body() -> None:
    """It is cancelled like anything else, and the loss comes out bare."""
    async with elections() as (election, operator):
        with pytest.raises(LeadershipLost):  # noqa: PT012 - a block is what is tested
            async with election.lead(), anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep_forever)
                await operator.evict("a")


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_task_group_of_asyncio_in_the_body() -> None:
    """Its tasks are cancelled and waited for, and the loss comes out bare."""
    async with elections() as (election, operator):
        cleaned_up = False

        async def clean_up() -> None:
            nonlocal cleaned_up
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
                assert not election.is_leader
                cleaned_up = True
                raise

        with pytest.raises(LeadershipLost) as raised:  # noqa: PT012 - a block is what is tested
            async with election.lead(), asyncio.TaskGroup() as tasks:
                tasks.create_task(clean_up())
                await asyncio.sleep(0)
                await operator.evict("a")
        assert raised.value.reason is LossReason.EVICTED
        assert cleaned_up
        await nothing_stays(election)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_an_error_in_a_task_group_of_asyncio_in_the_body() -> None:
    """It comes out in the group that asyncio has made of it, and the lead is given up."""
    async with elections() as (election, _):

        async def fail() -> None:
            raise ValueError("mine")

        with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - a block is what is tested
            async with election.lead(), asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())
                await asyncio.sleep(60)
        assert raised.group_contains(ValueError, match="mine", depth=1)
        await nothing_stays(election)


async def test_the_loss_of_another_election_is_an_ordinary_error() -> None:
    """It comes out of the inner and the outer block as it is, and ``run`` does not take it for its own."""
    async with connect("memory://") as client:
        outer, inner = client.election("outer", candidate_id="a"), client.election("inner", candidate_id="a")
        calls = 0

        async def work(_: Leadership) -> None:
            nonlocal calls
            calls += 1
            async with inner.lead():
                await client.election("inner").evict("a")
                await anyio.sleep_forever()

        with pytest.raises(LeadershipLost) as raised:
            await outer.run(work)
        assert calls == 1
        assert "inner" in str(raised.value)
        await nothing_stays(outer)
        await nothing_stays(inner)


async def test_run_goes_on_after_a_loss() -> None:
    """With a new token, until the work is done."""
    async with elections() as (election, operator):
        tokens: list[int] = []

        async def work(leadership: Leadership) -> str:
            tokens.append(leadership.token)
            if len(tokens) == 1:
                await operator.evict("a")
                await anyio.sleep_forever()
            if len(tokens) == 2:
                with anyio.CancelScope(shield=True):
                    await operator.evict("a")
                    await anyio.sleep(0.05)
                leadership.ensure()
            return "done"

        assert await election.run(work) == "done"
        assert tokens == [1, 2, 3]
        await nothing_stays(election)


async def _attempt(client: Client) -> None:
    async with client.election("e", candidate_id="a").lead():
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("native", [False, True])
async def test_cancelled_at_every_checkpoint(anyio_backend: str, native: bool) -> None:
    """Wherever it is cancelled while it enters, leads or leaves: no candidate stays, and the client goes on."""
    if native and anyio_backend != "asyncio":
        pytest.skip("asyncio's own")
    for steps in range(60):
        async with connect("memory://") as client:
            if native:
                await _cancel_natively(client, steps)
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_attempt, client)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
            with anyio.fail_after(5):
                while (await client.election("e").get_term()).candidates:  # noqa: ASYNC110 - as a user would
                    await anyio.sleep(0.001)
            assert not client.candidates()._stands
            with anyio.fail_after(5):
                await _attempt(client)


async def _cancel_natively(client: Client, steps: int) -> None:
    task = asyncio.create_task(_attempt(client))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    while client.candidates()._stands:  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(0.001)
