"""Calls that are taken without a task: the same answers in the same order, and nobody starves beside them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election import ElectionError, InvalidRequest, NotACandidate, SessionEnded, Term, Unavailable
from atomix_election.core.commands import Anoint, CandidateCommand, Enter, Evict, Promote, Withdraw
from atomix_election.engine import Connection, Engine
from atomix_election.engine.engine import MAX_TURNS
from atomix_election.service import Call, ImmediateService, Pending
from atomix_election.stores.base import Store
from atomix_election.stores.memory import MemoryStore
from atomix_election.stores.sqlite import open_sqlite_store
from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd_servers import open_servers
from tests.engine.fakes import RecordingStore, about, stand
from tests.engine.servers import settle

pytestmark = pytest.mark.anyio

Answer = Term | tuple[type[ElectionError], str]
Asked = tuple[type[CandidateCommand] | None, Call, str]
"""A command, or None for a look at the term; what the call says of itself; and the candidate."""

METHODS: dict[type[CandidateCommand], Callable[[Connection, Call, str], Any]] = {
    Enter: Connection.enter,
    Withdraw: Connection.withdraw,
    Anoint: Connection.anoint,
    Promote: Connection.promote,
    Evict: Connection.evict,
}


@asynccontextmanager
async def _memory(_: str) -> AsyncGenerator[Store]:
    yield MemoryStore()


STORES: dict[str, Callable[[str], AbstractAsyncContextManager[Store]]] = {
    "memory": _memory,
    "sqlite": open_sqlite_store,
}


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """What can be asked, also what is refused for any reason."""
    command = draw(st.sampled_from([Enter, Enter, Enter, Withdraw, Anoint, Promote, Evict, None]))
    session = draw(st.sampled_from(["s", "s", "t", "of another", "", "unknown"]))
    operation = draw(st.sampled_from([None, None, 1, 2, 3]))
    return command, Call(draw(st.sampled_from("ef")), session=session, operation=operation), draw(candidate_ids)


candidate_ids = st.sampled_from(["a", "b", "c", "", " "])


async def _awaited(connection: Connection, command: type[CandidateCommand] | None, call: Call, who: str) -> Answer:
    try:
        return await (connection.get_term(call) if command is None else METHODS[command](connection, call, who))
    except ElectionError as error:
        return type(error), str(error)


async def _at_once(connection: Connection, command: type[CandidateCommand] | None, call: Call, who: str) -> Answer:
    try:
        if command is None:
            return connection.read_now(call) or await connection.get_term(call)
        pending = connection.submit_now(call, command, who)
        assert pending is not None
        return await pending.answered()
    except ElectionError as error:
        return type(error), str(error)


async def _play(
    open_store: Callable[[str], AbstractAsyncContextManager[Store]],
    script: list[Asked],
    ask: Callable[[Connection, type[CandidateCommand] | None, Call, str], Any],
) -> tuple[list[Answer], list[Term]]:
    """Return what was answered, and all that a watcher was told."""
    with TemporaryDirectory() as directory:
        async with open_store(str(Path(directory, "store.db"))) as store:
            engine = Engine(store)
            async with engine.running():
                connection, another = Connection(engine), Connection(engine, "another")
                for session in "st":
                    await connection.create(about(session))
                await another.create(about("of another"))
                async with connection.events(about(), buffer=len(script) + 1) as events:
                    answers = [await ask(connection, *each) for each in script]
                    newest = (await connection.get_term(about())).revision
                    told = [(await anext(events)).term]
                    while told[-1].revision < newest:
                        told.append((await anext(events)).term)
                return answers, told


@settings(deadline=None, print_blob=True, max_examples=60)
@given(script=st.lists(asked(), min_size=1, max_size=25))
def test_to_hand_over_is_to_await(script: list[Asked]) -> None:
    """Terms, refusals, and what watchers are told are the same for both ways, whatever is asked."""
    assert anyio.run(_play, _memory, script, _at_once) == anyio.run(_play, _memory, script, _awaited)


@settings(deadline=None, print_blob=True, max_examples=6)
@given(script=st.lists(asked(), min_size=20, max_size=60))
def test_to_hand_over_to_a_file_is_to_await(script: list[Asked]) -> None:
    """The same, and the same as with a store that never waits."""
    handed_over = anyio.run(_play, open_sqlite_store, script, _at_once)
    assert handed_over == anyio.run(_play, open_sqlite_store, script, _awaited)
    assert handed_over == anyio.run(_play, _memory, script, _at_once)


@pytest.mark.parametrize("kind", STORES)
def test_both_ways_are_one_order(kind: str, tmp_path: Path) -> None:
    """What is handed over and what is awaited is committed in the order in which it was asked for."""
    anyio.run(_one_order, STORES[kind](str(tmp_path / "store.db")))


async def _one_order(opening: AbstractAsyncContextManager[Store]) -> None:
    async with opening as store:
        engine = Engine(store, clock=VirtualClock())
        async with engine.running():
            connection = Connection(engine)
            await connection.create(about("s"))
            told: list[str] = []
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    if number % 3:
                        pending = connection.submit_now(about("s"), Enter, f"c{number}")
                        assert pending is not None
                        pending.on_answer(partial(told.append, f"c{number}"))
                    else:
                        tasks.start_soon(connection.enter, about("s"), f"c{number}")
                        await anyio.lowlevel.checkpoint()  # its turn has come before the next one is handed over
            term = await connection.get_term(about())
            assert term.candidates == tuple(f"c{number}" for number in range(20))
            assert told == [each for each in term.candidates if int(each[1:]) % 3]


async def test_a_store_that_never_waits_has_committed_on_return() -> None:
    """Term, watchers and session know of it before anybody else runs, and no lane is left."""
    engine = Engine(MemoryStore(), clock=VirtualClock())
    async with engine.running():
        connection: ImmediateService = Connection(engine)
        await Connection(engine).create(about("s"))
        pending = connection.submit_now(about("s"), Enter, "a")
        assert pending is not None
        assert pending.outcome == connection.read_now(about()) == Term(("a",), 1, 1)
        assert engine.sessions.get("default", "s").leads
        assert not engine._lanes
        refused = connection.submit_now(about(), Anoint, "x")
        assert refused is not None
        assert isinstance(refused.outcome, NotACandidate)
        with pytest.raises(InvalidRequest):
            connection.submit_now(about(), Enter, "a")
        with pytest.raises(SessionEnded):
            connection.submit_now(about("t"), Enter, "a")
    with pytest.raises(Unavailable):
        connection.read_now(about())


async def test_an_answer_is_told_once_whenever_one_asks(engine: Engine, store: RecordingStore) -> None:
    """To all who have asked before, in order; at once to who asks after it."""
    connection = Connection(engine)
    await connection.create(about("s"))
    store.write_delay_s = 1.0
    told: list[int] = []
    pending = connection.submit_now(about("s"), Enter, "a")
    assert pending is not None
    for number in range(3):
        pending.on_answer(partial(told.append, number))
    await anyio.sleep(0.9)
    assert (told, pending.outcome) == ([], None)
    await anyio.sleep(0.2)
    assert told == [0, 1, 2]
    pending.on_answer(partial(told.append, 3))
    assert told == [0, 1, 2, 3]
    assert await pending.answered() == pending.outcome == Term(("a",), 1, 1)


async def test_who_is_told_may_ask_for_more() -> None:
    """It is committed after all that waited before it."""
    engine = Engine(MemoryStore(), clock=VirtualClock())
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "s", "a")
        more: list[Pending | None] = []
        async with connection.events(about()) as events:
            session = engine.sessions.get("default", "s")

            class Eager:
                def wake(self) -> None:
                    if not more:
                        more.append(connection.submit_now(about("s"), Enter, "b"))
                        assert more[0] is not None
                        assert more[0].outcome is None

            session.watchers[Eager()] = None
            assert await connection.withdraw(about("s"), "a") == Term((), 1, 2)
            assert more[0] is not None
            assert more[0].outcome == Term(("b",), 2, 3)
            assert [(await anext(events)).term.revision for _ in range(3)] == [1, 2, 3]


async def test_what_several_servers_share_is_handed_over_where_nothing_has_to_be_waited_for() -> None:
    """A session that is not known yet has to be looked for; the term has to be read."""
    async with open_servers() as servers:
        one, two = await servers.start_some(2)
        here, there = one.connect(), two.connect()
        two.client.hold_back()
        await stand(here, "s", "a")
        assert there.submit_now(about("s"), Enter, "b") is None
        assert there.read_now(about()) is None
        two.client.let_by()
        await settle()
        pending = there.submit_now(about("s"), Enter, "b")
        assert pending is not None
        assert (await pending.answered()).candidates == ("a", "b")
        assert there.read_now(about("s")) is None


async def _enter_and_withdraw_for_ever(connection: Connection) -> None:
    while True:
        await connection.enter(about("s"), "a")
        await connection.withdraw(about("s"), "a")
        await connection.get_term(about())


async def _beside_a_busy_caller() -> None:
    engine = Engine(MemoryStore())
    async with engine.running():
        connection = Connection(engine)
        await connection.create(about("s"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_enter_and_withdraw_for_ever, connection)
            await anyio.lowlevel.checkpoint()
            for _ in range(20):
                before = (await connection.get_term(about())).revision
                await anyio.lowlevel.checkpoint()
                assert (await connection.get_term(about())).revision - before <= 2 * MAX_TURNS
            await anyio.sleep(0.001)  # a timer fires too
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nobody_starves_beside_a_caller_that_never_waits(backend: str) -> None:
    """Others run after MAX_TURNS calls at the latest, timers fire, and the caller can be cancelled."""
    anyio.run(_beside_a_busy_caller, backend=backend)


async def _native_cancellation() -> None:
    engine = Engine(MemoryStore())
    async with engine.running():
        connection = Connection(engine)
        await connection.create(about("s"))
        busy = asyncio.create_task(_enter_and_withdraw_for_ever(connection))
        await asyncio.sleep(0)
        busy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await busy


def test_a_caller_that_never_waits_can_be_cancelled_natively() -> None:
    """By asyncio's own cancellation."""
    anyio.run(_native_cancellation)


