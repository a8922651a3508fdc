"""Withdrawing and closing, at any moment: nobody waits for ever, and nobody leads meanwhile."""

import asyncio
import logging

import anyio
import pytest

from atomix_election import (
    CandidateTaken,
    InvalidRequest,
    Leadership,
    LeadershipLost,
    LossReason,
    OutcomeUnknown,
    Unavailable,
    connect,
)
from atomix_election.engine import Connection
from atomix_election.testing.streams import Direction
from tests.leadership.world import TTL_S, Replica, a_group, a_world

pytestmark = pytest.mark.anyio


async def lead_on(replica: Replica) -> None:
    """Lead until cancelled."""
    async with replica.election.lead():
        await anyio.sleep_forever()


async def test_withdrawals_that_overlap_let_nobody_lead_meanwhile() -> None:
    """``is_leader`` is false until the last of them was answered."""
    async with a_world() as world, world.replica("a") as a, world.replica("b") as b, a_group() as tasks:
        await a.election.enter()
        await anyio.sleep(0.1)
        assert a.election.is_leader
        await b.client.election("warm", candidate_id="w").enter()
        a.service.faults.delay_s = 0.5
        for call in (a.election.withdraw, a.election.enter, a.election.withdraw, a.election.enter):
            tasks.start_soon(call)
            await anyio.sleep(0.001)
        entered = False
        for _ in range(4000):
            await anyio.sleep(0.001)
            term = await world.term()
            if not entered and term.number == 2 and term.leader == "a":
                entered = True
                tasks.start_soon(b.election.enter)
            assert not (a.election.is_leader and b.election.is_leader)
        assert entered
        tasks.cancel_scope.cancel()


async def test_a_withdrawal_that_may_still_arrive_lets_nobody_lead_meanwhile() -> None:
    """It takes place whenever it arrives, and the next one leads at once: so what is granted until then is not used."""
    async with a_world() as world, world.replica("a") as a, world.replica("b") as b, a_group() as tasks:
        await b.election.enter()
        await a.election.enter()
        await anyio.sleep(0.1)
        a.service.link.cut(Direction.THERE)
        with pytest.raises(OutcomeUnknown):
            await a.election.withdraw()
        a.service.slow_s["a"] = 2.0
        tasks.start_soon(lead_on, a)
        await b.election.withdraw()
        await b.election.enter()
        await anyio.sleep(0.1)
        assert (await world.term()).candidates == ("a", "b")
        assert not a.election.is_leader
        a.service.answers.shut()
        a.service.link.mend()
        await anyio.sleep(0.1)
        assert b.election.is_leader
        assert not a.election.is_leader
        a.service.answers.open()
        await anyio.sleep(6.0)
        await b.election.withdraw()
        await anyio.sleep(0.1)
        assert a.election.is_leader
        tasks.cancel_scope.cancel()


async def test_a_withdrawal_that_is_sent_with_another_session_ends_what_that_one_leads() -> None:
    """It waits for its turn while the session ends, a new one enters, and leads: not from when it is sent."""
    async with a_world() as world, world.replica("a") as a, a_group() as tasks:
        await a.client.election("warm", candidate_id="w").enter()
        former = a.keeper.session_id
        a.service.slow_s["a"] = 1.0
        for call in (a.election.enter, a.election.enter, a.election.withdraw, lambda: lead_on(a)):
            tasks.start_soon(call)
            await anyio.sleep(0.001)
        await Connection(world.engine).end_session("default", former)
        await anyio.sleep(1.9)
        assert a.keeper.session_id != former
        assert (await world.term()).leader is None
        await anyio.sleep(0.2)
        assert (await world.term()).leader == "a"
        assert not a.election.is_leader
        tasks.cancel_scope.cancel()


async def test_withdrawn_while_there_is_no_session() -> None:
    """With the server out of reach, a ``lead()`` that waits ends at once, and says why; the withdrawal says that."""
    async with a_world() as world, a_group() as tasks:
        world.up = False
        async with world.replica("a") as a:
            raised: list[LeadershipLost] = []

            async def lead() -> None:
                try:
                    async with a.election.lead():
                        raise AssertionError("nobody grants it")
                except LeadershipLost as lost:
                    raised.append(lost)

            tasks.start_soon(lead)
            await anyio.sleep(1)
            began = anyio.current_time()
            with pytest.raises(Unavailable):
                await a.election.withdraw()
            assert [each.reason for each in raised] == [LossReason.WITHDRAWN]
            assert anyio.current_time() - began < TTL_S


