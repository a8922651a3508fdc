"""The candidates of one client: who is entered again with a new session, and who leaves in time."""

import logging

import anyio
import pytest

from atomix_election import Unavailable
from atomix_election.leadership.session import LEAVE_TIMEOUT_S
from tests.leadership.held import Always
from tests.leadership.world import TTL_S, World, a_group, a_world

pytestmark = pytest.mark.anyio

SOON_S = 2.0
"""How long a client may take to notice what it is told at once, and to act on it, with its pauses."""


async def queue(world: World, *expected: str) -> None:
    """Wait until these stand, in this order."""
    with anyio.move_on_after(SOON_S):
        while (await world.term()).candidates != expected:  # noqa: ASYNC110 - the store tells nobody
            await anyio.sleep(0.01)
    assert (await world.term()).candidates == expected


async def test_an_entry_that_fails_does_not_forget_a_former_one() -> None:
    """The candidate was in the queue before it, and stays there when the session is replaced."""
    async with a_world() as world, world.replica("a") as first:
        await first.election.enter()
        first.service.writes_fail = True
        with pytest.raises(Unavailable):
            await first.election.enter()
        first.service.writes_fail = False
        former = first.keeper.session_id
        await world.server().end_session("default", former)
        assert not (await world.term()).candidates
        await queue(world, "a")
        assert first.keeper.session_id != former


async def test_an_entry_that_fails_is_not_made_good_later() -> None:
    """Who was told that it failed is not in the queue, with the next session neither."""
    async with a_world() as world, world.replica("a") as first:
        first.service.writes_fail = True
        with pytest.raises(Unavailable):
            await first.election.enter()
        first.service.writes_fail = False
        await world.server().end_session("default", first.keeper.session_id)
        await anyio.sleep(TTL_S)
        assert first.keeper.session_id
        assert not (await world.term()).candidates


async def test_entering_again_is_over_with_its_session() -> None:
    """The next session enters the candidate, once: what an operator removes then is not brought back by the former."""
    async with a_world() as world, world.replica("a", chance=Always(1.0)) as first:
        await first.election.enter()
        first.service.writes_fail = True
        for after_s in (2.3, 2.0):  # so that those of two sessions would not try at the same moments
            former = first.keeper.session_id
            await world.server().end_session("default", former)
            await anyio.sleep(after_s)
            assert first.keeper.session_id not in ("", former)
        assert not (await world.term()).candidates
        first.service.writes_fail = False
        await queue(world, "a")
        await world.operate("evict", "a")
        await anyio.sleep(TTL_S)
        assert not (await world.term()).candidates


async def test_a_new_session_enters_who_waits_to_lead() -> None:
    """By itself: the watch, which would show that the candidate is gone, may be silent."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        await first.election.enter()
        second.service.watched.shut()

        async def lead() -> None:
            async with second.election.lead():
                await anyio.sleep_forever()

        tasks.start_soon(lead)
        await queue(world, "a", "b")
        await world.server().end_session("default", second.keeper.session_id)
        assert (await world.term()).candidates == ("a",)
        await queue(world, "a", "b")
        tasks.cancel_scope.cancel()


async def test_leaving_is_bounded_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """The withdrawal at the end of a block is not waited for longer than said; the end of the session makes it good."""
    caplog.set_level(logging.WARNING)
    async with a_world() as world:
        async with world.replica("a") as first:
            async with first.election.lead():
                first.service.slow_s["a"] = 10 * TTL_S
                ended = anyio.current_time()
            assert anyio.current_time() - ended == pytest.approx(LEAVE_TIMEOUT_S, abs=0.01)
            assert (await world.term()).candidates == ("a",)
            assert not first.election.is_leader
            assert "could not leave election e yet" in caplog.text
        assert not (await world.term()).candidates


async def test_leaving_the_block_of_an_election_is_bounded_in_time() -> None:
    """Also where the candidate was only entered."""
    async with a_world() as world, world.replica("a") as first:
        async with first.election:
            await first.election.enter()
            first.service.slow_s["a"] = 10 * TTL_S
            ended = anyio.current_time()
        assert anyio.current_time() - ended == pytest.approx(LEAVE_TIMEOUT_S, abs=0.01)
        assert (await world.term()).candidates == ("a",)
