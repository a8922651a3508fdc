"""The server takes a client for another principal than before: its session is over, and it begins with another one."""

import anyio
import pytest

from atomix_election import CandidateTaken, LeadershipLost, LossReason, PermissionDenied
from atomix_election.engine import Connection
from tests.leadership.test_coming_back import SOON_S, Runs, queue
from tests.leadership.world import LATE_S, TTL_S, Replica, World, a_group, a_world

pytestmark = pytest.mark.anyio


def rename(world: World, *replicas: Replica) -> None:
    """From now on all are another principal, as after a reload or a restart, which their streams do not survive."""
    world.owner = "renamed"
    for replica in replicas:
        replica.service.break_streams()


async def test_run_goes_on_with_a_session_of_its_own() -> None:
    """It stops at once, waits for its work, and leads again when its former session has ended, above its token."""
    async with a_world() as world, world.replica("a") as a:
        runs = Runs()
        async with a_group() as tasks:
            tasks.start_soon(runs.run, a, 1.0)
            await runs.led(1)
            at = anyio.current_time()
            rename(world, a)
            await runs.led(2)
            assert runs.tokens == [1, 2]
            assert runs.leaderships[0].reason is LossReason.SESSION_ENDED
            assert runs.ended[0] - at <= SOON_S
            assert TTL_S - TTL_S / 3 <= runs.began[1] - at <= TTL_S + SOON_S
            assert runs.sessions[0] != runs.sessions[1]
            tasks.cancel_scope.cancel()


async def test_nobody_leads_before_the_former_session_has_ended() -> None:
    """Another candidate neither, as the server cannot know that the former leader has stopped."""
    async with a_world() as world, world.replica("a") as a, world.replica("b") as b:
        first, second = Runs(), Runs()
        async with a_group() as tasks:
            tasks.start_soon(first.run, a)
            await first.led(1)
            tasks.start_soon(second.run, b)
            await queue(world, "a", "b")
            renewed = a.service.renewals[-1]
            rename(world, a, b)
            while not second.began and len(first.began) < 2:  # noqa: ASYNC110 - nothing tells it
                await anyio.sleep(0.01)
            assert anyio.current_time() >= renewed + TTL_S
            tasks.cancel_scope.cancel()


async def test_a_block_that_leads_is_told() -> None:
    """As at the end of a session."""
    async with a_world() as world, world.replica("a") as a:

        async def lead() -> None:
            async with a.election.lead():
                rename(world, a)
                await anyio.sleep(TTL_S)

        with pytest.raises(LeadershipLost) as lost:
            await lead()
        assert lost.value.reason is LossReason.SESSION_ENDED


async def test_a_write_that_hears_it_first_is_enough() -> None:
    """Before the stream notices, which may be open still: the write goes on with the next session, and so does all."""
    async with a_world() as world, world.replica("a") as a:
        await a.election.enter()
        session = a.keeper.session_id
        a.service.break_streams()
        world.owner = "renamed"
        with anyio.fail_after(2 * TTL_S):
            assert (await a.client.election("e", candidate_id="b").enter()).candidates[-1] == "b"
        assert a.keeper.session_id != session
        await queue(world, "b", "a", within_s=TTL_S + SOON_S)


async def test_reads_and_what_needs_no_session_go_on() -> None:
    """Whatever becomes of the session; what an operator does is done without it."""
    async with a_world() as world, world.replica("a") as a:
        await a.election.enter()
        world.owner = "renamed"
        assert (await a.election.get_term()).candidates == ("a",)
        assert (await a.election.describe()).term.candidates == ("a",)
        async with a.election.events() as events:
            assert (await anext(events)).term.candidates == ("a",)
        assert (await a.election.evict("a")).candidates == ()


async def test_who_had_entered_is_entered_again() -> None:
    """As soon as its former session has ended, which it cannot end."""
    async with a_world() as world, world.replica("a") as a:
        await a.election.enter()
        at = anyio.current_time()
        rename(world, a)
        await anyio.sleep(SOON_S)
        assert a.keeper.session_id
        assert (await world.term()).number == 1
        with anyio.fail_after(TTL_S):
            while (await world.term()).number == 1 or (await world.term()).leader != "a":  # noqa: ASYNC110 - nothing tells it
                await anyio.sleep(0.01)
        assert anyio.current_time() - at <= TTL_S + LATE_S + SOON_S
        with anyio.fail_after(SOON_S):
            while not a.election.is_leader:  # noqa: ASYNC110 - nothing tells it
                await anyio.sleep(0.01)


async def test_leaving_is_no_failure() -> None:
    """Withdrawing and the end of the client come to an end, although nothing of the session can be withdrawn."""
    async with a_world() as world:
        async with world.replica("a") as a:
            await a.election.enter()
            world.owner = "renamed"
            await a.election.withdraw()
        assert (await world.term()).candidates == ("a",)
        await queue(world, within_s=TTL_S + LATE_S)


async def test_the_id_is_tried_no_longer_than_a_takeover_takes() -> None:
    """It may be somebody else's in truth."""
    async with a_world() as world, world.replica("a") as a, world.replica("b") as b:
        await b.client.election("e", candidate_id="a").enter()
        with anyio.fail_after(2 * TTL_S), pytest.raises(CandidateTaken):
            async with a.election.lead():
                pytest.fail("the id is taken")


async def test_a_lack_of_the_role_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends ``run()``: another session would be refused as well."""
    async with a_world() as world, world.replica("a") as a:
        runs = Runs()

        def denied(self: Connection, owner: str) -> None:
            raise PermissionDenied("a may not call KeepAlive in namespace 'default'")

        async def withdraw_role() -> None:
            await runs.led(1)
            monkeypatch.setattr("atomix_election.engine.sessions.Session.check_owner", denied)
            a.service.break_streams()

        async def run() -> None:
            async with a_group() as tasks:
                tasks.start_soon(withdraw_role)
                await runs.run(a)

        with anyio.fail_after(3 * TTL_S), pytest.raises(PermissionDenied, match="may not call KeepAlive"):
            await run()
        assert runs.tokens == [1]


async def test_one_whose_first_answer_was_lost_is_waited_for() -> None:
    """Who waits to lead is not told of it, as the session that is in the way ends by itself."""
    async with a_world() as world, world.replica("a") as a:
        runs = Runs()
        a.service.answers.shut()
        async with a_group() as tasks:
            tasks.start_soon(runs.run, a)
            with anyio.fail_after(SOON_S):
                while not len(world.engine.sessions):  # noqa: ASYNC110 - nothing tells it
                    await anyio.sleep(0.01)
            rename(world, a)
            with anyio.fail_after(TTL_S):
                while len(a.service.streams) == 1:  # noqa: ASYNC110 - nothing tells it
                    await anyio.sleep(0.01)
            a.service.answers.open()
            await runs.led(1, within_s=TTL_S + SOON_S)
            assert runs.began[0] >= TTL_S
            tasks.cancel_scope.cancel()
