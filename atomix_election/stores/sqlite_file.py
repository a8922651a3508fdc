"""The file of an SQLite store: opened by one owner, changed in whole transactions, reopened after a failure.

All of this blocks; no two calls may run at the same time. What the file promises:

- A transaction that returned is on the disk (WAL, synchronous=FULL), in the file that the path leads to.
- One that raised StoreError did not take place, and will not.
- One that raised InDoubt may have taken place: nothing else is done before ``settle`` has found out.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from atomix_election.errors import StoreError
from atomix_election.stores import sqlite_schema
from atomix_election.stores.ownership import Ownership

BUSY_TIMEOUT_S = 1.0
"""How long a transaction waits for another process that is writing to the file, as nobody should."""
MAX_WAL_BYTES = 16 << 20
"""What the write-ahead log is cut down to when a checkpoint has emptied it."""

Read = Callable[[sqlite3.Connection], Any]
"""Something to be read."""
Connect = Callable[..., sqlite3.Connection]
"""Opens a database, with the arguments of ``sqlite3.connect``."""

_NOT_COMMITTED = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR_WRITE}
"""When COMMIT fails for one of these, its last frame was not written, so that it can never be taken for committed."""
_WHAT_TO_DO = {
    sqlite3.SQLITE_FULL: "free space; no restart is needed",
    sqlite3.SQLITE_READONLY: "let this user write to the file and its directory; a server that runs needs no restart",
    sqlite3.SQLITE_CANTOPEN: "let this user read and write the file and its directory; no restart is needed",
    sqlite3.SQLITE_IOERR: "see to the disk, and to limits on the size of files; no restart is needed",
    sqlite3.SQLITE_BUSY: "end the other process that writes to this file",
    sqlite3.SQLITE_CORRUPT: "move it and its -wal and -shm files away, and restore a backup",
    sqlite3.SQLITE_NOTADB: "it is damaged, or no SQLite file: move it away and restore a backup, or name another file",
}


class Change(Protocol):
    """One step of a transaction."""

    def carry_out(self, connection: sqlite3.Connection, number: int) -> bool:
        """Do it under a number that no other change has had, and return False if there was nothing to be done."""
        ...

    def undo(self, number: int) -> "Change | None":
        """Return what takes it back, where it must not stay when nobody got to know that it was done."""
        ...


class InDoubt(Exception):
    """Whether a transaction took place is not known yet: see ``SqliteFile.settle``. It never leaves the store.

    Args:
        message: what happened.
        numbers: what ``SqliteFile.change`` returns if it did.
    """

    def __init__(self, message: str, numbers: list[int | None]) -> None:
        super().__init__(message)
        self.numbers = numbers


@dataclass(frozen=True, slots=True)
class _Doubt:
    before: int
    changes: Sequence[Change]
    numbers: list[int | None]


class SqliteFile:
    """The open file of a store, and the right to write to it.

    Args:
        path: where it is; made if there is nothing.
        connect: opens it instead of ``sqlite3.connect``, where the disk is a simulated one.

    Raises:
        StoreError: it is owned by another, damaged, not ours, or cannot be written.
    """

    def __init__(self, path: str, connect: Connect | None = None) -> None:
        self._path = os.path.realpath(path)
        self._open_database = connect or sqlite3.connect
        if not Path(self._path).parent.is_dir():
            raise StoreError(f"directory {Path(self._path).parent} does not exist: make it, or choose another path")
        self._connection: sqlite3.Connection | None = None
        self._doubt: _Doubt | None = None
        self._inode: tuple[int, int] | None = None
        self._wal: tuple[int, int] | None = None
        self._number: int | None = None
        self.identity: str = ""
        self.hold_s: float | None = None
        self._ownership = Ownership(self._path)
        try:
            self._open_first()
        except BaseException:
            self.close()
            raise

    @property
    def in_doubt(self) -> bool:
        """Whether the outcome of a transaction is not known."""
        return self._doubt is not None

    def close(self) -> None:
        """Write everything into the database file, and let others own it."""
        if self._ownership.held:
            self._disconnect()
            self._ownership.release()

    def read(self, reads: Sequence[Read]) -> list[Any]:
        """Return what each one reads, or the StoreError that it raised.

        Raises:
            StoreError: nothing can be read now.
        """
        connection = self._ready()
        results: list[Any] = []
        for each in reads:
            try:
                results.append(each(connection))
            except StoreError as error:
                results.append(error)
            except sqlite3.Error as error:
                results.append(self._failed("read", error))
        return results

    def change(self, changes: Sequence[Change]) -> list[int | None]:
        """Carry out changes in one transaction, and return the number of each, or None if it did nothing.

        Raises:
            StoreError: none of them took place.
            InDoubt: all or none of them took place.
        """
        connection = self._ready()
        self._check_unmoved()
        assert self._number is not None
        number = before = self._number
        numbers: list[int | None] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for each in changes:
                number += 1
                numbers.append(number if each.carry_out(connection, number) else None)
            if not any(numbers):
                connection.execute("ROLLBACK")
                return numbers
            self._check_alone(
                connection.execute("UPDATE store SET number = ? WHERE number = ?", [number, before]).rowcount == 1
            )
        except (sqlite3.Error, StoreError) as error:
            self._roll_back(connection)
            raise self._failed("write to", error) from error
        self._commit(connection, _Doubt(before, changes, numbers))
        self._number = number
        return numbers

    def settle(self, *, abandoned: bool) -> bool:
        """Find out whether the transaction in doubt took place, and see to it that this stays so.

        Args:
            abandoned: whether those who wanted the changes were told that the outcome is unknown.

        Raises:
            StoreError: it cannot be found out now.
        """
        doubt = self._doubt
        assert doubt is not None
        self._disconnect()
        connection = self._connect()
        try:
            took_place = self._number_in(connection) != doubt.before
            connection.execute("BEGIN IMMEDIATE")
            _count_opening(connection)
            if took_place and abandoned:
                for change, number in zip(doubt.changes, doubt.numbers, strict=True):
                    undo = change.undo(number) if number is not None else None
                    if undo is not None:
                        undo.carry_out(connection, doubt.before)
            connection.execute("COMMIT")
            # What a failed fsync left in the log may be missing on the disk: only the database file counts now.
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            number = self._number_in(connection)
        except sqlite3.Error as error:
            self._disconnect()
            raise self._failed("find out what was written to", error) from error
        if busy:
            raise StoreError(f"another process is reading {self._path}: wait for its end")
        self._number = number
        self._doubt = None
        return took_place

    def _ready(self) -> sqlite3.Connection:
        """Return the connection, made anew if it was given up after a failure."""
        if not self._ownership.held:
            raise StoreError(f"{self._path} is closed, or was opened by the process that this one was forked from")
        if self._doubt is not None:
            self.settle(abandoned=True)
        if self._connection is not None:
            return self._connection
        connection = self._connect()
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                _count_opening(connection)
            self._check_alone(self._number_in(connection) == self._number)
        except (sqlite3.Error, StoreError) as error:
            self._disconnect()
            raise self._failed("open", error) from error
        return connection

    def _open_first(self) -> None:
        """Look closely before anything in the file is relied on."""
        try:
            if not Path(self._path).exists():
                sqlite_schema.create(self._path)
            self._check_kind()
            with closing(self._open()) as connection:
                sqlite_schema.prepare(connection, self._path)
                flaw = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                row = connection.execute("SELECT identity, number, hold_s FROM store").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise self._failed("open", error) from error
        if flaw != "ok" or row is None:
            raise StoreError(f"{self._path} is damaged ({flaw}): {_WHAT_TO_DO[sqlite3.SQLITE_CORRUPT]}")
        self.identity, self._number, self.hold_s = row
        self._ready()

    def _check_kind(self) -> None:
        found = Path(self._path).stat()
        if not Path(self._path).is_file():
            raise StoreError(f"{self._path} is no file: choose another path")
        if found.st_size == 0:
            raise StoreError(
                f"{self._path} is empty, as no store ever is: restore a backup, or remove it to begin with a new one"
            )
        if found.st_nlink != 1:
            raise StoreError(f"{self._path} has {found.st_nlink} names (hard links), and may have one: copy it instead")
        self._inode = (found.st_dev, found.st_ino)

    def _open(self) -> sqlite3.Connection:
        return self._open_database(
            f"file:{quote(self._path)}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )

    def _connect(self) -> sqlite3.Connection:
        """Open the file again: the same one, and everything that was committed is there."""
        if _identify(self._path) != self._inode:
            raise self._moved()
        try:
            connection = self._open()
        except sqlite3.Error as error:
            raise self._failed("open", error) from error
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute(f"PRAGMA journal_size_limit = {MAX_WAL_BYTES}")
            self._number_in(connection)  # the log is there from the first read on
        except sqlite3.Error as error:
            connection.close()
            raise self._failed("open", error) from error
        if mode != "wal":
            connection.close()
            raise StoreError(f"{self._path} is on a file system without shared memory: choose a local one")
        self._wal = _identify(f"{self._path}-wal")
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # what could not be written stays in the log, for the next one to find
                connection.close()

    def _number_in(self, connection: sqlite3.Connection) -> int:
        number: int = connection.execute("SELECT number FROM store").fetchone()[0]
        return number

    def _commit(self, connection: sqlite3.Connection, doubt: _Doubt) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if _code(error) in _NOT_COMMITTED and self._roll_back(connection):
                raise self._failed("write to", error) from error
            self._doubt = doubt
            raise InDoubt(str(self._failed("write to", error)), doubt.numbers) from error
        try:
            self._check_unmoved()
        except StoreError as error:
            self._doubt = doubt
            raise InDoubt(str(error), doubt.numbers) from error

    def _roll_back(self, connection: sqlite3.Connection) -> bool:
        """Return whether the connection has no transaction any more; if not, it is given up."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()
            return False
        return True

    def _check_alone(self, alone: bool) -> None:
        if not alone:
            raise StoreError(f"{self._path} was written by another process: end that one, and restart this one")

    def _check_unmoved(self) -> None:
        """Refuse to write where nobody would find it.

        Raises:
            StoreError: the path leads to another file, or to none.
        """
        if _identify(self._path) != self._inode:
            raise self._moved()
        if _identify(f"{self._path}-wal") != self._wal:
            self._disconnect()  # which saves what the log had
            raise StoreError(f"{self._path}-wal was removed or replaced, which must not be: try again")

    def _moved(self) -> StoreError:
        return StoreError(
            f"{self._path} was moved, removed or replaced while it was in use: put it back, or restart to use what is "
            "there now"
        )

    def _failed(self, doing: str, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        if isinstance(error, OSError):
            what = "see to the disk, and let this user write to that directory"
        else:
            what = _WHAT_TO_DO.get(_code(error) & 0xFF, "see to the disk, or restore a backup")
        return StoreError(f"cannot {doing} {self._path}: {error}: {what}")


def _count_opening(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE store SET openings = openings + 1")


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)


def _identify(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - twice for each transaction, and a Path costs more than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino
