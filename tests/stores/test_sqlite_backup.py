"""Copies of a store's file: consistent while it is written, marked, and restored above all that was given."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest

from atomix_election.core.election import Election
from atomix_election.core.floors import MAX_FLOOR, RESTORE_JUMP, Floors, reached_by
from atomix_election.errors import InvalidRequest, StoreError
from atomix_election.model import ElectionId
from atomix_election.stores import sqlite_backup, sqlite_schema
from atomix_election.stores.codec import decode_election, encode_election
from atomix_election.stores.sqlite_backup import back_up, restore
from atomix_election.stores.sqlite_file import SqliteFile
from atomix_election.stores.sqlite_rows import EVERYWHERE, OpenSession, ReadElection, WriteElection, read_floors
from tests.stores.disks import full_for_files_above, read_only

LATER_S = 20.0
"""Longer than anything here takes."""
NOW_S = 1_900_000_000.0
"""The time by the wall clock at which stores are restored here, where that matters."""
NOW = reached_by(int(NOW_S * 1000))


def at(seconds: float) -> Callable[[], float]:
    """Return a wall clock that shows one time."""
    return lambda: seconds


@pytest.fixture
def live(tmp_path: Path) -> Generator[SqliteFile]:
    """A store in use, at live.db: two elections, and a session."""
    file = SqliteFile(str(tmp_path / "live.db"))
    write(file, "low", Election(number=3, revision=9))
    write(file, "high", Election(number=5, revision=7))
    file.change([OpenSession("default", "s", 450.0, kept_alive=True)])
    yield file
    file.close()


@pytest.fixture
def paths(tmp_path: Path, live: SqliteFile) -> tuple[str, str, str]:
    """Where the store in use is, and where nothing is yet: a backup, and a new store."""
    return str(tmp_path / "live.db"), str(tmp_path / "backup.db"), str(tmp_path / "new.db")


def write(file: SqliteFile, name: str, election: Election, expected: int = 0) -> int:
    """Write an election, and return its version."""
    change = WriteElection(ElectionId("default", name), election, encode_election(election), expected)
    version = file.change([change])[0]
    assert version is not None
    return version


def elections_in(path: str) -> dict[str, Election]:
    """Return what a file has, whatever it is."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            name: decode_election(record) for name, record in connection.execute("SELECT name, record FROM election")
        }


def files_in(path: str) -> set[str]:
    """Return the names beside a file."""
    return {each.name for each in Path(path).parent.iterdir()}


def test_a_backup_has_what_the_store_had_in_one_file_for_its_user_alone(paths: tuple[str, str, str]) -> None:
    """No log beside it, and the store goes on as before."""
    source, backup, _ = paths
    before = files_in(source)
    back_up(source, backup)
    assert elections_in(backup) == elections_in(source)
    assert files_in(source) == before | {"backup.db"}
    assert Path(backup).read_bytes()[18:20] == b"\1\1", "it needs a log to be read"
    assert Path(backup).stat().st_mode & 0o777 == 0o600


def test_a_backup_is_not_served_but_restored(paths: tuple[str, str, str]) -> None:
    """Opened by accident it is refused with what to do, and stays a backup."""
    source, backup, new = paths
    back_up(source, backup)
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"is a backup, .*`atomix-election restore {backup} NEW\.db`"):
            SqliteFile(backup)
    restore(backup, new)
    SqliteFile(new).close()


def test_a_backup_is_one_moment_however_much_is_written_meanwhile(
    paths: tuple[str, str, str], live: SqliteFile
) -> None:
    """Two elections that are always changed together are equal in it; the writer goes on, and waits for nothing."""
    source, backup, _ = paths
    for number in range(3000):
        write(live, f"filler-{number}", Election(number=number))
    versions = [write(live, name, Election()) for name in ("one", "two")]
    pages: list[int] = []
    numbers: list[int] = []

    def write_more(done: int, _: int) -> None:
        pages.append(done)
        assert len(pages) < 100, "the copy begins anew again and again"
        for _ in range(10):
            numbers.append(len(numbers) + 1)
            changes = [
                WriteElection(ElectionId("default", name), each, encode_election(each), version)
                for name, version, each in zip(
                    ("one", "two"), versions, [Election(number=numbers[-1])] * 2, strict=True
                )
            ]
            versions[:] = [each or 0 for each in live.change(changes)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_backup, "PAGES_AT_ONCE", 16)
        back_up(source, backup, write_more)
    copied = elections_in(backup)
    assert len(pages) > 4
    assert pages == sorted(pages), "the copy began anew"
    assert copied["one"] == copied["two"] == Election()
    assert elections_in(source)["one"].number == len(numbers)


