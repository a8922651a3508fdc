"""Leaders that come back: to another store, with another session, after their lease, and to an id that is taken."""

import logging

import anyio
import pytest

from atomix_election import CandidateTaken, Leadership, LeadershipLost, LossReason
from atomix_election.testing import Direction
from tests.leadership.world import GRACE_S, LATE_S, TTL_S, Replica, World, a_group, a_world

pytestmark = pytest.mark.anyio

PAUSE_S = TTL_S / 10
"""The longest pause between two tries."""
SOON_S = 3.0
"""How long a client may take to notice what it is told at once, and to act on it, with its pauses."""
PLACE = ("e", "a")


class Runs:
    """What became of one ``run()``: a line for each time that it led."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.sessions: list[str] = []
        self.began: list[float] = []
        self.ended: list[float] = []
        self.leaderships: list[Leadership] = []

    async def run(self, replica: Replica, linger_s: float = 0.0) -> None:
        """Lead for ever, again and again."""

        async def work(leadership: Leadership) -> None:
            self.tokens.append(leadership.token)
            self.sessions.append(replica.keeper.session_id)
            self.began.append(anyio.current_time())
            self.leaderships.append(leadership)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(linger_s)
                self.ended.append(anyio.current_time())

        await replica.election.run(work)

    async def led(self, times: int, within_s: float = 10 * TTL_S) -> None:
        """Wait until it has begun to lead so many times."""
        with anyio.fail_after(within_s):
            while len(self.tokens) < times:  # noqa: ASYNC110 - nothing tells it
                await anyio.sleep(0.01)


async def queue(world: World, *expected: str, within_s: float = SOON_S) -> None:
    """Wait until these stand, in this order."""
    with anyio.move_on_after(within_s):
        while (await world.term()).candidates != expected:  # noqa: ASYNC110 - the store tells nobody
            await anyio.sleep(0.01)
    assert (await world.term()).candidates == expected


async def never_leads_under(replica: Replica, number: int) -> None:
    """Look all the time that a replica does not lead under a number."""
    while True:
        granted = replica.keeper.leads(PLACE)
        assert granted is None or granted.number != number
        assert replica.election.is_leader == (granted is not None)
        await anyio.sleep(0.01)


async def test_another_store_cancels_the_block() -> None:
    """The reason says so, and it is over before the new store can have granted anything."""
    async with a_world() as world, world.replica("a") as first:
        leadership: Leadership | None = None
        with pytest.raises(LeadershipLost) as lost:  # noqa: PT012 - a block is what is tested
            async with first.election.lead() as leadership:
                assert leadership.remaining > 0
                await world.move()
                with anyio.fail_after(SOON_S):
                    await anyio.sleep_forever()
        assert lost.value.reason is LossReason.STORE_CHANGED
        assert leadership is not None
        assert lost.value.leadership is leadership
        assert leadership.remaining == 0
        assert leadership.lost.is_set()


async def test_another_store_is_logged_whoever_hears_of_it_first(caplog: pytest.LogCaptureFixture) -> None:
    """A call is told that its session is not open before a renewal is told of the store."""
    caplog.set_level(logging.WARNING)
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        await first.election.enter()
        first.service.answers.shut()
        await world.move()
        tasks.start_soon(first.election.enter)
        await anyio.sleep(SOON_S)
        first.service.answers.open()
        await anyio.sleep(SOON_S)
        said = [each.getMessage() for each in caplog.records]
        assert any("is over: session ended" in each for each in said)
        assert sum(f"the service serves another store now, {world.store.id}:" in each for each in said) == 1


async def test_run_goes_on_with_another_store() -> None:
    """With a new session, under the new store's numbers, which may be lower, and only once its work has ended."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        log = Runs()
        tasks.start_soon(lambda: log.run(first, linger_s=0.5))
        for times in (1, 2):
            await log.led(times)
            await world.operate("evict", "a")
        await log.led(3)
        former = first.keeper.session_id
        moved = anyio.current_time()
        await world.move()
        await anyio.sleep(0.3)
        assert not first.election.is_leader
        assert len(world.engine.sessions) == 0
        await log.led(4, SOON_S)
        assert log.tokens == [1, 2, 3, 1]
        assert moved + 0.5 <= log.ended[2] <= log.began[3]
        assert first.keeper.session_id != former
        assert first.election.is_leader
        await anyio.sleep(3 * TTL_S)
        assert first.election.is_leader
        assert len(log.tokens) == 4
        tasks.cancel_scope.cancel()


