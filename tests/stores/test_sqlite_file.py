"""The file of a store: what it refuses, what it survives, and what it never says wrongly."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from atomix_election.core.election import Election
from atomix_election.errors import StoreError
from atomix_election.model import ElectionId
from atomix_election.stores import sqlite_file, sqlite_schema
from atomix_election.stores.codec import encode_election
from atomix_election.stores.sqlite_file import InDoubt, SqliteFile
from atomix_election.stores.sqlite_rows import EndSession, OpenSession, ReadElection, WriteElection, read_sessions
from tests.stores.disks import FailingConnection, full_for_files_above, read_only

E = ElectionId("default", "e")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where nothing is yet."""
    return tmp_path / "store.db"


@pytest.fixture
def file(path: Path) -> Generator[SqliteFile]:
    """A new file."""
    opened = SqliteFile(str(path))
    yield opened
    opened.close()


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Generator[list[bool]]:
    """What happens to the next COMMITs."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite_file.sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs, factory=FailingConnection)
    )
    yield FailingConnection.faults
    FailingConnection.faults.clear()


def write(file: SqliteFile, number: int, expected: int, election_id: ElectionId = E, size: int = 0) -> int | None:
    """Write an election alone, and return its version."""
    election = Election(number=number)
    record = encode_election(election) + b" " * size
    return file.change([WriteElection(election_id, election, record, expected)])[0]


def number_of(file: SqliteFile, election_id: ElectionId = E) -> int:
    """Return the term number of an election."""
    return file.read([ReadElection(election_id)])[0].election.number


def sessions_of(file: SqliteFile) -> list[int]:
    """Return the incarnations of the sessions."""
    return [each.session.incarnation for each in file.read([read_sessions])[0]]


def open_session() -> OpenSession:
    """Return the change that opens a session."""
    return OpenSession("default", "s", 1.0, kept_alive=True)


def test_all_is_there_after_opening_it_again(path: Path) -> None:
    """Identity, elections with their versions, sessions; nothing else is left in the directory but the side file."""
    first = SqliteFile(str(path))
    version, incarnation = first.change(
        [WriteElection(E, Election(), encode_election(Election(number=3)), 0), open_session()]
    )
    first.close()
    assert sorted(each.name for each in path.parent.iterdir()) == ["store.db", "store.db.lock"]
    again = SqliteFile(str(path))
    assert again.identity == first.identity
    assert again.read([ReadElection(E)])[0].version == version
    assert number_of(again) == 3
    assert sessions_of(again) == [incarnation]
    again.close()


def test_only_its_user_may_read_it(file: SqliteFile, path: Path) -> None:
    """Whoever knows a session's id can act for it."""
    write(file, 1, 0)
    assert {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == dict.fromkeys(
        ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], 0o600
    )


def test_no_number_comes_back(path: Path) -> None:
    """Neither a version nor an incarnation, also not after the end of what had it and a restart."""
    given: list[int | None] = []
    for _ in range(3):
        file = SqliteFile(str(path))
        given += file.change([open_session(), open_session()])
        given.append(write(file, 1, 0, ElectionId("default", f"{len(given)}")))
        assert all(file.change([EndSession(each) for each in sessions_of(file)]))
        file.close()
    assert None not in given
    assert len(set(given)) == len(given) == 9


def test_it_is_synchronous_and_has_a_log(file: SqliteFile) -> None:
    """WAL and FULL: a commit is on the disk when it returns."""
    assert file._connection is not None
    assert file._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert file._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_lost_comparison_does_not_fail_the_others(file: SqliteFile) -> None:
    """Each change of a transaction stands for itself; a transaction without effect is none."""
    version = write(file, 1, 0)
    assert version is not None
    changes = [
        WriteElection(E, Election(), encode_election(Election(number=9)), version + 1),
        WriteElection(E, Election(), encode_election(Election(number=2)), version),
        WriteElection(ElectionId("default", "f"), Election(), encode_election(Election(number=7)), 0),
        WriteElection(E, Election(), encode_election(Election(number=8)), 0),
        EndSession(1),
    ]
    assert [each is not None for each in file.change(changes)] == [False, True, True, False, False]
    assert number_of(file) == 2
    assert file.change([changes[0], EndSession(1)]) == [None, None]


