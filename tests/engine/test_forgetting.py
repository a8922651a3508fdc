"""Forgetting elections: what callers and watchers see of it, and what comes after."""

from functools import partial

import anyio
import pytest

from atomix_election.core.commands import Close as CloseElection
from atomix_election.core.commands import Command, Create, Enter, Forget, Withdraw
from atomix_election.engine import Connection, ElectionLimits, Engine
from atomix_election.engine.lanes import LOOK_AGAIN_S
from atomix_election.errors import InvalidRequest, LimitExceeded, OutcomeUnknown, StoreError
from atomix_election.model import ElectionId, Event, EventType, Term
from atomix_election.testing import VirtualClock
from tests.engine.fakes import RecordingStore, about, stand

pytestmark = pytest.mark.anyio

E = ElectionId("default", "e")


async def _use(engine: Engine, name: str = "e", times: int = 1) -> Term:
    """Enter an election and leave it again, some times, and return its term."""
    connection = Connection(engine)
    for _ in range(times):
        await stand(connection, "s", "a", name)
        await connection.close(about("s", name))
    return await engine.read(ElectionId("default", name))


async def _submit_in_order(engine: Engine, *commands: Command) -> list[object]:
    """Submit the first command, and the others as one batch while that is committed; return answers and refusals."""
    answers: dict[int, object] = {}

    async def submit(place: int, command: Command) -> None:
        try:
            answers[place] = await engine.submit(E, command)
        except InvalidRequest as error:
            answers[place] = type(error)

    async with anyio.create_task_group() as tasks:
        for place, command in enumerate(commands):
            tasks.start_soon(submit, place, command)
            await anyio.wait_all_tasks_blocked()
    return [answers[place] for place in range(len(commands))]


async def test_a_forgotten_election_is_gone_from_the_store_and_its_tokens_go_on(
    engine: Engine, store: RecordingStore
) -> None:
    """Nobody can tell from its terms that it was gone."""
    assert await _use(engine, times=3) == Term((), 3, 6)
    assert await engine.forget(E) == Term((), 3, 6)
    assert [each async for each in store.elections()] == []
    assert await engine.read(E) == Term((), 3, 6)
    assert await _use(engine) == Term((), 4, 8)


async def test_what_nobody_ever_entered_can_be_forgotten_without_a_trace(engine: Engine, store: RecordingStore) -> None:
    """Twice, too: a repeat after a lost answer is no error."""
    for _ in range(2):
        assert await engine.forget(E) == Term()
    assert [each async for each in store.elections()] == []


async def test_an_election_in_use_is_kept(engine: Engine, store: RecordingStore) -> None:
    """With a candidate, and with a session that has created it; then it can be forgotten."""
    connection = Connection(engine)
    await stand(connection, "s", "a")
    with pytest.raises(InvalidRequest, match="in use and cannot be forgotten: it has 1 candidates; end its clients"):
        await engine.forget(E)
    await connection.withdraw(about("s"), "a")
    with pytest.raises(InvalidRequest, match="1 open sessions have created it"):
        await engine.forget(E)
    await connection.close(about("s"))
    assert await engine.forget(E) == Term((), 1, 2)
    assert [each async for each in store.elections()] == []


async def test_who_enters_at_the_same_time_is_not_lost(engine: Engine, store: RecordingStore) -> None:
    """Commands around it are applied in order, with it in one batch: who enters after it is in the queue."""
    await _use(engine)
    session = await engine.sessions.open("default", "t", kept_alive_ttl_s=5.0)
    store.write_delay_s = 1.0
    answers = await _submit_in_order(engine, Forget(), Forget(), Enter("b", session.id), Forget())
    assert answers == [Term((), 1, 2), Term((), 1, 2), Term(("b",), 2, 3), InvalidRequest]
    assert await engine.read(E) == Term(("b",), 2, 3)


async def test_who_comes_after_it_is_answered_with_what_is_read_from_then_on(
    engine: Engine, store: RecordingStore
) -> None:
    """In the same batch, where the floor of the namespace is higher."""
    session = await engine.sessions.open("default", "t", kept_alive_ttl_s=5.0)
    await _use(engine, "other", times=5)
    await _use(engine)
    await engine.forget(ElectionId("default", "other"))
    create, close, withdraw = Create(session.id), CloseElection(session.id), Withdraw("x", session.id)
    store.write_delay_s = 1.0
    answers = await _submit_in_order(engine, create, close, withdraw, Forget(), withdraw)
    assert answers == [Term((), 1, 2)] * 3 + [Term((), 5, 10)] * 2
    assert await engine.read(E) == Term((), 5, 10)


async def test_watchers_see_nobody_and_then_who_comes_back(engine: Engine) -> None:
    """Nothing is announced where nothing that can be seen has changed, and the watch goes on."""
    await _use(engine)
    async with engine.watch(E, 8) as events:
        assert await anext(events) == Event(EventType.NONE, Term((), 1, 2))
        await engine.forget(E)
        await _use(engine)
        assert await anext(events) == Event(EventType.CHANGED, Term(("a",), 2, 3))


