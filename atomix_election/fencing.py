"""Guards that a resource keeps: a fencing token older than the newest they saw is refused.

A paused process can go on writing after another was elected, and no lease can stop it; the resource it writes to can.
Each leadership has a token (``leadership.token``, the term number) that is higher than all before it. Writers send it
along, and the resource asks a guard before each write.

- A resource takes the tokens of one election: those of two elections cannot be compared.
- Check and write are one step, or else a newer leader's write can come between: hold a lock around both
  (FencingGuard), or put both into one transaction (SqlFencingGuard).
- What forgets tokens protects nothing: a guard in memory after a restart, a database that lost commits in a failover.
  The other way round, tokens that start anew (``memory://`` does so with each process) are refused until they catch up.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from types import ModuleType
from typing import Any, Literal, NamedTuple, Protocol, cast, get_args
from uuid import uuid4

from atomix_election.errors import InvalidRequest, StaleToken

__all__ = ["MAX_TOKEN", "FencingGuard", "ParameterStyle", "SqlFencingGuard", "StaleToken"]

MAX_TOKEN = (1 << 63) - 1
"""The highest token: what a database's BIGINT holds."""
MAX_RESOURCE_LENGTH = 256
"""Longest name of a resource, in characters."""

ParameterStyle = Literal["qmark", "numeric", "named", "format", "pyformat"]
"""How a driver wants parameters to be marked in a statement: PEP 249, ``paramstyle``."""

_MAX_TRIES = 2  # the second one finds the row that another first writer inserted
_SAVEPOINT = "atomix_election_fencing"
_LIBPQ_IDLE = 0  # PQTRANS_IDLE
_TABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}")
_CREATE = """CREATE TABLE IF NOT EXISTS {table} (
    resource_name VARCHAR({length}) NOT NULL PRIMARY KEY,
    newest_token BIGINT NOT NULL,
    last_check VARCHAR(32) NOT NULL
)"""
_UPDATE = (
    "UPDATE {table} SET newest_token = {token}, last_check = {mark}"
    " WHERE resource_name = {resource} AND newest_token <= {ceiling}"
)
_SELECT = "SELECT newest_token, last_check FROM {table} WHERE resource_name = {resource}"
_INSERT = "INSERT INTO {table} (resource_name, newest_token, last_check) VALUES ({resource}, {token}, {mark})"


class FencingGuard:
    """Remembers the newest token of one resource, in memory. Threads may share it.

    Args:
        newest: where to go on, for a resource that keeps the number itself; 0 when no token was seen yet.

    Raises:
        InvalidRequest: ``newest`` is neither 0 nor a token.
    """

    def __init__(self, newest: int = 0) -> None:
        self._newest = _check_number("newest", newest, lowest=0)
        self._lock = Lock()

    @property
    def newest(self) -> int:
        """The newest token that was accepted, 0 before the first."""
        return self._newest

    def check(self, token: int) -> None:
        """Accept a token that is at least as new as all before, and remember it.

        A write that follows is protected only if nobody else's check can come between: hold a lock around both.

        Raises:
            StaleToken: a newer one was accepted before.
            InvalidRequest: it is no token: not an int from 1 to MAX_TOKEN.
        """
        _check_number("token", token, lowest=1)
        with self._lock:
            if token < self._newest:
                raise StaleToken(token, self._newest)
            self._newest = token


class DatabaseCursor(Protocol):
    """What is used of a DB-API 2.0 cursor (PEP 249)."""

    @property
    def rowcount(self) -> int: ...
    def execute(self, operation: Any, parameters: Any = ..., /) -> Any: ...
    def fetchone(self) -> Any: ...
    def close(self) -> Any: ...


class DatabaseConnection(Protocol):
    """What is used of a DB-API 2.0 connection (PEP 249)."""

    def cursor(self) -> Any: ...