def test_others_may_read_while_it_is_in_use(file: SqliteFile, path: Path) -> None:
    """As an online backup does; a reader holds up nobody."""
    version = write(file, 1, 0)
    assert version is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM election").fetchone() == (1,)
        assert write(file, 2, version)
        assert write(file, 1, 0, ElectionId("default", "f"))
        assert reader.execute("SELECT count(*) FROM election").fetchone() == (1,)


def test_a_second_owner_is_refused_by_whatever_name_it_comes(file: SqliteFile, path: Path) -> None:
    """A symbolic link, and a path with dots in it, lead to the same file."""
    (path.parent / "link.db").symlink_to(path)
    (path.parent / "sub").mkdir()
    for name in (path, path.parent / "link.db", path.parent / "sub" / ".." / "store.db"):
        with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
            SqliteFile(str(name))
    assert write(file, 1, 0)


def test_a_file_with_two_names_is_refused(path: Path) -> None:
    """Its log would have two names too."""
    SqliteFile(str(path)).close()
    (path.parent / "other.db").hardlink_to(path)
    with pytest.raises(StoreError, match=r"2 names \(hard links\)"):
        SqliteFile(str(path))


def test_a_missing_directory_is_refused(path: Path) -> None:
    """It is not made by the way."""
    with pytest.raises(StoreError, match=f"directory {path.parent}/sub does not exist: make it"):
        SqliteFile(str(path.parent / "sub" / "store.db"))


def test_a_directory_is_no_file(path: Path) -> None:
    """Said as such."""
    path.mkdir()
    with pytest.raises(StoreError, match="is no file"):
        SqliteFile(str(path))


def test_an_empty_file_is_refused(path: Path) -> None:
    """A store that was cut off must not begin anew with tokens that were given before."""
    path.touch()
    with pytest.raises(StoreError, match="is empty, as no store ever is: restore a backup, or remove it"):
        SqliteFile(str(path))


@pytest.mark.parametrize("garbage", [b"garbage", b"\0" * 8192, b"SQLite format 3\0" + b"x" * 8192])
def test_garbage_is_refused(path: Path, garbage: bytes) -> None:
    """And left as it is, for whoever wants to look at it."""
    path.write_bytes(garbage)
    with pytest.raises(StoreError, match=r"cannot open .*restore a backup"):
        SqliteFile(str(path))
    assert path.read_bytes() == garbage


def test_a_damaged_page_is_refused(path: Path) -> None:
    """Wherever it is: the whole file is checked before anything in it is relied on."""
    file = SqliteFile(str(path))
    for number in range(200):
        write(file, number, 0, ElectionId("default", f"e{number}"), size=100)
    file.close()
    pages = path.stat().st_size // 4096
    assert pages > 5
    damaged = 0
    for page in range(1, pages):
        copy = path.parent / f"copy{page}.db"
        shutil.copy(path, copy)
        with copy.open("r+b") as opened:
            opened.seek(page * 4096)
            opened.write(b"\xaa" * 4096)
        with pytest.raises(StoreError, match=r"move it and its -wal and -shm files away, and restore a backup"):
            SqliteFile(str(copy))
        damaged += 1
    assert damaged == pages - 1


def test_a_damaged_record_is_refused(file: SqliteFile) -> None:
    """It is the one election that fails, and the message says what to do."""
    file.change([WriteElection(E, Election(), b"{", 0)])
    write(file, 1, 0, ElectionId("default", "f"))
    damaged, sound = file.read([ReadElection(E), ReadElection(ElectionId("default", "f"))])
    assert isinstance(damaged, StoreError)
    assert "restore a backup" in str(damaged)
    assert sound.election.number == 1


