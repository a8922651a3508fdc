"""What docs/examples.md lists does what it says, in processes of its own, on a real server."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing, suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from atomix_election.fencing import SqlFencingGuard, StaleToken
from atomix_election.sync import Client, ElectionServer, connect
from tests.manual import DOCS

EXAMPLES = Path(__file__).parents[1] / "examples"
GUIDE = (DOCS / "examples.md").read_text()
LONGEST_S = 20.0
TTL_S = 1.0

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def target() -> Generator[str]:
    """A server that grants short leases, as a killed leader is waited for here."""
    with ElectionServer(session_ttl=TTL_S, min_session_ttl=TTL_S, max_session_ttl=TTL_S) as server:
        yield server.target


@pytest.fixture
def client(target: str) -> Generator[Client]:
    with connect(target) as client:
        yield client


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    """Start processes, which are killed at the end with all that they have started."""
    with ExitStack() as ends:

        def start(*arguments: object, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                cwd=tmp_path,
                env=os.environ | (environment or {}),
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            ends.enter_context(process)
            ends.callback(kill_group, process.pid)
            return process

        yield start


def kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def until(what: Callable[[], object]) -> None:
    """Wait for what nobody tells, a table for example."""
    deadline = time.monotonic() + LONGEST_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def until_queued(client: Client, election: str, number: int) -> None:
    """Wait until so many candidates are in the queue, the leader included."""
    with client.election(election).events() as events:
        for event in events:
            if len(event.term.candidates) == number:
                return


def in_order(client: Client, election: str, *processes: "subprocess.Popen[str]") -> "list[subprocess.Popen[str]]":
    """Wait until all these processes are in the queue, and return them, the leader first. Their ids have their pids."""
    until_queued(client, election, len(processes))
    by_id = {process.pid: process for process in processes}
    return [by_id[int(candidate.split("-")[-2])] for candidate in client.election(election).get_term().candidates]


def load(name: str) -> ModuleType:
    """Import an example, which stands in no package."""
    specification = spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert specification is not None
    assert specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_lists_all_examples() -> None:
    """And no others."""
    listed = set(re.findall(r"\]\(\.\./examples/([\w./-]+)\)", GUIDE))
    assert all((EXAMPLES / name).is_file() for name in listed)
    folders = {name.split("/")[0] for name in listed}
    assert folders == {path.name for path in EXAMPLES.iterdir() if not path.name.startswith(("__", "."))}


def test_a_fenced_write(start: Start) -> None:
    said, _ = start(EXAMPLES / "fenced_write.py").communicate(timeout=LONGEST_S)
    refused, *rows = said.splitlines()
    assert re.fullmatch(r"refused: .*\b33\b.*\b34\b.*", refused)
    assert rows == [
        "33: begun by the first leader",
        "34: taken over by the second leader",
        "34: carried on by the second leader",
    ]


def test_a_scheduler_goes_on_where_the_former_one_stopped(
    target: str, client: Client, start: Start, tmp_path: Path
) -> None:
    """After a kill, an eviction and a refused token; SIGTERM leaves the queue."""
    path = tmp_path / "jobs.db"
    arguments = (EXAMPLES / "singleton_scheduler/scheduler.py", target, path, "often=0.05", "once=3600")
    first, second = in_order(client, "scheduler", start(*arguments), start(*arguments))
    with closing(sqlite3.connect(path)) as database:

        def tokens() -> list[int]:
            return [token for (token,) in database.execute("SELECT token FROM queue ORDER BY rowid")]

        until(lambda: 1 in tokens())
        first.kill()
        until(lambda: 2 in tokens())
        election = client.election("scheduler")
        leader = election.get_term().leader
        assert leader is not None
        election.evict(leader)
        until(lambda: 3 in tokens())
        SqlFencingGuard().check(database, "schedule", 4)  # as a newer leader would, still unknown to the second
        database.commit()
        until(lambda: 4 in tokens())
        second.send_signal(signal.SIGTERM)
        assert second.wait(LONGEST_S) == -signal.SIGTERM
        assert election.get_term().candidates == ()
        assert tokens() == sorted(tokens())
        assert database.execute("SELECT count(*) FROM queue WHERE job = 'once'").fetchall() == [(1,)]
        twice = "SELECT job FROM queue GROUP BY job, due_at HAVING count(*) > 1"
        assert database.execute(twice).fetchall() == []


def test_a_former_scheduler_queues_nothing(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as database:
        module = load("singleton_scheduler/scheduler.py")
        module.create_tables(database)
        scheduler = module.Scheduler(database, {"clean": 60.0}, now=lambda: 100.0)
        assert scheduler.queue_due(2) == 60.0
        later = module.Scheduler(database, {"clean": 60.0}, now=lambda: 1000.0)
        with pytest.raises(StaleToken):
            later.queue_due(1)
        assert database.execute("SELECT * FROM queue").fetchall() == [("clean", 100.0, 2)]


def test_a_release_hands_over_to_one_that_is_warm(start: Start) -> None:
    """The new one leads only when the old one has stopped, and the old one stays until the new one is warm."""
    process = start(EXAMPLES / "warm_handover.py")
    said, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0
    lines = said.splitlines()
    assert lines[2:8] == [
        "release-1: leads with token 1 and 2 prices",
        "release-2: stands by, release-1 leads",
        "release-2: is warm",
        "release-1: has stopped",
        "release-2: leads with token 2 and 2 prices",
        "in the queue: release-2",
    ]
