"""A command under its guard, as the process sees it that asked for both."""

import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL

import anyio
from anyio.abc import Process

from atomix_election.supervise import guard
from atomix_election.tasks import shielded

_LINE_BYTES = 4096
"""More than the guard says at a time."""


class Guarded:
    """A guard that was started, with the process that becomes the command when ``begin`` is called.

    Args:
        process: the guard.
        commands: what it reads from.
        reports: what it writes to.
        go: what the process of the command waits for.
    """

    def __init__(self, process: Process, commands: int, reports: int, go: int) -> None:
        self.pid: int | None = None
        """Of the process of the command, and of its process group."""
        self._process = process
        self._commands = commands
        self._reports = reports
        self._go = go
        self._said = b""

    def begin(self) -> None:
        """Let the process become the command."""
        with suppress(BrokenPipeError):  # it has ended, which the guard says
            os.write(self._go, b"\n")

    def tell(self, line: str) -> None:
        """Tell the guard something. Where it cannot be told, its end or its silence is what counts."""
        with suppress(BrokenPipeError, BlockingIOError):
            os.write(self._commands, f"{line}\n".encode())

    async def report(self) -> list[str]:
        """Wait for the next thing that the guard says, and return its words; none when it has ended."""
        while b"\n" not in self._said:
            await anyio.wait_readable(self._reports)
            said = os.read(self._reports, _LINE_BYTES)
            if not said:
                return []
            self._said += said
        line, _, self._said = self._said.partition(b"\n")
        words = line.decode().split()
        if words[0] == "ready":
            self.pid = int(words[1])
        return words

    def give_up(self) -> None:
        """End the guard, which does not answer: its reports end, and ``strike`` does the rest."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def strike(self) -> None:
        """Kill the group without the guard, and wait until it is gone: there is no limit to that, as it must be."""
        while self.pid is not None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            except PermissionError:
                pass  # somebody is there
            with suppress(ChildProcessError):
                os.waitpid(-self.pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
            await anyio.sleep(guard.LINGER_S)

    async def close(self) -> None:
        """Close the pipes, and see the guard end. If anything is left of the group, it first sees to that."""
        for each in (self._commands, self._reports, self._go):
            os.close(each)
        await self._process.wait()


@asynccontextmanager
async def guarded(
    command: Sequence[str], environment: Mapping[str, str], *, kill_at: float, grace_s: float
) -> AsyncGenerator[Guarded]:
    """Start a guard, and close it when the block ends.

    Args:
        command: what to run, in a session and a process group of its own.
        environment: its environment, all of it.
        kill_at: when it must be killed.
        grace_s: how long before that it is sent SIGTERM, in seconds.

    Raises:
        OSError: no process can be made.
    """
    opened: list[int] = []
    try:
        for _ in range(3):
            opened += os.pipe()
        hears, commands, reports, says, waits, go = opened
        theirs = (hears, says, waits)
        process = await anyio.open_process(
            [
                *(sys.executable, "-I", "-S", str(Path(guard.__file__))),
                *(str(each) for each in theirs),
                *(repr(each) for each in (kill_at, grace_s)),
                *command,
            ],
            stdin=DEVNULL if os.isatty(0) else None,
            stdout=None,
            stderr=None,
            env=environment,
            start_new_session=True,
            pass_fds=theirs,
        )
    except OSError:
        for each in opened:
            os.close(each)
        raise
    for each in theirs:
        os.close(each)
    os.set_blocking(commands, False)
    started = Guarded(process, commands, reports, go)
    try:
        yield started
    finally:
        await shielded(started.close())
