"""The guard in a table: real SQLite files, and what other databases do that SQLite does not."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomix_election.errors import InvalidRequest
from atomix_election.fencing import (
    MAX_RESOURCE_LENGTH,
    MAX_TOKEN,
    ParameterStyle,
    SqlFencingGuard,
    StaleToken,
)

guard = SqlFencingGuard()
qmark_guard = SqlFencingGuard(parameter_style="qmark")

Connect = Callable[..., sqlite3.Connection]

HUGE = pytest.param(1 << 20_000, id="huge")  # Python refuses to write it out in digits


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Return what opens one more connection to a file with the guard's table and the resource's, a log."""
    path = tmp_path / "resource.db"
    with ExitStack() as opened:

        def open_one(**options: Any) -> sqlite3.Connection:
            return opened.enter_context(closing(sqlite3.connect(path, **options)))

        first = open_one()
        guard.create_table(first)
        first.execute("CREATE TABLE log (token INTEGER)")
        first.commit()
        yield open_one


@pytest.fixture
def connection(connect: Connect) -> sqlite3.Connection:
    return connect()


def write(connection: sqlite3.Connection, token: int) -> None:
    """Write a line of the log as an application should."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        guard.check(connection, "log", token)
        connection.execute("INSERT INTO log VALUES (?)", (token,))


def log(connection: sqlite3.Connection) -> list[int]:
    return [token for (token,) in connection.execute("SELECT token FROM log ORDER BY rowid")]


def newest(connection: sqlite3.Connection, resource: str = "log") -> int | None:
    row = connection.execute("SELECT newest_token FROM fencing_tokens WHERE resource_name = ?", (resource,)).fetchone()
    return None if row is None else row[0]


# One after the other.


def test_a_newer_leader_takes_over_and_the_older_one_is_refused(connect: Connect) -> None:
    old, new = connect(), connect()
    write(old, 1)
    write(old, 1)
    write(new, 3)
    with pytest.raises(StaleToken) as refused:
        write(old, 1)
    assert (refused.value.token, refused.value.newest) == (1, 3)
    with pytest.raises(StaleToken):
        write(old, 2)
    write(new, 3)
    assert log(old) == [1, 1, 3, 3]


def test_each_resource_has_its_own_newest(connection: sqlite3.Connection) -> None:
    guard.check(connection, "one", 5)
    guard.check(connection, "other", 2)
    guard.check(connection, "One", 1)
    with pytest.raises(StaleToken):
        guard.check(connection, "one", 4)
    guard.check(connection, "other", 3)


def test_the_highest_token(connection: sqlite3.Connection) -> None:
    guard.check(connection, "log", MAX_TOKEN)
    guard.check(connection, "log", MAX_TOKEN)
    assert newest(connection) == MAX_TOKEN


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5) | st.integers(1, MAX_TOKEN), st.booleans())),
    st.sampled_from(["counts", "does not count"]),
)
def test_accepted_is_what_is_no_older_than_what_was_committed(checks: list[tuple[str, int, bool]], driver: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        guard.create_table(connection)
        asked = connection if driver == "counts" else Other(connection, rowcount=-1)
        committed = {"a": 0, "b": 0}
        for resource, token, commit in checks:
            if token >= committed[resource]:
                qmark_guard.check(asked, resource, token)
                assert newest(connection, resource) == token
            else:
                with pytest.raises(StaleToken) as refused:
                    qmark_guard.check(asked, resource, token)
                assert (refused.value.token, refused.value.newest) == (token, committed[resource])
            if commit:
                connection.commit()
                committed[resource] = max(committed[resource], token)
            else:
                connection.rollback()
            for name, number in committed.items():
                assert (newest(connection, name) or 0) == number


# Interleaved transactions.


def test_a_check_is_the_callers_to_commit(connect: Connect) -> None:
    writer, reader = connect(), connect()
    writer.execute("BEGIN IMMEDIATE")
    guard.check(writer, "log", 1)
    assert writer.in_transaction
    assert newest(reader) is None
    writer.commit()
    assert newest(reader) == 1
    writer.execute("BEGIN IMMEDIATE")
    guard.check(writer, "log", 2)
    assert newest(reader) == 1
    writer.rollback()
    assert newest(reader) == 1


def test_a_refusal_keeps_the_callers_transaction_and_changes_nothing(connection: sqlite3.Connection) -> None:
    write(connection, 2)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO log VALUES (99)")
    with pytest.raises(StaleToken):
        guard.check(connection, "log", 1)
    assert log(connection) == [2, 99]
    connection.rollback()
    assert (log(connection), newest(connection)) == ([2], 2)


@pytest.mark.parametrize("earlier", [None, 1], ids=["first use", "used before"])
def test_a_check_that_is_rolled_back_leaves_no_trace(connect: Connect, earlier: int | None) -> None:
    rolled_back, other = connect(), connect()
    if earlier is not None:
        write(other, earlier)
    rolled_back.execute("BEGIN IMMEDIATE")
    guard.check(rolled_back, "log", 7)
    rolled_back.rollback()
    assert newest(other) == earlier
    write(other, 1)


def test_who_began_before_a_newer_commit_and_checks_after_it_is_refused(connect: Connect) -> None:
    stale, new = connect(), connect()
    stale.execute("BEGIN")
    write(new, 2)
    with pytest.raises(StaleToken):
        guard.check(stale, "log", 1)
    stale.rollback()
    assert log(new) == [2]


@pytest.mark.parametrize("used", [False, True], ids=["first use", "used before"])
def test_who_read_before_a_newer_commit_is_refused_by_sqlite(connect: Connect, used: bool) -> None:
    stale, new = connect(), connect()
    stale.execute("PRAGMA journal_mode = WAL")
    if used:
        write(stale, 1)
    stale.execute("BEGIN")
    assert newest(stale) == (1 if used else None)
    write(new, 2)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        guard.check(stale, "log", 1)
    stale.rollback()
    with pytest.raises(StaleToken):
        write(stale, 1)
    assert log(new)[-1] == 2


def test_nobody_is_accepted_between_a_check_and_its_commit(connect: Connect) -> None:
    first = connect()
    second = connect(timeout=0)
    first.execute("BEGIN")
    guard.check(first, "log", 1)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write(second, 2)
    first.execute("INSERT INTO log VALUES (1)")
    first.commit()
    write(second, 2)
    assert log(second) == [1, 2]


@pytest.mark.parametrize("isolation_level", ["", "DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
def test_the_transaction_that_the_driver_opens_will_do(connect: Connect, isolation_level: str) -> None:
    connection, other = connect(isolation_level=isolation_level), connect(timeout=0)
    guard.check(connection, "log", 1)
    assert connection.in_transaction
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        write(other, 2)


def test_a_connection_that_commits_by_itself_is_refused(connect: Connect) -> None:
    connection = connect(isolation_level=None)
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="BEGIN IMMEDIATE"):
            guard.check(connection, "log", 1)
        write(connection, 1)


def test_writers_at_once_write_in_order_of_their_tokens(connect: Connect) -> None:
    writers = 4
    order = random.Random(7)
    tokens = [sorted(order.choices(range(1, 100), k=30)) for _ in range(writers)]
    connections = [connect(timeout=50, check_same_thread=False) for _ in range(writers)]

    def send(connection: sqlite3.Connection, mine: Sequence[int]) -> int:
        accepted = 0
        for token in mine:
            try:
                write(connection, token)
            except StaleToken:
                continue
            accepted += 1
        return accepted

    with ThreadPoolExecutor(writers) as executor:
        accepted = sum(executor.map(send, connections, tokens))
    written = log(connect())
    assert written == sorted(written)
    assert len(written) == accepted
    assert written[-1] == newest(connect()) == max(map(max, tokens))


# Restarts.

WRITER = """
import os, sqlite3, sys
from atomix_election.fencing import SqlFencingGuard
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
SqlFencingGuard().check(connection, "log", int(sys.argv[2]))
if sys.argv[3] == "commit":
    connection.commit()