async def test_who_waits_goes_on_with_another_store() -> None:
    """The leader and the one behind it both stand again, one leads, and numbers that were higher say nothing."""
    async with (
        a_world() as world,
        world.replica("a") as first,
        world.replica("b") as second,
        a_group() as tasks,
    ):
        a, b = Runs(), Runs()
        tasks.start_soon(a.run, first)
        await a.led(1)
        await world.operate("evict", "a")
        await a.led(2)
        tasks.start_soon(b.run, second)
        await anyio.sleep(1)
        await world.move()
        await anyio.sleep(SOON_S + TTL_S)
        assert len(world.engine.sessions) == 2
        assert sorted([first.election.is_leader, second.election.is_leader]) == [False, True]
        assert a.tokens + b.tokens == [1, 2, 1]
        tasks.cancel_scope.cancel()


async def test_a_session_that_was_ended_is_replaced() -> None:
    """The leader's: its block is lost at once, and it enters at the back, with a session of another id."""
    async with (
        a_world() as world,
        world.replica("a") as first,
        world.replica("b") as second,
        world.replica("c") as third,
        a_group() as tasks,
    ):
        a, b, c = Runs(), Runs(), Runs()
        tasks.start_soon(a.run, first)
        await a.led(1)
        tasks.start_soon(b.run, second)
        await queue(world, "a", "b")
        tasks.start_soon(c.run, third)
        await queue(world, "a", "b", "c")
        former = first.keeper.session_id
        await world.server().end_session("default", former)
        await queue(world, "b", "c", "a")
        assert a.leaderships[0]._work.loss is LossReason.SESSION_ENDED
        assert b.tokens == [2]
        assert first.keeper.session_id not in ("", former)
        assert len(world.engine.sessions) == 3
        tasks.cancel_scope.cancel()


async def test_a_waiting_session_that_was_ended_is_replaced() -> None:
    """One that waits, by ``run`` or by ``enter`` alone, is at the back; the leader's block hears nothing of it."""
    async with (
        a_world() as world,
        world.replica("a") as first,
        world.replica("b") as second,
        world.replica("c") as third,
        a_group() as tasks,
    ):
        a, b = Runs(), Runs()
        tasks.start_soon(a.run, first)
        await a.led(1)
        tasks.start_soon(b.run, second)
        await queue(world, "a", "b")
        await third.election.enter()
        for replica, expected in ((second, "acb"), (third, "abc"), (second, "acb")):
            former = replica.keeper.session_id
            await world.server().end_session("default", former)
            await queue(world, *expected)
            assert replica.keeper.session_id not in ("", former)
        assert not a.ended
        assert not b.began
        tasks.cancel_scope.cancel()


