"""Commands become changes: together, in order, and answered only when they are kept."""

from itertools import pairwise

import anyio
import pytest

from atomix_election import (
    CandidateTaken,
    LimitExceeded,
    NotACandidate,
    OutcomeUnknown,
    SessionEnded,
    StoreError,
    Term,
)
from atomix_election.core.commands import Enter
from atomix_election.engine import Connection, Engine
from atomix_election.engine.lanes import LOOK_AGAIN_S, MAX_WAITING_COMMANDS
from tests.engine.fakes import LATE_S, TTL_S, PromptStore, RecordingStore, about, candidates, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def connection(engine: Engine) -> Connection:
    """A connection whose session "s" is open."""
    connection = Connection(engine)
    await connection.create(about("s"))
    return connection


async def test_what_waits_is_committed_together(connection: Connection, store: RecordingStore) -> None:
    """While one write is on its way all others gather, and go with the next one; each caller gets its own term."""
    store.write_delay_s = 1.0
    terms: dict[int, Term] = {}
    began, written = anyio.current_time(), len(store.writes)

    async def enter(number: int) -> None:
        terms[number] = await connection.enter(about("s"), f"c{number}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter, 0)
        await anyio.wait_all_tasks_blocked()
        for number in range(1, 200):
            tasks.start_soon(enter, number)
    assert len(store.writes) - written == 2
    assert anyio.current_time() - began == pytest.approx(2.0)
    assert sorted(term.revision for term in terms.values()) == list(range(1, 201))
    for number, term in terms.items():
        assert term.candidates[-1] == f"c{number}"
        assert len(term.candidates) == term.revision


async def test_nothing_is_told_before_it_is_kept(connection: Connection, engine: Engine, store: RecordingStore) -> None:
    """Neither the caller nor a watcher hears of a change before the write has returned."""
    store.write_delay_s = 5.0
    told: list[tuple[str, float]] = []
    began = anyio.current_time()

    async def watch() -> None:
        async with Connection(engine).events(about()) as events:
            await anext(events)
            await anext(events)
            told.append(("watcher", anyio.current_time() - began))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(connection.enter, about("s"), "a")
        await anyio.sleep(4.9)
        assert told == []
        assert await candidates(engine) == ()
    assert told == [("watcher", pytest.approx(5.0))]


async def test_refusals_and_what_changes_nothing_are_not_written(connection: Connection, store: RecordingStore) -> None:
    """They cost a read."""
    await connection.enter(about("s"), "a")
    written = len(store.writes)
    with pytest.raises(NotACandidate):
        await connection.anoint(about(), "x")
    await connection.enter(about("s"), "a")
    await connection.anoint(about(), "a")
    await connection.withdraw(about("s"), "x")
    assert len(store.writes) == written


async def test_a_refusal_in_the_midst_of_others_is_the_only_one(
    connection: Connection, engine: Engine, store: RecordingStore
) -> None:
    """Commands that are committed together succeed and fail each on its own."""
    other = Connection(engine)
    await other.create(about("t"))
    store.write_delay_s = 1.0
    refused: list[str] = []

    async def take(candidate_id: str) -> None:
        try:
            await other.enter(about("t"), candidate_id)
        except CandidateTaken:
            refused.append(candidate_id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.enter, about("s"), "first")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(connection.enter, about("s"), "a")
        await anyio.wait_all_tasks_blocked()
        for candidate_id in ("a", "b", "first"):
            tasks.start_soon(take, candidate_id)
    assert sorted(refused) == ["a", "first"]
    assert sorted(await candidates(engine)) == ["a", "b", "first"]


async def test_a_write_that_fails_changes_nothing(
    connection: Connection, engine: Engine, store: RecordingStore
) -> None:
    """Everybody whose command was in it is answered StoreError, and no event is published."""
    await connection.enter(about("s"), "a")
    async with Connection(engine).events(about()) as events:
        await anext(events)
        store.failing = True
        for method in (connection.enter, connection.withdraw):
            with pytest.raises(StoreError, match="disk is full"):
                await method(about("s"), "a" if method == connection.withdraw else "b")
        with pytest.raises(StoreError):
            await connection.evict(about(), "a")
        assert await candidates(engine) == ("a",)
        store.failing = False
        term = await connection.enter(about("s"), "b")
        assert (term.candidates, term.revision) == (("a", "b"), 2)
        assert (await anext(events)).term == term


@pytest.mark.parametrize("applied", [True, False])
async def test_what_became_of_a_write_in_doubt_is_announced_when_it_is_known(
    connection: Connection, engine: Engine, store: RecordingStore, applied: bool
) -> None:
    """Its callers hear OutcomeUnknown at once; watchers and sessions hear of what is there, and of nothing else."""
    await connection.enter(about("s"), "a")
    session = engine.sessions.get("default", "s")
    async with Connection(engine).events(about()) as events:
        await anext(events)
        store.doubtful = applied
        with pytest.raises(OutcomeUnknown, match="cannot be found out now"):
            await connection.evict(about(), "a")
        assert session.leads
        await anyio.sleep(10 * LOOK_AGAIN_S)
        store.unreadable = False
        await anyio.sleep(2 * LOOK_AGAIN_S)  # one may be over at this very moment
        assert bool(session.leads) == (not applied)
        await connection.enter(about("s"), "b")
        revisions = [(await anext(events)).term.revision for _ in range(1 + applied)]
        assert revisions == ([2, 3] if applied else [2])
        assert await candidates(engine) == (("b",) if applied else ("a", "b"))
    assert not engine._lanes


@pytest.mark.parametrize("applied", [True, False])
async def test_the_end_of_a_session_that_is_in_doubt_is_seen_through(
    connection: Connection, engine: Engine, store: RecordingStore, applied: bool
) -> None:
    """It is tried again until the store has taken it, and the one who follows leads."""
    await connection.enter(about("s"), "a")
    other = Connection(engine)
    await other.create(about("t"))
    await other.enter(about("t"), "b")
    store.doubtful = applied
    connection.disconnect()
    await anyio.sleep(TTL_S + LATE_S)
    store.unreadable = False
    await anyio.sleep(5 * LOOK_AGAIN_S)
    assert await candidates(engine) == ("b",)
    assert engine.sessions.get("default", "t").leads
    assert len(await store.sessions()) == 1


async def test_a_failed_create_takes_no_registration_away(
    connection: Connection, engine: Engine, store: RecordingStore
) -> None:
    """A session that had registered an election before keeps it, although a later Create could not be stored."""
    await connection.enter(about("s"), "a")
    await connection.create(about("s", "f"))

    store.unreadable = True
    with pytest.raises(StoreError):
        await connection.create(about("s"))
    store.unreadable = False
    await connection.close(about("s", "f"))
    assert await candidates(engine) == ("a",)


async def test_a_conflict_is_tried_again_from_a_fresh_read(
    connection: Connection, engine: Engine, store: RecordingStore
) -> None:
    """Somebody else's change in between is built upon."""
    store.conflicts = 3
    read = store.reads
    term = await connection.enter(about("s"), "a")
    assert (term.candidates, term.revision, term.number) == (("a",), 1, 1)
    assert store.reads - read == 4
    assert store.conflicts == 0


async def test_the_end_of_a_session_is_tried_until_the_store_takes_it(
    connection: Connection, engine: Engine, store: RecordingStore
) -> None:
    """From its end on the session is refused, although the store still has it."""
    await connection.enter(about("s"), "a")
    store.failing = True
    connection.disconnect()
    await anyio.sleep(TTL_S + LATE_S)
    late = Connection(engine)
    with pytest.raises(SessionEnded):
        await late.enter(about("s"), "a")
    await anyio.sleep(5 * TTL_S)
    assert await candidates(engine) == ("a",)
    store.failing = False
    await anyio.sleep(1.0)
    assert await candidates(engine) == ()
    assert await store.sessions() == []


async def test_an_id_whose_session_has_ended_is_free_before_it_is_swept(
    connection: Connection, engine: Engine, store: RecordingStore
) -> None:
    """Its new user stands in the same commit in which the old candidate goes, and the sweep leaves it alone."""
    await connection.enter(about("s"), "a")
    other = Connection(engine)
    await other.create(about("t"))
    store.failing = True
    connection.disconnect()
    await anyio.sleep(TTL_S + 0.01)
    store.failing = False
    term = await other.enter(about("t"), "a")
    assert (term.candidates, term.number, term.revision) == (("a",), 2, 2)
    await anyio.sleep(2.0)
    assert await other.get_term(about()) == term


async def _enter_too_late(connection: Connection) -> None:
    with pytest.raises(SessionEnded):
        await connection.enter(about("s"), "a")


async def test_an_entry_whose_session_ended_while_it_was_committed(engine: Engine, store: RecordingStore) -> None:
    """It hears SessionEnded, and is in no queue soon after."""
    connection = Connection(engine)
    await connection.create(about("s"))
    store.write_delay_s = TTL_S + 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_enter_too_late, connection)
        await anyio.wait_all_tasks_blocked()
        connection.disconnect()
    store.write_delay_s = 0.0
    await anyio.sleep(TTL_S + 2)
    assert await candidates(engine) == ()


