"""What docs/examples.md lists does what it says, in processes of its own, on a real server."""

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from atomix_election.fencing import SqlFencingGuard, StaleToken
from atomix_election.sync import Client, ElectionServer, connect
from tests import manual
from tests.ports import free_port
from tests.ready_made import EXAMPLES, LONGEST_S, TTL_S, load, until

GUIDE = (manual.DOCS / "examples.md").read_text()
COMMANDS = {section: lines for (section, _), lines in manual.commands(GUIDE).items()}

Start = Callable[..., "subprocess.Popen[bytes]"]


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
def start(tmp_path: Path, target: str) -> Generator[Start]:
    """Start commands as they stand in the guide, but for the server and what is said here; kill all that they start."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    with ExitStack() as ends:

        def start(command: str, *others: tuple[str, str], **environment: str) -> "subprocess.Popen[bytes]":
            for shown, used in (("grpc://localhost:5678", target), *others):
                assert shown in command
                command = command.replace(shown, used)
            process = subprocess.Popen(
                ["env", *shlex.split(command)],
                cwd=tmp_path,
                env=manual.environment() | environment,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            ends.enter_context(process)
            ends.callback(kill_group, process.pid)
            return process

        yield start


@pytest.fixture
def show(tmp_path: Path) -> Callable[[str], list[str]]:
    """Run an example that needs nothing, and return what it says."""

    def show(name: str) -> list[str]:
        return manual.run(
            f"python {EXAMPLES / name}", directory=tmp_path, environment=manual.environment(), timeout_s=LONGEST_S
        ).splitlines()

    return show


def kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def until_queued(client: Client, election: str, number: int) -> None:
    """Wait until so many candidates are in the queue, the leader included."""
    with client.election(election).events() as events:
        for event in events:
            if len(event.term.candidates) == number:
                return


def in_order(client: Client, election: str, *processes: "subprocess.Popen[bytes]") -> "list[subprocess.Popen[bytes]]":
    """Wait until all these processes are in the queue, and return them, the leader first."""
    until_queued(client, election, len(processes))
    by_pid = {process.pid: process for process in processes}
    return [by_pid[pid_of(candidate)] for candidate in client.election(election).get_term().candidates]


def pid_of(candidate_id: str) -> int:
    """Read the process out of an id that was not chosen, which ends in its pid and a random part."""
    return int(candidate_id.split("-")[-2])


def get(port: int, path: str) -> Any:
    """Ask a server, and return its JSON."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=LONGEST_S) as answer:
        return json.load(answer)


def test_the_page_lists_all_examples() -> None:
    """And no others."""
    listed = set(re.findall(r"\]\(\.\./examples/([\w./-]+)\)", GUIDE))
    assert all((EXAMPLES / name).is_file() for name in listed)
    folders = {name.split("/")[0] for name in listed}
    assert folders == {path.name for path in EXAMPLES.iterdir() if not path.name.startswith(("__", "."))}


def test_a_fenced_write(show: Callable[[str], list[str]]) -> None:
    refused, *rows = show("fenced_write.py")
    assert re.fullmatch(r"refused: .*\b33\b.*\b34\b.*", refused)
    assert rows == [
        "33: begun by the first leader",
        "34: taken over by the second leader",
        "34: carried on by the second leader",
    ]


def test_a_scheduler_goes_on_where_the_former_one_stopped(client: Client, start: Start, tmp_path: Path) -> None:
    """After a kill, an eviction and a refused token; SIGTERM leaves the queue."""
    (command,) = COMMANDS["A scheduler"]
    often = ("report=60", "report=0.05")
    first, second = in_order(client, "scheduler", start(command, often), start(command, often))
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as database:

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
        assert database.execute("SELECT count(*) FROM queue WHERE job = 'clean'").fetchall() == [(1,)]
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


