"""What every store must do that several engines use at the same time: two of them, on one etcd, real and simulated."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from types import MappingProxyType

import anyio
import pytest

from atomix_election.core.commands import Anoint, Close, Command, Create, Enter, Evict
from atomix_election.core.election import Election, apply
from atomix_election.model import Candidate, ElectionId, SessionId, Term
from atomix_election.stores.base import (
    Change,
    ElectionChanged,
    Record,
    SessionGone,
    SessionOpened,
    SharedStore,
    StoredSession,
    View,
)
from tests.stores.etcds import open_real_pair, open_simulated_pair

pytestmark = pytest.mark.anyio

E1, E2, E3 = ElectionId("default", "e1"), ElectionId("other", "e1"), ElectionId("default", "e3")
_numbers = count()


def _combinations() -> Iterator[object]:
    """Each store on each backend; the client of etcd needs asyncio."""
    yield pytest.param(("simulated", "asyncio"), id="simulated-asyncio")
    yield pytest.param(("simulated", "trio"), id="simulated-trio")
    yield pytest.param(("real", "asyncio"), id="real-asyncio", marks=pytest.mark.xdist_group("processes"))


@pytest.fixture(params=_combinations())
def kind_and_backend(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A kind of store, and what it runs on."""
    if request.param[0] == "real":
        request.getfixturevalue("real_etcd")
    return request.param


@pytest.fixture
def anyio_backend(kind_and_backend: tuple[str, str]) -> str:
    """What the test runs on."""
    return kind_and_backend[1]


@pytest.fixture
async def stores(
    kind_and_backend: tuple[str, str], anyio_backend: str
) -> AsyncGenerator[tuple[SharedStore, SharedStore]]:
    """Two stores that are one."""
    real = kind_and_backend[0] == "real"
    pair = open_real_pair(f"shared-{next(_numbers)}/") if real else open_simulated_pair()
    async with pair as stores:
        yield stores


class Follower:
    """Takes the changes of a store, and keeps them."""

    def __init__(self, store: SharedStore) -> None:
        self.store = store
        self.changes: list[Change] = []
        self.batches: list[Sequence[Change]] = []

    async def run(self) -> None:
        """Take changes until cancelled."""
        async for batch in self.store.changes():
            self.changes += batch
            self.batches.append(batch)

    def of(self, election_id: ElectionId) -> list[ElectionChanged]:
        """Return the changes of one election."""
        return [each for each in self.changes if isinstance(each, ElectionChanged) and each.election_id == election_id]

    @property
    def open(self) -> set[SessionId]:
        """The sessions that are open by what was taken."""
        found: set[SessionId] = set()
        for each in self.changes:
            if isinstance(each, SessionOpened):
                found.add(each.stored.session)
            elif isinstance(each, SessionGone):
                found.remove(each.session)
        return found


@asynccontextmanager
async def _following(*stores: SharedStore) -> AsyncIterator[tuple[Follower, ...]]:
    async with anyio.create_task_group() as tasks:
        followers = tuple(map(Follower, stores))
        for follower in followers:
            tasks.start_soon(follower.run)
        yield followers
        tasks.cancel_scope.cancel()


async def _open(store: SharedStore, session_id: str = "s", ttl_s: float = 5.0) -> SessionId:
    return await store.open_session("default", session_id, ttl_s=ttl_s, kept_alive=True, owner="somebody")


async def _apply(store: SharedStore, election_id: ElectionId, *commands: Command) -> Record:
    """Apply commands in one write."""
    record = await store.read(election_id)
    election, terms = record.election, list[Term]()
    for each in commands:
        after = apply(election, each, floor=record.floor).election
        if after.revision != election.revision:
            terms.append(after.term)
        election = after
    written = await store.write(election_id, election, expected=record.version, terms=terms)
    assert written is not None
    assert written.election == election
    return written


async def test_what_one_writes_the_other_reads_and_hears_of(stores: tuple[SharedStore, SharedStore]) -> None:
    """Each change once, in order, each from the state that the one before led to, the writer included."""
    one, other = stores
    async with _following(one, other) as followers:
        session = await _open(one)
        records = [await _apply(store, E1, Enter(f"c{number}", session)) for number, store in enumerate(stores * 3)]
        for store, follower in zip(stores, followers, strict=True):
            await store.catch_up()
            changes = follower.of(E1)
            assert [each.after for each in changes] == records
            assert [each.before for each in changes] == [Record(Election(), 0), *records[:-1]]
            assert [each.terms for each in changes] == [(each.election.term,) for each in records]
            assert store.latest(E1) == await store.read(E1) == records[-1]
            assert list(store.known()) == [(E1, records[-1].election)]


