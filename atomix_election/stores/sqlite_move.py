"""The elections of an SQLite file on their way to another store: nobody serves the file meanwhile, nor ever again.

All of this blocks, and belongs into no event loop that has anything else to do.
"""

import os
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from atomix_election.core.floors import Floors
from atomix_election.errors import StoreError
from atomix_election.model import MIN_SESSION_TTL_S, ElectionId
from atomix_election.stores import sqlite_schema
from atomix_election.stores.codec import decode_election, decode_session
from atomix_election.stores.ownership import Ownership
from atomix_election.stores.sqlite_file import BUSY_TIMEOUT_S
from atomix_election.stores.sqlite_rows import EVERYWHERE
from atomix_election.stores.sqlite_schema import Moved


@dataclass(frozen=True, slots=True)
class Contents:
    """What must not get lost of a store.

    Args:
        elections: each with its last number and revision.
        everywhere: below what no other election begins.
        namespaces: the same, for namespaces where that is higher.
        hold_s: the longest time-to-live, in seconds, of sessions that may still be acted for; 0 if there are none.
    """

    elections: tuple[tuple[ElectionId, Floors], ...]
    everywhere: Floors
    namespaces: Mapping[str, Floors]
    hold_s: float


class LeavingFile:
    """The file of a store, owned by who moves its elections elsewhere; ``leaving_file`` opens one."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self.identity: str = connection.execute("SELECT identity FROM store").fetchone()[0]

    @property
    def moved(self) -> Moved | None:
        """Where its elections were moved to, or began to be."""
        return sqlite_schema.moved(self._connection, len(sqlite_schema.MIGRATIONS))

    def mark(self, target: str, *, is_complete: bool) -> None:
        """Write down where the elections are moved to, and whether all of them are there. It is on the disk then.

        From the first time on no server takes the file for a store.

        Raises:
            StoreError: it cannot be written, and the file is as before.
        """
        statement = "INSERT OR REPLACE INTO moved (only_row, target, is_complete) VALUES (1, ?, ?)"
        with _failing(f"mark {self._path} as moved"):
            self._connection.execute(statement, [target, is_complete])

    def read(self) -> Contents:
        """Return what has to go on elsewhere.

        Raises:
            StoreError: it cannot be read, or a record is damaged or of a newer release.
        """
        with _failing(f"read {self._path}"):
            rows = self._connection.execute("SELECT namespace, name, record FROM election ORDER BY namespace, name")
            elections = tuple(
                (ElectionId(namespace, name), Floors().over(decode_election(record)))
                for namespace, name, record in rows
            )
            floors = {
                namespace: Floors(number, revision)
                for namespace, number, revision in self._connection.execute(
                    "SELECT namespace, number, revision FROM floor"
                )
            }
            records = self._connection.execute("SELECT record FROM session")
            hold_s = max((decode_session(record).ttl_s for (record,) in records), default=0.0)
            due_s: float | None = self._connection.execute("SELECT hold_s FROM store").fetchone()[0]
            if due_s is not None:
                hold_s = max(hold_s, due_s, MIN_SESSION_TTL_S)
        return Contents(elections, floors.pop(EVERYWHERE, Floors()), floors, hold_s)


@contextmanager
def leaving_file(path: str) -> Generator[LeavingFile]:
    """Own the file of a store for the length of the block, to move its elections elsewhere.

    Args:
        path: where it is.

    Raises:
        StoreError: there is none, a server uses it, it is a backup, damaged, of another application or of a newer
            release, or cannot be written.
    """
    if not Path(path).is_file():
        raise StoreError(f"there is no file {path}: name the file of a store")
    path = os.path.realpath(path)
    ownership = Ownership(path)
    try:
        with _failing(f"open {path}"), closing(_open(path)) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA fullfsync = ON")
            version = sqlite_schema.check(connection, path)
            if sqlite_schema.is_backup(connection, version):
                raise StoreError(f"{path} is a backup: name the file that was served last")
            sqlite_schema.update(connection, version)
            flaw = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if flaw != "ok":
                raise StoreError(f"{path} is damaged ({flaw}): restore a backup, and move that")
            yield LeavingFile(path, connection)
    finally:
        ownership.release()


def _open(path: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


@contextmanager
def _failing(doing: str) -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"cannot {doing}: {error}: see to the disk, and that this user may write to the file"
        ) from error
