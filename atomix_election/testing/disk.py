"""The disk of a simulated server with an SQLite store: it is slow, fills up, fails, and loses what was not synced.

The files are real ones, and SQLite writes to them as ever. Between any two statements, and between any two writes of a
COMMIT, a checkpoint or a close, the server can crash: see ``disk_images``.
"""

import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio

from atomix_election.stores.sqlite import Executor, Result, result_of
from atomix_election.testing.disk_images import Files, broken_off, lost_since

_T = TypeVar("_T")
_FULL_SYNC = 2
"""From this value of ``PRAGMA synchronous`` on, a COMMIT has synced the log when it returns; at 0 nothing ever is."""


@dataclass(slots=True)
class DiskFaults:
    """How bad a disk is. It may be changed at any time.

    Args:
        delay_s: the longest time that an operation waits before it begins, and again before it is known to be done.
        failing: how likely each statement fails, from 0 to 1.
        full: whether nothing can be written.
    """

    delay_s: float = 0.0
    failing: float = 0.0
    full: bool = False


@dataclass(slots=True)
class _Crash:
    """A crash that is due: after so many statements, or within the so-manieth write."""

    left: int
    within_write: bool
    power_cut: bool


class SimulatedDisk(Executor):
    """What one server process has of the disk, until it crashes: then all its operations fail.

    Args:
        path: of the database.
        chance: decides what happens to each operation.
        faults: how bad it is.
        checkpoint_frames: how long the log gets before SQLite moves it into the database.
        start: starts a task: ``start(function, *arguments)``.
        on_crash: is called once, at the moment of a crash, in the midst of whatever is at work.
    """

    def __init__(
        self,
        path: Path,
        chance: random.Random,
        faults: DiskFaults,
        checkpoint_frames: int,
        start: Callable[..., object],
        on_crash: Callable[[], None],
    ) -> None:
        self.path = path
        self._chance = chance
        self._faults = faults
        self._checkpoint_frames = checkpoint_frames
        self._start = start
        self._on_crash = on_crash
        self._crash: _Crash | None = None
        self._durable: Files | None = None
        """What is certainly left by a power cut, where that is not all there is."""
        self._left: Files | None = None

    @property
    def is_synced(self) -> bool:
        """Whether a power cut would leave all that is there."""
        return self._durable is None

    @property
    def has_crashed(self) -> bool:
        """Whether the server has crashed."""
        return self._left is not None

    def crash_soon(self, *, after: int, within_write: bool, power_cut: bool) -> None:
        """Crash before the so-manieth statement from now on, or within the so-manieth write.

        Args:
            after: 1 for the next one.
            within_write: whether within a COMMIT, a checkpoint or a close.
            power_cut: whether what has not been synced may be lost.
        """
        self._crash = _Crash(after, within_write, power_cut)

    def crash(self) -> None:
        """Crash now, as was announced, if that has not happened yet."""
        if not self.has_crashed:
            self._die(self._read())

    def spare(self) -> None:
        """Do not crash after all."""
        self._crash = None

    def put_back(self) -> None:
        """Let the path lead to what is left after the crash; nothing may be open any more."""
        if self._left is None:
            return
        for suffix, data in (("", self._left.database), ("-wal", self._left.log), ("-shm", None)):
            file = Path(f"{self.path}{suffix}")
            file.unlink(missing_ok=True)
            if data is not None:
                file.write_bytes(data)

    def start(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
        """See ``Executor.start``. It is done on the spot, unless the disk is slow."""
        if self._faults.delay_s:
            self._start(self._do_slowly, call, done)
        else:
            done(result_of(call))

    def close(self) -> None:
        """See ``Executor.close``."""

    async def _do_slowly(self, call: Callable[[], _T], done: Callable[[Result[_T]], None]) -> None:
        with anyio.CancelScope(shield=True):  # the store waits for the end
            await anyio.sleep(self._chance.uniform(0, self._faults.delay_s))
            result = result_of(call)
            await anyio.sleep(self._chance.uniform(0, self._faults.delay_s))
            done(result)

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        """Open a database as ``sqlite3.connect`` does."""
        if self.has_crashed:
            raise _error(sqlite3.SQLITE_IOERR)
        connection = sqlite3.connect(*args, factory=_Connection, **options)
        assert isinstance(connection, _Connection)
        connection.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_frames}")
        connection.disk = self
        return connection

    def statement(self, sql: str, connection: "_Connection", carry_out: Callable[[], _T]) -> _T:
        """Carry out a statement, unless something goes wrong."""
        if self.has_crashed:
            raise _error(sqlite3.SQLITE_IOERR)
        if self._is_due(within_write=False):
            self._crash_with(self._read())
        if sql == "COMMIT" or sql.startswith("PRAGMA wal_checkpoint"):
            return self.write(connection, carry_out)
        self._fail_perhaps(sql, connection)
        return carry_out()

    def write(self, connection: "_Connection", carry_out: Callable[[], _T]) -> _T:
        """Carry out what writes to the files, unless something goes wrong."""
        error = self._commit_error()
        if error is not None and self._chance.random() < 0.5:
            raise error  # before anything has happened
        if error is not None and error.sqlite_errorcode != sqlite3.SQLITE_IOERR_FSYNC:
            raise error
        synchronous = connection.synchronous()
        is_synced = error is None and synchronous >= _FULL_SYNC
        is_due = self._is_due(within_write=True)
        before = self._read() if is_due or not is_synced or self._durable is not None else None
        result = carry_out()
        if before is not None:
            self._written(before, self._read(), is_due, is_synced=is_synced, syncs=synchronous > 0)
        if error is not None:
            raise error
        return result

    def closing(self, connection: "_Connection", carry_out: Callable[[], None]) -> None:
        """Close a connection, of which the last one moves the log into the database; a crashed one only lets go."""
        if self.has_crashed:
            carry_out()
            return
        is_due, syncs = self._is_due(within_write=True), connection.synchronous() > 0
        before = self._read() if is_due or self._durable is not None else None
        carry_out()
        if before is not None:
            with suppress(sqlite3.Error):  # SQLite's own never fails
                self._written(before, self._read(), is_due, is_synced=True, syncs=syncs)

    def _written(self, before: Files, after: Files, is_due: bool, *, is_synced: bool, syncs: bool) -> None:
        """Note what of a write is durable, and crash within it if that is due."""
        if is_due:
            assert self._crash is not None
            self._crash_with(broken_off(before, after, self._chance, power_cut=self._crash.power_cut))
        moved = before.database != after.database or (after.log is None and before.log is not None)
        if moved and syncs:
            self._durable = None  # a checkpoint syncs the log before it, and the database after it
        elif not is_synced and self._durable is None:
            self._durable = before

    def _crash_with(self, left: Files) -> None:
        """Crash, and fail what is at work.

        Raises:
            sqlite3.Error: always.
        """
        self._die(left)
        raise _error(sqlite3.SQLITE_IOERR)

    def _die(self, left: Files) -> None:
        """From now on nothing changes what is left."""
        if self._durable is not None and self._crash is not None and self._crash.power_cut:
            left = lost_since(self._durable, left, self._chance)
        self._left = left
        self._on_crash()

    def _is_due(self, *, within_write: bool) -> bool:
        if self._crash is None or self._crash.within_write is not within_write:
            return False
        self._crash.left -= 1
        return self._crash.left <= 0

    def _fail_perhaps(self, sql: str, connection: "_Connection") -> None:
        """Fail a statement, which may have rolled the transaction back."""
        reads = sql.startswith(("SELECT", "PRAGMA"))
        if not self._fails() and (reads or not self._faults.full or sql == "ROLLBACK"):
            return
        if connection.in_transaction and self._chance.random() < 0.3:
            connection.roll_back()
        if reads:
            raise _error(sqlite3.SQLITE_IOERR_READ)
        raise _error(sqlite3.SQLITE_FULL if self._faults.full else self._chance.choice(_OF_WRITES))

    def _commit_error(self) -> sqlite3.OperationalError | None:
        if self._faults.full:
            return _error(sqlite3.SQLITE_FULL)
        if self._fails():
            return _error(self._chance.choice((*_OF_WRITES, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_FSYNC)))
        return None

    def _fails(self) -> bool:
        return self._faults.failing > 0 and self._chance.random() < self._faults.failing

    def _read(self) -> Files:
        log = Path(f"{self.path}-wal")
        return Files(self.path.read_bytes(), log.read_bytes() if log.exists() else None)


_OF_WRITES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)


class _Connection(sqlite3.Connection):
    """A connection to a database on a simulated disk, once ``disk`` is set."""

    disk: SimulatedDisk | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """See ``sqlite3.Connection.execute``."""
        if self.disk is None:
            return super().execute(sql, parameters)
        return self.disk.statement(sql, self, lambda: sqlite3.Connection.execute(self, sql, parameters))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        if self.disk is None or kind is not None:
            return super().__exit__(kind, error, trace)
        return self.disk.statement("COMMIT", self, lambda: sqlite3.Connection.__exit__(self, kind, error, trace))

    def close(self) -> None:
        """See ``sqlite3.Connection.close``."""
        if self.disk is None:
            super().close()
            return
        self.disk.closing(self, lambda: sqlite3.Connection.close(self))

    def synchronous(self) -> int:
        """Return the value of ``PRAGMA synchronous``."""
        value: int = sqlite3.Connection.execute(self, "PRAGMA synchronous").fetchone()[0]
        return value

    def roll_back(self) -> None:
        """Roll the transaction back, as SQLite does by itself after some errors."""
        sqlite3.Connection.execute(self, "ROLLBACK")


def _error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("the simulated disk failed")
    error.sqlite_errorcode = code
    return error