os._exit(3)
"""


def test_a_restart_keeps_what_was_committed(connect: Connect, tmp_path: Path) -> None:
    for token, end in [("5", "commit"), ("9", "die")]:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "resource.db"), token, end]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert ended.returncode == 3, ended.stderr
    connection = connect()
    assert newest(connection) == 5
    with pytest.raises(StaleToken):
        write(connection, 4)
    write(connection, 6)


# What other drivers and databases do.


class OtherCursor:
    """A cursor whose statements can be watched, whose count can be wrong, and whose reads can be old."""

    def __init__(self, other: "Other") -> None:
        self._other = other
        self._cursor = other.connection.cursor()

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount if self._other.rowcount is None else self._other.rowcount

    def execute(self, operation: str, parameters: Any = ()) -> object:
        verb = operation.split(maxsplit=1)[0]
        self._other.statements.append((operation, parameters))
        event = self._other.before.pop(verb, None)
        if event is not None:
            event()
        return self._cursor.execute(operation, parameters)

    def fetchone(self) -> Any:
        row = self._cursor.fetchone()
        return row if self._other.snapshot is None else self._other.snapshot

    def close(self) -> None:
        self._cursor.close()


class Other:
    """Stands for a connection of another make, over one to SQLite.

    Args:
        connection: where statements go.
        rowcount: what each statement is said to have counted; None for the truth.
        snapshot: what each read gives; None for the truth.
    """

    def __init__(self, connection: sqlite3.Connection, *, rowcount: int | None = None, snapshot: Any = None) -> None:
        self.connection = connection
        self.rowcount = rowcount
        self.snapshot = snapshot
        self.statements: list[tuple[str, Any]] = []
        self.before: dict[str, Callable[[], object]] = {}

    def cursor(self) -> OtherCursor:
        return OtherCursor(self)


def insert(connection: sqlite3.Connection, token: int) -> None:
    connection.execute("INSERT INTO fencing_tokens VALUES ('log', ?, 'another')", (token,))


@pytest.mark.parametrize("rowcount", [None, -1], ids=["counts", "does not count"])
@pytest.mark.parametrize("moment", ["SELECT", "SAVEPOINT"])
@pytest.mark.parametrize("rival", [1, 5, 9])
def test_of_two_first_writers_the_later_one_is_compared_with_the_first(
    connection: sqlite3.Connection, rival: int, moment: str, rowcount: int | None
) -> None:
    """Elsewhere an UPDATE without a row takes no lock: another's row can come before each of the next statements."""
    connection.execute("INSERT INTO log VALUES (4)")
    other = Other(connection, rowcount=rowcount)
    other.before[moment] = lambda: insert(connection, rival)
    if rival > 5:
        with pytest.raises(StaleToken) as refused:
            qmark_guard.check(other, "log", 5)
        assert refused.value.newest == rival
    else:
        qmark_guard.check(other, "log", 5)
    assert newest(connection) == max(rival, 5)
    assert log(connection) == [4]


def test_a_row_that_the_transaction_may_not_see_is_not_accepted(connection: sqlite3.Connection) -> None:
    """In a snapshot from before the row, UPDATE and SELECT find nothing, and INSERT a duplicate."""
    insert(connection, 1)
    connection.execute("ALTER TABLE fencing_tokens RENAME TO all_tokens")
    connection.execute("CREATE VIEW fencing_tokens AS SELECT * FROM all_tokens WHERE false")
    connection.execute(
        "CREATE TRIGGER passed_on INSTEAD OF INSERT ON fencing_tokens BEGIN"
        " INSERT INTO all_tokens VALUES (new.resource_name, new.newest_token, new.last_check); END"
    )
    connection.execute("CREATE TRIGGER passed_over INSTEAD OF UPDATE ON fencing_tokens BEGIN SELECT 1; END")
    connection.commit()
    connection.execute("INSERT INTO log VALUES (4)")
    with pytest.raises(sqlite3.IntegrityError):
        guard.check(connection, "log", 5)
    assert log(connection) == [4]
    assert connection.execute("SELECT newest_token FROM all_tokens").fetchall() == [(1,)]


def test_a_transaction_that_the_database_gave_up_is_reported_as_such(connection: sqlite3.Connection) -> None:
    """A deadlock in MySQL takes the savepoint along; its own error is what the caller can act on."""

    def deadlock() -> None:
        connection.rollback()
        raise sqlite3.OperationalError("deadlock")

    other = Other(connection)
    other.before["INSERT"] = deadlock
    with pytest.raises(sqlite3.OperationalError, match="deadlock") as raised:
        qmark_guard.check(other, "log", 1)
    assert "no such savepoint" in str(raised.value.__cause__)
    assert newest(connection) is None


