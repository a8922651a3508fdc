"""A client's session: when it is opened, renewed, tried again and replaced, and what its writes say of it."""

from itertools import pairwise

import anyio
import pytest

from atomix_election import LeaderElection, Leadership, LeadershipLost, LossReason, NotACandidate
from atomix_election.tasks import FIRST_PAUSE_S
from atomix_election.testing import VirtualClock
from tests.leadership.held import Always
from tests.leadership.world import LATE_S, TTL_S, Replica, a_group, a_world

pytestmark = pytest.mark.anyio

SOON_S = 0.2
"""How long what happens at once may take."""


async def runs(replica: Replica, tokens: list[int]) -> None:
    """Lead for ever, again and again."""

    async def work(leadership: Leadership) -> None:
        tokens.append(leadership.token)
        await anyio.sleep_forever()

    await replica.election.run(work)


async def test_who_only_looks_opens_no_session() -> None:
    """Neither a read, nor a watch, nor what an operator does, nor the withdrawal of who never entered."""
    async with a_world() as world, world.replica("a") as leader, world.replica("z") as observer:
        await leader.election.enter()
        async with observer.election.events() as events:
            await anext(events)
            await observer.election.get_term()
            await observer.election.promote("a")
            await observer.election.withdraw()
            await anyio.sleep(TTL_S)
            await observer.election.evict("a")
            assert (await anext(events)).term.candidates == ()
        assert not observer.election.is_leader
        assert not observer.service.streams
        assert len(world.engine.sessions) == 1


async def test_writes_of_one_election_are_sent_one_at_a_time() -> None:
    """One that takes long on its way is not overtaken by the next: a server refuses the older of two numbers."""
    async with a_world() as world, world.replica("a") as first:
        other = first.client.election("e", candidate_id="b")
        await first.client.election("f", candidate_id="a").enter()
        first.service.slow_s["a"] = 1.0
        async with a_group() as tasks:
            tasks.start_soon(first.election.enter)
            await anyio.sleep(0.1)
            await other.enter()
        assert (await world.term()).candidates == ("a", "b")


async def test_writes_of_other_elections_do_not_wait() -> None:
    """Only those of the same one do."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        other = first.client.election("f", candidate_id="b")
        await other.enter()
        first.service.slow_s["a"] = 5.0
        tasks.start_soon(first.election.enter)
        await anyio.sleep(0.1)
        with anyio.fail_after(SOON_S):
            await other.withdraw()
        assert not (await world.term()).candidates
        tasks.cancel_scope.cancel()


class CountingClock(VirtualClock):
    """Notes how often it is waited for."""

    def __init__(self) -> None:
        self.waits = 0

    async def sleep_until(self, when: float) -> None:
        """See ``Clock.sleep_until``."""
        self.waits += 1
        await super().sleep_until(when)


async def test_writes_and_terms_wake_no_timer() -> None:
    """What they tell makes nothing due sooner."""
    clock = CountingClock()
    async with a_world() as world, world.replica("a", clock=clock) as first:
        await first.election.enter()
        await anyio.sleep(SOON_S)
        before = clock.waits
        for _ in range(20):
            await first.election.enter()
        assert clock.waits - before <= 1


async def test_a_write_that_finds_the_session_ended_ends_the_leadership() -> None:
    """At once, and not when the next renewal is answered."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        asked = ended = 0.0
        with pytest.raises(LeadershipLost) as lost:  # noqa: PT012 - a block is what is tested
            async with first.election.lead():
                first.service.answers.shut()
                await world.server().end_session("default", first.keeper.session_id)
                await anyio.sleep(0.5)
                assert first.election.is_leader
                asked = anyio.current_time()
                tasks.start_soon(_not_there, first.client.election("f"))
                try:
                    await anyio.sleep_forever()
                finally:
                    ended = anyio.current_time()
                    assert not first.election.is_leader
                    first.service.answers.open()
        assert lost.value.reason is LossReason.SESSION_ENDED
        assert ended - asked < SOON_S


async def _not_there(election: LeaderElection) -> None:
    with pytest.raises(NotACandidate):
        await election.promote("x")


async def test_what_a_former_session_hears_late_says_nothing_of_the_next_one() -> None:
    """A write of the former one arrives when it has ended, and the next one leads already."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        tokens: list[int] = []
        tasks.start_soon(runs, first, tokens)
        await anyio.sleep(1.0)
        former, arrived = first.keeper.session_id, anyio.Event()
        first.service.slow_s["x"] = 5.0

        async def late() -> None:
            await _not_there(first.client.election("f"))
            arrived.set()

        tasks.start_soon(late)
        await anyio.sleep(0.1)
        await world.server().end_session("default", former)
        await anyio.sleep(4.0)
        session = first.keeper.session_id
        assert session not in ("", former)
        assert tokens == [1, 2]
        await arrived.wait()
        await anyio.sleep(TTL_S)
        assert first.keeper.session_id == session
        assert first.election.is_leader
        assert tokens == [1, 2]
        tasks.cancel_scope.cancel()


async def test_the_pause_between_tries_begins_anew_after_a_success() -> None:
    """However long it had become: the next lost connection is made anew at once."""
    async with a_world() as world, world.replica("a", chance=Always(1.0)) as first:
        await first.election.enter()
        world.up = False
        first.service.break_streams()
        await anyio.sleep(TTL_S / 2)
        world.up = True
        await anyio.sleep(2.0)
        assert len(first.service.streams) > 5
        assert first.election.is_leader
        broken = anyio.current_time()
        first.service.break_streams()
        await anyio.sleep(2.0)
        assert broken < first.service.streams[-1] <= broken + FIRST_PAUSE_S + 0.01


async def test_a_connection_whose_first_answer_does_not_come_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As only that lets another server be asked: here the way is cut for as long as the connection lasts."""
    async with a_world() as world, world.replica("a") as first:
        close = first.service.give_up

        def use_another_way() -> None:
            close()
            first.service.link.mend()

        monkeypatch.setattr(first.service, "give_up", use_another_way)
        first.service.link.cut()
        with anyio.fail_after(TTL_S):
            async with first.election.lead() as leadership:
                assert leadership.token == 1
                assert (await world.term()).leader == "a"


async def test_each_client_renews_at_a_time_of_its_own() -> None:
    """Those that were all cut off at once do not all come back at the same times for ever."""
    async with (
        a_world() as world,
        world.replica("a", chance=Always(0.0)) as first,
        world.replica("b", chance=Always(1.0)) as second,
    ):
        await first.election.enter()
        await second.election.enter()
        await anyio.sleep(3 * TTL_S)
        for replica, interval_s in ((first, TTL_S / 3), (second, TTL_S / 4)):
            times = replica.service.renewals
            intervals = [after - before for before, after in pairwise(times)]
            assert len(intervals) >= 8
            assert intervals == pytest.approx([interval_s] * len(intervals), abs=LATE_S)


async def test_each_client_tries_again_at_a_time_of_its_own() -> None:
    """By chance, between no pause and the longest one."""
    async with (
        a_world() as world,
        world.replica("a", chance=Always(0.5)) as first,
        world.replica("b", chance=Always(1.0)) as second,
    ):
        await first.election.enter()
        await second.election.enter()
        world.up = False
        broken = anyio.current_time()
        for replica in (first, second):
            replica.service.streams.clear()
            replica.service.break_streams()
        await anyio.sleep(TTL_S / 2)
        for replica, part in ((first, 0.5), (second, 1.0)):
            expected = [broken + part * FIRST_PAUSE_S * (2**number - 1) for number in range(1, 4)]
            assert replica.service.streams[:3] == pytest.approx(expected, abs=0.01)