def test_a_database_of_another_application_is_refused(path: Path) -> None:
    """And not touched."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE store (identity)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a database of another application: choose another file"):
        SqliteFile(str(path))
    assert path.read_bytes() == before


def test_what_a_killed_process_left_half_made_is_no_harm(path: Path) -> None:
    """It is made under another name first."""
    for left in ("store.db.new", "store.db.new-journal", "store.db.new-wal"):
        (path.parent / left).write_bytes(b"half")
    file = SqliteFile(str(path))
    assert write(file, 1, 0)
    file.close()
    assert sorted(each.name for each in path.parent.iterdir()) == ["store.db", "store.db.lock"]


def test_a_full_disk_refuses_and_recovers(file: SqliteFile, path: Path) -> None:
    """What did not fit is not there, also after opening it again; what was there before can be read all the time."""
    version = write(file, 1, 0)
    assert version is not None
    session = file.change([open_session()])[0]
    with full_for_files_above((path.parent / "store.db-wal").stat().st_size):
        for _ in range(3):
            with pytest.raises(StoreError, match=r"cannot write to .*store.db: .*: .*no restart is needed"):
                write(file, 2, version, size=20_000)
            assert not file.in_doubt
            assert number_of(file) == 1
            with pytest.raises(StoreError):
                file.change([EndSession(session or 0)])
    assert sessions_of(file) == [session]
    assert write(file, 3, version)
    assert number_of(file) == 3
    file.close()
    again = SqliteFile(str(path))
    assert number_of(again) == 3
    again.close()


def test_a_database_that_may_not_grow_recovers(file: SqliteFile) -> None:
    """SQLITE_FULL, as on a disk without space."""
    assert file._connection is not None
    pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
    file._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"database or disk is full: free space"):
        write(file, 1, 0, size=100_000)
    assert number_of(file) == 0
    file._connection.execute("PRAGMA max_page_count = 100000")
    assert write(file, 1, 0, size=100_000)


def test_a_disk_that_turns_read_only_refuses_and_recovers(file: SqliteFile) -> None:
    """Reading goes on."""
    version = write(file, 1, 0)
    assert version is not None
    assert file._connection is not None
    file._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match=r"attempt to write a readonly database: let this user write"):
        write(file, 2, version)
    assert number_of(file) == 1
    file._connection.execute("PRAGMA query_only = OFF")
    assert write(file, 2, version)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_may_not_be_written_is_refused_from_the_beginning(what: str) -> None:
    """A store that cannot take anything is none; it is usable as soon as it may be written."""
    with tempfile.TemporaryDirectory() as directory:
        check_refused_while_read_only(Path(directory) / "store.db", what)


def check_refused_while_read_only(path: Path, what: str) -> None:
    """Open a file that may not be written, and then may, as whoever is not root."""
    file = SqliteFile(str(path))
    write(file, 1, 0)
    file.close()
    path.parent.chmod(0o777)
    for each in path.parent.iterdir():
        each.chmod(0o666)
    directory = [path.parent, path.parent / "store.db.lock"]
    with read_only(*([path] if what == "file" else directory)), pytest.raises(StoreError, match="let this user write"):
        SqliteFile(str(path))
    again = SqliteFile(str(path))
    assert number_of(again) == 1
    again.close()


@pytest.mark.parametrize("how", ["file moved", "file replaced", "file removed", "directory moved"])
def test_a_file_that_is_gone_refuses_until_it_is_back(file: SqliteFile, path: Path, how: str) -> None:
    """What is written where nobody finds it must not be acknowledged."""
    version = write(file, 1, 0)
    assert version is not None
    what = path.parent if how == "directory moved" else path
    away = what.with_name("away")
    if how == "file removed":
        away.hardlink_to(path)
        path.unlink()
    else:
        what.rename(away)
    if how == "file replaced":
        shutil.copy(away, path)
    with pytest.raises(StoreError, match="was moved, removed or replaced while it was in use: put it back, or restart"):
        write(file, 2, version)
    if how != "directory moved":
        path.unlink(missing_ok=True)
    away.rename(what)
    assert number_of(file) == 1
    assert write(file, 3, version)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_log_that_is_gone_is_made_anew(file: SqliteFile, path: Path, how: str) -> None:
    """Nothing that was acknowledged is lost, for the next owner either."""
    version = write(file, 1, 0)
    assert version is not None
    log = path.parent / "store.db-wal"
    log.unlink()
    if how == "replaced":
        log.write_bytes(b"garbage")
    with pytest.raises(StoreError, match=r"store\.db-wal was removed or replaced"):
        write(file, 2, version)
    assert number_of(file) == 1
    assert write(file, 3, version)
    file.close()
    again = SqliteFile(str(path))
    assert number_of(again) == 3
    again.close()


def test_another_writer_is_noticed(file: SqliteFile, path: Path) -> None:
    """Whoever goes round the lock: nothing is built on what is not so any more."""
    version = write(file, 1, 0)
    assert version is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE store SET number = number + 1")
    with pytest.raises(StoreError, match="written by another process"):
        write(file, 2, version)
    assert number_of(file) == 1


def test_another_process_that_holds_the_write_lock_is_no_harm(
    file: SqliteFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for for a moment, and then said."""
    assert file._connection is not None
    file._connection.execute("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked: end the other process"):
            write(file, 1, 0)
        other.execute("ROLLBACK")
    assert write(file, 1, 0)


