"""The store around an SQLite file: who waits together is written together, and whoever goes away disturbs nobody."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from atomix_election.core.election import Election
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores import sqlite
from atomix_election.stores.base import Record, Written
from atomix_election.stores.sqlite import Inline, Result, SqliteStore, WorkerThread, open_sqlite_store
from tests.stores.disks import FailingConnection, full_for_files_above
from tests.stores.test_ownership import FORKING, run_program

pytestmark = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])

_T = TypeVar("_T")


class Opening:
    """A gate's state until it is closed the next time: what comes before ``set`` is held up."""

    def __init__(self) -> None:
        self._held: list[Callable[[], None]] | None = []

    def set(self) -> None:
        """Let by what was held up, and all that comes."""
        held, self._held = self._held or [], None
        for each in held:
            each()

    def let_by(self, run: Callable[[], None]) -> None:
        """Run something, now or later."""
        if self._held is None:
            run()
        else:
            self._held.append(run)


class Gate:
    """An executor that counts what it runs, and lets nothing through as long as it is closed."""

    def __init__(self) -> None:
        self.runs = 0
        self.running = self.most_running = 0
        self.at_gate = anyio.Event()
        self.open = Opening()
        self.open.set()
        self._executor = WorkerThread()

    def close_gate(self) -> None:
        """Hold up what comes next."""
        self.open = Opening()
        self.at_gate = anyio.Event()

    def start(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
        """See ``Executor.start``."""
        self.running += 1
        self.most_running = max(self.running, self.most_running)

        def ended(result: Result[_T]) -> None:
            self.running -= 1
            done(result)

        def run() -> None:
            self.runs += 1
            self._executor.start(call, ended)

        self.at_gate.set()
        self.open.let_by(run)

    def close(self) -> None:
        """See ``Executor.close``."""
        self._executor.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the store is."""
    return str(tmp_path / "store.db")


@pytest.fixture
async def gate(anyio_backend: object) -> Gate:
    """What stands between the store and its file."""
    return Gate()


@pytest.fixture
async def store(path: str, gate: Gate) -> AsyncGenerator[SqliteStore]:
    """A store behind a gate."""
    async with open_sqlite_store(path, execute=gate) as store:
        gate.runs = 0
        yield store


@asynccontextmanager
async def doubted(path: str, monkeypatch: pytest.MonkeyPatch, *faults: bool) -> AsyncGenerator[SqliteStore]:
    """Open a store whose next COMMITs fail in the end, after they were carried out or before."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs, factory=FailingConnection))
    async with open_sqlite_store(path) as store:
        FailingConnection.faults.extend(faults)
        try:
            yield store
        finally:
            FailingConnection.faults.clear()


def named(number: int | str) -> ElectionId:
    """Return the name of an election."""
    return ElectionId("default", f"e{number}")


def size_of(path: str) -> int:
    """Return the size of a file."""
    return Path(path).stat().st_size


def open_files() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def write(store: SqliteStore, number: int) -> None:
    """Write an election for the first time."""
    assert await store.write(named(number), Election(number=number), expected=0)


async def test_who_waits_together_is_written_together(store: SqliteStore, gate: Gate) -> None:
    """While one transaction is under way all others gather, elections and sessions alike, for the next one."""
    gate.close_gate()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, store, 0)
        await gate.at_gate.wait()
        for number in range(1, 65):
            tasks.start_soon(write, store, number)
            tasks.start_soon(lambda: store.open_session("default", "s", ttl_s=1.0, kept_alive=True))
        await anyio.wait_all_tasks_blocked()
        assert gate.runs == 0
        gate.open.set()
    assert gate.runs == 2
    assert len(await store.sessions()) == 64


async def test_who_goes_on_at_the_same_time_stays_together(store: SqliteStore, gate: Gate) -> None:
    """Writers that write again and again are not split into one that is early and the rest."""
    writers, rounds = 16, 10

    async def work(writer: int) -> None:
        version = 0
        for number in range(rounds):
            record = await store.write(named(writer), Election(number=number), expected=version)
            assert record is not None
            version = record.version

    async with anyio.create_task_group() as tasks:
        for writer in range(writers):
            tasks.start_soon(work, writer)
    assert gate.runs <= rounds + 2