async def _cancelled_before() -> None:
    engine = Engine(MemoryStore())
    async with engine.running():
        connection = Connection(engine)
        await connection.create(about("s"))
        reached: list[str] = []
        for name, method in (("enter", connection.enter), ("withdraw", connection.withdraw)):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await method(about("s"), "a")
                reached.append(name)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await connection.get_term(about())
            reached.append("get_term")
        assert not reached
        assert await connection.get_term(about()) == Term()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_call_whose_scope_is_cancelled_does_nothing(backend: str) -> None:
    """Each call looks for a cancellation first, and then has done nothing."""
    anyio.run(_cancelled_before, backend=backend)


async def test_a_turn_never_hides_what_was_done() -> None:
    """Who is cancelled while others run, after its command was committed, is answered; its next call is cancelled."""
    engine = Engine(MemoryStore(), clock=VirtualClock())
    async with engine.running():
        connection = Connection(engine)
        await connection.create(about("s"))
        answered: list[Term] = []
        async with anyio.create_task_group() as tasks:

            async def enter_all() -> None:
                for number in range(3 * MAX_TURNS):
                    term = await connection.enter(about("s"), f"c{number}")
                    answered.append(term)

            tasks.start_soon(enter_all)
            while not answered:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert 0 < len(answered) < 3 * MAX_TURNS
        assert answered[-1] == await connection.get_term(about())
