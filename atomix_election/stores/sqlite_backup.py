"""Copies of the file of an SQLite store: made while it is in use, and made into a store again.

A backup is one file without a log beside it. It is marked, so that it is never served by accident: what happened since
is not in it, and its numbers would be given again. All of this blocks, and belongs into no event loop.
"""

import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from atomix_election.core.floors import MAX_FLOOR, RESTORE_JUMP, Floors
from atomix_election.errors import InvalidRequest, StoreError
from atomix_election.stores import sqlite_schema
from atomix_election.stores.codec import decode_election, decode_session, encode_election
from atomix_election.stores.ownership import Ownership
from atomix_election.stores.sqlite_file import BUSY_TIMEOUT_S
from atomix_election.stores.sqlite_rows import EVERYWHERE, raise_floors

PAGES_AT_ONCE = 1024
"""Pages of 4 KiB that are copied between two reports of progress."""

Progress = Callable[[int, int], None]
"""Is told how many pages have been copied, and of how many."""


def no_progress(_: int, __: int) -> None:
    """Tell nobody."""


def back_up(source: str, destination: str, progress: Progress = no_progress) -> None:
    """Copy the file of a store, which may be in use: the copy has what was committed when it began.

    The owner goes on writing meanwhile. What it writes stays in its log until the copy is made.

    Args:
        source: path of the store.
        destination: path of the backup; nothing may be there.
        progress: is told how far it is.

    Raises:
        InvalidRequest: something is at the destination.
        StoreError: the source is no store or a backup itself, is damaged or of a newer release, or the disk failed.
    """
    with _reading(source) as store, _making(destination) as backup:
        if sqlite_schema.is_backup(store, sqlite_schema.check(store, source)):
            raise StoreError(f"{source} is a backup already: name the file that is served")
        _copy(store, backup, progress)
        sqlite_schema.prepare(backup, destination)
        backup.execute("UPDATE store SET is_backup = 1, restores = 0")
        _check_whole(backup, source)


def restore(backup: str, destination: str, *, tokens_seen: int = 0, progress: Progress = no_progress) -> Floors:
    """Make a new store of a backup: its elections without anybody in them, with tokens above all that were given.

    It has an identity of its own, and who serves it admits nobody before one maximum time-to-live has passed. The
    backup is marked as restored, so that the next store that is made of it begins higher still.

    Args:
        backup: path of the backup.
        destination: path of the store; nothing may be there.
        tokens_seen: the highest token that is known to have been given, where other copies of this backup may have
            been restored; 0 where not.
        progress: is told how far it is.

    Returns:
        What is below every number and revision of the new store.

    Raises:
        InvalidRequest: something is at the destination, or the token is out of range.
        StoreError: the backup is none, is damaged, of a newer release, or cannot be marked, or the disk failed.
    """
    if not 0 <= tokens_seen <= MAX_FLOOR:
        raise InvalidRequest(f"token {tokens_seen} is not between 0 and {MAX_FLOOR}")
    with _reading(backup) as source, _owning(destination), _making(destination) as store:
        if not sqlite_schema.is_backup(source, sqlite_schema.check(source, backup)):
            raise StoreError(
                f"{backup} is no backup: make one of it with `atomix-election backup {backup} BACKUP.db`, and restore "
                "that one"
            )
        _copy(source, store, progress)
        source.execute("COMMIT")
        times = _count_restore(source, backup)
        store.execute("UPDATE store SET is_backup = 0")
        sqlite_schema.prepare(store, destination)
        _check_whole(store, backup)
        floors = _begin_anew(store, times, tokens_seen)
        store.execute("PRAGMA journal_mode = WAL")
    return floors


@contextmanager
def _reading(path: str) -> Generator[sqlite3.Connection]:
    """Give what a file had when the block began; its owner goes on writing."""
    try:
        if not Path(path).is_file():
            raise StoreError(f"there is no file {path}: name the file of a store")
        with closing(_open(path)) as connection:
            connection.execute("BEGIN")  # a copy would begin anew at each change by another process without this
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"cannot copy {path}: {error}: see to the disk, and that this user may use the file"
        ) from error