def test_a_backup_by_another_process_under_load_can_be_restored(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """Again and again: nothing that was committed before it began is missing."""
    source, _, _ = paths
    version, ended = write(live, "busy", Election(number=1)), threading.Event()
    committed = [1]

    def write_on() -> None:
        nonlocal version
        while not ended.is_set():
            version = write(live, "busy", Election(number=committed[0] + 1), version)
            committed[0] += 1

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for number in range(5):
            backup, new, before = f"{source}.{number}", f"{source}.new{number}", committed[0]
            command = ["backup", source, backup]
            subprocess.run([sys.executable, "-m", "atomix_election", *command], check=True, timeout=LATER_S)
            assert before <= elections_in(backup)["busy"].number <= committed[0]
            restore(backup, new)
            SqliteFile(new).close()
    finally:
        ended.set()
        writer.join()
    assert committed[0] > 50


def test_what_a_killed_server_left_in_its_log_is_in_the_backup(tmp_path: Path) -> None:
    """Nobody has the file open then."""
    source, backup = str(tmp_path / "live.db"), str(tmp_path / "backup.db")
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=[source])
    process.start()
    process.join(LATER_S)
    assert process.exitcode == -signal.SIGKILL
    assert f"{Path(source).name}-wal" in files_in(source)
    back_up(source, backup)
    assert elections_in(backup) == {"e": Election(number=3)}


