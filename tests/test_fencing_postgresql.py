"""Fenced writes to a real PostgreSQL: the example, bugs that are planted in it, the guard at each isolation level."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import dict_row, namedtuple_row, tuple_row

from atomix_election.errors import InvalidRequest
from atomix_election.fencing import SqlFencingGuard, StaleToken
from atomix_election.sync import ElectionServer
from tests.planted import module_of

EXAMPLE = Path(__file__).parents[1] / "examples/fenced_postgresql/writer.py"
WAIT_S = 20.0
"""A bound for slow machines."""
BRIEFLY_S = 0.5
"""How long one waits for what a planted bug holds up for ever."""
TTL_S = 1.0
CHECK = "guard.check(connection, ELECTION, token)\n"
WRITE = '        connection.execute("INSERT INTO report (token, text) VALUES (%s, %s)", (token, text))\n'
TRANSACTION = "with connection.transaction():\n        # It takes"
NO_TRANSACTION = TRANSACTION.replace("with connection.transaction()", "if not connection.closed")
LOOK = """look = "SELECT newest_token FROM fencing_tokens WHERE resource_name = 'report'"
        found = connection.execute(look).fetchone()
        if found is not None and found[0] > token:
            raise StaleToken(token, found[0])
"""
RECORD = """
        connection.execute(
            "INSERT INTO fencing_tokens VALUES ('report', %(token)s, '')"
            " ON CONFLICT (resource_name) DO UPDATE SET newest_token = %(token)s",
            {"token": token},
        )
"""
BUGS = {
    "no check": (CHECK, "\n"),
    "a check without the lock": (CHECK + WRITE, LOOK + WRITE + RECORD),
    "the check in a transaction of its own": (CHECK, f"{CHECK}    with connection.transaction():\n"),
}
"""What stands in the example, and what takes its place."""
STOPS_IN_ITS_FIRST_WRITE = """
import os, signal, sys
import psycopg
sys.path.insert(0, sys.argv.pop(1))
import writer

class Cursor(psycopg.Cursor):
    def execute(self, query, params=None, **options):
        if query.startswith("INSERT INTO report") and params[0] == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().execute(query, params, **options)

def connect(database, connect=writer.connect):
    connection = connect(database)
    connection.cursor_factory = Cursor
    return connection

writer.connect = connect
writer.EVERY_S = 0.05
writer.LONGEST_IDLE_S = 0.5
writer.main(*sys.argv[1:])
"""


load = partial(module_of, EXAMPLE)
writer = load()


@pytest.fixture
def observer(postgresql: str) -> Generator[psycopg.Connection]:
    """A connection that looks, to a database with the tables of the example, which are empty."""
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS report, fencing_tokens")
        writer.create_tables(connection)
        yield connection


def tokens(observer: psycopg.Connection) -> list[int]:
    """Return under which tokens was written, in order."""
    return [token for (token,) in observer.execute("SELECT token FROM report ORDER BY line")]


def until(what: Callable[[], object]) -> None:
    """Wait for what nobody tells."""
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Leader:
    """Writes in a thread, and may be paused between the check and its write."""

    def __init__(self, example: Any, database: str, token: int, threads: ThreadPoolExecutor) -> None:
        paused, go_on = self._paused, self._go_on = Event(), Event()
        go_on.set()

        class Cursor(psycopg.Cursor[Any]):
            def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
                if query.startswith("INSERT INTO report"):
                    paused.set()
                    assert go_on.wait(WAIT_S)
                return super().execute(query, *arguments, **options)

        self.connection: psycopg.Connection = example.connect(database)
        self.connection.cursor_factory = Cursor
        self._write = partial(threads.submit, example.write, self.connection, token, "")

    def write(self) -> Future[None]:
        """Begin to write."""
        return self._write()

    def write_half(self) -> Future[None]:
        """Begin to write, and pause in it."""
        self._paused.clear()
        self._go_on.clear()
        writing = self.write()
        assert self._paused.wait(WAIT_S)
        return writing

    def go_on(self) -> None:
        """End the pause."""
        self._go_on.set()

    def is_waiting(self, observer: psycopg.Connection) -> bool:
        """Say whether the database lets it wait for somebody's lock."""
        query = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
        return observer.execute(query, [self.connection.info.backend_pid]).fetchone() == ("Lock",)


