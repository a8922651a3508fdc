"""Commands through several servers: one order, every answer true at its moment, nothing done twice."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

import anyio
import pytest

from atomix_election import (
    CandidateTaken,
    InvalidRequest,
    LimitExceeded,
    NotACandidate,
    NotOwner,
    OutcomeUnknown,
    SessionEnded,
    StoreError,
    Term,
)
from atomix_election.engine import Connection, ElectionLimits
from atomix_election.engine.shared_lanes import MAX_LOST_WRITES, MAX_SESSIONS_ASKED
from atomix_election.engine.shared_sessions import SharedSessions
from atomix_election.model import DEFAULT_NAMESPACE
from atomix_election.service import Call
from atomix_election.testing.etcd import EtcdFaults, Outcome
from atomix_election.testing.etcd_servers import Server, Servers, open_servers
from tests.engine.fakes import about, stand
from tests.engine.servers import renew, settle, shape

pytestmark = pytest.mark.anyio


@pytest.fixture
async def servers(anyio_backend: object) -> AsyncGenerator[Servers]:
    """Servers on one etcd."""
    async with open_servers() as servers:
        yield servers


@pytest.fixture
async def two(servers: Servers) -> list[Server]:
    """Two of them."""
    return await servers.start_some(2)


def numbered(session: str, operation: int, name: str = "e") -> Call:
    """Return what a call says of itself that may be repeated."""
    return Call(name, session=session, operation=operation)


async def _queue(server: Server, name: str = "e") -> Term:
    return await server.connect().get_term(about(name=name))


# One order.


async def test_a_queue_is_the_same_whichever_server_is_asked(two: list[Server]) -> None:
    """The transcript of the design, each command through another server than the one before."""
    one, other = (each.connect() for each in two)
    for connection, session in ((one, "s1"), (other, "s2"), (one, "s3")):
        await connection.create(about(session))
    assert shape(await one.enter(about("s1"), "a")) == ("a", 1)
    assert shape(await other.enter(about("s2"), "b")) == ("a b", 2)
    assert shape(await one.enter(about("s3"), "c")) == ("a b c", 3)
    assert shape(await other.promote(about(), "c")) == ("a c b", 4)
    assert shape(await one.promote(about(), "c")) == ("c a b", 5)
    assert shape(await other.anoint(about(), "b")) == ("b c a", 6)
    assert shape(await one.anoint(about(), "b")) == ("b c a", 6)
    assert shape(await other.withdraw(about("s2"), "b")) == ("c a", 7)
    assert shape(await one.evict(about(), "c")) == ("a", 8)
    with pytest.raises(NotACandidate):
        await other.evict(about(), "x")
    with pytest.raises(CandidateTaken):
        await other.enter(about("s2"), "a")
    with pytest.raises(NotOwner):
        await other.withdraw(about("s2"), "a")
    assert await _queue(two[0]) == await _queue(two[1])


async def test_commands_of_many_at_once_are_each_applied_once(servers: Servers) -> None:
    """Three servers change one election at the same time: every revision is answered to one caller."""
    three = await servers.start_some(3)
    servers.etcd.faults = EtcdFaults(longest_call_s=0.02)
    terms: list[Term] = []

    async def enter(number: int) -> None:
        connection = three[number % 3].connect()
        session = f"s{number}"
        await connection.create(about(session))
        terms.append(await connection.enter(about(session), session))
        terms.append(await connection.withdraw(about(session), session))

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(enter, number)
    assert sorted(term.revision for term in terms) == list(range(1, 61))
    last = await _queue(three[0])
    assert (last.candidates, last.revision) == ((), 60)
    by_revision = sorted(terms, key=lambda term: term.revision)
    numbers = {term.number: term.leader for term in by_revision if term.leader}
    assert [term.number for term in by_revision] == sorted(term.number for term in by_revision)
    assert all(numbers[term.number] == term.leader for term in by_revision if term.leader), "no number twice"


# Every answer is true at its moment, however old the server's view is.


async def test_a_late_view_refuses_nobody_wrongly(two: list[Server]) -> None:
    """The candidate id has become free since; an answer from the view alone would be CandidateTaken."""
    one, other = (each.connect() for each in two)
    await stand(one, "s", "a")
    await other.create(about("t"))
    two[1].client.hold_back()
    await one.withdraw(about("s"), "a")
    assert (await other.enter(about("t"), "a")).candidates == ("a",)


async def test_a_late_view_refuses_who_is_to_be_refused(two: list[Server]) -> None:
    """The id was taken since, by a session that this server has not heard of."""
    one, other = (each.connect() for each in two)
    await other.create(about("t"))
    two[1].client.hold_back()
    await stand(one, "s", "a")
    with pytest.raises(CandidateTaken):
        await other.enter(about("t"), "a")
    with pytest.raises(NotOwner):
        await other.withdraw(about("t"), "a")


NO_EFFECT: dict[str, Callable[[Connection], Awaitable[Term]]] = {
    "anoint": lambda connection: connection.anoint(about(), "a"),
    "promote": lambda connection: connection.promote(about(), "a"),
    "enter": lambda connection: connection.enter(about("t"), "a"),
    "withdraw": lambda connection: connection.withdraw(about("t"), "gone"),
    "get_term": lambda connection: connection.get_term(about()),
}


@pytest.mark.parametrize("method", NO_EFFECT)
async def test_an_answer_without_effect_is_the_newest_term(two: list[Server], method: str) -> None:
    """In the late view it would have been without effect too, but with another term."""
    one, other = (each.connect() for each in two)
    await other.create(about("t"))
    await other.enter(about("t"), "a")
    await settle()
    two[1].client.hold_back()
    await stand(one, "s", "b")
    assert shape(await NO_EFFECT[method](other)) == ("a b", 2)


@pytest.mark.parametrize("method", ["anoint", "promote", "evict"])
async def test_not_a_candidate_is_not_said_of_one(two: list[Server], method: str) -> None:
    """Who has just entered elsewhere is one."""
    one, other = (each.connect() for each in two)
    two[1].client.hold_back(for_s=1.0)
    await stand(one, "s", "a")
    term = await getattr(other, method)(about(), "a")
    assert term.revision == (2 if method == "evict" else 1)
    await one.withdraw(about("s"), "a")
    with pytest.raises(NotACandidate):
        await getattr(other, method)(about(), "a")


async def test_a_snapshot_is_not_older_than_the_call(two: list[Server]) -> None:
    """A watch through the server whose view is late begins with the newest term, and tells nothing twice."""
    one, other = (each.connect() for each in two)
    two[1].client.hold_back()
    await stand(one, "s", "a")
    async with other.events(about()) as events:
        assert shape((await anext(events)).term) == ("a", 1)
        two[1].client.let_by()
        await one.enter(about("s"), "b")
        assert shape((await anext(events)).term) == ("a b", 2)


async def test_who_has_ended_does_not_enter_through_a_late_view(two: list[Server]) -> None:
    """Its end was committed elsewhere, which this server has not heard of: no candidate, not even for a moment."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    await renew(other, "s")
    two[1].client.hold_back()
    await one.end_session(DEFAULT_NAMESPACE, "s")
    with pytest.raises(SessionEnded):
        await other.enter(about("s"), "a")
    assert shape(await _queue(two[0])) == ("", 0)