class SqlFencingGuard:
    """Remembers the newest token of each resource in a table, as part of the transaction that writes the resource.

    The guard holds no connection, and threads may share it. Tried out with SQLite and PostgreSQL; MySQL and MariaDB
    know the same statements (tables must be transactional: InnoDB).

    - **Isolation: READ COMMITTED or stronger.** One UPDATE decides, as it waits for the row's lock, then compares with
      what is committed, and holds the lock to the end of the transaction: no newer token is accepted before the writes
      made under this one are committed or gone. Stronger levels may raise the driver's serialization error instead.
    - **Check first**, before any read: what was read earlier may have been overwritten by the leader before.
    - **SQLite: BEGIN IMMEDIATE.** A plain BEGIN takes the write lock only at the first write; when it has read before,
      and another has written since, that write fails with "database is locked" without waiting.
    - **Any error means: not accepted.** Roll back. After StaleToken, stop; after an error of the driver, the
      transaction may be tried again from its beginning, with the check.

    Args:
        table: an identifier, or two with a dot between them. It is not quoted: case and reserved words are as in SQL.
        parameter_style: detected from the connection's module when None; a pool's wrapper may hide that.

    Raises:
        InvalidRequest: the table's name is no identifier, or the style is unknown.
    """

    def __init__(self, table: str = "fencing_tokens", *, parameter_style: ParameterStyle | None = None) -> None:
        if not _TABLE.fullmatch(table):
            raise InvalidRequest(
                f"table {table!a} is not an identifier: use ASCII letters, digits and _, at most 63, and one dot"
            )
        self._table = table
        self._style: ParameterStyle | None = None if parameter_style is None else _check_style(parameter_style)

    def create_table(self, connection: DatabaseConnection) -> None:
        """Create the table unless it is there. Commit afterwards; MySQL does so itself.

        For deployment: PostgreSQL can refuse when two do it at once. A table of one's own making needs the same
        columns, and ``resource_name`` as its primary key.
        """
        with closing(cast(DatabaseCursor, connection.cursor())) as cursor:
            cursor.execute(_CREATE.format(table=self._table, length=MAX_RESOURCE_LENGTH))

    def check(self, connection: DatabaseConnection, resource: str, token: int) -> None:
        """Accept a token that is at least as new as all before, and remember it if the caller's transaction commits.

        Call it within the transaction, before its writes. It never commits, nor rolls back what the caller did.

        Args:
            connection: any of DB-API 2.0 with an open transaction, or with one that the driver opens by itself.
            resource: name of what is written to; each has its own newest token. Names that the database's collation
                takes for equal (in MySQL those that differ in case) share one.
            token: the leader's.

        Raises:
            StaleToken: a newer token was accepted before.
            InvalidRequest: it is no token (an int from 1 to MAX_TOKEN); the resource's name is empty, too long,
                unprintable or has white space at an end; the parameter style is not known; the connection commits each
                statement by itself (found with sqlite3, psycopg and psycopg2; other drivers do not tell).
        """
        _check_number("token", token, lowest=1)
        _check_resource(resource)
        driver = _driver_of(connection)
        style = self._style or _detect_style(connection, driver)
        with closing(cast(DatabaseCursor, connection.cursor())) as cursor:
            row = _Row(cursor, self._table, style, resource, token, uuid4().hex)
            row.accept(connection, driver)


class _Content(NamedTuple):
    newest: int
    mark: str


@dataclass(frozen=True, slots=True)
class _Row:
    """A resource's row during one check; the mark tells this check's write from all others."""

    cursor: DatabaseCursor
    table: str
    style: ParameterStyle
    resource: str
    token: int
    mark: str

    def accept(self, connection: DatabaseConnection, driver: ModuleType | None) -> None:
        conflict: Exception | None = None
        for _ in range(_MAX_TRIES):
            updated = self.update()
            _check_in_transaction(connection, driver)
            if updated:
                return
            content = self.read()
            if content is None:
                conflict = self.insert()
                if conflict is None:
                    return
            elif content.mark == self.mark:
                return
            elif content.newest > self.token:
                raise StaleToken(self.token, content.newest)
            else:
                # It was inserted after the UPDATE. If that misses it again, SELECT reads an old snapshot (MySQL).
                conflict = None
        if conflict is not None:
            raise conflict  # such as a snapshot from before the row: only a new transaction will see it
        raise StaleToken(self.token, self.token + 1)

    def update(self) -> bool:
        """Write the row if its token is not newer. False if not, and also when the driver does not count (-1).

        A driver that counts changes only (MySQL) counts it as well, as the mark is always another one.
        """
        self.execute(_UPDATE, token=self.token, mark=self.mark, resource=self.resource, ceiling=self.token)
        return self.cursor.rowcount == 1

    def read(self) -> _Content | None:
        self.execute(_SELECT, resource=self.resource)
        row: Any = self.cursor.fetchone()
        if row is None:
            return None
        values = cast(Iterable[Any], row.values() if isinstance(row, Mapping) else row)
        newest, mark = values
        return _Content(int(newest), mark)

    def insert(self) -> Exception | None:
        """Insert the row; return the driver's error if it cannot be, most likely as another transaction did so first.

        The savepoint keeps the caller's transaction alive then: PostgreSQL would give it up.
        """
        self.cursor.execute(f"SAVEPOINT {_SAVEPOINT}")
        conflict: Exception | None = None
        try:
            self.execute(_INSERT, resource=self.resource, token=self.token, mark=self.mark)
        except Exception as error:  # noqa: BLE001 - drivers differ in what a duplicate key raises; the next try will tell
            self.undo_insert(error)
            conflict = error
        self.cursor.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        return conflict

    def undo_insert(self, cause: Exception) -> None:
        try:
            self.cursor.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        except Exception as error:
            raise cause from error  # the whole transaction is gone: a deadlock (MySQL), or the connection

    def execute(self, statement: str, **values: str | int) -> None:
        """Run a statement whose fields are the values' names, in the same order."""
        fields = {name: _placeholder(self.style, name, position) for position, name in enumerate(values, 1)}
        by_name = self.style in ("named", "pyformat")
        self.cursor.execute(statement.format(table=self.table, **fields), values if by_name else tuple(values.values()))


def _placeholder(style: ParameterStyle, name: str, position: int) -> str:
    match style:
        case "qmark":
            return "?"
        case "numeric":
            return f":{position}"
        case "named":
            return f":{name}"
        case "format":
            return "%s"
        case "pyformat":
            return f"%({name})s"


def _driver_of(connection: DatabaseConnection) -> ModuleType | None:
    """Return the module that PEP 249 describes: the nearest one around the connection's class with a paramstyle."""
    for base in type(connection).__mro__:
        name = base.__module__
        while name:
            module = sys.modules.get(name)
            if hasattr(module, "paramstyle"):
                return module
            name = name.rpartition(".")[0]
    return None


def _detect_style(connection: DatabaseConnection, driver: ModuleType | None) -> ParameterStyle:
    if driver is None:
        kind = type(connection)
        raise InvalidRequest(
            f"the module of {kind.__module__}.{kind.__qualname__} names no paramstyle: pass parameter_style=..."
        )
    return _check_style(driver.paramstyle)


def _check_in_transaction(connection: DatabaseConnection, driver: ModuleType | None) -> None:
    """Refuse a connection that has committed the statement by itself: the lock is gone before the caller writes.

    Only some drivers tell: sqlite3, and psycopg and psycopg2 by the status of libpq, which is 0 outside a transaction.
    """
    if driver is not None and driver.__name__ == "sqlite3":
        is_outside, begin = not cast(Any, connection).in_transaction, "BEGIN IMMEDIATE"
    else:
        is_outside = getattr(getattr(connection, "info", None), "transaction_status", None) == _LIBPQ_IDLE
        begin = "begin a transaction"
    if is_outside:
        raise InvalidRequest(f"the connection commits each statement by itself: {begin} before the check")


def _check_style(style: str) -> ParameterStyle:
    if style not in get_args(ParameterStyle):
        raise InvalidRequest(f"parameter style {style!a} is unknown; known are {', '.join(get_args(ParameterStyle))}")
    return cast(ParameterStyle, style)


def _check_number(what: str, number: int, *, lowest: int) -> int:
    if type(number) is not int or not lowest <= number <= MAX_TOKEN:
        # Python refuses to write out numbers of thousands of digits.
        huge = type(number) is int and number.bit_length() > 64
        shown = f"of {number.bit_length()} bits" if huge else ascii(number)
        raise InvalidRequest(f"{what} {shown} is not an int from {lowest} to {MAX_TOKEN}: use leadership.token")
    return number


def _check_resource(resource: str) -> None:
    if not resource or len(resource) > MAX_RESOURCE_LENGTH:
        raise InvalidRequest(f"resource has {len(resource)} characters: give it 1 to {MAX_RESOURCE_LENGTH}")
    if not resource.isprintable() or resource != resource.strip():
        raise InvalidRequest(f"resource {resource!a} has unprintable characters or white space at an end")
