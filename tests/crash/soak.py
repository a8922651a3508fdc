"""``make soak``: a server on a file is killed with SIGKILL under load, again and again; then its history is checked.

Meanwhile the file is backed up, and now and then lost and made anew of a backup. Half of it is with TLS and access.

Exits with 1 when a promise was broken. Equal seeds make equal plans, but not equal runs.
"""

import argparse
import os
import random
import re
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import anyio

from atomix_election import Client
from atomix_election.stores.codec import decode_election
from atomix_election.testing.checker import Promises, check_history
from atomix_election.testing.history import DONE, Answered, Entry, Gone, Led, Recorder, Restored, Up, now, read_history
from tests.certificates import Authority, write_access
from tests.crash.load import CALM, ELECTIONS, PASSING, SHORT, Settings
from tests.crash.published import Admission, come_back

PROJECT = Path(__file__).parents[2]
TTL_S = 8.0
"""Time-to-live of those who stay: a round of kills is over well within it."""
MORTAL_TTL_S = 1.0
"""Time-to-live of those who are killed themselves, which ends while the server is left alone."""
PROCESSES = 2
CLIENTS = 2
"""Clients of one process."""
KILLS = 7
"""Kills of one round."""
QUIET_S = 1.7
"""How long the server is left alone after each round, so that all clients can renew."""
LONGEST_START_S = 20.0
"""How long a server may take to be ready, on a busy machine."""
PORTS = range(20_000, 32_000)
"""None that systems give to connections: while the server is dead, its port must stay free."""
ROUNDS_BETWEEN_RESTORES = 4
PRINCIPAL = "soak"
PROMISES = Promises(calm=CALM, forgotten=frozenset(PASSING), late_copies=False)


@dataclass(frozen=True, slots=True)
class Report:
    """What happened, and which promises were broken."""

    seed: int
    kills: int
    history: list[Entry]
    backups: int
    admissions: list[Admission]
    secured: bool
    violations: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        """Return it in figures."""
        calls = [each for each in self.history if isinstance(each, Answered)]
        acknowledged = sum(each.outcome == DONE and each.what != "get_term" for each in calls)
        unknown = sum(each.outcome in ("OutcomeUnknown", "Unavailable") for each in calls)
        led = [each for each in self.history if isinstance(each, Led)]
        expired = sum(each.lost == "EXPIRED" for each in led)
        forgotten = sum(each.what == "forget" and each.outcome == DONE for each in calls)
        in_use = sum(each.what == "forget" and each.outcome == "InvalidRequest" for each in calls)
        refused = sum(len(each.refused) for each in self.admissions)
        how = "with TLS and access" if self.secured else "in plain text"
        lines = [
            f"seed {self.seed}, {how}: {self.kills} kills, {len(self.history)} records",
            f"{forgotten} times forgotten, {in_use} times refused as in use",
            f"{self.backups} backups under load, {len(self.admissions)} restores",
            f"published clients were refused {refused} times after a restore, and let in {len(self.admissions)} times",
            f"{acknowledged} commands acknowledged, {unknown} calls of unknown outcome or unavailable",
            f"{len(led)} leaderships, {self.kept()} kept over a restart, {expired} expired",
            f"longest takeover {self.longest_takeover_s():.2f} s, restarts included",
            *self.violations[:20],
            f"{len(self.violations)} promises broken",
        ]
        return "\n".join(lines)

    def kept(self) -> int:
        """Return how often a leadership went on with the next server."""
        ups = sorted((each for each in self.history if isinstance(each, Up)), key=lambda each: each.begun)
        led = [each for each in self.history if isinstance(each, Led) and each.until is not None]
        return sum(
            each.begun < former.until and (each.until or 0.0) > latter.begun
            for former, latter in pairwise(ups)
            for each in led
        )

    def longest_takeover_s(self) -> float:
        """Return the longest time without a leader where somebody waited to lead, restarts and deaths included."""
        led = sorted(
            (each for each in self.history if isinstance(each, Led) and each.election == SHORT),
            key=lambda each: each.begun,
        )
        return max((latter.begun - former.until for former, latter in pairwise(led) if former.until), default=0.0)