async def test_who_has_ended_makes_way_through_a_late_view(two: list[Server]) -> None:
    """A candidate id whose session has ended is free at once, also where its end is not heard of, nor swept."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    before = await one.enter(about("s"), "a")
    await other.create(about("t"))
    for server in two:
        server.client.hold_back()
    await two[0].store.end_session(two[0].engine.sessions.get(DEFAULT_NAMESPACE, "s").id)
    term = await other.enter(about("t"), "a")
    assert shape(term) == ("a", 2)
    assert term.number > before.number


async def test_what_was_swept_too_early_by_a_view_stays(two: list[Server]) -> None:
    """A session that a server takes for gone, and that lives, keeps its candidates."""
    one, other = (each.connect() for each in two)
    await stand(one, "s", "a")
    identity = two[0].engine.sessions.get(DEFAULT_NAMESPACE, "s").id
    sessions = two[1].engine.sessions
    assert isinstance(sessions, SharedSessions)
    sessions.gone(identity)
    await two[1].engine._expire(about().election_id, identity)
    assert (await other.get_term(about())).candidates == ("a",)


async def test_a_new_term_is_above_the_floor_of_the_store(servers: Servers, two: list[Server]) -> None:
    """After a restore it may have forgotten numbers: none is given again."""
    one, other = (each.connect() for each in two)
    await stand(one, "s", "a")
    await stand(other, "t", "b")
    servers.etcd.state.revision += 1000
    await one.create(about("u"))
    await settle()
    floor = servers.etcd.state.revision
    assert floor <= (await other.anoint(about(), "b")).number <= floor + 1


# Operation numbers.


async def test_a_repeat_through_another_server_has_no_second_effect(two: list[Server]) -> None:
    """Also where its view is late; an older number is a late duplicate."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    await renew(other, "s")
    two[1].client.hold_back()
    await one.enter(numbered("s", 1), "a")
    await one.enter(numbered("s", 2), "b")
    assert shape(await other.enter(numbered("s", 2), "b")) == ("a b", 2)
    await one.withdraw(numbered("s", 3), "a")
    assert (await other.withdraw(numbered("s", 3), "a")).revision == 3
    with pytest.raises(OutcomeUnknown, match="late duplicate"):
        await other.enter(numbered("s", 1), "a")
    assert (await _queue(two[0])).candidates == ("b",)