async def test_the_terms_that_a_write_leads_through_are_told(stores: tuple[SharedStore, SharedStore]) -> None:
    """Each of them, whatever came and went in it; none where nothing visible changed."""
    one, other = stores
    async with _following(other) as (follower,):
        session, leaver = await _open(one), await _open(one, "leaver")
        commands = [
            *(Enter(f"c{number}", leaver if number % 3 else session) for number in range(30)),
            Anoint("c7"),
            Evict("c0"),
            Close(leaver),
            Anoint("c27"),
        ]
        await _apply(one, E1, *commands)
        await _apply(one, E1, Create(session))
        await other.catch_up()
    many, none = follower.of(E1)
    assert len(many.terms) == len(commands)
    assert [each.revision for each in many.terms] == list(range(1, len(commands) + 1))
    election = Election()
    for command, term in zip(commands, many.terms, strict=True):
        election = apply(election, command, floor=many.terms[0].number).election
        assert term.candidates == election.term.candidates
    assert none.terms == ()
    assert none.after.election.registered == {session}


async def test_the_first_changes_tell_of_all_that_is_there(stores: tuple[SharedStore, SharedStore]) -> None:
    """To whoever begins later, and to whoever begins anew."""
    one, other = stores
    session, ended = await _open(one), await _open(one, "ended")
    first = await _apply(one, E1, Enter("a", session))
    second = await _apply(one, E2, Enter("a", session), Evict("a"))
    await one.end_session(ended)
    for _ in range(2):
        async with _following(other) as (follower,):
            await other.catch_up()
            stored = StoredSession(session, 5.0, kept_alive=True, owner="somebody")
            assert follower.changes == [
                SessionOpened(stored),
                ElectionChanged(E1, Record(Election(), 0), first, (first.election.term,)),
                ElectionChanged(E2, Record(Election(), 0), second, (second.election.term,)),
            ]
            assert await other.sessions() == [stored]


async def test_a_change_is_taken_when_the_next_one_is_asked_for(stores: tuple[SharedStore, SharedStore]) -> None:
    """Before that ``latest`` does not know it, and nobody has caught up."""
    one, other = stores
    changes = other.changes()

    async def ask_for_more() -> None:
        await anext(changes)

    session = await _open(one)
    assert await anext(changes) == [SessionOpened(StoredSession(session, 5.0, kept_alive=True, owner="somebody"))]
    caught_up = anyio.Event()

    async def catch_up() -> None:
        await other.catch_up()
        caught_up.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(catch_up)
        record = await _apply(one, E1, Enter("a", session))
        (change,) = await anext(changes)
        assert isinstance(change, ElectionChanged)
        assert (other.latest(E1).version, change.after) == (0, record)
        tasks.start_soon(ask_for_more)
        await caught_up.wait()
        await other.catch_up()
        assert other.latest(E1) == record
        tasks.cancel_scope.cancel()


async def test_a_write_that_assumes_wrongly_changes_nothing(stores: tuple[SharedStore, SharedStore]) -> None:
    """Whether a session is open, of others, of its own, known here or not."""
    one, other = stores
    session, ended = await _open(one), await _open(one)
    await one.end_session(ended)
    never = SessionId("default", "never", 10**9)
    for store in stores:
        for wrong in ({session: False}, {ended: True}, {never: True}, {session: True, ended: True}):
            assert await store.write(E1, Election(number=1), expected=0, assuming=wrong) is None
            assert not await store.confirm(E1, expected=0, assuming=wrong)
            assert await store.forget(E1, expected=0, assuming=wrong) is None
    assert await other.read(E1) == Record(Election(), 0)
    right = {session: True, ended: False, never: False}
    written = await other.write(E1, Election(number=1, revision=1), expected=0, assuming=right)
    assert written is not None
    assert await one.confirm(E1, expected=written.version, assuming=right)
    assert not await one.confirm(E1, expected=0, assuming=right)
    assert await one.forget(E1, expected=written.version, assuming={session: False}) is None
    assert await one.forget(E1, expected=written.version, assuming=right) == Record(Election(number=1, revision=1), 0)


async def test_a_session_that_ends_is_gone_for_a_write_under_way(stores: tuple[SharedStore, SharedStore]) -> None:
    """The other one knows it as open, and is wrong: the comparison is made in the store."""
    one, other = stores
    async with _following(other):
        session = await _open(one)
        await other.catch_up()
    await one.end_session(session)
    entered = Election((Candidate("a", session),), 1, 1)
    assert await other.write(E1, entered, expected=0, assuming={session: True}) is None
    assert await one.read(E1) == Record(Election(), 0)