@pytest.mark.parametrize("applied", [True, False])
def test_a_commit_that_fails_in_the_end_is_found_out(faults: list[bool], path: Path, applied: bool) -> None:
    """An fsync that fails says nothing of what is on the disk: the file is opened again, and asked."""
    file = SqliteFile(str(path))
    version = write(file, 1, 0)
    assert version is not None
    faults.append(applied)
    changes = [WriteElection(E, Election(), encode_election(Election(number=2)), version), open_session()]
    with pytest.raises(InDoubt, match="disk I/O error") as doubt:
        file.change(changes)
    assert file.in_doubt
    assert file.settle(abandoned=False) == applied
    assert not file.in_doubt
    assert number_of(file) == (2 if applied else 1)
    assert sessions_of(file) == (doubt.value.numbers[1:] if applied else [])
    assert (path.parent / "store.db-wal").stat().st_size == 0  # all of it is in the database
    assert write(file, 3, doubt.value.numbers[0] or 0 if applied else version)
    file.close()


@pytest.mark.parametrize("applied", [True, False])
def test_nothing_is_done_before_a_doubt_is_settled(faults: list[bool], path: Path, applied: bool) -> None:
    """As long as it cannot be: StoreError for all. Nobody knows of a session that was opened in it: it is ended."""
    file = SqliteFile(str(path))
    faults.append(applied)
    with pytest.raises(InDoubt):
        file.change([open_session()])
    away = path.rename(path.with_name("away"))
    for _ in range(2):
        with pytest.raises(StoreError, match="moved"):
            file.settle(abandoned=False)
        with pytest.raises(StoreError, match="moved"):
            number_of(file)
        with pytest.raises(StoreError, match="moved"):
            write(file, 1, 0)
    away.rename(path)
    assert sessions_of(file) == []
    assert write(file, 1, 0)
    file.close()


def test_a_doubt_whose_settling_fails_in_the_end_is_settled_later(path: Path) -> None:
    """Whatever fails in it is a StoreError, also the last look at the file."""
    script: list[tuple[str, bool]] = []

    class Scripted(sqlite3.Connection):
        """Fails at statements in the order of the script, which says of each whether it does."""

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            """See ``sqlite3.Connection.execute``."""
            if script and sql.startswith(script[0][0]) and script.pop(0)[1]:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, parameters)

    file = SqliteFile(str(path), lambda *args, **options: sqlite3.connect(*args, factory=Scripted, **options))
    script += [("COMMIT", True), ("PRAGMA wal_checkpoint", False), ("SELECT number", True)]
    with pytest.raises(InDoubt):
        write(file, 1, 0)
    with pytest.raises(StoreError, match="disk I/O error"):
        file.settle(abandoned=False)
    assert file.in_doubt
    assert not file.settle(abandoned=False)
    assert write(file, 1, 0)
    file.close()


