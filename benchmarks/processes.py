"""Processes of a benchmark: servers, and clients that do what they are told, a line at a time."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple, Self, TypeVar

from anyio.to_thread import run_sync

from benchmarks.load import MICROSECONDS

ROOT = Path(__file__).parents[1]
READY = "ready"
KIB = 1024
LONGEST_WAIT_S = 180.0
"""How long a process may take to say anything; it is killed then."""


_KeyT = TypeVar("_KeyT")


class Rate(NamedTuple):
    """How often a second something was done, and what processor time each took, in microseconds."""

    per_s: float
    cost_us: float


def parts(rates: Mapping[_KeyT, Sequence[Rate]]) -> tuple[dict[_KeyT, list[float]], dict[_KeyT, list[float]]]:
    """Return how often a second, and at what cost, of each side."""
    per_s = {side: [each.per_s for each in rates[side]] for side in rates}
    return per_s, {side: [each.cost_us for each in rates[side]] for side in rates}


class Program:
    """A module of Python in a process of its own. A context manager, which kills it.

    Args:
        module: what is run.
        arguments: of its command line.
        is_silent: whether what it logs is thrown away.
    """

    def __init__(self, module: str, *arguments: str, is_silent: bool = False) -> None:
        self._name = module
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if is_silent else None,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.__exit__(None, None, None)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def memory_bytes(self) -> int:
        """What it has in memory."""
        return memory_bytes(self.pid)

    @property
    def processor_s(self) -> float:
        """What it has used of processors."""
        return processor_s(self.pid)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def line(self) -> str:
        """Return the next line that it prints.

        Raises:
            RuntimeError: it has ended, or said nothing for too long.
        """
        assert self._process.stdout is not None
        watchdog = Timer(LONGEST_WAIT_S, self.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise RuntimeError(f"{self._name} has ended with status {self._process.wait()}, and said no more")
        return line.strip()

    def tell(self, *words: Any) -> None:
        """Have it do something, see ``obey``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def ask(self, *words: Any) -> Any:
        """Have it do something, and return the result."""
        self.tell(*words)
        return json.loads(self.line())

    def rate(self, server_pid: int, *words: Any) -> Rate:
        """Have it do something over and over, and return how often that was.

        Args:
            server_pid: the process whose processor time is meant.
            words: see ``ask``; the last one is for how many seconds.
        """
        before_s = processor_s(server_pid)
        per_s: float = self.ask(*words)
        return Rate(per_s, (processor_s(server_pid) - before_s) * MICROSECONDS / (per_s * words[-1]))


def worker(stack: ExitStack, module: str, *arguments: str) -> Program:
    """Start a process that obeys, and return it when it is ready."""
    program = stack.enter_context(Program(module, *arguments))
    assert program.line() == READY
    return program


def election_server(stack: ExitStack, store: str, *options: str, logs: bool = False) -> tuple[Program, str]:
    """Start a server of ours as an operator would, and return it and its target.

    Args:
        stack: what ends it.
        store: where its elections are.
        options: more of the command line.
        logs: whether it writes a line for each change of a leader, as it does unless told otherwise; else errors only,
            as etcd warnings only.
    """
    command = ["serve", "--listen", "127.0.0.1:0", "--store", store, *options]
    command += ["--log-level", "info" if logs else "error"]
    program = stack.enter_context(Program("atomix_election", *command, is_silent=logs))
    return program, program.line().removeprefix("listening on ")


async def obey(jobs: Mapping[str, Callable[..., Awaitable[Any]]]) -> None:
    """Say that one is ready; then do what each line of the input names, and print the result, until the input ends."""
    print(READY, flush=True)
    while line := await run_sync(sys.stdin.readline, abandon_on_cancel=True):
        what, *arguments = json.loads(line)
        print(json.dumps(await jobs[what](*arguments)), flush=True)


def memory_bytes(pid: int) -> int:
    """Return what a process has in memory."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) * KIB


def processor_s(pid: int) -> float:
    """Return what a process has used of processors, with all its threads, those that have ended included.

    The clock is that of clock_getcpuclockid(3), which Python does not have; ``/proc`` counts in hundredths of a second.
    """
    return time.clock_gettime(~pid << 3 | 2)


@contextmanager
def scratch() -> Generator[Path]:
    """Give a directory on the disk of this checkout, as the usual one for temporary files may be in memory."""
    place = ROOT / "build"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as directory:
        yield Path(directory)
