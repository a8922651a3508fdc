"""Leading as a block: how long one waits for it and with what, what it begins under, and how it hears of its end."""

from itertools import pairwise

import anyio
import pytest

from atomix_election import ElectionError, Leadership, LeadershipLost, LossReason, PermissionDenied, Term, Unavailable
from atomix_election.tasks import FIRST_PAUSE_S
from atomix_election.testing import SleepingClock, VirtualClock
from tests.leadership.held import Always
from tests.leadership.world import TTL_S, Replica, World, a_group, a_world

pytestmark = pytest.mark.anyio

SOON_S = 2.0
"""How long a client may take to notice what it is told at once, and to act on it, with its pauses."""


class Block:
    """What became of one ``lead()``."""

    def __init__(self) -> None:
        self.leadership: Leadership | None = None
        self.error: LeadershipLost | None = None
        self.over = anyio.Event()

    async def lead(self, replica: Replica) -> None:
        """Lead until told otherwise."""
        try:
            async with replica.election.lead() as self.leadership:
                await anyio.sleep_forever()
        except LeadershipLost as error:
            self.error = error
        finally:
            self.over.set()


async def queue(world: World, *expected: str) -> None:
    """Wait until these stand, in this order."""
    with anyio.move_on_after(SOON_S):
        while (await world.term()).candidates != expected:  # noqa: ASYNC110 - the store tells nobody
            await anyio.sleep(0.01)
    assert (await world.term()).candidates == expected


async def is_granted(replica: Replica) -> None:
    """Wait until a replica may act as the leader."""
    with anyio.fail_after(SOON_S):
        while not replica.election.is_leader:  # noqa: ASYNC110 - nothing tells it
            await anyio.sleep(0.01)


async def test_entries_that_fail_are_tried_again() -> None:
    """For as long as it takes: who waits to lead waits for the service as well."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        await first.client.election("f", candidate_id="a").enter()
        first.service.writes_fail = True
        block = Block()
        tasks.start_soon(block.lead, first)
        await anyio.sleep(2 * TTL_S)
        assert not block.over.is_set()
        assert not (await world.term()).candidates
        first.service.writes_fail = False
        await anyio.sleep(SOON_S)
        assert block.leadership is not None
        tasks.cancel_scope.cancel()


async def test_the_term_is_that_of_the_token() -> None:
    """A read that shows another number is not it, and is made again."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        await first.election.enter()
        second.service.watched.shut()
        block = Block()
        tasks.start_soon(block.lead, second)
        await queue(world, "a", "b")
        former, reads = await world.term(), second.service.get_term
        assert former.number == 1
        stale = [former]

        async def read(call: object) -> object:
            return stale.pop() if stale else await reads(call)  # type: ignore[arg-type]

        second.service.get_term = read  # type: ignore[method-assign, assignment]
        await first.election.withdraw()
        await anyio.sleep(SOON_S)
        assert not stale
        assert block.leadership is not None
        assert block.leadership.token == 2
        assert block.leadership.term == await world.term()
        tasks.cancel_scope.cancel()


async def test_a_term_that_its_event_tells_is_not_read() -> None:
    """It comes together with the leadership: the block begins without a call that it would have to wait for."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        await first.election.enter()
        block = Block()
        tasks.start_soon(block.lead, second)
        await queue(world, "a", "b")
        second.service.reads.shut()
        await first.election.withdraw()
        await anyio.sleep(SOON_S)
        assert block.leadership is not None
        assert block.leadership.term == await world.term()
        second.service.reads.open()
        tasks.cancel_scope.cancel()


async def test_a_term_whose_event_is_late_is_read() -> None:
    """What refuses that ends the wait, unless it is worth another try."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        await first.election.enter()
        refusals: list[ElectionError] = [PermissionDenied("not yours"), Unavailable("not now")]

        async def read(_: object) -> Term:
            raise refusals.pop()

        second.service.get_term = read  # type: ignore[method-assign, assignment]

        async def lead() -> None:
            with pytest.raises(PermissionDenied, match="not yours"):
                async with second.election.lead():
                    pytest.fail("it leads under a term that it does not know")
            refused.set()

        refused = anyio.Event()
        tasks.start_soon(lead)
        await queue(world, "a", "b")
        second.service.watched.shut()
        await first.election.withdraw()
        with anyio.fail_after(SOON_S):
            await refused.wait()
        await queue(world)