@contextmanager
def two_leaders(example: Any, database: str) -> Iterator[tuple[Leader, Leader]]:
    """The one of yesterday, with token 1, and the one of today, with token 2."""
    with ThreadPoolExecutor(2) as threads, ExitStack() as ends:
        leaders = Leader(example, database, 1, threads), Leader(example, database, 2, threads)
        for leader in leaders:
            ends.callback(leader.connection.close)
            ends.callback(leader.go_on)
        yield leaders


def test_a_stale_leader_is_refused_and_writes_nothing(postgresql: str, observer: psycopg.Connection) -> None:
    with two_leaders(writer, postgresql) as (old, new):
        old.write().result(WAIT_S)
        new.write().result(WAIT_S)
        with pytest.raises(StaleToken) as refused:
            old.write().result(WAIT_S)
        assert (refused.value.token, refused.value.newest) == (1, 2)
        new.write().result(WAIT_S)
    assert tokens(observer) == [1, 2, 2]


def interleaved(example: Any, postgresql: str, observer: psycopg.Connection) -> list[int]:
    """Let the old one pause in its write, and the new one write meanwhile; return the tokens of what was written."""
    writer.write(observer, 1, "")
    with two_leaders(example, postgresql) as (old, new):
        late = old.write_half()
        writing = new.write()
        until(lambda: writing.done() or new.is_waiting(observer))
        old.go_on()
        late.result(WAIT_S)
        writing.result(WAIT_S)
    return tokens(observer)


def test_a_new_leader_waits_for_a_write_that_has_begun(postgresql: str, observer: psycopg.Connection) -> None:
    assert interleaved(writer, postgresql, observer) == [1, 1, 2]


def test_each_statement_in_a_transaction_of_its_own_is_refused(postgresql: str, observer: psycopg.Connection) -> None:
    """By the guard, at the first write and at later ones: the lock would be gone before the write."""
    forgotten = load(TRANSACTION, NO_TRANSACTION)
    with writer.connect(postgresql) as connection:
        for _ in range(2):
            with pytest.raises(InvalidRequest, match="commits each statement by itself: begin a transaction before"):
                forgotten.write(connection, 1, "never")
        writer.write(connection, 1, "in a transaction")
    assert tokens(observer) == [1]


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found(bug: str, postgresql: str, observer: psycopg.Connection) -> None:
    """The stale write comes last."""
    assert interleaved(load(*BUGS[bug]), postgresql, observer) == [1, 2, 1]


@pytest.mark.parametrize("used", [False, True], ids=["first use", "used before"])
def test_an_old_leader_waits_and_is_refused(used: bool, postgresql: str, observer: psycopg.Connection) -> None:
    with two_leaders(writer, postgresql) as (old, new):
        if used:
            old.write().result(WAIT_S)
        writing = new.write_half()
        late = old.write()
        until(lambda: old.is_waiting(observer))
        new.go_on()
        writing.result(WAIT_S)
        with pytest.raises(StaleToken):
            late.result(WAIT_S)
    assert tokens(observer) == ([1, 2] if used else [2])


def test_both_write_for_the_first_time(postgresql: str, observer: psycopg.Connection) -> None:
    with two_leaders(writer, postgresql) as (old, new):
        first = old.write_half()
        second = new.write()
        until(lambda: new.is_waiting(observer))
        old.go_on()
        first.result(WAIT_S)
        second.result(WAIT_S)
    assert tokens(observer) == [1, 2]


