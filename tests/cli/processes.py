"""The command as a real process, and what is done to the elections that it shows."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import TypeVar

import anyio

from atomix_election import ClientTls
from atomix_election.addresses import parse_endpoints
from atomix_election.rpc.client import RpcClient
from atomix_election.service import Call, ElectionService

PROMPT_S = 5.0
"""Ending takes a fraction of a second; a bound for slow machines."""
WAIT_S = 20.0
"""A bound for what has to start first."""
LISTENING = "listening on "
NO_VARIABLES: Mapping[str, str] = {}

_ResultT = TypeVar("_ResultT")


def command(*arguments: str) -> list[str]:
    """Return the command line of the command."""
    return [sys.executable, "-m", "atomix_election", *arguments]


def environment(variables: Mapping[str, str] = NO_VARIABLES) -> dict[str, str]:
    """Return this process's environment with no other settings of ours than those given."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
    return ours | dict(variables)


def run(
    *arguments: str,
    variables: Mapping[str, str] = NO_VARIABLES,
    output: int = subprocess.PIPE,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; its output may go to a file descriptor."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(variables),
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )


class Running:
    """The command, running. Leaving its ``with`` block kills it."""

    def __init__(self, *arguments: str, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            command(*arguments),
            cwd=cwd,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def line(self) -> str:
        """Return the next line of its output, "" after the last one."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def target(self) -> str:
        """Wait until a server is ready, and return what clients are given."""
        line = self.line()
        assert line.startswith(LISTENING), line
        return line.removeprefix(LISTENING)

    def stop_reading(self) -> None:
        """Be a reader that goes away."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.stdout = None

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send a signal, and return exit status, the rest of the output, and what went to stderr."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PROMPT_S)
        return self.process.returncode, out, err


def with_service(
    target: str, work: Callable[[ElectionService], Awaitable[_ResultT]], tls: ClientTls | None = None
) -> _ResultT:
    """Do something as a bare connection, which leaves its candidates behind."""

    async def connected() -> _ResultT:
        async with RpcClient(parse_endpoints(target, target.partition("://")[2]), tls=tls) as service:
            return await work(service)
        raise AssertionError("the block returns")

    return anyio.run(connected)


def enter(
    target: str, election: str, *candidates: str, namespace: str = "default", tls: ClientTls | None = None
) -> None:
    """Enter candidates that stay for one time-to-live."""

    async def work(service: ElectionService) -> None:
        call = Call(election, namespace, session="of-the-test")
        await service.create(call)
        for candidate in candidates:
            await service.enter(call, candidate)

    with_service(target, work, tls)


@contextmanager
def killing(process: "subprocess.Popen[bytes]") -> Generator[None]:
    """Let a process that has not ended in this block not be waited for."""
    try:
        yield
    finally:
        process.kill()


def read_until(pattern: bytes, terminal: RawIOBase, seen: bytes = b"") -> bytes:
    """Read from a terminal until a pattern is in what was seen, and return all that."""
    deadline = time.monotonic() + WAIT_S
    while not re.search(pattern, seen):
        readable, _, _ = select.select([terminal], [], [], max(deadline - time.monotonic(), 0))
        assert readable, seen
        seen += terminal.read(4000) or b""
    return seen


def ask(answer: str, *arguments: str) -> tuple[int, str, str]:
    """Run the command on a terminal, give an answer, and return its status, its output and what it asked."""
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "r+b", buffering=0) as terminal,
        subprocess.Popen(
            command(*arguments), env=environment(), stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
        ) as process,
        killing(process),
    ):
        os.close(theirs)
        asked = read_until(rb"\? \[y/N\] ", terminal)
        terminal.write(f"{answer}\n".encode())
        assert process.stdout is not None
        said = process.stdout.read().decode()
        return process.wait(PROMPT_S), said, asked.decode().replace("\r\n", "\n")


def anoint(target: str, election: str, candidate: str) -> None:
    """Make somebody the leader."""
    with_service(target, lambda service: service.anoint(Call(election), candidate))


def processes_of_session(session: int) -> list[int]:
    """Return the processes that still run in a session of the operating system."""
    found: list[int] = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid = (each / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue  # it has ended meanwhile
        if int(sid) == session and state != "Z":
            found.append(int(each.name))
    return found


def kill_session(session: int) -> None:
    """End all processes that still run in a session of the operating system, whatever they do."""
    for process in processes_of_session(session):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