@pytest.mark.parametrize("seen", [1, 5])
def test_an_old_snapshot_does_not_turn_a_refusal_into_an_acceptance(connection: sqlite3.Connection, seen: int) -> None:
    """MySQL's REPEATABLE READ updates what is committed now, but reads what was committed at the beginning."""
    write(connection, 9)
    with pytest.raises(StaleToken) as refused:
        qmark_guard.check(Other(connection, snapshot=(seen, "another")), "log", 5)
    assert refused.value.newest == 6
    assert newest(connection) == 9


def test_each_check_changes_the_row(connection: sqlite3.Connection) -> None:
    """MySQL counts the rows that changed, not those that matched."""
    marks: set[str] = set()
    for _ in range(3):
        guard.check(connection, "log", 1)
        marks.update(mark for (mark,) in connection.execute("SELECT last_check FROM fencing_tokens"))
    assert len(marks) == 3


def test_an_accepted_token_costs_one_statement(connection: sqlite3.Connection) -> None:
    write(connection, 1)
    other = Other(connection)
    qmark_guard.check(other, "log", 2)
    assert [statement.split(maxsplit=1)[0] for statement, _ in other.statements] == ["UPDATE"]


@pytest.mark.parametrize("token", [1, 3])
def test_rows_may_be_mappings(connection: sqlite3.Connection, token: int) -> None:
    def as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip([column[0] for column in cursor.description], row, strict=True))

    write(connection, 2)
    connection.row_factory = as_dict
    other = Other(connection, rowcount=-1)
    if token < 2:
        with pytest.raises(StaleToken):
            qmark_guard.check(other, "log", token)
    else:
        qmark_guard.check(other, "log", token)


# Parameter styles and names.


