"""What is in the file of an SQLite store: its tables, and how a file of an older release becomes one of this one."""

import os
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from atomix_election.errors import StoreError

APPLICATION_ID = 0x41544D45
"""What the header of our files says; ``file`` shows it, and no other application's database is taken for one."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # One row. ``number`` is the last one that was given: each change takes the next one, as the version of an
        # election or the incarnation of a session, so that none comes back, and whether a transaction took place can
        # be seen from it. ``openings`` counts how often the file was opened, which proves each time that it can be
        # written.
        """CREATE TABLE store (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            identity TEXT NOT NULL,
            number INTEGER NOT NULL,
            openings INTEGER NOT NULL
        )""",
        """CREATE TABLE election (
            namespace TEXT NOT NULL,
            name TEXT NOT NULL,
            version INTEGER NOT NULL,
            record BLOB NOT NULL,
            PRIMARY KEY (namespace, name)
        ) WITHOUT ROWID""",
        "CREATE TABLE session (incarnation INTEGER PRIMARY KEY, record BLOB NOT NULL)",
    ),
    (
        # The highest number and revision of elections that have no row; those of namespace '' hold for all.
        """CREATE TABLE floor (
            namespace TEXT PRIMARY KEY,
            number INTEGER NOT NULL,
            revision INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # A copy is never opened as a store, and counted how often a store was made from it.
        "ALTER TABLE store ADD COLUMN is_backup INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE store ADD COLUMN restores INTEGER NOT NULL DEFAULT 0",
        # Where leaders from before a restore may still act: the longest time-to-live that they were granted.
        "ALTER TABLE store ADD COLUMN hold_s REAL",
    ),
    (
        # What the clock had reached when the file was backed up or restored, in tokens (see ``core.floors``), or how
        # far a restore went up without it. ``restores`` counts no more.
        "ALTER TABLE store ADD COLUMN reached INTEGER NOT NULL DEFAULT 0",
    ),
    (
        # Where the elections are moved to, and whether all of them are there. A file that has this row is never opened
        # as a store.
        """CREATE TABLE moved (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            target TEXT NOT NULL,
            is_complete INTEGER NOT NULL
        )""",
    ),
)
"""The statements that bring a file from version ``index`` to the next one; an empty one has version 0."""


_FIRST_WITH_BACKUPS = 2
_FIRST_WITH_REACHED = 3
_FIRST_WITH_MOVED = 4


class Moved(NamedTuple):
    """Where the elections of a file are moved to, and whether all of them are there."""

    target: str
    is_complete: bool


def create(path: str) -> None:
    """Make a new file, whole or not at all: an empty or half made one is never found under that name.

    Raises:
        sqlite3.Error, OSError: it cannot be written.
    """
    unfinished = f"{path}.new"
    begin_file(unfinished)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _migrate(connection, 0, MIGRATIONS)
        connection.execute(
            "INSERT INTO store (only_row, identity, number, openings) VALUES (1, ?, 0, 0)", [new_identity()]
        )
        connection.execute("PRAGMA journal_mode = WAL")
    finish_file(unfinished, path)


def new_identity() -> str:
    """Return an identity that no store has had."""
    return secrets.token_hex(16)


def begin_file(unfinished: str) -> None:
    """Make an empty file that is filled and then put in its place with ``finish_file``.

    Raises:
        OSError: it cannot be made.
    """
    discard_file(unfinished)
    # Whoever knows a session's id can act for it, so that only the owner may read.
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def discard_file(unfinished: str) -> None:
    """Remove what is left of an unfinished file."""
    for left in (unfinished, *(f"{unfinished}-{suffix}" for suffix in ("journal", "wal", "shm"))):
        Path(left).unlink(missing_ok=True)


def finish_file(unfinished: str, path: str) -> None:
    """Put a whole file where it belongs, so that it is there after a power failure too.

    Raises:
        OSError: it cannot be written.
    """
    _sync(unfinished, os.O_RDWR)
    Path(unfinished).rename(path)
    _sync(str(Path(path).parent), os.O_RDONLY)


def check(connection: sqlite3.Connection, path: str) -> int:
    """See that the file is ours and not newer than this release, and return its version.

    Raises:
        StoreError: it belongs to another application, or to a newer release.
        sqlite3.Error: it cannot be read, or is no database.
    """
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another application: choose another file")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} has schema version {version}, and this release of atomix_election knows none newer than "
            f"{len(MIGRATIONS)}: run the release that wrote it, or a newer one"
        )
    return version


def is_backup(connection: sqlite3.Connection, version: int) -> bool:
    """Return whether a file of that version is a backup."""
    return version >= _FIRST_WITH_BACKUPS and bool(connection.execute("SELECT is_backup FROM store").fetchone()[0])


def moved(connection: sqlite3.Connection, version: int) -> Moved | None:
    """Return where the elections of a file of that version were moved to, or are being moved."""
    row = (
        connection.execute("SELECT target, is_complete FROM moved").fetchone() if version >= _FIRST_WITH_MOVED else None
    )
    return None if row is None else Moved(row[0], bool(row[1]))


def has_floors(version: int) -> bool:
    """Return whether a file of that version has floors and counts restores."""
    return version >= _FIRST_WITH_BACKUPS


def has_reached(version: int) -> bool:
    """Return whether a file of that version knows what the clock had reached."""
    return version >= _FIRST_WITH_REACHED


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """See that the file is a store of ours, and bring it to the version of this release.

    Raises:
        StoreError: it belongs to another application, or to a newer release, or is a backup, or its elections are
            elsewhere now.
        sqlite3.Error: it cannot be read or written, or is no database.
    """
    version = check(connection, path)
    if is_backup(connection, version):
        raise StoreError(
            f"{path} is a backup, and its tokens may have been given again since: make a store of it with "
            f"`atomix-election restore {path} NEW.db`, and use that one"
        )
    gone = moved(connection, version)
    if gone is not None and gone.is_complete:
        raise StoreError(f"the elections of {path} were moved to {gone.target}: serve that, and keep this file unused")
    if gone is not None:
        raise StoreError(
            f"the elections of {path} are being moved to {gone.target}, which broke off: go on with it, "
            f"`atomix-election migrate {path} {gone.target}`, and then serve that"
        )
    update(connection, version)


def update(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file of ours from its version to that of this release.

    Raises:
        sqlite3.Error: it cannot be read or written.
    """
    if version < len(MIGRATIONS):
        _migrate(connection, version, MIGRATIONS)


def _sync(path: str, flags: int) -> None:
    file = os.open(path, flags)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _migrate(connection: sqlite3.Connection, version: int, migrations: Sequence[Sequence[str]]) -> None:
    """Do all steps in one transaction; where one fails, the file stays as it was."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