async def test_who_is_cancelled_while_waiting_disturbs_nobody(
    connection: Connection, engine: Engine, store: RecordingStore
) -> None:
    """The others are answered, in order, also when the one that began the write has gone."""
    store.write_delay_s = 1.0
    terms: list[Term] = []

    async def enter(candidate_id: str) -> None:
        terms.append(await connection.enter(about("s"), candidate_id))

    async with anyio.create_task_group() as tasks, anyio.create_task_group() as impatient:
        impatient.start_soon(enter, "a")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(enter, "b")
        await anyio.wait_all_tasks_blocked()
        impatient.start_soon(enter, "c")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(enter, "d")
        await anyio.wait_all_tasks_blocked()
        impatient.cancel_scope.cancel()
    terms.sort(key=lambda term: term.revision)
    assert [term.candidates[-1] for term in terms] == ["b", "d"]
    assert terms[-1].candidates[0] == "a"
    store.write_delay_s = 0.0
    assert (await connection.withdraw(about("s"), "a")).candidates[0] == "b"


async def test_too_many_waiting_commands_are_refused(connection: Connection, store: RecordingStore) -> None:
    """The message names the limit; those that wait are served."""
    store.write_delay_s = 1.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.enter, about("s"), "a")
        await anyio.wait_all_tasks_blocked()
        for _ in range(MAX_WAITING_COMMANDS):
            tasks.start_soon(connection.enter, about("s"), "a")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LimitExceeded, match=str(MAX_WAITING_COMMANDS)):
            await connection.enter(about("s"), "b")
    assert (await connection.enter(about("s"), "b")).candidates == ("a", "b")