class Recorder:
    """A driver's connection and cursor in one that only writes down; ``rowcount`` says that all went well."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, Any]] = []
        self.rowcount = 1

    def cursor(self) -> "Recorder":
        return self

    def execute(self, operation: str, parameters: Any = ()) -> None:
        self.statements.append((operation, parameters))

    def fetchone(self) -> None:
        return None

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("style", "assignment", "condition"),
    [
        ("qmark", "newest_token = ?,", "newest_token <= ?"),
        ("numeric", "newest_token = :1,", "newest_token <= :4"),
        ("named", "newest_token = :token,", "newest_token <= :ceiling"),
        ("format", "newest_token = %s,", "newest_token <= %s"),
        ("pyformat", "newest_token = %(token)s,", "newest_token <= %(ceiling)s"),
    ],
)
def test_parameters_are_marked_as_the_driver_wants(style: ParameterStyle, assignment: str, condition: str) -> None:
    recorder = Recorder()
    SqlFencingGuard("site.tokens", parameter_style=style).check(recorder, "log", 7)
    [(statement, parameters)] = recorder.statements
    assert statement.startswith("UPDATE site.tokens SET ")
    assert assignment in statement
    assert statement.endswith(condition)
    if style in ("named", "pyformat"):
        mark = parameters["mark"]
        assert parameters == {"token": 7, "mark": mark, "resource": "log", "ceiling": 7}
    else:
        token, mark, resource, ceiling = parameters
        assert (token, resource, ceiling) == (7, "log", 7)


@pytest.mark.parametrize("style", ["qmark", "named"])
def test_sqlite_takes_two_styles(connection: sqlite3.Connection, style: ParameterStyle) -> None:
    styled = SqlFencingGuard(parameter_style=style)
    styled.check(connection, "log", 2)
    styled.check(connection, "log", 3)
    with pytest.raises(StaleToken):
        styled.check(connection, "log", 2)


@pytest.mark.parametrize("style", get_args(ParameterStyle))
def test_the_style_is_that_of_the_module_around_the_connection(
    style: ParameterStyle, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, module = ModuleType("some_driver"), ModuleType("some_driver.inner")
    package.__dict__["paramstyle"] = style
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    driver = type("DriverConnection", (Recorder,), {"__module__": module.__name__})
    detected, given_style = driver(), Recorder()
    guard.check(detected, "log", 1)
    SqlFencingGuard(parameter_style=style).check(given_style, "log", 1)
    assert detected.statements[0][0] == given_style.statements[0][0]


def test_a_style_that_cannot_be_found_is_asked_for() -> None:
    recorder = Recorder()
    with pytest.raises(InvalidRequest, match=r"Recorder names no paramstyle: pass parameter_style"):
        guard.check(recorder, "log", 1)
    assert recorder.statements == []


def test_an_unknown_style_is_refused() -> None:
    style: Any = "dollar"
    with pytest.raises(InvalidRequest, match="known are qmark, numeric"):
        SqlFencingGuard(parameter_style=style)


@pytest.mark.parametrize("table", ["tokens", "_1", "Tokens2", "site.tokens", "a" * 63])
def test_identifiers_are_table_names(table: str) -> None:
    recorder = Recorder()
    SqlFencingGuard(table).create_table(recorder)
    assert recorder.statements[0][0].startswith(f"CREATE TABLE IF NOT EXISTS {table} (")


@pytest.mark.parametrize(
    "table", ["", "1a", "a b", "a;b", "a'b", 'a"b', "a--", "a.b.c", ".a", "a.", "é", "a\n", "a" * 64, "{token}"]
)
def test_what_is_no_identifier_is_no_table_name(table: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an identifier"):
        SqlFencingGuard(table)


def test_tables_do_not_mix(connection: sqlite3.Connection) -> None:
    other = SqlFencingGuard("main.other_tokens")
    other.create_table(connection)
    other.create_table(connection)
    guard.check(connection, "log", 5)
    other.check(connection, "log", 1)
    with pytest.raises(StaleToken):
        guard.check(connection, "log", 1)


@pytest.mark.parametrize("resource", ["", " a", "a ", "a\n", "a\0", "\ud800", "a" * (MAX_RESOURCE_LENGTH + 1)])
def test_a_malformed_resource_is_refused(connection: sqlite3.Connection, resource: str) -> None:
    with pytest.raises(InvalidRequest, match="resource"):
        guard.check(connection, resource, 1)
    assert not connection.in_transaction


@pytest.mark.parametrize("resource", ["a", "report 'of' \"today\"; --", "büro/%s/:1/?", "a" * MAX_RESOURCE_LENGTH])
def test_resources_have_any_printable_name(connection: sqlite3.Connection, resource: str) -> None:
    guard.check(connection, resource, 2)
    with pytest.raises(StaleToken):
        guard.check(connection, resource, 1)


@pytest.mark.parametrize("token", [0, -1, MAX_TOKEN + 1, HUGE, True, 1.0, "1", None])
def test_what_is_no_token_is_refused_before_the_database_is_asked(connection: sqlite3.Connection, token: Any) -> None:
    with pytest.raises(InvalidRequest, match="token"):
        guard.check(connection, "log", token)
    assert not connection.in_transaction
