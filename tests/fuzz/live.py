"""A real server and an honest client beside it, both processes, and what is looked at meanwhile and after it."""

import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cli.processes import LISTENING, environment
from tests.fuzz.heard import Fault
from tests.fuzz.honest import BEGUN, Report
from tests.fuzz.served import TASKS
from tests.ports import free_port

PROJECT = Path(__file__).parents[2]
COMMAND = ("-m", "atomix_election")
SERVED = ("-m", "tests.fuzz.served")
"""The same, and it says how many tasks it has."""
MOST_KIB = 64 * 1024
"""By how much a server may grow: it remembers requests and headers, of strangers too, and keeps elections that they
have entered; all of it is limited."""
START_S, END_S, SETTLE_S = 30.0, 10.0, 10.0
PATIENCE_S = 0.3
"""How long it may take until a process is gone that has closed its connections."""
_EXPECTED = re.compile(r"the store memory:// keeps nothing")
_WRONG = re.compile(r"Traceback| (?:WARNING|ERROR|CRITICAL) |Fatal|Exception|never (?:awaited|retrieved)")


@dataclass(frozen=True, slots=True)
class Figures:
    """What a server uses."""

    memory_kib: int
    descriptors: int
    threads: int
    tasks: int | None
    """None where it does not say."""

    def __str__(self) -> str:
        """Return it in words."""
        tasks = "" if self.tasks is None else f", {self.tasks} tasks"
        return f"{self.memory_kib / 1024:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads{tasks}"

    def leaks(self, before: "Figures") -> list[str]:
        """Return what there is more of than before."""
        found = [
            f"more {name} than before: {getattr(before, name)} -> {getattr(self, name)}"
            for name in ("descriptors", "threads", "tasks")
            if (getattr(self, name) or 0) > (getattr(before, name) or 0)
        ]
        if self.memory_kib - before.memory_kib > MOST_KIB:
            found.append(f"memory grew by more than {MOST_KIB // 1024} MiB: {before} -> {self}")
        return found


class Live:
    """A server. A context manager that kills it.

    Args:
        directory: for its log, and its store.
        store: where it keeps elections.
        program: what is run.
    """

    def __init__(self, directory: Path, store: str = "memory://", program: tuple[str, ...] = COMMAND) -> None:
        self.store = store
        self.port = self.metrics_port = 0
        self._directory = directory
        self._program = program
        self._log = directory / "server.log"
        self._read = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Live":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    @property
    def target(self) -> str:
        """What a client is given."""
        return f"grpc://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Which process it is."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        assert self._process is not None
        return self._process.poll() is not None

    def start(self) -> None:
        """Start it, or another one where the first one has ended."""
        self._kill()
        self.metrics_port = free_port()
        options = ["--listen", "127.0.0.1:0", "--store", self.store, "--metrics", f"127.0.0.1:{self.metrics_port}"]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, "serve", *options],
                cwd=PROJECT,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._read = 0
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith(LISTENING), f"{line!r}: {self._log.read_text()}"
        self.port = int(line.rpartition(":")[2])

    def check(self, patience_s: float = 0.0) -> None:
        """Fail if it has ended, or has logged what it never should.

        Args:
            patience_s: how long it may take to end.

        Raises:
            Fault: what happened.
        """
        said = self._news()
        wrong = [line for line in said.splitlines() if _WRONG.search(line) and not _EXPECTED.search(line)]
        if wrong:
            raise Fault(f"the server logged:\n{said[-4000:]}")
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            raise Fault(f"the server has ended with {self._process.wait(patience_s)}: {said}")

    def figures(self) -> Figures:
        """Return what it uses now."""
        assert self._process is not None
        proc = Path(f"/proc/{self._process.pid}")
        said = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", (proc / "status").read_text(), re.MULTILINE))
        return Figures(int(said["VmRSS"]), len(list((proc / "fd").iterdir())), int(said["Threads"]), self._tasks())

    def settled(self, before: Figures) -> Figures:
        """Return what it uses when nothing is left of what was done to it, or when that takes too long."""
        deadline = time.monotonic() + SETTLE_S
        while (now := self.figures()).leaks(before) and time.monotonic() < deadline:
            time.sleep(0.1)
        return now

    def end(self) -> None:
        """Ask it to end, and look how it does.

        Raises:
            Fault: it did not end well.
        """
        assert self._process is not None
        self.check()
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise Fault(f"the server had not ended {END_S:g} s after SIGTERM") from None
        said = self._news()
        if status or _WRONG.search(said):
            raise Fault(f"the server ended with {status}: {said[-4000:]}")

    def _tasks(self) -> int | None:
        """Return how many tasks it says that it has."""
        if self._program[:2] != SERVED:
            return None
        assert self._process is not None
        known = self._log.stat().st_size
        self._process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            with self._log.open() as log:
                log.seek(known)
                found = re.search(rf"^{TASKS}(\d+)\n", log.read(), re.MULTILINE)
            if found:
                return int(found[1])
            time.sleep(0.005)
        raise Fault("the server does not say how many tasks it has")

    def _news(self) -> str:
        """Return what it has logged since it was asked the last time."""
        if self._log.stat().st_size == self._read:
            return ""
        with self._log.open(errors="replace") as log:
            log.seek(self._read)
            said = log.read()
            self._read = log.tell()
        return said

    def _kill(self) -> None:
        if self._process is not None:
            with self._process:
                self._process.kill()


class Beside:
    """The process of the honest client. A context manager that kills it.

    Args:
        target: the server.
        directory: for its log.
        ttl_s: see ``Report``.
        longest_call_s: see there too.
    """

    def __init__(self, target: str, directory: Path, ttl_s: float, longest_call_s: float) -> None:
        self._log = directory / "honest.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.honest", target, str(ttl_s), str(longest_call_s)],
                cwd=PROJECT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line == BEGUN, f"{line!r}: {self._log.read_text()}"

    def __enter__(self) -> "Beside":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, as it does only when something is wrong."""
        return self._process.poll() is not None

    def end(self, *, kill: bool = False) -> Report | None:
        """Let it end, and return what it has seen; None where it is killed, as there is no server any more."""
        if kill:
            self._process.kill()
            return None
        said, _ = self._process.communicate("", timeout=START_S)
        lines = said.splitlines()
        assert lines, self._log.read_text()
        return Report.read(lines[-1])
