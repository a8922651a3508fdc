"""Each failure of a leader alone, and when exactly the next one leads."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.abc import TaskGroup

from atomix_election import Event, InvalidRequest, Leadership, LeadershipLost, LossReason, Term
from atomix_election.core.campaign import Answer, Campaign, Granted, Renew, StartLeading
from atomix_election.service import Call
from atomix_election.testing import Direction
from tests.leadership.world import GRACE_S, LATE_S, MARGIN_S, TTL_S, Replica, World, a_group, a_world

pytestmark = pytest.mark.anyio


class Log:
    """What happened to one replica, and when."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []
        self.tokens: list[int] = []
        self.lost: list[LossReason] = []
        self.leads = anyio.Event()


async def lead(replica: Replica, log: Log, *, linger_s: float = 0.0) -> None:
    """Lead until told otherwise, and note it."""
    try:
        async with replica.election.lead() as leadership:
            log.began.append(anyio.current_time())
            log.tokens.append(leadership.token)
            log.leads.set()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(linger_s)
                log.ended.append(anyio.current_time())
    except LeadershipLost as error:
        log.lost.append(error.reason)


async def two(
    world: World, tasks: TaskGroup, first: Replica, second: Replica, linger_s: float = 0.0
) -> tuple[Log, Log]:
    """Let one lead and the other wait behind it."""
    a, b = Log(), Log()
    tasks.start_soon(lambda: lead(first, a, linger_s=linger_s))
    await a.leads.wait()
    tasks.start_soon(lead, second, b)
    await anyio.sleep(1.0)
    assert (await world.term()).candidates == ("a", "b")
    return a, b


async def test_a_leader_crashes() -> None:
    """The next one leads within ttl + 0.1 s of the last renewal, and not before the dead one's deadline."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        _, b = await two(world, tasks, first, second)
        deadline = anyio.current_time() + first.keeper.remaining_s(first.keeper.leads(("e", "a")))  # type: ignore[arg-type]
        first.crash()
        await b.leads.wait()
        assert deadline <= b.began[0] <= deadline + MARGIN_S + LATE_S
        assert b.tokens == [2]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("cut", [(Direction.THERE,), (Direction.BACK,), (Direction.THERE, Direction.BACK)])
async def test_a_leader_is_cut_off(cut: tuple[Direction, ...]) -> None:
    """Its block ends before its deadline, and before the next one leads, whichever way is cut."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        a, b = await two(world, tasks, first, second)
        deadline = anyio.current_time() + first.keeper.remaining_s(first.keeper.leads(("e", "a")))  # type: ignore[arg-type]
        first.service.link.cut(*cut)
        await b.leads.wait()
        assert a.ended[0] <= deadline - GRACE_S + 0.01
        assert a.ended[0] <= b.began[0]
        assert a.lost == [LossReason.EXPIRED] or not a.lost  # it may still wait to leave
        tasks.cancel_scope.cancel()


async def test_reconnected_in_time() -> None:
    """Session, place, leadership and token stay."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        a, b = await two(world, tasks, first, second)
        session = first.keeper.session_id
        for _ in range(5):
            first.service.link.cut()
            second.service.link.cut()
            await anyio.sleep(0.4 * TTL_S)
            first.service.link.mend()
            second.service.link.mend()
            await anyio.sleep(0.5 * TTL_S)
        assert (await world.term()).candidates == ("a", "b")
        assert first.keeper.session_id == session
        assert first.election.is_leader
        assert not a.ended
        assert not b.began
        tasks.cancel_scope.cancel()


async def test_work_that_ignores_its_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    """Past the deadline its session is left to end: not renewed, nothing withdrawn, and logged."""
    caplog.set_level(logging.ERROR)
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        _, b = await two(world, tasks, first, second, linger_s=3 * TTL_S)
        first.service.link.cut()
        await anyio.sleep(TTL_S - 1.5)
        first.service.link.mend()
        mended = anyio.current_time()
        await anyio.sleep(TTL_S - 1.0)
        assert (await world.term()).candidates == ("a", "b")
        assert "did not stop by its deadline" in caplog.text
        await b.leads.wait()
        assert b.began[0] <= mended + TTL_S + LATE_S
        tasks.cancel_scope.cancel()


async def test_overdue_work_is_logged_and_not_renewed(caplog: pytest.LogCaptureFixture) -> None:
    """Superseded, and deaf to it: no confirmation; the next one leads when the wait is over."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        _, b = await two(world, tasks, first, second, linger_s=3 * TTL_S)
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        with anyio.move_on_after(TTL_S + 1):
            await b.leads.wait()
        assert b.began
        assert changed + TTL_S / 2 < b.began[0] <= changed + TTL_S + LATE_S
        assert "did not stop by its deadline" in caplog.text
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("command", ["anoint b", "promote b", "evict a"])
async def test_an_operator_moves_the_lead(command: str) -> None:
    """The next one leads as soon as the former one has confirmed that its work has ended."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        a, b = await two(world, tasks, first, second, linger_s=0.5)
        changed = anyio.current_time()
        await world.operate(*command.split())
        await b.leads.wait()
        assert changed + 0.5 == pytest.approx(a.ended[0], abs=0.01)
        assert a.ended[0] <= b.began[0] < changed + 0.7
        await anyio.sleep(1)
        assert a.lost == [LossReason.EVICTED if "evict" in command else LossReason.SUPERSEDED]
        assert (await world.term()).candidates == ("b",)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("command", ["anoint b", "evict a"])
async def test_an_operator_moves_the_lead_of_one_that_is_cut_off(command: str) -> None:
    """The next one waits until the session has ended, or one time-to-live has passed."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        a, b = await two(world, tasks, first, second)
        first.service.link.cut()
        await anyio.sleep(1.0)
        changed = anyio.current_time()
        await world.operate(*command.split())
        await b.leads.wait()
        assert a.ended[0] < b.began[0] <= changed + TTL_S + LATE_S
        tasks.cancel_scope.cancel()