@contextmanager
def _owning(path: str) -> Generator[None]:
    """Keep servers away from where a store is being made."""
    ownership = Ownership(os.path.realpath(path))
    try:
        yield
    finally:
        ownership.release()


@contextmanager
def _making(path: str) -> Generator[sqlite3.Connection]:
    """Give a database that is at a path, whole and on the disk, when the block has ended well, and else is nowhere.

    Until then an empty file stands there for it, which no command overwrites and no server takes for a store.
    """
    if not Path(path).parent.is_dir():
        raise InvalidRequest(f"directory {Path(path).parent} does not exist: make it, or choose another path")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        raise InvalidRequest(f"{path} exists and is not overwritten: remove it, or choose another path") from error
    unfinished = f"{path}.unfinished"
    try:
        sqlite_schema.begin_file(unfinished)
        with closing(_open(unfinished)) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA fullfsync = ON")
            yield connection
        sqlite_schema.finish_file(unfinished, path)
    except BaseException:
        sqlite_schema.discard_file(unfinished)
        Path(path).unlink()
        raise


def _open(path: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.path.realpath(path))}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )


def _copy(source: sqlite3.Connection, destination: sqlite3.Connection, progress: Progress) -> None:
    source.backup(destination, pages=PAGES_AT_ONCE, progress=lambda _, left, pages: progress(pages - left, pages))
    destination.execute("PRAGMA journal_mode = DELETE")


def _check_whole(connection: sqlite3.Connection, path: str) -> None:
    flaw = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if flaw != "ok":
        raise StoreError(f"{path} is damaged ({flaw}): use an earlier backup")


def _count_restore(backup: sqlite3.Connection, path: str) -> int:
    """Note in a backup that it is restored once more, before anything comes of it, and return how often it was."""
    try:
        backup.execute("PRAGMA synchronous = EXTRA")
        backup.execute("BEGIN IMMEDIATE")
        backup.execute("UPDATE store SET restores = restores + 1")
        times: int = backup.execute("SELECT restores FROM store").fetchone()[0]
        backup.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(
            f"cannot note in {path} that it is restored, which keeps tokens from being given again by a second "
            f"restore: {error}: let this user write to the file and its directory"
        ) from error
    return times


def _begin_anew(store: sqlite3.Connection, times: int, tokens_seen: int) -> Floors:
    """Remove everybody, and raise everything that must never come back."""
    highest, longest_ttl_s = Floors(), 0.0
    for number, revision in store.execute("SELECT number, revision FROM floor"):
        highest = highest.over(Floors(number, revision))
    for (record,) in store.execute("SELECT record FROM election"):
        highest = highest.over(decode_election(record))
    for (record,) in store.execute("SELECT record FROM session"):
        longest_ttl_s = max(longest_ttl_s, decode_session(record).ttl_s)
    floors = highest.restored(times, tokens_seen)
    if max(floors) > MAX_FLOOR:
        raise StoreError(f"the numbers in the backup are used up: {max(highest)}; begin with a new store")
    store.execute("BEGIN IMMEDIATE")
    store.execute("UPDATE election SET record = ?", [encode_election(floors.begin())])
    store.execute("DELETE FROM session")
    store.execute("DELETE FROM floor")
    raise_floors(store, EVERYWHERE, floors)
    store.execute(
        # hold_s that is still there is that of a restore before, whose leaders may not have ended either.
        "UPDATE store SET identity = ?, number = number + ?, restores = 0, hold_s = max(coalesce(hold_s, 0), ?)",
        [sqlite_schema.new_identity(), times * RESTORE_JUMP, longest_ttl_s],
    )
    store.execute("COMMIT")
    return floors
