"""What a crash leaves of SQLite's files is always a database that SQLite recovers, with whole transactions."""

import random
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest

from atomix_election.testing.disk_images import FRAME_BYTES, LOG_HEADER_BYTES, Files, broken_off, lost_since

TRIES = 60
"""Crashes in one operation, each somewhere else."""
ROW_BYTES = 9000
"""A row takes more than two pages, so that a transaction of some rows has many frames."""


def read(path: Path) -> Files:
    """Return what is there."""
    log = path.with_name(f"{path.name}-wal")
    return Files(path.read_bytes(), log.read_bytes() if log.exists() else None)


def recovered(files: Files, path: Path) -> tuple[int, ...]:
    """Return the rows that SQLite finds in what is left, all of it sound."""
    for suffix, data in (("", files.database), ("-wal", files.log), ("-shm", None)):
        file = path.with_name(f"left.db{suffix}")
        file.unlink(missing_ok=True)
        if data is not None:
            file.write_bytes(data)
    with closing(sqlite3.connect(path.with_name("left.db"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return tuple(number for (number,) in connection.execute("SELECT number FROM row ORDER BY number"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "store.db"


@pytest.fixture
def connection(path: Path) -> Generator[sqlite3.Connection]:
    """A connection to it, with a log that nobody checkpoints."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, data BLOB)")
        add(connection, 1)
        yield connection


def add(connection: sqlite3.Connection, *numbers: int) -> None:
    """Add rows in one transaction."""
    connection.execute("BEGIN")
    for number in numbers:
        connection.execute("INSERT INTO row VALUES (?, ?)", [number, bytes([number]) * ROW_BYTES])
    connection.execute("COMMIT")


def left(path: Path, act: Callable[[], object], *, power_cut: bool) -> tuple[list[Files], set[tuple[int, ...]]]:
    """Break an operation off again and again; return what files that leaves, and what is recovered from them."""
    before = read(path)
    act()
    after = read(path)
    images = [broken_off(before, after, random.Random(seed), power_cut=power_cut) for seed in range(TRIES)]
    return images, {recovered(image, path) for image in images}


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_commit_took_place_or_not(path: Path, connection: sqlite3.Connection, power_cut: bool) -> None:
    """Whatever part of its frames is there, and of one of them."""
    images, found = left(path, lambda: add(connection, 2, 3, 4), power_cut=power_cut)
    assert found <= {(1,), (1, 2, 3, 4)}
    assert (1,) in found
    if not power_cut:
        assert len(found) == 2
    ends = {(len(image.log or b"") - LOG_HEADER_BYTES) % FRAME_BYTES for image in images}
    assert 0 in ends
    assert len(ends) > 3  # between a header and its page, and within a page


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_log_that_begins_anew_is_no_harm(path: Path, connection: sqlite3.Connection, power_cut: bool) -> None:
    """Its frames overwrite those of before, which the database has by then."""
    add(connection, 2, 3, 4)
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    _, found = left(path, lambda: add(connection, 5), power_cut=power_cut)
    assert found <= {(1, 2, 3, 4), (1, 2, 3, 4, 5)}
    assert (1, 2, 3, 4) in found


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("how", ["PRAGMA wal_checkpoint(TRUNCATE)", "close"])
def test_a_checkpoint_loses_nothing(path: Path, connection: sqlite3.Connection, how: str, power_cut: bool) -> None:
    """Whatever part of the pages has been moved, as long as the log is whole."""
    add(connection, 2, 3, 4)
    images, found = left(
        path, connection.close if how == "close" else lambda: connection.execute(how), power_cut=power_cut
    )
    assert found == {(1, 2, 3, 4)}
    assert len({image.database for image in images}) > 3


def test_what_was_never_synced_may_be_lost(path: Path, connection: sqlite3.Connection) -> None:
    """From the last frames on or from anywhere; what is found is sound, and has a beginning of what was written."""
    durable = read(path)
    for number in (2, 3, 4):
        add(connection, number)
    images = [lost_since(durable, read(path), random.Random(seed)) for seed in range(3 * TRIES)]
    found = {recovered(image, path) for image in images}
    assert found <= {(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)}
    assert (1,) in found
    assert len(found) > 2


def test_nothing_to_break_off_leaves_what_there_is(path: Path, connection: sqlite3.Connection) -> None:
    """An operation that writes nothing."""
    images, _ = left(path, lambda: connection.execute("SELECT count(*) FROM row").fetchone(), power_cut=True)
    assert set(images) == {read(path)}