async def test_a_look_sees_record_and_sessions_at_one_moment(stores: tuple[SharedStore, SharedStore]) -> None:
    """Also more sessions than fit into one transaction."""
    one, other = stores
    sessions = [await _open(one, f"s{number}") for number in range(130)]
    for each in sessions[::2]:
        await one.end_session(each)
    record = await _apply(one, E1, Enter("a", sessions[1]))
    view = await other.look(E1, sessions)
    assert view == View(record, {each: bool(number % 2) for number, each in enumerate(sessions)})
    assert view.record.floor >= record.version
    assert await one.confirm(E1, expected=record.version, assuming=view.open)


async def test_forgetting_is_heard_of(stores: tuple[SharedStore, SharedStore]) -> None:
    """The state afterwards is that from which it goes on."""
    one, other = stores
    async with _following(one, other) as followers:
        session = await _open(one)
        await _apply(one, E1, Enter("a", session))
        record = await _apply(one, E1, Evict("a"))
        left = await other.forget(E1, expected=record.version)
        assert left == Record(Election(number=record.election.number, revision=2), 0)
        again = await _apply(one, E1, Enter("b", session))
        for store, follower in zip(stores, followers, strict=True):
            await store.catch_up()
            forgotten, entered = follower.of(E1)[2:]
            assert (forgotten.before, forgotten.after) == (record, left)
            assert (entered.before, entered.after, entered.terms) == (left, again, (again.election.term,))
    assert again.election.number > record.election.number
    assert again.election.revision == 3


async def test_what_is_heard_of_a_forget_is_what_it_was_then(stores: tuple[SharedStore, SharedStore]) -> None:
    """Also by who has read meanwhile that another election was forgotten, which had higher numbers."""
    one, other = stores
    session = SessionId("default", "s", 1)
    await _apply(one, E1, Enter("a", session))
    record = await _apply(one, E1, Evict("a"))
    changes = other.changes()
    await anext(changes)
    left = await one.forget(E1, expected=record.version)
    again = await _apply(one, E1, Enter("b", session))
    last = await _apply(one, E3, Enter("a", session), Evict("a"), Enter("a", session), Evict("a"))
    assert await one.forget(E3, expected=last.version)
    assert (await other.read(E3)).election.revision > again.election.revision
    forgotten, entered = [(await anext(changes))[0] for _ in range(2)]
    assert isinstance(forgotten, ElectionChanged)
    assert isinstance(entered, ElectionChanged)
    assert (forgotten.before, forgotten.after, forgotten.terms) == (record, left, ())
    assert (entered.after, entered.terms) == (again, (again.election.term,))


async def test_what_was_decided_before_a_forget_is_not_written(stores: tuple[SharedStore, SharedStore]) -> None:
    """Or its number could be one that the election had before it was forgotten."""
    one, other = stores
    decided = apply(Election(), Enter("late", SessionId("default", "s", 1))).election
    await _apply(other, E1, Enter("a", SessionId("default", "s", 1)))
    record = await _apply(other, E1, Evict("a"))
    assert await other.forget(E1, expected=record.version)
    assert await one.write(E1, decided, expected=0, terms=[decided.term]) is None
    batch = decided._replace(number=record.election.number, revision=2)  # no lower than the floor, after two commands
    assert await one.write(E1, batch, expected=0, terms=[decided.term, batch.term]) is None
    assert (await other.read(E1)).version == 0


async def test_who_is_told_that_nothing_is_there_is_told_where_it_goes_on(
    stores: tuple[SharedStore, SharedStore],
) -> None:
    """What is known of an election that has no record follows what is known of others that were forgotten."""
    one, other = stores
    await one.read(E1)
    await _apply(other, E3, Enter("a", SessionId("default", "s", 1)))
    record = await _apply(other, E3, Evict("a"))
    assert await other.forget(E3, expected=record.version)
    await one.read(E3)
    latest = one.latest(E1)
    assert await one.confirm(E1, expected=latest.version)
    assert latest.election == (await other.read(E1)).election == Election(number=record.election.number, revision=2)


async def test_sessions_are_heard_of(stores: tuple[SharedStore, SharedStore]) -> None:
    """Who opened them, and that they ended."""
    one, other = stores
    async with _following(one, other) as followers:
        kept, ended = await _open(one), await _open(other)
        await one.end_session(ended)
        await _apply(one, E1, Create(kept))
        for store, follower in zip(stores, followers, strict=True):
            await store.catch_up()
            assert follower.open == {kept}


