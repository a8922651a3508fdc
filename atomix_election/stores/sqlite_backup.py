"""Copies of the file of an SQLite store: made while it is in use, and made into a store again.

A backup is one file without a log beside it. It is marked, so that it is never served by accident: what happened since
is not in it, and its numbers would be given again. All of this blocks, and belongs into no event loop.
"""

import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from atomix_election.clock import wall_clock_s
from atomix_election.core.floors import MAX_FLOOR, RESTORE_JUMP, Floors, reached_by
from atomix_election.errors import InvalidRequest, StoreError
from atomix_election.stores import sqlite_schema
from atomix_election.stores.codec import decode_election, decode_session, encode_election
from atomix_election.stores.ownership import Ownership
from atomix_election.stores.restored import Progress, check_token, no_progress, restored_floors
from atomix_election.stores.sqlite_file import BUSY_TIMEOUT_S
from atomix_election.stores.sqlite_rows import EVERYWHERE, raise_floors

PAGES_AT_ONCE = 1024
"""Pages of 4 KiB that are copied between two reports of progress."""


def back_up(
    source: str,
    destination: str,
    progress: Progress = no_progress,
    *,
    wall_clock: Callable[[], float] = wall_clock_s,
) -> None:
    """Copy the file of a store, which may be in use: the copy has what was committed when it began.

    The owner goes on writing meanwhile. What it writes stays in its log until the copy is made.

    Args:
        source: path of the store.
        destination: path of the backup; nothing may be there.
        progress: is told how far it is.
        wall_clock: the seconds since 1970; that it was so late is noted in the backup.

    Raises:
        InvalidRequest: something is at the destination.
        StoreError: the source is no store or a backup itself, is damaged or of a newer release, or the disk failed.
    """
    with _reading(source) as store, _making(destination) as backup:
        if sqlite_schema.is_backup(store, sqlite_schema.check(store, source)):
            raise StoreError(f"{source} is a backup already: name the file that is served")
        _copy(store, backup, progress)
        sqlite_schema.update(backup, sqlite_schema.check(backup, destination))
        reached = min(reached_by(_ms(wall_clock)), MAX_FLOOR)
        backup.execute("UPDATE store SET is_backup = 1, restores = 0, reached = max(reached, ?)", [reached])
        _check_whole(backup, source)
        _find(backup, len(sqlite_schema.MIGRATIONS), source)  # which reads every record


def restore(
    backup: str,
    destination: str,
    *,
    replaced: Sequence[str] = (),
    above: int | None = None,
    progress: Progress = no_progress,
    wall_clock: Callable[[], float] = wall_clock_s,
) -> Floors:
    """Make a new store of a backup: its elections without anybody in them, with tokens above all that were given.

    It has an identity of its own, and who serves it admits nobody before one maximum time-to-live has passed. How far
    its tokens go up is noted in the backup.

    Args:
        backup: path of the backup.
        destination: path of the store; nothing may be there.
        replaced: paths of stores or backups whose tokens are known to have been given too, none of them in use.
        above: the highest token that is known to have been given, where somebody vouches for it because the clock
            cannot be relied on.
        progress: is told how far it is.
        wall_clock: the seconds since 1970: each restore begins above whatever was restored at an earlier time, and
            refuses a clock that is known to have been set back.

    Returns:
        What is below every number and revision of the new store.

    Raises:
        InvalidRequest: something is at the destination, or the token is out of range.
        StoreError: the backup is none, is damaged, of a newer release, or cannot be marked; a replaced store is in use
            or cannot be read; the clock was set back; or the disk failed.
    """
    check_token(above)
    with _reading(backup) as source, _owning(destination), _making(destination) as store:
        version = sqlite_schema.check(source, backup)
        if not sqlite_schema.is_backup(source, version):
            raise StoreError(
                f"{backup} is no backup: make one of it with `atomix-election backup {backup} BACKUP.db`, and restore "
                "that one"
            )
        _copy(source, store, progress)
        source.execute("COMMIT")
        store.execute("UPDATE store SET is_backup = 0")
        sqlite_schema.update(store, version)
        store.execute("DELETE FROM moved")  # what becomes of a backup has tokens above those given there
        _check_whole(store, backup)
        found = _find(store, len(sqlite_schema.MIGRATIONS), backup)
        for path in replaced:
            found = found.with_all_of(_find_in(path))
        floors = restored_floors(found.floors, _ms(wall_clock), reached=found.reached, above=above)
        _note_restore(source, version, backup, floors.number)
        _begin_anew(store, floors, found.longest_ttl_s)
        store.execute("PRAGMA journal_mode = WAL")
    return floors