async def test_a_lease_that_passed_is_not_resumed() -> None:
    """Answers come too late: it withdraws when its work has ended, and leads later under another number."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        a, b = Runs(), Runs()
        tasks.start_soon(lambda: a.run(first, linger_s=0.5))
        await a.led(1)
        tasks.start_soon(b.run, second)
        await queue(world, "a", "b")
        session = first.keeper.session_id
        deadline = anyio.current_time() + a.leaderships[0].remaining
        first.service.link.cut(Direction.BACK)
        await anyio.sleep_until(deadline - GRACE_S + 0.05)
        assert not first.election.is_leader
        assert not a.ended
        assert (await world.term()).candidates == ("a", "b")
        tasks.start_soon(never_leads_under, first, 1)
        first.service.link.mend()
        await b.led(1, SOON_S)
        assert a.ended[0] <= b.began[0] <= deadline
        await queue(world, "b", "a")
        assert first.keeper.session_id == session
        await world.server().end_session("default", second.keeper.session_id)
        await a.led(2, SOON_S)
        assert a.tokens == [1, 3]
        assert a.sessions == [session, session]
        tasks.cancel_scope.cancel()


async def test_a_lone_lease_that_passed_is_not_resumed() -> None:
    """Also where nobody else could have led meanwhile."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        a = Runs()
        tasks.start_soon(a.run, first)
        await a.led(1)
        session = first.keeper.session_id
        first.service.link.cut(Direction.BACK)
        await anyio.sleep(TTL_S)
        tasks.start_soon(never_leads_under, first, 1)
        first.service.link.mend()
        await a.led(2, SOON_S)
        assert a.tokens == [1, 2]
        assert a.sessions == [session, session]
        tasks.cancel_scope.cancel()


async def test_a_lease_without_a_block_is_not_resumed() -> None:
    """A candidate that was only entered gives the number back and enters again, with the same session."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        await first.election.enter()
        await anyio.sleep(1)
        assert first.election.is_leader
        session = first.keeper.session_id
        first.service.link.cut(Direction.BACK)
        await anyio.sleep(TTL_S)
        assert not first.election.is_leader
        tasks.start_soon(never_leads_under, first, 1)
        assert (await world.term()).number == 1
        first.service.link.mend()
        await anyio.sleep(SOON_S + TTL_S / 3)
        granted = first.keeper.leads(PLACE)
        assert granted is not None
        assert granted.number == 2
        assert first.keeper.session_id == session
        tasks.cancel_scope.cancel()


async def test_a_taken_id_is_tried_for_as_long_as_a_takeover_takes() -> None:
    """Not shorter, as its owner may be a dead predecessor; not longer, and then it raises."""
    async with a_world() as world, world.replica("a") as first, world.replica("a") as second, a_group() as tasks:
        a = Runs()
        tasks.start_soon(a.run, first)
        await a.led(1)
        began = anyio.current_time()
        with pytest.raises(CandidateTaken):
            async with second.election.lead():
                pass
        took_s = anyio.current_time() - began
        longest_s = second.keeper.longest_failover_s
        assert longest_s == pytest.approx(TTL_S + LATE_S)
        assert longest_s <= took_s <= longest_s + PAUSE_S
        assert second.candidates.standing(PLACE) is None
        assert not second.candidates.is_entered(PLACE)
        assert first.election.is_leader
        assert not a.ended
        assert (await world.term()).candidates == ("a",)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["crashes", "withdraws", "ends"])
async def test_a_taken_id_becomes_free(how: str) -> None:
    """It leads a pause after its predecessor has gone, however that went."""
    async with a_world() as world, world.replica("a") as first, world.replica("a") as second, a_group() as tasks:
        await first.election.enter()
        await anyio.sleep(1)
        a = Runs()
        deadline = anyio.current_time()
        if how == "crashes":
            deadline += first.keeper.remaining_s(first.keeper.leads(PLACE)) + TTL_S / 40  # type: ignore[arg-type]
            first.crash()
        tasks.start_soon(a.run, second)
        if how != "crashes":
            await anyio.sleep(TTL_S / 2)
            assert not a.began
            deadline = anyio.current_time()
        if how == "withdraws":
            await first.election.withdraw()
        elif how == "ends":
            await first.keeper.end()
        await a.led(1)
        assert deadline <= a.began[0] + 1e-6 <= deadline + LATE_S + PAUSE_S + 0.2
        assert a.tokens == [2]
        tasks.cancel_scope.cancel()