async def test_a_displacement_is_heard_from_the_watch() -> None:
    """Before the session is told: who was granted the lead, and not begun yet, neither acts nor begins any more."""
    async with (
        a_world() as world,
        world.replica("a") as first,
        world.replica("b") as second,
        world.replica("c") as third,
        a_group() as tasks,
    ):
        await first.election.enter()
        block = Block()
        tasks.start_soon(block.lead, second)
        await queue(world, "a", "b")
        await third.election.enter()
        second.service.watched.shut()
        second.service.reads.shut()
        await first.election.withdraw()
        await is_granted(second)
        second.service.answers.shut()
        await world.operate("anoint", "c")
        await anyio.sleep(0.1)
        assert second.election.is_leader
        second.service.watched.open()
        await anyio.sleep(0.1)
        assert not second.election.is_leader
        second.service.reads.open()
        await anyio.sleep(0.1)
        assert block.leadership is None
        second.service.answers.open()
        tasks.cancel_scope.cancel()


async def test_one_that_is_evicted_while_it_waits_enters_again() -> None:
    """At the back, and from there it leads when its turn comes."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        await first.election.enter()
        block = Block()
        tasks.start_soon(block.lead, second)
        await queue(world, "a", "b")
        for _ in range(3):
            assert (await world.operate("evict", "b")).candidates == ("a",)
            await queue(world, "a", "b")
        await first.election.withdraw()
        await anyio.sleep(SOON_S)
        assert block.leadership is not None
        tasks.cancel_scope.cancel()


async def test_withdrawn_between_grant_and_work() -> None:
    """No work begins for a candidate that was withdrawn while the wait was being wound up."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        first.service.closing_s = 0.5
        block = Block()
        tasks.start_soon(block.lead, first)
        await is_granted(first)
        assert block.leadership is None
        with anyio.fail_after(SOON_S):
            assert (await first.election.withdraw()).candidates == ()
            await block.over.wait()
        assert block.leadership is None
        assert block.error is not None
        assert block.error.reason is LossReason.WITHDRAWN
        assert not (await world.term()).candidates


async def test_nothing_remains_of_a_leadership_that_is_being_withdrawn() -> None:
    """From the moment when the block is cancelled, although the lease goes on until the withdrawal is sent."""
    async with a_world() as world, world.replica("a") as first, a_group() as tasks:
        with pytest.raises(LeadershipLost) as lost:  # noqa: PT012 - a block is what is tested
            async with first.election.lead() as leadership:
                assert leadership.remaining > TTL_S / 2
                tasks.start_soon(first.election.withdraw)
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.5)
                        assert (await world.term()).candidates == ("a",)
                    assert leadership.lost.is_set()
                    assert leadership.remaining == 0
                    with pytest.raises(LeadershipLost):
                        leadership.ensure()
        assert lost.value.reason is LossReason.WITHDRAWN


async def test_run_pauses_before_it_enters_again() -> None:
    """Each time longer, so that leaderships that are lost at once do not keep the service busy."""
    async with a_world() as world, world.replica("a", chance=Always(1.0)) as first:
        began: list[float] = []

        async def work(leadership: Leadership) -> None:
            began.append(anyio.current_time())
            if len(began) < 8:
                await world.operate("evict", "a")
                await leadership.lost.wait()
                leadership.ensure()

        await first.election.run(work)
        pauses = [after - before for before, after in pairwise(began)]
        assert len(pauses) == 7
        assert min(pauses) >= FIRST_PAUSE_S
        assert pauses == sorted(pauses)
        assert sum(pauses) >= 3.0


async def test_a_block_is_cancelled_soon_after_a_machine_slept() -> None:
    """Timers stop meanwhile, time does not: the deadline has passed, and a tenth of the time-to-live later it ends."""
    clock = SleepingClock(VirtualClock())
    async with a_world() as world, world.replica("a", clock=clock) as first:
        woke = ended = 0.0
        with pytest.raises(LeadershipLost) as lost:  # noqa: PT012 - a block is what is tested
            async with first.election.lead():
                await anyio.sleep(0.2)
                first.service.link.cut()
                clock.slept(2 * TTL_S)
                await anyio.sleep(2 * TTL_S)
                assert not first.election.is_leader
                woke = anyio.current_time()
                try:
                    await anyio.sleep_forever()
                finally:
                    ended = anyio.current_time()
                    first.service.link.mend()
        assert lost.value.reason is LossReason.EXPIRED
        assert ended - woke <= TTL_S / 10 + 1e-6