# Outcomes that the server does not get to know at once, or at all.


@pytest.mark.parametrize("outcome", [Outcome.APPLIED, Outcome.LOST, Outcome.LATE])
async def test_a_lost_answer_of_etcd_is_found_out(two: list[Server], outcome: Outcome) -> None:
    """Whatever became of the write: the command is applied once, answered once, announced once."""
    one = two[0].connect()
    await one.create(about("s"))
    async with two[1].connect().events(about()) as events:
        await anext(events)
        two[0].client.next_writes.append(outcome)
        assert shape(await one.enter(about("s"), "a")) == ("a", 1)
        assert shape((await anext(events)).term) == ("a", 1)
        await anyio.sleep(5)
        assert shape(await one.enter(about("s"), "b")) == ("a b", 2)
        assert shape((await anext(events)).term) == ("a b", 2)


async def test_what_cannot_be_found_out_is_said(servers: Servers, two: list[Server]) -> None:
    """A repeat of the command through the other server tells, as its number was committed with it."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True, ttl_s=100)
    two[0].client.next_writes.append(Outcome.APPLIED)

    async def cut_off() -> None:
        await settle()
        two[0].client.is_cut_off = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut_off)
        with pytest.raises(OutcomeUnknown):
            await one.enter(numbered("s", 1), "a")
    assert shape(await other.enter(numbered("s", 1), "a")) == ("a", 1)


async def test_etcd_out_of_reach_refuses_and_changes_nothing(servers: Servers, two: list[Server]) -> None:
    """In time; afterwards all goes on."""
    one = two[0].connect()
    await renew(one, "s", open_=True, ttl_s=100)
    servers.etcd.is_available = False
    began = anyio.current_time()
    for call in (one.enter(about("s"), "a"), one.get_term(about()), one.anoint(about(), "a")):
        with pytest.raises((StoreError, OutcomeUnknown)):
            await call
    assert anyio.current_time() - began <= 20
    servers.etcd.is_available = True
    assert shape(await one.enter(about("s"), "a")) == ("a", 1)


# Limits.


async def test_300_at_once_through_one_lane_all_enter(servers: Servers, two: list[Server]) -> None:
    """Etcd checks only so many sessions in a write: the rest joins the next one."""
    one = two[0].connect()
    number = 300
    assert number > 3 * MAX_SESSIONS_ASKED

    async def enter(place: int) -> None:
        session = f"s{place}"
        await one.enter(about(session), session)

    for place in range(number):
        await renew(one, f"s{place}", open_=True, ttl_s=100)
    revision = servers.etcd.state.revision
    async with anyio.create_task_group() as tasks:
        for place in range(number):
            tasks.start_soon(enter, place)
    term = await _queue(two[1])
    assert sorted(term.candidates) == sorted(f"s{place}" for place in range(number))
    assert term.revision == number
    assert servers.etcd.state.revision - revision <= number // MAX_SESSIONS_ASKED + 2, "they are committed together"


async def test_a_write_that_is_lost_too_often_is_given_up(two: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands are refused, nothing was changed, and the next ones are served."""
    one = two[0].connect()
    await one.create(about("s"))
    tries = 0

    async def lose(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1

    with monkeypatch.context() as patched:
        patched.setattr(two[0].store, "write", lose)
        with pytest.raises(StoreError, match="try again later"):
            await one.enter(about("s"), "a")
    assert tries == MAX_LOST_WRITES
    assert shape(await one.enter(about("s"), "a")) == ("a", 1)


async def test_elections_are_counted_whoever_made_them(servers: Servers) -> None:
    """And counted off when they are forgotten, on all servers; what has no effect makes none."""
    one, other = await servers.start_some(2, ElectionLimits(max_elections=2))
    connections = [one.connect(), other.connect()]
    for connection, name in zip(connections, "ef", strict=True):
        await renew(connection, name, open_=True)
        await connection.enter(about(name, name), "a")
    await settle()
    for connection in connections:
        with pytest.raises(LimitExceeded):
            await connection.enter(about("e", "g"), "a")
        with pytest.raises(NotACandidate):
            await connection.anoint(about(name="g"), "a")
        assert shape(await connection.withdraw(about("e", "g"), "a")) == ("", 0)
    await connections[1].end_session(DEFAULT_NAMESPACE, "f")
    await connections[1].forget(about(name="f"))
    await settle()
    assert (await connections[0].enter(about("e", "g"), "a")).candidates == ("a",)
    await settle()
    with pytest.raises(LimitExceeded):
        await connections[1].enter(about("e", "h"), "a")


async def test_the_limit_of_elections_is_not_applied_to_one_that_is_there(servers: Servers) -> None:
    """It was made elsewhere, which a late view does not show: nobody is refused, and no answer is wrong."""
    one, other = await servers.start_some(2, ElectionLimits(max_elections=1))
    await renew(one.connect(), "s", open_=True)
    await renew(other.connect(), "t", open_=True)
    await one.connect().enter(about("s", "f"), "a")
    await settle()
    other.client.hold_back()
    await one.connect().withdraw(about("s", "f"), "a")
    await one.connect().end_session(DEFAULT_NAMESPACE, "s")
    await one.connect().forget(about(name="f"))
    await settle()
    await renew(one.connect(), "u", open_=True)
    await one.connect().enter(about("u", "e"), "a")
    connection = other.connect()
    outcomes: list[object] = []

    async def keep_outcome(call: Awaitable[Term]) -> None:
        try:
            outcomes.append(await call)
        except LimitExceeded as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_outcome, connection.promote(about(name="e"), "a"))
        tasks.start_soon(keep_outcome, connection.enter(about("t", "e"), "b"))
    assert [each.leader for each in outcomes if isinstance(each, Term)] == ["a", "a"]
    assert (await connection.get_term(about())).candidates == ("a", "b")


