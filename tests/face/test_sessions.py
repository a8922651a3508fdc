"""What becomes of candidates when their clients end, in whatever order and however."""

import time

import anyio
import pytest

from atomix_election import EventType, Term, connect
from tests.face.faces import FACES, params
from tests.face.party import TTL_S, Party, end_session, until

ELSEWHERE = ("etcd", "memory-blocking", "sqlite-blocking")
pytestmark = [
    pytest.mark.anyio,
    # Most of these wait for time-to-lives: in etcd and on the blocking face they do so once, where there are servers.
    pytest.mark.parametrize("face", params(each for each in FACES if each not in ELSEWHERE), indirect=True),
]


async def test_a_session_outlives_its_connection_by_one_time_to_live(party: Party) -> None:
    """The candidate of a client that died is removed, not sooner, and that is announced."""
    watcher, mortal = await party.join(), await party.join_mortal()
    await mortal.enter("a")
    async with watcher.client.election("e").events() as events:
        await anext(events)
        before = time.monotonic()
        await mortal.leave()
        event = await anext(events)
        took_s = time.monotonic() - before
    assert event.type is EventType.CHANGED
    assert event.term == Term((), 1, 2)
    assert took_s >= TTL_S


async def test_a_session_ends_in_all_its_elections(party: Party) -> None:
    """The end of a session removes its candidates everywhere, and nobody else's."""
    watcher, mortal, other = await party.join(), await party.join_mortal(), await party.join()
    for name in ("e", "f", "g"):
        await mortal.enter("a", name)
        await other.enter("b", name)
    await mortal.leave()
    for name in ("e", "f", "g"):
        async with watcher.client.election(name).events() as events:
            assert await until(events, lambda term: term.leader == "b") == Term(("b",), 2, 3)


async def test_a_session_lasts_as_long_as_its_connection(party: Party) -> None:
    """Silence is no reason to end it: after several time-to-lives the candidate is still there."""
    silent, mortal = await party.join(), await party.join_mortal()
    term = await silent.enter("a")
    for _ in range(2):
        await mortal.enter("b")
        await mortal.leave()
        async with silent.client.election("e").events() as events:
            term = await until(events, lambda term: term.candidates == ("a",))
        mortal = await party.join_mortal()
    assert await silent.enter("a") == term
    assert term.number == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_clients_leave_in_any_order(party: Party, order: tuple[int, int, int]) -> None:
    """Who is left goes on working, and sees the others go; sessions still expire."""
    guests = [await party.join() for _ in range(3)]
    for guest, candidate_id in zip(guests, "abc", strict=True):
        await guest.enter(candidate_id)
    for left in order[:-1]:
        await guests[left].leave()
        term = await guests[order[-1]].term()
        assert "abc"[left] not in term.candidates
    last = guests[order[-1]]
    assert (await last.term()).candidates == ("abc"[order[-1]],)
    await last.client.election("e").evict("abc"[order[-1]])

    mortal = await party.join_mortal()
    await mortal.enter("m")
    async with last.client.election("e").events() as events:
        assert (await anext(events)).term.leader == "m"
        await mortal.leave()
        assert (await anext(events)).term.leader is None


async def test_expiry_survives_the_client_that_was_there_first(party: Party) -> None:
    """A session that is on its way out ends, although the client that came first has left meanwhile."""
    first, second, mortal = await party.join(), await party.join(), await party.join_mortal()
    await mortal.enter("m")
    async with second.client.election("e").events() as events:
        await anext(events)
        await mortal.leave()
        await first.leave()
        assert (await anext(events)).term == Term((), 1, 2)


async def test_a_session_that_was_ended_is_replaced(target: str, party: Party) -> None:
    """Enter after the session's end on the other side opens a new one, and stands at the back."""
    one, two = await party.join(), await party.join()
    election = one.client.election("e", candidate_id="a")
    await election.enter()
    await two.enter("b")
    ended = one.client.candidates().keeper.session_id
    await end_session(target, ended)
    assert (await election.enter()).candidates == ("b", "a")
    assert one.client.candidates().keeper.session_id != ended
    await one.leave()
    assert (await two.term()).candidates == ("b",)


async def test_several_elections_replace_an_ended_session_once(target: str, party: Party) -> None:
    """Concurrent entries after the end share the new session: leaving the client leaves them all."""
    one, two = await party.join(), await party.join()
    names = [f"e{number}" for number in range(5)]
    await one.enter("a", "first")
    ended = one.client.candidates().keeper.session_id
    await end_session(target, ended, "first")
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one.enter, "a", name)
    assert [(await two.term(name)).leader for name in names] == ["a"] * 5
    await one.leave()
    assert [(await two.term(name)).leader for name in names] == [None] * 5


async def test_leaving_and_entering_at_the_same_time_keeps_the_entry(party: Party) -> None:
    """While the last candidate of an election leaves it, another one of the same client enters it, and stays."""
    for round_number in range(5):
        guest, observer = await party.join(), await party.join()
        name = f"e{round_number}"
        await guest.enter("z", "elsewhere")
        async with anyio.create_task_group() as tasks, guest.client.election(name, candidate_id="a") as leaving:
            await leaving.enter()
            tasks.start_soon(guest.enter, "b", name)
        async with guest.client.election("elsewhere", candidate_id="z"):
            pass
        assert (await observer.term(name)).candidates == ("b",)
        await guest.leave()


async def test_sessions_of_a_client_are_never_used_again(target: str) -> None:
    """Each client has a session id of its own."""
    sessions: set[str] = set()
    for _ in range(10):
        async with connect(target) as client:
            await client.election("e", candidate_id="a").enter()
            sessions.add(client.candidates().keeper.session_id)
    assert len(sessions) == 10