@pytest.mark.parametrize("up", [True, False])
async def test_closing_the_client_ends_who_waits_and_who_would_go_on(up: bool) -> None:
    """Whoever leads or waits in another task hears of it, and nobody enters with a client that is closed."""
    async with a_world() as world, a_group() as tasks:
        world.up = up
        raised: list[Exception] = []

        async def run(election: object) -> None:
            try:
                await election.run(work)  # type: ignore[attr-defined]
            except (LeadershipLost, Unavailable) as error:
                raised.append(error)

        async def work(_: Leadership) -> None:
            await anyio.sleep_forever()

        async with world.replica("a") as a:
            tasks.start_soon(run, a.election)
            await anyio.sleep(1)
        with anyio.fail_after(TTL_S):
            while not raised:  # noqa: ASYNC110 - nothing else tells it
                await anyio.sleep(0.1)
        assert isinstance(raised[0], Unavailable if up else LeadershipLost)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_run_does_not_go_on_after_a_withdrawal_however_its_work_says_that(anyio_backend: str) -> None:
    """The work's own task group may put the loss into a group."""
    async with connect() as client:
        election = client.election("e", candidate_id="a")
        began = asyncio.Event()
        tokens: list[int] = []

        async def child(leadership: Leadership) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                leadership.ensure()

        async def work(leadership: Leadership) -> None:
            tokens.append(leadership.token)
            began.set()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(child(leadership))

        running = asyncio.create_task(election.run(work))
        await began.wait()
        await election.withdraw()
        with pytest.raises(BaseExceptionGroup) as raised:
            await asyncio.wait_for(running, 5)
        assert raised.group_contains(LeadershipLost)
        assert tokens == [1]


async def test_a_block_cannot_withdraw_itself_inside_a_shield() -> None:
    """It would wait for its own end. Without a shield it ends there."""
    async with a_world() as world, world.replica("a") as a:
        with anyio.fail_after(TTL_S):
            with pytest.raises(InvalidRequest, match="inside a shield of its own block"):  # noqa: PT012
                async with a.election.lead():
                    with anyio.CancelScope(shield=True):
                        await a.election.withdraw()
            with pytest.raises(LeadershipLost) as lost:
                async with a.election.lead():
                    await a.election.withdraw()
        assert lost.value.reason is LossReason.WITHDRAWN


async def test_a_successor_with_less_time_waits_for_its_predecessor() -> None:
    """The longest failover is that of whoever may be waited for, not of the one that waits."""
    async with connect("memory://longer", session_ttl=9.0) as first:
        await first.election("e", candidate_id="a").enter()
        async with connect("memory://longer", session_ttl=2.0) as second, a_group() as tasks:
            began = anyio.current_time()
            tasks.start_soon(_withdraw_later, first, 8.0)
            async with second.election("e", candidate_id="a").lead() as leadership:
                assert leadership.token == 2
            assert anyio.current_time() - began >= 8.0


async def _withdraw_later(client: object, pause_s: float) -> None:
    await anyio.sleep(pause_s)
    await client.election("e", candidate_id="a").withdraw()  # type: ignore[attr-defined]


async def test_the_loss_stands_behind_what_the_clean_up_failed_with() -> None:
    """Also where that was raised while the block was being cancelled."""
    async with connect() as client:
        election, other = client.election("e", candidate_id="a"), client.election("e", candidate_id="z")
        with pytest.raises(ValueError, match="clean-up") as raised:  # noqa: PT012
            async with election.lead():
                await other.evict("a")
                try:
                    await anyio.sleep_forever()
                finally:
                    raise ValueError("clean-up failed")
        behind: BaseException | None = raised.value
        while behind is not None and not isinstance(behind, LeadershipLost):
            behind = behind.__context__
        assert isinstance(behind, LeadershipLost)
        assert behind.reason is LossReason.EVICTED


async def test_a_leadership_that_was_given_up_is_over_for_good() -> None:
    """Also when another store grants the same number to the same candidate."""
    async with a_world() as world, world.replica("a") as a:
        async with a.election.lead() as leadership:
            assert leadership.remaining > 0
        assert leadership.remaining == 0
        with pytest.raises(LeadershipLost):
            leadership.ensure()
        assert not leadership.lost.is_set()
        assert leadership.reason is None
        await world.server().end_session("default", a.keeper.session_id)
        world.store._records.clear()
        async with a.election.lead() as again:
            assert again.token == leadership.token
            again.ensure()
            assert leadership.remaining == 0
            with pytest.raises(LeadershipLost):
                leadership.ensure()


async def test_who_was_refused_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A candidate that never was in the queue is not withdrawn from it."""
    async with a_world() as world, world.replica("a") as first, world.replica("a") as second:
        await first.election.enter()
        with pytest.raises(CandidateTaken):
            async with second.election.lead():
                raise AssertionError("it is taken")
        assert (await world.term()).candidates == ("a",)
        assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_an_entry_of_unknown_outcome_is_left_like_any_other() -> None:
    """Also if ``withdraw`` comes while it is on its way."""
    async with a_world() as world, world.replica("a") as a, a_group() as tasks:
        await a.client.election("warm", candidate_id="w").enter()
        a.service.faults.delay_s = 1.0

        async def lead() -> None:
            with pytest.raises(LeadershipLost):
                async with a.election.lead():
                    raise AssertionError("it was withdrawn before")

        tasks.start_soon(lead)
        await anyio.sleep(0.01)
        with anyio.move_on_after(2 * TTL_S):
            try:
                await a.election.withdraw()
            except OutcomeUnknown:
                await a.election.withdraw()
        await anyio.sleep(2 * TTL_S)
        assert (await world.term()).candidates == ()