async def test_watchers_are_told_where_the_floor_of_the_namespace_is_higher(engine: Engine) -> None:
    """As whoever asks for the term is: nobody, under the number and the revision that the next one goes on from."""
    await _use(engine, "other", times=5)
    await _use(engine)
    await engine.forget(ElectionId("default", "other"))
    async with engine.watch(E, 8) as events:
        assert await anext(events) == Event(EventType.NONE, Term((), 1, 2))
        assert await engine.forget(E) == Term((), 5, 10)
        assert await anext(events) == Event(EventType.CHANGED, Term((), 5, 10), skipped=True)
        await _use(engine)
        assert await anext(events) == Event(EventType.CHANGED, Term(("a",), 6, 11))


async def test_a_conflict_is_tried_again_and_a_failure_leaves_everything(engine: Engine, store: RecordingStore) -> None:
    """As with any command."""
    await _use(engine)
    store.failing = True
    with pytest.raises(StoreError, match="full"):
        await engine.forget(E)
    store.failing = False
    assert len([each async for each in store.elections()]) == 1
    store.conflicts = 2
    await engine.forget(E)
    assert [each async for each in store.elections()] == []


@pytest.mark.parametrize("applied", [True, False])
async def test_a_forget_in_doubt_is_found_out_and_loses_no_number(store: RecordingStore, applied: bool) -> None:
    """Its caller hears OutcomeUnknown; the place that it may have made is given when it is known, and only then."""
    engine = Engine(store, clock=VirtualClock(), election_limits=ElectionLimits(max_elections=1))
    async with engine.running():
        await _use(engine, times=3)
        async with engine.watch(E, 8) as events:
            await anext(events)
            store.doubtful = applied
            with pytest.raises(OutcomeUnknown, match="cannot be found out now"):
                await engine.forget(E)
            with pytest.raises(StoreError):
                await engine.read(E)
            store.unreadable = False
            await anyio.sleep(2 * LOOK_AGAIN_S)
            assert [each.name async for each, _ in store.elections()] == ([] if applied else ["e"])
            if not applied:
                with pytest.raises(LimitExceeded, match="max_elections"):
                    await _use(engine, "f")
            assert await engine.forget(E) == Term((), 3, 6)
            await _use(engine, "f")
            await engine.forget(ElectionId("default", "f"))
            await _use(engine)
            assert (await anext(events)).term.number == 5


async def test_the_end_of_a_session_that_was_there_before_finds_nothing(engine: Engine, store: RecordingStore) -> None:
    """And writes nothing that would bring the election back."""
    connection = Connection(engine)
    await stand(connection, "s", "a")
    await connection.create(about("s", "more"))
    await connection.close(about("s"))
    await engine.forget(E)
    await connection.close(about("s", "more"))
    assert [each.name async for each, _ in store.elections()] == ["more"]


async def test_forgetting_does_not_wait_behind_other_elections(engine: Engine, store: RecordingStore) -> None:
    """It is a command of its election alone."""
    await _use(engine)
    store.write_delay_s = 1.0
    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for name in ("f", "g"):
            session = await engine.sessions.open("default", name, kept_alive_ttl_s=5.0)
            tasks.start_soon(partial(engine.submit, ElectionId("default", name), Enter("a", session.id)))
        tasks.start_soon(engine.forget, E)
    assert anyio.current_time() == start + 1.0


async def test_a_forgotten_election_makes_room_for_another(store: RecordingStore) -> None:
    """The limit on elections does not fill for good; one that was never there makes no room."""
    engine = Engine(store, clock=VirtualClock(), election_limits=ElectionLimits(max_elections=1))
    async with engine.running():
        for name in ("e", "f", "g"):
            await _use(engine, name)
            await engine.forget(ElectionId("default", "never"))
            with pytest.raises(LimitExceeded, match="max_elections"):
                await stand(Connection(engine), "t", "a", "one-more")
            await engine.forget(ElectionId("default", name))


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_numbers_that_were_given_just_before_are_not_forgotten(
    engine: Engine, store: RecordingStore, before: int
) -> None:
    """Commands that wait together with a Forget are committed before it: what they were told never comes again."""
    await _use(engine, times=before)
    session = await engine.sessions.open("default", "t")
    store.write_delay_s = 1.0
    async with engine.watch(E, 64) as events:
        commands = (Create(session.id), Enter("a", session.id), CloseElection(session.id), Forget())
        answers = await _submit_in_order(engine, Create(session.id), *commands)
        entered, left, gone = answers[2:]
        assert [entered, left, gone] == [
            Term(("a",), before + 1, 2 * before + 1),
            Term((), before + 1, 2 * before + 2),
            Term((), before + 1, 2 * before + 2),
        ]
        assert [each async for each in store.elections()] == []
        again = await engine.submit(E, Enter("b", session.id))
        assert again == Term(("b",), before + 2, 2 * before + 3)
        revisions = [(await anext(events)).term.revision for _ in range(4)]
    assert revisions == [2 * before + each for each in range(4)]
