"""The simulated disk: when it crashes, what it leaves, and how it fails."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
import trio.testing

from atomix_election.core.election import Election
from atomix_election.errors import StoreError
from atomix_election.model import ElectionId
from atomix_election.stores.codec import encode_election
from atomix_election.stores.sqlite import Result
from atomix_election.stores.sqlite_file import InDoubt, SqliteFile
from atomix_election.stores.sqlite_rows import ReadElection, WriteElection
from atomix_election.testing.disk import DiskFaults, SimulatedDisk

E = ElectionId("default", "e")
STATEMENTS = 4
"""Of a transaction with one change: BEGIN, the change, the number, COMMIT."""


class Server:
    """A file on a simulated disk, and whether its process is still there."""

    def __init__(self, path: Path, faults: DiskFaults | None = None, seed: int = 0) -> None:
        self.crashes = 0
        self.faults = faults or DiskFaults()
        self.disk = SimulatedDisk(path, random.Random(seed), self.faults, 1000, lambda *_: None, self._crashed)
        self.file = SqliteFile(str(path), self.disk.connect)

    def _crashed(self) -> None:
        self.crashes += 1

    def write(self, number: int, expected: int) -> int | None:
        """Write the election, and return its version."""
        election = Election(number=number)
        return self.file.change([WriteElection(E, election, encode_election(election), expected)])[0]


def number_left(path: Path, server: Server) -> int:
    """Return the number that the next process finds."""
    server.file.close()
    server.disk.put_back()
    with closing(SqliteFile(str(path))) as file:
        return file.read([ReadElection(E)])[0].election.number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where nothing is yet."""
    return tmp_path / "store.db"


@pytest.mark.parametrize("after", range(1, STATEMENTS + 1))
def test_a_crash_before_any_statement_leaves_what_was_acknowledged(path: Path, after: int) -> None:
    """The transaction that it breaks off did not take place, and nothing works afterwards."""
    server = Server(path)
    version = server.write(1, 0)
    assert version is not None
    server.disk.crash_soon(after=after, within_write=False, power_cut=False)
    with pytest.raises((StoreError, InDoubt)):
        server.write(2, version)
    assert server.crashes == 1
    assert server.disk.has_crashed
    with pytest.raises((StoreError, InDoubt)):
        server.write(3, version)
    assert number_left(path, server) == 1


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_crash_within_a_commit_leaves_the_one_or_the_other(path: Path, power_cut: bool) -> None:
    """Either may be, as nobody was told anything."""
    found: set[int] = set()
    for seed in range(30):
        server = Server(path.with_name(f"{seed}.db"), seed=seed)
        version = server.write(1, 0)
        assert version is not None
        server.disk.crash_soon(after=1, within_write=True, power_cut=power_cut)
        with pytest.raises((StoreError, InDoubt)):
            server.write(2, version)
        found.add(number_left(path.with_name(f"{seed}.db"), server))
    assert found == {1, 2}


def test_a_power_cut_takes_what_was_not_synced(path: Path) -> None:
    """That is nothing of what this store has acknowledged, and all of it where the log is not synced."""
    lost: set[tuple[bool, bool]] = set()
    for seed in range(20):
        for careless in (False, True):
            place = path.with_name(f"{seed}{careless}.db")
            server = Server(place, seed=seed)
            version = server.write(1, 0)
            assert version is not None
            if careless:
                assert server.file._connection is not None
                server.file._connection.execute("PRAGMA synchronous = NORMAL")
            server.write(2, version)
            assert server.disk.is_synced is not careless
            server.disk.crash_soon(after=1000, within_write=False, power_cut=True)
            server.disk.crash()
            lost.add((careless, number_left(place, server) < 2))
    assert lost == {(False, False), (True, True), (True, False)}


def test_what_is_left_is_what_there_was_at_the_crash(path: Path) -> None:
    """Closing its file afterwards changes nothing, and neither does a second crash."""
    server = Server(path)
    server.write(1, 0)
    server.disk.crash()
    server.disk.crash()
    assert server.crashes == 1
    server.file.close()
    assert not path.with_name("store.db-wal").exists()
    server.disk.put_back()
    assert path.with_name("store.db-wal").stat().st_size > 0
    assert number_left(path, server) == 1


def test_a_disk_that_is_spared_does_not_crash(path: Path) -> None:
    """An announced crash can be called off."""
    server = Server(path)
    server.disk.crash_soon(after=1, within_write=False, power_cut=False)
    server.disk.spare()
    assert server.write(1, 0)
    server.file.close()


def test_a_full_disk_refuses_to_be_written(path: Path) -> None:
    """And can be read all the same."""
    server = Server(path)
    version = server.write(1, 0)
    assert version is not None
    server.faults.full = True
    with pytest.raises(StoreError, match="free space"):
        server.write(2, version)
    assert server.file.read([ReadElection(E)])[0].election.number == 1
    server.faults.full = False
    assert server.write(2, version)
    server.file.close()


def test_a_failing_disk_never_lies(path: Path) -> None:
    """What was acknowledged is there, what was refused is not, and what is in doubt is found out."""
    faults = DiskFaults()
    server = Server(path, faults)
    version, number, outcomes = 0, 0, set[str]()
    for tried in range(1, 300):
        faults.failing = 0.05
        try:
            written = server.write(tried, version)
            outcomes.add("written")
        except StoreError:
            written = None
            outcomes.add("refused")
        except InDoubt as doubt:
            faults.failing = 0.0
            took_place = server.file.settle(abandoned=False)
            written = doubt.numbers[0] if took_place else None
            outcomes.add("done after all" if took_place else "not done after all")
        if written is not None:
            version, number = written, tried
        faults.failing = 0.0
        record = server.file.read([ReadElection(E)])[0]
        assert (record.version, record.election.number) == (version, number)
    assert outcomes == {"written", "refused", "done after all", "not done after all"}
    server.file.close()


def test_a_slow_disk_takes_its_time() -> None:
    """Before it does something, and before that is known; also when nobody wants to wait any more."""
    told: list[float] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            faults = DiskFaults(delay_s=10.0)
            disk = SimulatedDisk(Path("none"), random.Random(0), faults, 1, tasks.start_soon, lambda: None)

            def done(result: Result[float]) -> None:
                told.extend((result.get(), anyio.current_time()))

            disk.start(anyio.current_time, done)
            tasks.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert 0 < told[0] < told[1]


def test_a_connection_is_none_after_a_crash(path: Path) -> None:
    """A process that is gone opens nothing."""
    server = Server(path)
    server.disk.crash()
    with pytest.raises(sqlite3.OperationalError):
        server.disk.connect(str(path))
    server.file.close()