async def test_nothing_is_answered_before_it_is_committed(store: SqliteStore, gate: Gate, path: str) -> None:
    """What another connection can see is what was acknowledged; reads go on with what is committed."""
    await write(store, 1)
    gate.close_gate()
    done = anyio.Event()

    async def write_again() -> None:
        record = await store.read(named(1))
        assert await store.write(named(1), Election(number=9), expected=record.version)
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_again)
        await gate.at_gate.wait()
        await anyio.wait_all_tasks_blocked()
        assert not done.is_set()
        assert (await store.read(named(1))).election.number == 1
        gate.open.set()
    assert (await store.read(named(1))).election.number == 9
    with closing(sqlite3.connect(path)) as connection:
        (record,) = connection.execute("SELECT record FROM election").fetchone()
    assert b'"number":9' in record


async def test_a_hot_election_is_read_from_memory(store: SqliteStore, gate: Gate) -> None:
    """Also one that was never written, once it was read."""
    await write(store, 1)
    await store.read(named(2))
    runs = gate.runs
    for _ in range(100):
        assert (await store.read(named(1))).election.number == 1
        assert (await store.read(named(2))).version == 0
    assert gate.runs == runs


async def test_memory_is_bounded(store: SqliteStore, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The election that was not used for the longest time is read from the file again."""
    monkeypatch.setattr(sqlite, "MAX_CACHED_ELECTIONS", 3)
    for number in range(1, 4):
        await write(store, number)
    await store.read(named(1))
    await write(store, 4)
    assert len(store._cache) == 3
    runs = gate.runs
    for number in (1, 3, 4):
        assert (await store.read(named(number))).election.number == number
    assert gate.runs == runs
    assert (await store.read(named(2))).election.number == 2
    assert gate.runs == runs + 1


async def test_an_operation_costs_the_same_however_many_elections_there_are(path: str, anyio_backend: object) -> None:
    """Counted in steps of SQLite's machine, on 10 and on 10,000 elections; the tree is a level deeper at most."""
    steps: list[int] = []

    async def count(store: SqliteStore, work: Callable[[], object]) -> int:
        connection = store._file._connection
        assert connection is not None
        counted = [0]

        def one_more() -> None:
            counted[0] += 1

        connection.set_progress_handler(one_more, 1)
        try:
            await work()  # type: ignore[reportGeneralTypeIssues]
        finally:
            connection.set_progress_handler(None, 0)
        return counted[0]

    async with open_sqlite_store(path, execute=Inline()) as store:
        written = 0
        for existing in (10, 10_000):
            connection = store._file._connection
            assert connection is not None
            connection.execute("BEGIN")
            rows = [
                (f"e{number}", b'{"version":1,"number":0,"revision":0,"sessions":[],"candidates":[]}')
                for number in range(written, existing)
            ]
            connection.executemany("INSERT INTO election VALUES ('default', ?, 1, ?)", rows)
            connection.execute("COMMIT")
            written = existing
            name = ElectionId("new", f"{existing}")
            steps.append(
                await count(store, partial(store.read, named(existing - 1)))
                + await count(store, partial(store.write, name, Election(), expected=0))
                + await count(store, partial(store.open_session, "default", "s", ttl_s=1.0, kept_alive=True))
            )
    assert 0 < steps[1] <= steps[0] + 3


@pytest.mark.parametrize("who", ["first", "second", "third"])
async def test_who_is_cancelled_disturbs_nobody(store: SqliteStore, gate: Gate, who: str) -> None:
    """The one who carries out the batch, the one who is to carry out the next one, or another."""
    gate.close_gate()
    scopes = {each: anyio.CancelScope() for each in ("first", "second", "third", "fourth")}
    done: list[str] = []

    async def work(name: str) -> None:
        with scopes[name]:
            assert await store.write(named(name), Election(number=1), expected=0)
            done.append(name)

    async with anyio.create_task_group() as tasks:
        for name in scopes:
            tasks.start_soon(work, name)
            if name == "first":
                await gate.at_gate.wait()
        await anyio.wait_all_tasks_blocked()
        scopes[who].cancel()
        await anyio.wait_all_tasks_blocked()
        gate.open.set()
    assert set(done) >= scopes.keys() - {who}
    for name in done:
        assert (await store.read(named(name))).election.number == 1
    await write(store, 7)


@on_asyncio
@pytest.mark.parametrize("moment", range(12))
async def test_asyncios_own_cancellation_disturbs_nobody(path: str, moment: int) -> None:
    """``Task.cancel`` passes through shields; the thread's work is waited for by whoever touches the file next."""
    running = 0
    at_once = 0

    class Watched(WorkerThread):
        def start(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
            def watched() -> _T:
                nonlocal running, at_once
                running += 1
                at_once = max(at_once, running)
                try:
                    return call()
                finally:
                    running -= 1

            super().start(watched, done)

    async with open_sqlite_store(path, execute=Watched()) as store:
        await write(store, 0)
        tasks = [asyncio.create_task(write(store, number)) for number in range(1, 7)]
        for _ in range(moment):
            await asyncio.sleep(0)
        for each in tasks[:3]:
            each.cancel()
        await asyncio.wait(tasks)
        assert [each.cancelled() for each in tasks[3:]] == [False] * 3
        assert [each.exception() for each in tasks[3:]] == [None] * 3
        await write(store, 7)
        for number in range(4, 8):
            assert (await store.read(named(number))).election.number == number
    assert at_once == 1


@on_asyncio
@pytest.mark.parametrize("moment", range(10))
async def test_opening_that_is_cancelled_leaves_nothing_open(path: str, moment: int) -> None:
    """By asyncio's own cancellation too: the file can be owned right after."""

    async def use() -> None:
        async with open_sqlite_store(path):
            await anyio.sleep_forever()

    threads = threading.active_count()
    task = asyncio.create_task(use())
    for _ in range(moment):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert threading.active_count() == threads
    async with open_sqlite_store(path) as store:
        await write(store, 1)


async def _returning_nothing(awaitable: Awaitable[object]) -> None:
    await awaitable


@on_asyncio
async def test_who_is_cancelled_as_it_is_answered_disturbs_nobody(path: str) -> None:
    """Asyncio cancels a task even when what it waits for has come."""
    tasks: list[asyncio.Task[None]] = []

    class Cancelling(WorkerThread):
        def start(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
            def done_and_cancelled(result: Result[_T]) -> None:
                done(result)
                for each in tasks[1:3]:
                    each.cancel()

            super().start(call, done_and_cancelled)

    async with open_sqlite_store(path, execute=Cancelling()) as store:
        tasks += [asyncio.create_task(write(store, number)) for number in range(2)]
        opening = store.open_session("default", "s", ttl_s=1.0, kept_alive=True)
        tasks.append(asyncio.get_running_loop().create_task(_returning_nothing(opening)))
        with anyio.fail_after(5):
            await asyncio.wait(tasks)
        assert [each.cancelled() for each in tasks] == [False, True, True]
        tasks.clear()
        assert [(await store.read(named(number))).version > 0 for number in range(2)] == [True] * 2
        await write(store, 2)
        assert await store.sessions() == []  # nobody knows of the one that was opened


@on_asyncio
async def test_a_store_that_fails_unexpectedly_leaves_nobody_waiting(path: str) -> None:
    """A fault of ours comes out where it was found, and who waited does not know what became of the write."""

    class Faulty(Inline):
        faulty = False

        def start(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
            if not self.faulty:
                super().start(call, done)
                return
            done(Result(None, ZeroDivisionError()))

    executor, heard = Faulty(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(type(context["exception"])))
    async with open_sqlite_store(path, execute=executor) as store:
        executor.faulty = True
        told: list[Written] = []
        store.write_now(named(1), Election(), expected=0, done=told.append)
        with pytest.raises(OutcomeUnknown):
            await write(store, 2)
        assert [type(each) for each in told] == [OutcomeUnknown]
        executor.faulty = False

        def fail(_: Written) -> None:
            raise ZeroDivisionError

        store.write_now(named(3), Election(), expected=0, done=fail)
        store.write_now(named(4), Election(), expected=0, done=told.append)
        await write(store, 5)
        assert told[1:] == [True]
    assert heard == [ZeroDivisionError] * 2


async def test_a_write_without_a_task_is_one_of_the_batch(store: SqliteStore, gate: Gate) -> None:
    """It is done with those that are awaited, told once it is committed, and known from then on."""
    gate.close_gate()
    told: list[tuple[Written, int]] = []

    def write_now(number: int, expected: int) -> None:
        def done(written: Written) -> None:
            record = store.read_now(named(number))
            told.append((written, record.version if record else -1))

        store.write_now(named(number), Election(number=number), expected=expected, done=done)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, store, 0)
        await gate.at_gate.wait()
        write_now(1, 0)
        write_now(2, 7)
        tasks.start_soon(write, store, 3)
        await anyio.wait_all_tasks_blocked()
        assert not told
        gate.open.set()
    assert gate.runs == 2
    assert [written for written, _ in told] == [True, False]
    assert told[0][1] == (await store.read(named(1))).version


async def test_the_thread_ends_with_the_store(path: str, anyio_backend: object) -> None:
    """Not a moment later, so that none is left however often one is opened."""
    before = set(threading.enumerate())
    async with open_sqlite_store(path) as store:
        await write(store, 1)
        (thread,) = set(threading.enumerate()) - before
    assert not thread.is_alive()


async def test_a_session_whose_opener_was_cancelled_is_ended_again(store: SqliteStore, gate: Gate) -> None:
    """Nobody knows of it; it goes with the next change."""
    gate.close_gate()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, store, 0)
        await gate.at_gate.wait()
        tasks.start_soon(write, store, 1)
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as cancelled:
            cancelled.start_soon(partial(store.open_session, "default", "s", ttl_s=1.0, kept_alive=True))
            await anyio.wait_all_tasks_blocked()
            first = gate.open
            gate.close_gate()
            first.set()
            await gate.at_gate.wait()  # with the second batch
            cancelled.cancel_scope.cancel()
        gate.open.set()
    assert len(await store.sessions()) == 1
    await write(store, 2)
    assert await store.sessions() == []
    assert not store._undo


async def test_a_full_disk_is_a_store_error_for_each_and_passes(store: SqliteStore, path: str) -> None:
    """No one is acknowledged, each has an error of its own, and after that all goes on."""
    await write(store, 0)
    errors: list[StoreError] = []

    async def fail(number: int) -> None:
        with pytest.raises(StoreError, match="no restart is needed") as refused:
            await store.write(named(number), Election(number=number), expected=0)
        errors.append(refused.value)

    with full_for_files_above(size_of(f"{path}-wal")):
        async with anyio.create_task_group() as tasks:
            for number in range(1, 9):
                tasks.start_soon(fail, number)
        assert (await store.read(named(0))).version
        assert (await store.read(named(1))).version == 0
    assert len({id(error) for error in errors}) == 8
    for number in range(1, 9):
        await write(store, number)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_commit_that_fails_in_the_end_is_answered_by_what_is_there(
    path: str, monkeypatch: pytest.MonkeyPatch, applied: bool, anyio_backend: object
) -> None:
    """OK when it took place, StoreError when it did not; never the one for the other."""
    async with doubted(path, monkeypatch, applied) as store:
        if applied:
            await write(store, 1)
        else:
            with pytest.raises(StoreError, match="disk I/O error"):
                await write(store, 1)
        assert (await store.read(named(1))).election.number == int(applied)
        await write(store, 2)
    async with open_sqlite_store(path) as store:
        assert (await store.read(named(1))).election.number == int(applied)


@pytest.mark.parametrize("applied", [True, False])
async def test_an_outcome_that_cannot_be_found_out_is_said_to_be_unknown(
    path: str, monkeypatch: pytest.MonkeyPatch, applied: bool, anyio_backend: object
) -> None:
    """And no state that may be outdated is read meanwhile; what is not concerned can be read all the time."""
    monkeypatch.setattr(sqlite, "MAX_SETTLE_TRIES", 3)
    monkeypatch.setattr(sqlite, "SETTLE_PAUSE_S", 0.001)
    async with doubted(path, monkeypatch) as store:
        await write(store, 1)
        await write(store, 2)
        record = await store.read(named(1))
        FailingConnection.faults.extend([applied, False, False, False, False])
        with pytest.raises(OutcomeUnknown, match="read the term later"):
            await store.write(named(1), Election(number=9), expected=record.version)
        with pytest.raises(StoreError):
            await store.read(named(1))
        assert (await store.read(named(2))).election.number == 2
        FailingConnection.faults.clear()
        assert (await store.read(named(1))).election.number == (9 if applied else 1)
        await write(store, 3)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_forget_whose_commit_fails_in_the_end_is_answered_by_what_is_there(
    path: str, monkeypatch: pytest.MonkeyPatch, applied: bool, anyio_backend: object
) -> None:
    """Gone with its floor kept, or wholly there; no half of it, also after a restart."""
    async with doubted(path, monkeypatch) as store:
        record = await store.write(named(1), Election(number=7, revision=9), expected=0)
        assert record is not None
        FailingConnection.faults.append(applied)
        if applied:
            left = await store.forget(named(1), expected=record.version)
            assert left == Record(Election(number=7, revision=9), 0)
        else:
            with pytest.raises(StoreError, match="disk I/O error"):
                await store.forget(named(1), expected=record.version)
        assert (await store.read(named(1))).version == (0 if applied else record.version)
    async with open_sqlite_store(path) as store:
        assert (await store.read(named(1))).version == (0 if applied else record.version)
        for number in (1, 2):
            begun = (await store.read(named(number))).election
            assert (begun.number, begun.revision) == ((7, 9) if applied or number == 1 else (0, 0))


@pytest.mark.parametrize("applied", [True, False])
async def test_where_the_outcome_of_a_forget_is_unknown_nothing_outdated_is_read(
    path: str, monkeypatch: pytest.MonkeyPatch, applied: bool, anyio_backend: object
) -> None:
    """Neither the election nor those that have no record, whose floor may have risen; then what is there is read."""
    monkeypatch.setattr(sqlite, "MAX_SETTLE_TRIES", 3)
    monkeypatch.setattr(sqlite, "SETTLE_PAUSE_S", 0.001)
    async with doubted(path, monkeypatch) as store:
        record = await store.write(named(1), Election(number=7, revision=9), expected=0)
        assert record is not None
        await write(store, 2)
        assert (await store.read(named("never"))).election == Election()
        FailingConnection.faults.extend([applied, False, False, False, False, False])
        with pytest.raises(OutcomeUnknown, match="read the term later"):
            await store.forget(named(1), expected=record.version)
        for hidden in (named(1), named("never")):
            with pytest.raises(StoreError):
                await store.read(hidden)
        assert (await store.read(named(2))).election.number == 2
        FailingConnection.faults.clear()
        read = await store.read(named(1))
        assert read == (Record(Election(number=7, revision=9), 0) if applied else record)
        never = (await store.read(named("never"))).election
        assert (never.number, never.revision) == ((7, 9) if applied else (0, 0))
        assert await store.forget(named(1), expected=record.version) == (None if applied else replace(read, version=0))
    async with open_sqlite_store(path) as store:
        assert [each.name async for each, _ in store.elections()] == [named(2).name]
        assert (await store.read(named(1))).election == Election(number=7, revision=9)


def test_a_forked_child_has_no_part_in_it(path: str) -> None:
    """It can neither read nor write, and its end does the parent no harm."""
    program = """
import anyio
from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.stores.sqlite import Inline, open_sqlite_store

async def main():
    async with open_sqlite_store(sys.argv[1], execute=Inline()) as store:
        def work():
            refused(lambda: store._file.read([]), "forked")
            refused(lambda: store._file.change([]), "forked")
            store._file.close()

        assert await store.write(ElectionId("n", "e"), Election(number=1), expected=0)
        in_child(work)
        assert await store.write(ElectionId("n", "f"), Election(number=2), expected=0)
    async with open_sqlite_store(sys.argv[1], execute=Inline()) as store:
        assert (await store.read(ElectionId("n", "f"))).election.number == 2

anyio.run(main)
"""
    run_program(FORKING + program, path)


async def test_closing_leaves_nothing(path: str, anyio_backend: object) -> None:
    """No file is open, the log is in the database, and the next one may own it; however often."""
    before: tuple[int, int] | None = None
    for number in range(10):
        async with open_sqlite_store(path) as store:
            await write(store, number)
        counts = open_files(), threading.active_count()
        before = before or counts
        assert counts == before
        assert sorted(each.name for each in Path(path).parent.iterdir()) == ["store.db", "store.db.lock"]


async def test_closing_waits_for_what_is_under_way(path: str, gate: Gate) -> None:
    """An executor is never given two calls at a time."""

    async def open_later() -> None:
        await anyio.wait_all_tasks_blocked()
        gate.open.set()

    async with anyio.create_task_group() as tasks, open_sqlite_store(path, execute=gate) as store:
        gate.close_gate()
        tasks.start_soon(write, store, 1)
        await gate.at_gate.wait()
        tasks.start_soon(open_later)
    assert gate.most_running == 1
    async with open_sqlite_store(path) as store:
        assert (await store.read(named(1))).election.number == 1


async def test_every_page_of_many_elections_is_listed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their names, whole pages and the rest."""
    monkeypatch.setattr(sqlite, "PAGE", 3)
    monkeypatch.setattr("atomix_election.stores.sqlite_rows.PAGE", 3)
    for count in (2, 3, 7):
        async with open_sqlite_store(path + str(count), execute=Inline()) as store:
            for number in range(count):
                await write(store, number)
            assert [each async for each in store.elections()] == [
                (named(number), Election(number=number)) for number in range(count)
            ]


async def test_a_session_that_is_unknown_or_of_an_older_life_is_ended_without_harm(store: SqliteStore) -> None:
    """The incarnation decides."""
    session = await store.open_session("default", "s", ttl_s=1.0, kept_alive=False)
    await store.end_session(SessionId("default", "s", session.incarnation + 1))
    assert [each.session for each in await store.sessions()] == [session]