def _write_and_die(path: str) -> None:
    write(SqliteFile(path), "e", Election(number=3))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_restore_begins_above_everything_with_nobody_in_it(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """Elections that were there, those that were not, versions and incarnations, under another identity."""
    source, backup, new = paths
    back_up(source, backup)
    floors = restore(backup, new, wall_clock=at(NOW_S))
    assert floors == Floors(NOW, NOW)
    assert elections_in(new) == dict.fromkeys(["low", "high"], floors.begin())
    file = SqliteFile(new)
    assert file.identity != live.identity
    assert file.hold_s == 450.0
    never = file.read([ReadElection(ElectionId("anywhere", "never"))])[0]
    assert (never.election, never.version) == (floors.begin(), 0)
    with closing(sqlite3.connect(new)) as connection:
        assert connection.execute("SELECT count(*) FROM session").fetchone() == (0,)
    assert write(file, "another", Election()) > NOW
    file.close()


def test_a_restored_election_keeps_nothing_of_anybody(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """Candidates, registrations, operations and displaced leaders all name sessions, and none is left."""
    source, backup, new = paths
    incarnation = live.change([OpenSession("default", "t", 1.0, kept_alive=True)])[0]
    full = (
        b'{"version":1,"number":2,"revision":3,"sessions":[["default","t",%d]],"candidates":[{"id":"a","session":0}],'
        b'"registered":[0],"operations":[[0,7]],"displaced":[{"id":"b","session":0,"number":1}]}' % (incarnation or 0)
    )
    live.change([WriteElection(ElectionId("default", "full"), Election(), full, 0)])
    assert elections_in(source)["full"].sessions()
    back_up(source, backup)
    restore(backup, new)
    assert all(each == Election(number=each.number, revision=each.revision) for each in elections_in(new).values())


def test_each_restore_begins_where_the_clock_is(paths: tuple[str, str, str]) -> None:
    """Of one backup, of a copy that knows of no restore, and of a backup of what was restored: in any order."""
    source, backup, new = paths
    back_up(source, backup)
    shutil.copy(backup, f"{backup}2")
    given = [restore(backup, f"{new}1", wall_clock=at(NOW_S))]
    given.append(restore(f"{backup}2", f"{new}2", wall_clock=at(NOW_S + 0.001)))
    back_up(f"{new}1", f"{backup}3", wall_clock=at(NOW_S + 1))
    given.append(restore(f"{backup}3", f"{new}3", wall_clock=at(NOW_S + 2)))
    given.append(restore(backup, f"{new}4", wall_clock=at(NOW_S + 3)))
    assert [each.number - NOW for each in given] == [each * 1024 for each in (0, 1, 2000, 3000)]
    assert all(each.revision == each.number for each in given)


def test_a_clock_that_is_not_ahead_of_all_that_is_known_is_refused(paths: tuple[str, str, str]) -> None:
    """Of the making of a backup and of its restores; the other files are as they were, and nothing new is there."""
    source, backup, new = paths
    back_up(source, backup, wall_clock=at(NOW_S))
    for seconds in (NOW_S - 1, NOW_S, 0.0, -5.0):
        with pytest.raises(StoreError, match=r"the clock of this machine shows .*set the clock right"):
            restore(backup, new, wall_clock=at(seconds))
    restore(backup, new, wall_clock=at(NOW_S + 9))
    back_up(new, f"{backup}2", wall_clock=at(NOW_S))
    for copy in (backup, f"{backup}2"):
        with pytest.raises(StoreError, match=r"shows 2030-03-17T17:46:48.*up to 2030-03-17T17:46:49"):
            restore(copy, f"{new}2", wall_clock=at(NOW_S + 8.5))
    assert not Path(f"{new}2").exists()


def test_what_is_replaced_counts(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """Its tokens, what the clock had reached, and its sessions; not while it is in use, or is none."""
    source, backup, new = paths
    back_up(source, backup, wall_clock=at(NOW_S))
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        restore(backup, new, replaced=[source], wall_clock=at(NOW_S + 1))
    write(live, "later", Election(number=NOW + 5, revision=NOW + (1 << 30)))
    live.change([OpenSession("default", "later", 900.0, kept_alive=True)])
    live.close()
    with pytest.raises(StoreError, match="set the clock right"):
        restore(backup, new, replaced=[source], wall_clock=at(NOW_S + 1))
    with pytest.raises(StoreError, match="there is no file"):
        restore(backup, new, replaced=[f"{source}.gone"], wall_clock=at(NOW_S + 1))
    floors = restore(backup, new, replaced=[source], above=0, wall_clock=at(NOW_S + 1))
    assert floors.number == floors.revision == NOW + (1 << 30) + RESTORE_JUMP
    file = SqliteFile(new)
    assert file.hold_s == 900.0
    file.close()


def test_a_damaged_file_that_is_replaced_is_an_error(paths: tuple[str, str, str]) -> None:
    """Whoever names it wants it to count."""
    source, backup, new = paths
    back_up(source, backup)
    Path(f"{source}.lost").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match=r"cannot copy .*live\.db\.lost: .*not a database"):
        restore(backup, new, replaced=[f"{source}.lost"])
    assert not Path(new).exists()


def test_a_backup_that_was_restored_without_a_clock_is_above_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Former releases counted restores, and went up by one jump each; such a backup is brought up to date."""
    source, backup, new = (str(tmp_path / name) for name in ("live.db", "backup.db", "new.db"))
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_schema, "MIGRATIONS", sqlite_schema.MIGRATIONS[:2])
        sqlite_schema.create(source)
        shutil.copy(source, backup)
        with closing(sqlite3.connect(backup)) as connection, connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("UPDATE store SET is_backup = 1, restores = 3")
    assert restore(backup, new, above=7, wall_clock=at(0.0)).number == 4 * RESTORE_JUMP
    assert restore(backup, f"{new}2", wall_clock=at(NOW_S)).number == NOW
    with pytest.raises(StoreError, match="set the clock right"):
        restore(backup, f"{new}3", wall_clock=at(NOW_S - 1))


def test_a_backup_of_a_restored_store_keeps_the_hold(paths: tuple[str, str, str]) -> None:
    """Whether or not anybody was there: it is not over because of it."""
    source, backup, new = paths
    back_up(source, backup)
    restore(backup, new)
    back_up(new, f"{backup}2")
    restore(f"{backup}2", f"{new}2", wall_clock=at(NOW_S))
    file = SqliteFile(f"{new}2")
    assert file.hold_s == 450.0
    file.close()


def test_floors_of_forgotten_elections_count(paths: tuple[str, str, str]) -> None:
    """They are the highest of all here."""
    source, backup, new = paths
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("INSERT INTO floor VALUES ('default', ?, ?)", [NOW + 70, NOW + 80])
    back_up(source, backup)
    with pytest.raises(StoreError, match=f"tokens up to {NOW + 80} may have been given"):
        restore(backup, new, wall_clock=at(NOW_S))
    assert restore(backup, new, wall_clock=at(NOW_S + 1)) == Floors(NOW + 1_024_000, NOW + 1_024_000)
    with closing(sqlite3.connect(new)) as connection:
        assert [row[0] for row in connection.execute("SELECT namespace FROM floor")] == [EVERYWHERE]
        assert read_floors(connection, "default") == Floors(NOW + 1_024_000, NOW + 1_024_000)


def test_a_token_that_somebody_vouches_for_is_above_the_clock(paths: tuple[str, str, str]) -> None:
    """One out of range is refused before anything is done."""
    source, backup, new = paths
    back_up(source, backup)
    for wrong in (-1, 1 << 63):
        with pytest.raises(InvalidRequest, match=f"token {wrong} is not between 0 and"):
            restore(backup, new, above=wrong)
    assert restore(backup, new, above=1 << 55, wall_clock=at(NOW_S)).number == (1 << 55) + RESTORE_JUMP
    assert restore(backup, f"{new}2", above=0, wall_clock=at(NOW_S)).number == (1 << 55) + 2 * RESTORE_JUMP


def test_two_restores_of_one_backup_at_a_time_are_not_both_done(paths: tuple[str, str, str]) -> None:
    """The one that is noted later would begin no higher."""
    source, backup, new = paths
    back_up(source, backup)

    def restored_meanwhile() -> float:
        with closing(sqlite3.connect(backup)) as connection, connection:
            connection.execute("UPDATE store SET reached = ?", [NOW])
        return NOW_S

    with pytest.raises(StoreError, match="was restored by another process meanwhile"):
        restore(backup, new, wall_clock=restored_meanwhile)
    assert not Path(new).exists()


def test_numbers_that_are_used_up_are_an_error(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """No restore goes round to small ones."""
    source, backup, new = paths
    write(live, "last", Election(number=MAX_FLOOR))
    back_up(source, backup)
    with pytest.raises(StoreError, match="used up"):
        restore(backup, new, above=0)
    assert not Path(new).exists()


def test_nothing_is_overwritten(paths: tuple[str, str, str]) -> None:
    """Neither by a backup nor by a restore, and a store in use is not touched."""
    source, backup, new = paths
    back_up(source, backup)
    Path(new).write_text("mine")
    before = Path(backup).read_bytes()
    for overwrite in (lambda: back_up(source, backup), lambda: back_up(source, new), lambda: restore(backup, new)):
        with pytest.raises(InvalidRequest, match="exists and is not overwritten: remove it"):
            overwrite()
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        restore(backup, source)
    assert (Path(backup).read_bytes(), Path(new).read_text()) == (before, "mine")
    assert not {each for each in files_in(source) if "unfinished" in each}


@pytest.mark.parametrize("copy", [back_up, restore])
def test_a_source_that_is_none_is_refused(tmp_path: Path, copy: Callable[[str, str], object]) -> None:
    """No file, garbage, another application's database: and nothing is left where the copy should have been."""
    garbage, other, destination = (str(tmp_path / name) for name in ("garbage.db", "other.db", "destination.db"))
    Path(garbage).write_bytes(b"garbage" * 1000)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    for source, message in (
        (str(tmp_path / "nothing.db"), "there is no file"),
        (garbage, r"cannot copy .*is not a database"),
        (other, "database of another application"),
    ):
        with pytest.raises(StoreError, match=message):
            copy(source, destination)
    with pytest.raises(InvalidRequest, match=r"directory .* does not exist"):
        back_up(other, str(tmp_path / "nowhere" / "backup.db"))
    assert {each.name for each in tmp_path.iterdir()} <= {"garbage.db", "other.db", "destination.db.lock"}


def test_a_store_is_not_restored_and_a_backup_not_backed_up(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """Each message says what to do."""
    source, backup, new = paths
    back_up(source, backup)
    with pytest.raises(StoreError, match="is a backup already"):
        back_up(backup, new)
    with pytest.raises(StoreError, match=f"is no backup: make one of it with `atomix-election backup {source}"):
        restore(source, new)
    assert not Path(new).exists()


def test_a_damaged_store_gives_no_backup(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """One learns of it now, and not when the backup is needed."""
    source, backup, _ = paths
    for number in range(500):
        write(live, f"filler-{number}", Election(number=number))
    live.close()
    size = Path(source).stat().st_size
    with Path(source).open("r+b") as file:
        file.seek(size // 2 & ~4095)
        file.write(b"\xa5" * 4096)
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        back_up(source, backup)
    assert not Path(backup).exists()


@pytest.mark.parametrize("former", range(1, len(sqlite_schema.MIGRATIONS)))
def test_a_store_of_a_former_release_can_be_backed_up_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, former: int
) -> None:
    """Its server, which is not updated yet, can go on with it; the backup is of this release."""
    source, backup, new = (str(tmp_path / name) for name in ("live.db", "backup.db", "new.db"))
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_schema, "MIGRATIONS", sqlite_schema.MIGRATIONS[:former])
        sqlite_schema.create(source)
    back_up(source, backup)
    with closing(sqlite3.connect(source)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (former,)
    restore(backup, new)
    SqliteFile(new).close()


def test_a_newer_store_is_refused_by_name(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """Neither backed up nor restored."""
    source, backup, new = paths
    back_up(source, backup)
    live.close()
    for path in (source, backup):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 9")
    for copy in (lambda: back_up(source, new), lambda: restore(backup, new)):
        with pytest.raises(StoreError, match=r"schema version 9, .*run the release that wrote it"):
            copy()


def test_a_backup_that_cannot_be_marked_is_not_restored(paths: tuple[str, str, str]) -> None:
    """The next restore would not know whether its clock is behind."""
    source, backup, new = paths
    back_up(source, backup)
    with closing(sqlite3.connect(backup, isolation_level=None)) as reader:
        reader.execute("BEGIN IMMEDIATE")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite_backup, "BUSY_TIMEOUT_S", 0.0)
            with pytest.raises(StoreError, match=r"cannot note in .* that it is restored, .*let this user write to"):
                restore(backup, new)
    assert not Path(new).exists()
    restore(backup, new)


def test_a_full_disk_leaves_nothing(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """And says so; the next one succeeds."""
    source, backup, new = paths
    for number in range(500):
        write(live, f"filler-{number}", Election(number=number))
    with full_for_files_above(16_384), pytest.raises(StoreError, match="cannot copy"):
        back_up(source, backup)
    back_up(source, backup)
    with full_for_files_above(16_384), pytest.raises(StoreError, match="cannot copy"):
        restore(backup, new)
    assert not {"new.db", "new.db.unfinished"} & files_in(source)
    restore(backup, new)


@pytest.mark.parametrize("step", ["check", "finish"])
def test_a_killed_restore_leaves_nothing_that_is_taken_for_a_store(paths: tuple[str, str, str], step: str) -> None:
    """What stands there is refused, by a server and by the next restore; once removed, the restore succeeds."""
    source, backup, new = paths
    back_up(source, backup)
    process = multiprocessing.get_context("spawn").Process(target=_restore_and_die, args=[backup, new, step])
    process.start()
    process.join(LATER_S)
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(StoreError, match="is empty, as no store ever is"):
        SqliteFile(new)
    with pytest.raises(InvalidRequest, match="exists and is not overwritten"):
        restore(backup, new)
    Path(new).unlink()
    restore(backup, new)
    SqliteFile(new).close()
    assert not {each for each in files_in(new) if "unfinished" in each}


def _restore_and_die(backup: str, new: str, step: str) -> None:
    """Die instead of taking a step."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*{"check": (sqlite_backup, "_check_whole"), "finish": (sqlite_schema, "finish_file")}[step], die)
        restore(backup, new)


def test_an_interrupted_copy_leaves_nothing(paths: tuple[str, str, str]) -> None:
    """Ctrl-C, for example."""
    source, backup, _ = paths
    before = files_in(source)

    def interrupt(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(source, backup, interrupt)
    assert files_in(source) == before


def test_where_it_may_not_write_it_says_so() -> None:
    """By the name of the file."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        sqlite_schema.create(f"{name}/live.db")
        (directory / "live.db").chmod(0o666)
        (directory / "closed").mkdir()
        with read_only(directory / "closed"), pytest.raises(StoreError, match=r"ermission denied: .*closed/backup\.db"):
            back_up(f"{name}/live.db", f"{name}/closed/backup.db")
        assert not list((directory / "closed").iterdir())


def test_no_file_descriptor_is_left(paths: tuple[str, str, str], live: SqliteFile) -> None:
    """Of what succeeds and of what is refused."""
    source, backup, new = paths
    live.close()  # SQLite closes a file of which its process has locks only together with these
    before = len(list(Path("/proc/self/fd").iterdir()))
    back_up(source, backup)
    restore(backup, new)
    for path in (backup, new):
        with pytest.raises(InvalidRequest):
            restore(backup, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
