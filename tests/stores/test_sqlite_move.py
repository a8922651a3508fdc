"""An SQLite file that is left for another store: who owns it, what is read, and what its mark does."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.errors import StoreError
from atomix_election.model import MIN_SESSION_TTL_S, ElectionId
from atomix_election.stores.codec import encode_election
from atomix_election.stores.sqlite_backup import back_up, restore
from atomix_election.stores.sqlite_file import SqliteFile
from atomix_election.stores.sqlite_move import Contents, leaving_file
from atomix_election.stores.sqlite_rows import ForgetElection, OpenSession, WriteElection
from tests.stores.disks import full_for_files_above

TARGET = "etcd://localhost"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A store that nobody uses: two elections, one that was forgotten, two sessions."""
    path = str(tmp_path / "store.db")
    file = SqliteFile(path)
    for namespace, name, election in (
        ("default", "one", Election(number=3, revision=9)),
        ("default", "forgotten", Election(number=70, revision=80)),
        ("other", "two", Election(number=5, revision=7)),
    ):
        change = WriteElection(ElectionId(namespace, name), election, encode_election(election), 0)
        (version,) = file.change([change])
        assert version is not None
        if name == "forgotten":
            file.change([ForgetElection(ElectionId(namespace, name), version)])
    file.change([OpenSession("default", each, ttl_s, kept_alive=True) for each, ttl_s in (("s", 45.0), ("t", 3.0))])
    file.close()
    return path


def test_all_is_read_that_must_not_get_lost(path: str) -> None:
    """Records, floors, and how long somebody may still act."""
    with leaving_file(path) as file:
        assert file.read() == Contents(
            elections=((ElectionId("default", "one"), Floors(3, 9)), (ElectionId("other", "two"), Floors(5, 7))),
            everywhere=Floors(),
            namespaces={"default": Floors(70, 80)},
            hold_s=45.0,
        )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM session")
        connection.commit()
    with leaving_file(path) as file:
        assert file.read().hold_s == 0


def test_what_a_restore_has_left_to_do_is_not_forgotten(path: str, tmp_path: Path) -> None:
    """The floor of all elections, and that nobody is admitted yet."""
    back_up(path, f"{tmp_path}/backup.db")
    floors = restore(f"{tmp_path}/backup.db", f"{tmp_path}/new.db")
    with leaving_file(f"{tmp_path}/new.db") as file:
        contents = file.read()
    assert (contents.everywhere, contents.hold_s) == (floors, 45.0)
    with closing(sqlite3.connect(f"{tmp_path}/new.db")) as connection:
        connection.execute("UPDATE store SET hold_s = 0")
        connection.commit()
    with leaving_file(f"{tmp_path}/new.db") as file:
        assert file.read().hold_s == MIN_SESSION_TTL_S


def test_a_marked_file_is_no_store_any_more(path: str) -> None:
    """From the first mark on, and each says what to do."""
    with leaving_file(path) as file:
        assert file.moved is None
        file.mark(TARGET, is_complete=False)
        with pytest.raises(StoreError, match="is in use by process"):
            SqliteFile(path)
    with pytest.raises(StoreError, match=rf"which broke off: go on with it, `atomix-election migrate {path} {TARGET}`"):
        SqliteFile(path)
    with leaving_file(path) as file:
        assert file.moved == (TARGET, False)
        file.mark(TARGET, is_complete=True)
    with pytest.raises(StoreError, match=f"were moved to {TARGET}: serve that"):
        SqliteFile(path)
    with leaving_file(path) as file:
        assert file.moved == (TARGET, True)
        assert len(file.read().elections) == 2


def test_a_backup_of_a_marked_file_can_be_restored(path: str, tmp_path: Path) -> None:
    """It is a store of its own then, whose tokens are above those that were given elsewhere."""
    with leaving_file(path) as file:
        file.mark(TARGET, is_complete=True)
    back_up(path, f"{tmp_path}/backup.db")
    with (
        pytest.raises(StoreError, match="is a backup: name the file that was served last"),
        leaving_file(f"{tmp_path}/backup.db"),
    ):
        pass
    restore(f"{tmp_path}/backup.db", f"{tmp_path}/new.db")
    SqliteFile(f"{tmp_path}/new.db").close()


def test_what_is_in_use_missing_or_damaged_is_refused(path: str, tmp_path: Path) -> None:
    """And stays as it is."""
    file = SqliteFile(path)
    with pytest.raises(StoreError, match="is in use by process"), leaving_file(path):
        pass
    file.close()
    with pytest.raises(StoreError, match="there is no file"), leaving_file(f"{tmp_path}/nothing.db"):
        pass
    (tmp_path / "garbage.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match=r"cannot open .*garbage\.db"), leaving_file(f"{tmp_path}/garbage.db"):
        pass
    with leaving_file(path) as leaving, full_for_files_above(1), pytest.raises(StoreError, match="as moved"):
        leaving.mark(TARGET, is_complete=False)
    SqliteFile(path).close()
