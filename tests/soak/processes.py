"""Processes of a run: they are started in the project's directory, and none outlives it."""

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import TypeVar

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from atomix_election.testing.history import now
from tests.soak.faked_clocks import tidy_up
from tests.soak.measured import Figures

PROJECT = Path(__file__).parents[2]
START_S = 20.0
"""How long a server may take to be ready, or to answer again after a fault, on a busy machine."""
STOP_S = 10.0
"""How long one may take to end when it is asked to."""
NOTHING: Mapping[str, str] = {}


async def start_process(arguments: Sequence[str], log: Path, environment: Mapping[str, str] = NOTHING) -> Process:
    """Start a Python process whose stdin and stdout are ours.

    Args:
        arguments: after ``python``.
        log: the file that its stderr is added to.
        environment: more of it.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
    with log.open("a") as stderr:
        return await anyio.open_process(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env={**ours, **environment},
            stdin=PIPE,
            stdout=PIPE,
            stderr=stderr,
        )


async def end_process(process: Process) -> None:
    """Kill it, also when it is stopped, and wait until it is gone; nothing happens if that was done before."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.kill()
        await process.aclose()
        tidy_up(process.pid)


async def run_command(arguments: Sequence[str], log: Path, longest_s: float = START_S) -> tuple[int, str]:
    """Run one to its end, and return its status and what it said."""
    process = await start_process(arguments, log)
    try:
        with anyio.fail_after(longest_s):
            assert process.stdout is not None
            said = b"".join([chunk async for chunk in process.stdout])
            return await process.wait(), said.decode()
    finally:
        await end_process(process)


def stop(process: Process) -> None:
    """Let it do nothing (SIGSTOP). It has stopped when this returns."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def go_on(process: Process) -> None:
    """Let it go on (SIGCONT)."""
    process.send_signal(signal.SIGCONT)


class Server:
    """A server process, which can be started again on the same port.

    Args:
        log: the file of what it says.
        command: after ``python``, without where it listens.
        port: where it listens.
        environment: more of it.
    """

    def __init__(self, log: Path, command: Sequence[str], port: int, environment: Mapping[str, str] = NOTHING) -> None:
        self.port = port
        self.ready_at: float | None = None
        """Since when it is ready, if it is."""
        self._log = log
        self._command = [*command, "--listen", f"127.0.0.1:{port}"]
        self._environment = environment
        self._process: Process | None = None
        self._said: BufferedByteReceiveStream | None = None

    @property
    def pid(self) -> int:
        """The process."""
        return self.check_runs().pid

    async def begin(self) -> None:
        """Start it, without waiting."""
        self._process = await start_process(self._command, self._log, self._environment)
        assert self._process.stdout is not None
        self._said = BufferedByteReceiveStream(self._process.stdout)

    async def ready(self) -> float:
        """Wait until it is ready, and return since when."""
        if self.ready_at is None:
            line = await self._next_line()
            assert line.startswith(b"listening on "), f"{line!r}; see {self._log}"
            self.ready_at = now()
        return self.ready_at

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        await self.begin()
        await self.ready()

    async def measure(self) -> Figures:
        """Ask for its figures, which a ``tests.soak.measured`` says."""
        stdin = self.check_runs().stdin
        assert stdin is not None
        await stdin.send(b"\n")
        return Figures(**json.loads(await self._next_line()))

    async def kill(self) -> None:
        """Kill it, also when it is stopped; nothing happens if it has ended."""
        self.ready_at = None
        if self._process is not None:
            await end_process(self._process)

    async def terminate(self) -> None:
        """Ask it to end (SIGTERM), and wait until it has."""
        process = self.check_runs()
        self.ready_at = None
        process.terminate()
        with anyio.fail_after(STOP_S):
            assert await process.wait() == 0, f"see {self._log}"

    async def refuses_to_start(self) -> str:
        """Start it, wait until it has given up, and return what it said of that."""
        said_before = self._log.stat().st_size
        await self.begin()
        with anyio.fail_after(START_S):
            assert self._process is not None
            assert await self._process.wait() > 0, f"it has started; see {self._log}"
        await end_process(self._process)
        return self._log.read_bytes()[said_before:].decode()

    def stop(self) -> None:
        """Let it do nothing (SIGSTOP)."""
        stop(self.check_runs())

    def go_on(self) -> None:
        """Let it go on (SIGCONT)."""
        go_on(self.check_runs())

    def check_runs(self) -> Process:
        """Return the process, which nobody but us may end."""
        assert self._process is not None
        assert self._process.returncode is None, f"the server ended itself; see {self._log}"
        return self._process

    async def _next_line(self) -> bytes:
        assert self._said is not None
        with anyio.fail_after(START_S):
            return await self._said.receive_until(b"\n", 1 << 12)


_ServerT = TypeVar("_ServerT", bound=Server)


@asynccontextmanager
async def running(server: _ServerT) -> AsyncGenerator[_ServerT]:
    """Start a server, and kill it after the block."""
    try:
        await server.start()
        yield server
    finally:
        await server.kill()