async def test_one_stand_for_each_candidate() -> None:
    """A second ``lead()`` is refused and disturbs nothing."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        a, _ = await two(world, tasks, first, second)
        with pytest.raises(InvalidRequest):
            async with first.election.lead():
                pass
        assert first.election.is_leader
        assert not a.ended
        tasks.cancel_scope.cancel()


async def test_withdrawn_while_it_leads() -> None:
    """The block is cancelled, the withdrawal is sent after it ended, and the next one leads after that."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        a, b = await two(world, tasks, first, second, linger_s=0.5)
        term = await first.election.withdraw()
        assert term.candidates == ("b",)
        await b.leads.wait()
        assert a.ended[0] <= b.began[0]
        assert a.lost == [LossReason.WITHDRAWN]
        tasks.cancel_scope.cancel()


async def test_it_does_not_lead_while_it_withdraws() -> None:
    """``is_leader`` is false before the withdrawal is sent, also where nobody has called ``lead()``."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        await first.election.enter()
        await anyio.sleep(1)
        await second.election.enter()
        assert first.election.is_leader
        first.service.link.cut(Direction.BACK)
        tasks.start_soon(first.election.withdraw)
        await anyio.sleep(0.5)
        assert second.election.is_leader
        assert not first.election.is_leader
        first.service.link.mend()
        await anyio.sleep(1)


async def test_the_first_answer_never_comes() -> None:
    """A session whose opening hangs is tried again on another stream, within its time-to-live."""
    async with a_world() as world, world.replica("a") as first:
        streams = 0
        opening = first.service._open

        def counted(serve: object) -> object:
            nonlocal streams
            streams += 1
            return opening(serve)  # type: ignore[arg-type]

        first.service._open = counted  # type: ignore[method-assign, assignment]
        first.service.link.cut()
        first.client.candidates()
        await anyio.sleep(2 * TTL_S)
        assert streams > 1


async def test_ensure_by_the_clock_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that blocked the loop past its deadline sees so before any task has run."""
    async with a_world() as world, world.replica("a") as first:
        leadership: Leadership | None = None
        with pytest.raises(LeadershipLost) as lost:  # noqa: PT012 - a block is what is tested
            async with first.election.lead() as leadership:
                await anyio.sleep(1)
                later = first.keeper.clock.now() + TTL_S
                monkeypatch.setattr(first.keeper.clock, "now", lambda: later)
                assert not first.election.is_leader
                assert leadership.remaining == 0
                with pytest.raises(LeadershipLost):
                    leadership.ensure()
                monkeypatch.undo()
                leadership._work.lose(LossReason.EXPIRED)
                await anyio.sleep(1)
        assert lost.value.leadership is leadership


async def test_lost_between_grant_and_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block never begins under a leadership that was lost while its watch was being closed."""
    async with a_world() as world, world.replica("a") as first:
        watch = first.service.events

        @asynccontextmanager
        async def slowly_closed(call: Call) -> AsyncGenerator[AsyncIterator[Event]]:
            async with watch(call) as events:
                try:
                    yield events
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.5)

        monkeypatch.setattr(first.service, "events", slowly_closed)
        began = False
        with anyio.move_on_after(TTL_S), suppress(LeadershipLost):
            async with a_group() as tasks:
                tasks.start_soon(_evict_soon, world)
                async with first.election.lead() as leadership:
                    began = True
                    assert first.election.is_leader, f"token {leadership.token} was lost before"
                    tasks.cancel_scope.cancel()
        assert began


async def _evict_soon(world: World) -> None:
    while not (await world.term()).candidates:  # noqa: ASYNC110 - the store tells nobody
        await anyio.sleep(0.01)
    await anyio.sleep(0.2)
    await world.operate("evict", "a")


async def test_a_late_answer_after_a_newer_term() -> None:
    """Who has seen a newer term does not begin to lead under an older number, whatever still arrives."""
    campaign = Campaign()
    (renew,) = campaign.connected(0.0)
    assert isinstance(renew, Renew)
    campaign.term_seen("e", Term(("b",), 2, 3))
    late = Answer(renew.renewal, "store", TTL_S, TTL_S, (Granted("e", 1, "a"),))
    assert StartLeading(Granted("e", 1, "a")) not in campaign.renewed(late, 0.1)
    assert campaign.leads("e", "a", 0.2) is None


async def test_the_client_is_closed_before_its_block_ends() -> None:
    """The block ends, whoever closed the client."""
    async with a_world() as world, a_group() as tasks:
        log = Log()
        async with world.replica("a") as first:
            tasks.start_soon(lead, first, log)
            await log.leads.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3 * TTL_S)
        stuck = first.client._candidates.standing(("e", "a"))
        if stuck is not None:
            first.client._candidates._remove_stand(stuck)
        assert stuck is None
        assert log.ended
