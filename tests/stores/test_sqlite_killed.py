"""A process is killed at any step of the store's work: the file holds what was acknowledged, and nothing by halves.

A step is a line of the store's code or an instruction of SQLite's virtual machine. What happens inside of COMMIT is hit
by a limit on the size of files, at which the operating system ends a process in the middle of a write.
"""

import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from atomix_election import stores
from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.stores.codec import encode_election
from atomix_election.stores.sqlite_file import SqliteFile
from atomix_election.stores.sqlite_rows import EndSession, OpenSession, ReadElection, WriteElection, read_sessions

ONE, OTHER = ElectionId("default", "one"), ElectionId("default", "other")
SAMPLE = 40
"""Steps at which a process is killed, of some thousands, chosen anew in each run."""
CHANGES = 4
STORES = str(Path(stores.__path__[0]))
FRAME_BYTES = 24 + 4096
"""A page in the log, with its header."""


def work(file: SqliteFile, first: int, say: Callable[[Any], None]) -> None:
    """Change two elections and the sessions together, several times, and say each time that it is acknowledged."""
    versions = [each.version for each in file.read([ReadElection(ONE), ReadElection(OTHER)])]
    sessions = [each.session.incarnation for each in file.read([read_sessions])[0]]
    for number in range(first, first + CHANGES):
        election = Election(number=number)
        numbers = file.change(
            [
                *(
                    WriteElection(election_id, election, encode_election(election), version)
                    for election_id, version in zip((ONE, OTHER), versions, strict=True)
                ),
                OpenSession("default", f"s{number}", 1.0, kept_alive=True),
                *(EndSession(each) for each in sessions),
            ]
        )
        versions, sessions = [each or 0 for each in numbers[:2]], [numbers[2] or 0]
        say(number)


def work_from(path: Path, first: int, say: Callable[[Any], None]) -> None:
    """Open the file, say its identity, and work."""
    file = SqliteFile(str(path))
    say(file.identity)
    work(file, first, say)
    file.close()


def in_child(act: Callable[[Callable[[Any], None]], None]) -> tuple[list[Any], int]:
    """Run something in a forked child; return what it said, and which signal has ended it."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            act(lambda what: void(os.write(writer, json.dumps(what).encode() + b"\n")))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        said = [json.loads(line) for line in lines]
    status = os.waitpid(child, 0)[1]
    return said, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def void(_: object) -> None:
    """Return nothing."""


class Steps:
    """Counts the steps of this process, and kills it at one of them."""

    def __init__(self, last: int | None) -> None:
        self._last = last
        self.count = 0

    def begin(self) -> None:
        """Begin to count."""
        connect = sqlite3.connect

        def counting(*args: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*args, **options)
            connection.set_progress_handler(self._step, 1)
            return connection

        sqlite3.connect = counting
        sys.settrace(self._trace)

    def _step(self) -> int:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(STORES):
            return None
        if event in ("line", "return"):
            self._step()
        return self._trace


def killed_at(path: Path, step: int | None, first: int) -> tuple[list[Any], int]:
    """Work in a child that is killed at a step, or count the steps; return what it said, and the signal."""

    def act(say: Callable[[Any], None]) -> None:
        steps = Steps(step)
        steps.begin()
        work_from(path, first, say)
        sys.settrace(None)
        say(steps.count)

    return in_child(act)


def check_after(path: Path, said: list[Any], before: int, identity: str | None = None) -> None:
    """The file has the last change that was acknowledged, or the one after that; each of them whole."""
    acknowledged = max((each for each in said if isinstance(each, int)), default=before)
    identity = next((each for each in said if isinstance(each, str)), identity)
    file = SqliteFile(str(path))
    try:
        one, other = (each.election.number for each in file.read([ReadElection(ONE), ReadElection(OTHER)]))
        sessions = [each.session for each in file.read([read_sessions])[0]]
        assert one in (acknowledged, acknowledged + 1)
        assert other == one
        assert [each.id for each in sessions] == ([f"s{one}"] if one else [])
        assert identity in (None, file.identity)
        work(file, one + 1, void)
    finally:
        file.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (newest,) = connection.execute("SELECT number FROM store").fetchone()
    assert all(each.incarnation < newest for each in sessions)


def seeded() -> random.Random:
    """Return chance, whose seed is shown when a test fails."""
    seed = time.time_ns() % 10**9
    print(f"seed {seed}")  # noqa: T201
    return random.Random(seed)


def steps_to_try(total: int) -> list[int]:
    """Return steps at which to kill, as many near the beginning as elsewhere."""
    chance = seeded()
    return sorted(chance.randrange(part * total // SAMPLE, (part + 1) * total // SAMPLE) + 1 for part in range(SAMPLE))


def test_a_new_file_survives_a_kill_at_any_step(tmp_path: Path) -> None:
    """From before it is there until it is closed."""
    said, ended_by = killed_at(tmp_path / "counted.db", None, 1)
    assert ended_by == 0
    assert said[1:-1] == list(range(1, CHANGES + 1))
    for step in steps_to_try(said[-1]):
        directory = tmp_path / str(step)
        directory.mkdir()
        said, ended_by = killed_at(directory / "store.db", step, 1)
        assert ended_by == signal.SIGKILL
        check_after(directory / "store.db", said, 0)


def test_a_file_that_was_left_by_a_killed_process_survives_another_kill(tmp_path: Path) -> None:
    """While its log is recovered, and ever after."""
    left = tmp_path / "left"
    left.mkdir()

    def leave(say: Callable[[Any], None]) -> None:
        file = SqliteFile(str(left / "store.db"))
        say(file.identity)
        work(file, 1, say)
        os.kill(os.getpid(), signal.SIGKILL)

    (identity, *_), _ = in_child(leave)
    assert (left / "store.db-wal").stat().st_size > 0

    def copy(name: str) -> Path:
        return Path(shutil.copytree(left, tmp_path / name)) / "store.db"

    said, _ = killed_at(copy("counted"), None, CHANGES + 1)
    for step in steps_to_try(said[-1]):
        path = copy(str(step))
        said, ended_by = killed_at(path, step, CHANGES + 1)
        assert ended_by == signal.SIGKILL
        check_after(path, said, CHANGES, identity)


@pytest.mark.parametrize("part", range(8))
def test_a_commit_that_is_broken_off_within_a_write_did_not_take_place(tmp_path: Path, part: int) -> None:
    """The end comes after any byte of any page that a commit adds to the log."""
    path = tmp_path / "store.db"
    grown = 12 * CHANGES
    offset = part * FRAME_BYTES // 2 + seeded().randrange(FRAME_BYTES // 2)

    def act(say: Callable[[Any], None]) -> None:
        file = SqliteFile(str(path))
        for first in range(1, grown, CHANGES):
            work(file, first, void)
        size = Path(f"{path}-wal").stat().st_size
        say(size)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + offset, size + offset))
        work(file, grown + 1, say)

    (size, *said), ended_by = in_child(act)
    assert size > 100_000
    assert ended_by == signal.SIGXFSZ
    check_after(path, said, grown)