async def test_candidates_and_sessions_are_limited_over_all_servers(servers: Servers) -> None:
    """Each counts what the others have admitted."""
    one, other = await servers.start_some(2, ElectionLimits(max_candidates=2, max_sessions=3))
    for server, session in ((one, "s"), (other, "t"), (one, "u")):
        await renew(server.connect(), session, open_=True)
    with pytest.raises(LimitExceeded):
        await renew(other.connect(), "v", open_=True)
    await one.connect().enter(about("s"), "a")
    await other.connect().enter(about("t"), "b")
    one.client.hold_back()
    with pytest.raises(LimitExceeded, match="candidates"):
        await one.connect().enter(about("u"), "c")


# Forgetting.


async def test_what_is_forgotten_through_one_goes_on_through_another(two: list[Server]) -> None:
    """With a higher number and revision; in use it is refused, also where the view shows nobody."""
    one, other = (each.connect() for each in two)
    two[1].client.hold_back()
    await renew(one, "s", open_=True)
    await one.create(about("s"))
    before = await one.enter(about("s"), "a")
    with pytest.raises(InvalidRequest, match="in use"):
        await other.forget(about())
    await one.withdraw(about("s"), "a")
    with pytest.raises(InvalidRequest, match="in use"):
        await other.forget(about())
    await other.get_term(about())  # now it knows of the election, and not of the session
    with pytest.raises(InvalidRequest, match="in use"):
        await other.forget(about())
    two[1].client.let_by()
    await one.end_session(DEFAULT_NAMESPACE, "s")
    left = await other.forget(about())
    assert left == Term((), before.number, 2)
    await renew(one, "t", open_=True)
    term = await one.enter(about("t"), "a")
    assert shape(term) == ("a", 3)
    assert term.number > before.number
    assert two[0].store.latest(about().election_id).version


async def test_a_forget_and_an_enter_at_once_leave_one_truth(two: list[Server]) -> None:
    """Either the candidate is there, or it was refused; tokens grow in any case."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    before = await one.enter(about("s"), "a")
    await one.end_session(DEFAULT_NAMESPACE, "s")
    await renew(one, "t", open_=True)
    entered: list[Term] = []

    async def enter() -> None:
        entered.append(await one.enter(about("t"), "b"))

    async def forget() -> None:
        with suppress(InvalidRequest):
            await other.forget(about())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        tasks.start_soon(forget)
    assert shape(entered[0]) == ("b", 3)
    assert entered[0].number > before.number
    assert await _queue(two[1]) == entered[0]