async def test_concurrent_clients_see_one_order(engine: Engine, store: RecordingStore) -> None:
    """What clients and a watcher are told is one history: each revision one term, numbers never fall."""
    store.write_delay_s = 0.01
    told: list[Term] = []
    watched: list[Term] = []

    async def client(number: int) -> None:
        connection = Connection(engine)
        own = f"c{number}"
        await connection.create(about(own))
        for step in range(20):
            before = told[-1] if told else Term()
            match (number + step) % 4:
                case 0 | 1:
                    term = await connection.enter(about(own), own)
                case 2:
                    term = await connection.withdraw(about(own), own)
                case _:
                    await connection.enter(about(own), own)
                    term = await connection.anoint(about(own), own)
                    assert term.leader == own
            assert term.revision >= before.revision
            told.append(term)
            assert (await connection.get_term(about())).revision >= term.revision

    async with Connection(engine).events(about(), buffer=10_000) as events:
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(client, number)
        final = await Connection(engine).get_term(about())
        while not watched or watched[-1] != final:
            watched.append((await anext(events)).term)
    assert [term.revision for term in watched] == list(range(final.revision + 1))
    history = {term.revision: term for term in watched}
    assert all(history[term.revision] == term for term in told)
    for before, after in pairwise(watched):
        assert after.number - before.number == (after.leader is not None and after.leader != before.leader)


class ReadableStore(PromptStore):
    """A store that can be read also while it does not know what became of a write."""

    unreadable = property(lambda _: False, lambda *_: None)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_write_in_doubt_is_looked_for_before_anything_else_is_written(applied: bool) -> None:
    """Also where the store could be written to at once: watchers are told in order, and sessions what they lead."""
    store = ReadableStore()
    async with running(store) as engine:
        connection = Connection(engine)
        await connection.create(about("s"))
        async with connection.events(about()) as events:
            store.doubtful = applied
            with pytest.raises(OutcomeUnknown):
                await connection.enter(about("s"), "a")
            term = await connection.enter(about("s"), "b")
            assert term.candidates == (("a", "b") if applied else ("b",))
            told = [(await anext(events)).term.revision for _ in range(2 + applied)]
            assert told == ([0, 1, 2] if applied else [0, 1])
        (granted,) = engine.sessions.get("default", "s").leads.values()
        assert granted.candidate_id == term.leader


async def test_a_write_that_outlasts_the_engine_disturbs_nobody() -> None:
    """Whatever it comes to, in doubt too; who comes next starts from what is stored."""
    store = PromptStore()
    outcomes: list[object] = []
    for candidate_id, doubtful in (("a", None), ("b", True)):
        async with running(store) as engine:
            connection = Connection(engine)
            await connection.create(about(candidate_id))
            store.write_delay_s, store.doubtful = 1.0, doubtful
            pending = connection.submit_now(about(candidate_id), Enter, candidate_id)
            assert pending is not None
            pending.on_answer(lambda pending=pending: outcomes.append(pending.outcome))
        assert len(outcomes) == (doubtful is not None)
        await anyio.sleep(1.5)
        store.write_delay_s, store.doubtful, store.unreadable = 0.0, None, False
    assert [type(each) for each in outcomes] == [Term, OutcomeUnknown]
    async with running(store) as engine:
        assert await candidates(engine) == ("a", "b")