def test_the_workers_of_a_web_application_take_turns(client: Client, start: Start, tmp_path: Path) -> None:
    """One does the job, and another one after a kill; a job that fails comes back; SIGTERM leaves the queue."""
    (command,) = COMMANDS["A web application"]
    port = free_port()
    uvicorn = start(f"{command} --port {port}", EVERY_S="0.05")
    until_queued(client, "cleanings", 2)
    leads: dict[int, bool] = {}

    def all_have_answered() -> bool:
        answer = get(port, "/status")
        leads[answer["pid"]] = answer["leads"]
        return len(leads) == 2

    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:

        def pids(token: int) -> set[int]:
            return {pid for (pid,) in database.execute("SELECT pid FROM cleanings WHERE token = ?", (token,))}

        until(lambda: pids(1))
        first, second = map(pid_of, client.election("cleanings").get_term().candidates)
        until(all_have_answered)
        assert leads == {first: True, second: False}
        os.kill(first, signal.SIGKILL)
        until(lambda: pids(2))
        assert (pids(1), pids(2)) == ({first}, {second})
        SqlFencingGuard().check(database, "cleanings", 4)  # as a newer leader would, still unknown to the second
        database.commit()
        until(lambda: pids(4))
        assert pids(3) == set()
        uvicorn.send_signal(signal.SIGTERM)
        assert uvicorn.wait(LONGEST_S) == 0
        assert client.election("cleanings").get_term().candidates == ()


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_requests_reach_the_leader_wherever_they_come_in(client: Client, start: Start, tmp_path: Path) -> None:
    """After an eviction too, and after a kill, where a request waits for the next leader."""
    *commands, curl = COMMANDS["The leader's address"]
    ports = {shown: str(free_port()) for shown in ("8001", "8002")}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    for command in commands:
        (shown,) = (port for port in ports if command.endswith(port))
        processes[f"127.0.0.1:{ports[shown]}"] = start(command, (shown, ports[shown]))
    until_queued(client, "numbers", 2)
    election = client.election("numbers")
    first, second = election.get_term().candidates

    def ask(address: str) -> str:
        line = curl.replace("127.0.0.1:8001", address) + " --silent"
        return manual.run(line, directory=tmp_path, environment=manual.environment(), timeout_s=LONGEST_S)

    assert [ask(first), ask(second), ask(first)] == ["1.1\n", "1.2\n", "1.3\n"]
    election.evict(first)
    until_queued(client, "numbers", 2)
    assert [ask(first), ask(second)] == ["2.1\n", "2.2\n"]
    processes[second].kill()
    assert [ask(first), ask(first)] == ["3.1\n", "3.2\n"]
    processes[first].send_signal(signal.SIGTERM)
    assert processes[first].wait(LONGEST_S) == -signal.SIGTERM
    assert election.get_term().candidates == ()


def test_a_command_of_django_runs_where_it_leads(
    client: Client, start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An eviction, a kill, SIGTERM of one that waits, a refused token, and one that ends by itself."""
    migrate, command, once = COMMANDS["A command of Django"]
    manual.run(migrate, directory=tmp_path, environment=manual.environment(), timeout_s=LONGEST_S)
    often = ("--every 60", "--every 0.05")
    started = [start(command, often) for _ in range(3)]
    first, second, third = in_order(client, "reports", *started)
    election = client.election("reports")
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:

        def pids(token: int) -> list[int]:
            return [pid for (pid,) in database.execute("SELECT pid FROM reports_report WHERE token = ?", (token,))]

        until(lambda: len(pids(1)) > 1)
        election.evict(election.get_term().candidates[0])
        until(lambda: pids(2))
        assert in_order(client, "reports", *started) == [second, third, first]
        second.kill()
        last = start(once)
        first.send_signal(signal.SIGTERM)
        assert first.wait(LONGEST_S) == -signal.SIGTERM
        assert first.pid not in map(pid_of, election.get_term().candidates)
        until(lambda: pids(3))
        assert [set(pids(token)) for token in (1, 2, 3)] == [{first.pid}, {second.pid}, {third.pid}]
        assert in_order(client, "reports", third, last) == [third, last]
        SqlFencingGuard().check(database, "reports", 4)  # as a newer leader would, still unknown to the third
        database.commit()
        assert third.wait(LONGEST_S) == 1
        assert "CommandError: no more reports are written: token 3 is stale" in capfd.readouterr().err
        assert last.wait(LONGEST_S) == 0
        assert pids(4) == [last.pid]
        assert election.get_term().candidates == ()


def test_a_release_hands_over_to_one_that_is_warm(show: Callable[[str], list[str]]) -> None:
    """The new one leads only when the old one has stopped, and the old one stays until the new one is warm."""
    assert show("warm_handover.py")[2:8] == [
        "release-1: leads with token 1 and 2 prices",
        "release-2: stands by, release-1 leads",
        "release-2: is warm",
        "release-1: has stopped",
        "release-2: leads with token 2 and 2 prices",
        "in the queue: release-2",
    ]