class Run:
    """The processes of one run.

    Args:
        seed: of its plan.
        directory: for the store's file and the records.
        processes: ends them.
        secured: whether the server has TLS and asks for a token.
    """

    def __init__(self, seed: int, directory: Path, processes: ExitStack, secured: bool) -> None:
        self.kills = 0
        self.backups: list[Path] = []
        self.admissions: list[Admission] = []
        self.store = directory / "store.db"
        self.directory = directory
        self._processes = processes
        self._chance = random.Random(seed)
        self._names = count()
        self._record = processes.enter_context(Recorder(directory / "run.records"))
        self.port = next(port for port in self._chance.sample(PORTS, 100) if _is_free(port))
        self.target = f"grpc{'s' * secured}://127.0.0.1:{self.port}"
        self._ca = self._token_file = ""
        self._secured: list[str] = []
        if secured:
            self._secure(directory)
        self._server: subprocess.Popen[bytes] | None = None
        self._ready_at: float | None = None

    def round(self) -> None:
        """Kill the server a few times at random moments, and a process of clients; then leave it alone for a while."""
        mortal, who = self.start_load("mortal", MORTAL_TTL_S, clients=1)
        self.wait_ready(LONGEST_START_S)
        backup = self._begin_backup()
        for _ in range(KILLS):
            self.kill_server_after(self._moment())
            self.start_server()
        self.wait_ready(LONGEST_START_S)
        _kill(mortal)
        self._record(Gone(who, MORTAL_TTL_S, now()))
        assert backup.wait(LONGEST_START_S) == 0, f"a backup failed; see {self.directory}/server.log"
        self._sleep(QUIET_S)

    def restore(self) -> None:
        """Lose the store, make it anew of any backup, and let all come back when nobody is held off any more."""
        self.wait_ready(LONGEST_START_S)
        self.end_server()
        ended, former = now(), self.store
        self.store = self.directory / f"restored-{len(self.admissions)}.db"
        command = ["restore", str(self._chance.choice(self.backups)), str(self.store)]
        command += ["--replaces", str(former)] * self._chance.randrange(2)
        output = self._start(["-m", "atomix_election", *command]).communicate(timeout=LONGEST_START_S)[0].decode()
        floor = re.search(r"its tokens begin above (\d+);", output)
        assert floor, output
        begun = now()
        self._record(Restored(ended, begun, TTL_S, int(floor[1])))
        self.start_server()
        self.wait_ready(LONGEST_START_S)
        longest_s = TTL_S + LONGEST_START_S
        admission = come_back(f"127.0.0.1:{self.port}", longest_s, self._ca, self._token_file)
        assert set(admission.refused) == {"UNAVAILABLE"}, admission
        assert "nobody is admitted for another" in admission.details, admission
        assert admission.at >= begun + TTL_S, f"it was let in during the hold, which began at {begun}: {admission}"
        self.admissions.append(admission)
        self._sleep(QUIET_S)

    def _begin_backup(self) -> subprocess.Popen[bytes]:
        """Begin to copy the file, while the server works or is killed."""
        self.backups.append(self.directory / f"{len(self.backups)}.backup")
        return self._start(["-m", "atomix_election", "backup", str(self.store), str(self.backups[-1])])

    def _secure(self, directory: Path) -> None:
        authority = Authority(directory)
        files = authority.issue("127.0.0.1")
        tokens = write_access(directory / "access.toml", {PRINCIPAL: 'administer = ["*"]'})
        (directory / "token").write_text(tokens[PRINCIPAL])
        (directory / "token").chmod(0o600)
        self._ca, self._token_file = str(authority.ca), str(directory / "token")
        access = ["--auth", str(directory / "access.toml")]
        self._secured = ["--certificate", str(files.certificate), "--key", str(files.key), *access]

    def _moment(self) -> tuple[bool, float]:
        """Return whether to wait until the server is ready, and for how long then."""
        return self._chance.choice(
            [
                (False, self._chance.uniform(0.0, 1.0)),  # while it starts
                (True, self._chance.uniform(0.0, 0.03)),  # while the clients come back
                (True, self._chance.expovariate(4.0)),  # while it works
            ]
        )

    def start_server(self) -> None:
        """Start it on the same port and file, without waiting."""
        listen, store = f"127.0.0.1:{self.port}", f"sqlite:///{self.store}"
        longest = ["--session-ttl", str(TTL_S), "--max-session-ttl", str(TTL_S)]
        serve = ["serve", "--listen", listen, "--store", store, *longest, *self._secured]
        self._server = self._start(["-m", "atomix_election", *serve])

    def wait_ready(self, longest_s: float) -> None:
        """Wait until the server that runs is ready, or until a time is over."""
        assert self._server is not None
        assert self._server.stdout is not None
        if self._ready_at is None and select.select([self._server.stdout], [], [], max(longest_s, 0.0))[0]:
            line = self._server.stdout.readline()
            assert line.startswith(b"listening on "), f"{line!r}; see {self.directory}/server.log"
            self._ready_at = now()
        assert self._ready_at is not None or longest_s < LONGEST_START_S, "the server is not ready"

    def kill_server_after(self, moment: tuple[bool, float]) -> None:
        """Kill it, some time after it is ready or, if that is not waited for, after now."""
        after_ready, seconds = moment
        if after_ready:
            self.wait_ready(LONGEST_START_S)
        until = now() + seconds
        self.wait_ready(seconds)  # to know that it was there, and since when
        self._sleep(until - now())
        self.end_server()

    def end_server(self) -> None:
        """Kill it now."""
        assert self._server is not None
        until = now()
        _kill(self._server)
        if self._ready_at is not None:
            self._record(Up(self._ready_at, until))
        assert self._server.returncode == -9, f"the server ended itself; see {self.directory}/server.log"
        self._ready_at = None
        self.kills += 1

    def start_load(self, kind: str, ttl_s: float, clients: int) -> tuple[subprocess.Popen[bytes], str]:
        """Start a process of clients, and return it with its name."""
        who = f"{kind}{next(self._names)}"
        path = str(self.directory / f"{who}.records")
        seed = self._chance.randrange(1 << 32)
        settings = Settings(self.target, who, path, seed, ttl_s, clients, self._ca, self._token_file)
        return self._start(["-m", "tests.crash.load", settings.to_json()], "load.log"), who

    def audit(self) -> None:
        """When all have gone, nobody is left in the queues, no session in the file, and the file is whole."""
        latest = now() + TTL_S + PROMISES.expiry_slack_s
        anyio.run(self._wait_empty, latest + 0.1)
        while self._sessions() and now() < latest:
            self._sleep(0.1)  # a file tells nobody that it has changed
        assert not self._sessions()
        self.end_server()
        with closing(sqlite3.connect(self.store)) as file:
            assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            for name, record in file.execute("SELECT name, record FROM election"):
                self._record(Answered("file", "get_term", name, "", now(), now(), DONE, decode_election(record).term))

    def history(self) -> list[Entry]:
        """Return all records."""
        return read_history(sorted(self.directory.glob("*.records")))

    def _sessions(self) -> int:
        with closing(sqlite3.connect(self.store)) as file:
            return file.execute("SELECT count(*) FROM session").fetchone()[0]

    async def _wait_empty(self, latest: float) -> None:
        settings = Settings(self.target, "auditor", "", 0, TTL_S, 1, self._ca, self._token_file)
        async with settings.connect() as client:
            for name in ELECTIONS:
                await self._wait_for_nobody(client, name, latest)
                begun = now()
                term = await client.election(name).get_term()
                self._record(Answered("auditor", "get_term", name, "", begun, now(), DONE, term))

    async def _wait_for_nobody(self, client: Client, name: str, latest: float) -> None:
        with anyio.move_on_after(latest - now()):
            async with client.election(name).events() as events:
                async for event in events:
                    if not event.term.candidates:
                        return

    def _start(self, arguments: list[str], log: str = "server.log") -> subprocess.Popen[bytes]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
        with (self.directory / log).open("a") as stderr:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=PROJECT,
                env=ours,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self._processes.callback(_kill, process)
        return process

    def _sleep(self, seconds: float) -> None:
        """Let things take their course: what is to be hit is a random moment."""
        time.sleep(max(seconds, 0.0))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill it, and wait until it is gone; nothing happens if that was done before."""
    with process:
        process.kill()


@contextmanager
def _running(seed: int, directory: Path, secured: bool) -> Generator[Run]:
    with ExitStack() as processes:
        run = Run(seed, directory, processes, secured)
        stayers = [run.start_load("stayer", TTL_S, CLIENTS)[0] for _ in range(PROCESSES)]
        run.start_server()  # it may be killed while it makes the file
        yield run
        for each in stayers:
            assert each.poll() is None, f"a process of clients has ended; see {directory}/load.log"
            each.communicate(timeout=LONGEST_START_S)  # closes stdin, at which it leaves
        run.audit()


def soak(
    seed: int,
    directory: Path,
    *,
    rounds: int | None = None,
    seconds: float = 0.0,
    secured: bool = False,
    restores: bool = True,
) -> Report:
    """Kill and restart a server under load for some rounds or some time, and check what clients were told.

    Args:
        seed: of the plan.
        directory: for all files.
        rounds: how many, or None to go by time.
        seconds: how long to begin with new rounds.
        secured: whether the server has TLS and asks for a token.
        restores: whether the store is restored after the first round, and now and then after that.
    """
    began = time.monotonic()
    with _running(seed, directory, secured) as run:
        for number in count():
            if number == rounds or (rounds is None and time.monotonic() > began + seconds):
                break
            run.round()
            if restores and number % ROUNDS_BETWEEN_RESTORES == 0:
                run.restore()
    history = run.history()
    violations = [str(each) for each in check_history(history, PROMISES).violations]
    return Report(seed, run.kills, history, len(run.backups), run.admissions, secured, violations)


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="of the plan")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to go on")
    given = parser.parse_args()
    status = 0
    for secured in (False, True):
        directory = Path(tempfile.mkdtemp(prefix="soak-"))
        sys.stdout.write(f"seed {given.seed}, records in {directory} until nothing was found\n")
        sys.stdout.flush()
        report = soak(given.seed, directory, seconds=given.minutes * 30, secured=secured)
        sys.stdout.write(f"{report}\n")
        if report.violations:
            status = 1
        else:
            shutil.rmtree(directory)
    return status


if __name__ == "__main__":
    sys.exit(main())