def held_up(example: Any, postgresql: str, longest_s: float) -> bool:
    """Let the old one pause in its write for good; say whether the new one had to wait longer than this."""
    example.LONGEST_IDLE_S = 0.1
    with two_leaders(example, postgresql) as (old, new):
        late = old.write_half()
        writing = new.write()
        try:
            writing.result(longest_s)
        except TimeoutError:
            return True
        old.go_on()
        with pytest.raises(errors.IdleInTransactionSessionTimeout):
            late.result(WAIT_S)
    with two_leaders(example, postgresql) as (old, _), pytest.raises(StaleToken):
        old.write().result(WAIT_S)
    return False


def test_a_leader_that_is_paused_for_good_holds_nobody_up(postgresql: str, observer: psycopg.Connection) -> None:
    assert not held_up(load(), postgresql, WAIT_S)
    assert tokens(observer) == [2]


def test_one_without_a_time_limit_is_found(postgresql: str, observer: psycopg.Connection) -> None:
    assert held_up(load(", options=limit", ""), postgresql, BRIEFLY_S)


@pytest.mark.parametrize("level", psycopg.IsolationLevel)
def test_writers_at_once_write_in_order_of_their_tokens(
    level: psycopg.IsolationLevel, postgresql: str, observer: psycopg.Connection
) -> None:
    """READ UNCOMMITTED is READ COMMITTED here. At the levels above, a writer may have to try again."""
    order = random.Random(level.value)
    lots = [sorted(order.choices(range(1, 60), k=15)) for _ in range(4)]

    def send(mine: list[int]) -> int:
        accepted = 0
        with writer.connect(postgresql) as connection:
            connection.isolation_level = level
            for token in mine:
                accepted += send_one(connection, token)
        return accepted

    def send_one(connection: psycopg.Connection, token: int) -> bool:
        while True:
            try:
                writer.write(connection, token, "")
                return True
            except StaleToken:
                return False
            except (errors.SerializationFailure, errors.UniqueViolation):
                assert level > psycopg.IsolationLevel.READ_COMMITTED

    with ThreadPoolExecutor(len(lots)) as threads:
        accepted = sum(threads.map(send, lots))
    written = tokens(observer)
    assert written == sorted(written)
    assert len(written) == accepted
    assert written[-1] == max(map(max, lots))


def test_any_shape_of_rows_will_do(postgresql: str, observer: psycopg.Connection) -> None:
    """What a connection gives rows as is the application's."""
    guard = SqlFencingGuard()
    writer.write(observer, 2, "")
    shapes: list[Any] = [tuple_row, dict_row, namedtuple_row]
    for rows in shapes:
        with psycopg.connect(postgresql, row_factory=rows) as connection, pytest.raises(StaleToken, match="2"):
            guard.check(connection, "report", 1)


def test_processes(postgresql: str, observer: psycopg.Connection, tmp_path: Path) -> None:
    """A leader is stopped in the middle of a write; then the next one is killed, and the first leads again."""
    observer.execute("DROP TABLE report, fencing_tokens")
    with (
        ElectionServer(session_ttl=TTL_S, min_session_ttl=TTL_S, max_session_ttl=TTL_S) as elections,
        ExitStack() as ends,
    ):

        def start(*arguments: object) -> "subprocess.Popen[str]":
            words = [sys.executable, *map(str, arguments)]
            process = ends.enter_context(subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
            ends.callback(process.kill)
            return process

        assert start(EXAMPLE, "create", postgresql).wait(WAIT_S) == 0
        run = ("run", postgresql, elections.target)
        stopped = start("-c", STOPS_IN_ITS_FIRST_WRITE, EXAMPLE.parent, *run)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
        next_one = start(EXAMPLE, *run)
        until(lambda: tokens(observer))
        stopped.send_signal(signal.SIGCONT)
        assert stopped.stdout is not None
        assert stopped.stdout.readline().startswith("not written: ")
        next_one.kill()
        until(lambda: 3 in tokens(observer))
        stopped.terminate()
        assert stopped.wait(WAIT_S) == -signal.SIGTERM
        written = tokens(observer)
        assert written == sorted(written)
        assert set(written) == {2, 3}