async def test_a_session_that_nobody_renews_is_gone(stores: tuple[SharedStore, SharedStore]) -> None:
    """After its time-to-live and not before, for both; one that is renewed stays."""
    one, other = stores
    ttl_s = one.ttl_s(0.5)
    async with _following(one, other) as followers:
        dying, kept = await _open(one, "dying", ttl_s), await _open(one, "kept", ttl_s)
        await other.catch_up()
        began = anyio.current_time()
        assert await other.renew(dying)
        with anyio.fail_after(one.longest_failover_s(ttl_s) + 1):
            while dying in followers[1].open:
                assert await other.renew(kept)
                await anyio.sleep(0.1)
        assert anyio.current_time() - began >= ttl_s - 0.05
        assert not await one.renew(dying)
        assert not await other.renew(dying)
        assert await one.lease_left_s(dying) is None
        left_s = await other.lease_left_s(kept)
        assert left_s is not None
        assert 0 <= left_s <= ttl_s
        assert (await one.look(E1, [dying, kept])).open == {dying: False, kept: True}


async def test_floors_are_those_of_the_moment(stores: tuple[SharedStore, SharedStore]) -> None:
    """The revision of the store, which grows with every change."""
    one, other = stores
    before = (await one.read(E1)).floor
    record = await _apply(other, E2, Enter("a", SessionId("default", "s", 1)))
    assert record.floor == record.version > before
    assert (await one.read(E1)).floor >= record.version


async def test_who_has_caught_up_knows_what_there_is(stores: tuple[SharedStore, SharedStore]) -> None:
    """Also where nothing has ever changed: the first changes were taken."""
    async with _following(stores[0]) as (follower,):
        await stores[0].catch_up()
        session = await _open(stores[1])
        await stores[0].catch_up()
        assert follower.changes == [SessionOpened(StoredSession(session, 5.0, kept_alive=True, owner="somebody"))]


async def test_a_session_that_is_opened_alone_is_the_one_that_is_there(
    stores: tuple[SharedStore, SharedStore],
) -> None:
    """Whichever store opened it; when it has ended, another one is opened."""
    one, other = stores

    async def open_alone(store: SharedStore, owner: str) -> SessionId:
        return await store.open_session("default", "s", ttl_s=5.0, kept_alive=True, owner=owner, alone=True)

    former = None
    for owner in ("a", "b"):
        async with anyio.create_task_group() as tasks:
            for store in stores * 5:
                tasks.start_soon(open_alone, store, owner)
        session = await open_alone(other, owner)
        assert [each.session for each in await one.sessions()] == [session]
        assert session != former
        assert await open_alone(one, "c") == session
        assert [each.owner for each in await one.sessions()] == [owner]
        assert (await one.look(E1, [session])).open[session]
        await one.end_session(session)
        former = session
    assert await open_alone(one, "d") != former


async def test_each_comes_first_for_some(stores: tuple[SharedStore, SharedStore]) -> None:
    """And all agree on the order."""
    async with _following(*stores):
        for store in stores:
            await store.catch_up()
        elections = [ElectionId("default", f"e{number}") for number in range(50)]
        ranks = [tuple(store.rank(each) for store in stores) for each in elections]
    assert set(ranks) == {(0, 1), (1, 0)}


async def test_times_to_live_are_whole_seconds(stores: tuple[SharedStore, SharedStore]) -> None:
    """No less than is wanted, and no less than the store can keep."""
    one, _ = stores
    least = one.ttl_s(0.001)
    assert least >= 1
    for wanted in (0.1, least, least + 0.5, 10.0, 10.2):
        assert one.ttl_s(wanted) >= max(wanted, least)
        assert one.ttl_s(wanted) == int(one.ttl_s(wanted))
        assert one.longest_failover_s(wanted) > 2 * one.ttl_s(wanted)


async def test_operations_and_all_else_arrive(stores: tuple[SharedStore, SharedStore]) -> None:
    """A state is heard of as it was written."""
    one, other = stores
    session = await _open(one)
    election = Election(
        (Candidate("候補", session),), 3, 4, frozenset({session}), MappingProxyType({session: 9}), began_at=2.5
    )
    async with _following(other) as (follower,):
        await other.catch_up()
        await one.write(E1, election, expected=0)
        await other.catch_up()
    assert follower.of(E1)[0].after.election == election