def test_a_doubt_is_not_settled_while_somebody_reads_what_was_before(faults: list[bool], path: Path) -> None:
    """What the log has must be in the database first; the reader's end is enough."""
    file = SqliteFile(str(path))
    version = write(file, 1, 0)
    assert version is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM election").fetchone()
        faults.append(True)
        with pytest.raises(InDoubt):
            write(file, 2, version)
        with pytest.raises(StoreError, match="another process is reading"):
            file.settle(abandoned=False)
        assert file.in_doubt
        reader.execute("ROLLBACK")
        assert file.settle(abandoned=False)
    file.close()


def test_a_file_that_moves_while_it_is_written_is_in_doubt(
    file: SqliteFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not acknowledged before it is back."""
    version = write(file, 1, 0)
    assert version is not None
    commit = file._commit

    def move_and_commit(*args: object) -> None:
        path.rename(path.with_name("away"))
        commit(*args)  # type: ignore[reportArgumentType]

    monkeypatch.setattr(file, "_commit", move_and_commit)
    with pytest.raises(InDoubt, match="moved"):
        write(file, 2, version)
    path.with_name("away").rename(path)
    assert file.settle(abandoned=False)
    assert number_of(file) == 2


def test_closing_twice_is_no_error_and_a_closed_file_refuses(path: Path) -> None:
    """With an error of this package."""
    file = SqliteFile(str(path))
    file.close()
    file.close()
    with pytest.raises(StoreError, match="is closed"):
        number_of(file)


def test_refusals_leave_nothing_open(path: Path) -> None:
    """Neither files nor the lock."""
    path.write_bytes(b"garbage")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(StoreError):
            SqliteFile(str(path))
    path.unlink()
    for _ in range(5):
        SqliteFile(str(path)).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_older_file_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps in one transaction; a file that is one version behind, and one that is two."""
    present = len(sqlite_schema.MIGRATIONS)
    SqliteFile(str(path)).close()
    steps = (
        *sqlite_schema.MIGRATIONS,
        ("ALTER TABLE store ADD COLUMN colour TEXT", "UPDATE store SET colour = 'red'"),
        ("ALTER TABLE store ADD COLUMN size INTEGER NOT NULL DEFAULT 7",),
    )
    for known in (present + 1, present + 2):
        monkeypatch.setattr(sqlite_schema, "MIGRATIONS", steps[:known])
        file = SqliteFile(str(path))
        write(file, 1, 0)
        file.close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (known,)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT colour, size FROM store").fetchone() == ("red", 7)


@pytest.mark.parametrize("known", range(1, len(sqlite_schema.MIGRATIONS)))
def test_a_file_of_each_former_version_goes_on_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    """Its identity, and what is in it; it holds nobody off, and nothing in it has a floor."""
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_schema, "MIGRATIONS", sqlite_schema.MIGRATIONS[:known])
        sqlite_schema.create(str(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (identity,) = connection.execute("SELECT identity FROM store").fetchone()
        connection.execute("UPDATE store SET number = 5")
        connection.execute(
            "INSERT INTO election VALUES ('default', 'e', 5, ?)", [encode_election(Election(number=3, revision=4))]
        )
    file = SqliteFile(str(path))
    assert (file.identity, file.hold_s) == (identity, None)
    records = file.read([ReadElection(E), ReadElection(ElectionId("default", "other"))])
    assert [(each.election, each.version) for each in records] == [(Election(number=3, revision=4), 5), (Election(), 0)]
    file.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older release can go on with it."""
    SqliteFile(str(path)).close()
    with monkeypatch.context() as patch:
        broken = (*sqlite_schema.MIGRATIONS, ("ALTER TABLE store ADD COLUMN colour TEXT",), ("no statement",))
        patch.setattr(sqlite_schema, "MIGRATIONS", broken)
        with pytest.raises(StoreError, match="syntax error"):
            SqliteFile(str(path))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(sqlite_schema.MIGRATIONS),)
        assert "colour" not in [row[1] for row in connection.execute("PRAGMA table_info(store)")]
    SqliteFile(str(path)).close()


def test_a_newer_file_is_refused_by_its_version(path: Path) -> None:
    """The message names both, and what to do; the file stays as it is."""
    SqliteFile(str(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match=r"schema version 9, .* newer than 4: run the release that wrote it"):
        SqliteFile(str(path))