@dataclass(frozen=True, slots=True)
class _Found:
    """What files say that must not come back, and for how long those whom they granted it may act."""

    floors: Floors
    reached: int
    longest_ttl_s: float

    def with_all_of(self, other: "_Found") -> "_Found":
        """Return what two files say together."""
        return _Found(
            self.floors.over(other.floors),
            max(self.reached, other.reached),
            max(self.longest_ttl_s, other.longest_ttl_s),
        )


def _find(file: sqlite3.Connection, version: int, path: str) -> _Found:
    """Return what a store or a backup of that version says.

    Args:
        file: what is read.
        version: of its schema.
        path: where what is read comes from.

    Raises:
        StoreError: a record is damaged, or of a newer version.
    """
    floors, reached, longest_ttl_s = Floors(), 0, 0.0
    try:
        for (record,) in file.execute("SELECT record FROM election"):
            floors = floors.over(decode_election(record))
        for (record,) in file.execute("SELECT record FROM session"):
            longest_ttl_s = max(longest_ttl_s, decode_session(record).ttl_s)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error
    if sqlite_schema.has_floors(version):
        for number, revision in file.execute("SELECT number, revision FROM floor"):
            floors = floors.over(Floors(number, revision))
        # Releases that did not go by the clock went up by one jump for each restore. A hold that is still there is that
        # of a restore before, whose leaders may not have ended either.
        restores, hold_s = file.execute("SELECT restores, coalesce(hold_s, 0) FROM store").fetchone()
        jumped = restores * RESTORE_JUMP
        floors = Floors(floors.number + jumped, floors.revision + jumped)
        longest_ttl_s = max(longest_ttl_s, hold_s)
    if sqlite_schema.has_reached(version):
        reached = file.execute("SELECT reached FROM store").fetchone()[0]
    return _Found(floors, reached, longest_ttl_s)


def _find_in(path: str) -> _Found:
    """Return what a file says that nobody uses any more.

    Raises:
        StoreError: it is in use, or cannot be read.
    """
    with ExitStack() as stack:
        if Path(path).is_file():
            stack.enter_context(_owning(path))
        file = stack.enter_context(_reading(path))
        return _find(file, sqlite_schema.check(file, path), path)


def _ms(wall_clock: Callable[[], float]) -> int:
    return int(wall_clock() * 1000)


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


def _note_restore(backup: sqlite3.Connection, version: int, path: str, reached: int) -> None:
    """Note in a backup how far up a restore of it goes, before anything comes of it."""
    try:
        backup.execute("PRAGMA synchronous = EXTRA")
        sqlite_schema.update(backup, version)
        backup.execute("BEGIN IMMEDIATE")
        alone = backup.execute("UPDATE store SET reached = ? WHERE reached < ?", [reached, reached]).rowcount == 1
        backup.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(
            f"cannot note in {path} that it is restored, by which the next restore knows that its clock is not behind: "
            f"{error}: let this user write to the file and its directory"
        ) from error
    if not alone:
        raise StoreError(f"{path} was restored by another process meanwhile: use what that one made, or try again")


def _begin_anew(store: sqlite3.Connection, floors: Floors, longest_ttl_s: float) -> None:
    """Remove everybody, and raise everything that must never come back."""
    store.execute("BEGIN IMMEDIATE")
    store.execute("UPDATE election SET record = ?", [encode_election(floors.begin())])
    store.execute("DELETE FROM session")
    store.execute("DELETE FROM floor")
    raise_floors(store, EVERYWHERE, floors)
    store.execute(
        # Versions and incarnations take one number each, for which the clock leaves the same room.
        "UPDATE store SET identity = ?, number = max(number, ?), restores = 0, reached = ?, hold_s = ?",
        [sqlite_schema.new_identity(), floors.number, floors.number, longest_ttl_s],
    )
    store.execute("COMMIT")
