"""``run`` as a real process, its guard and its command, and what they are heard to say."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from tests.cli.processes import command, environment

TTL_S = 2.0
"""Time-to-live of the sessions."""
GRACE_S = 0.2
"""From SIGTERM to SIGKILL."""
CHILD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("child.py")))
"""A command that says what it does."""


class Place(NamedTuple):
    """An election, and where it is."""

    target: str
    election: str


class Line(NamedTuple):
    """What the command says."""

    who: str
    pid: int
    token: int
    at: float


def now() -> float:
    """Return the time that processes share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Wrapper:
    """``run``, running. Leaving its ``with`` block kills it, and waits for its guard to have seen to the rest."""

    def __init__(self, place: Place, who: str, *options: str, run: Sequence[str] = CHILD) -> None:
        self.process = subprocess.Popen(
            command(
                *("run", place.election, "--target", place.target, "--candidate", who),
                *("--session-ttl", str(TTL_S), "--grace", str(GRACE_S)),
                *options,
                "--",
                *run,
            ),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.rest()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def hears(self, what: str) -> str:
        """Wait for a line in its log that has this in it, and return the line."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if what in line:
                return line
        raise AssertionError(f"{what!r} was never said: {self.log}")

    def line(self, *, token: int = 0) -> Line:
        """Return the next line of the command, or the next one under this token."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            who, pid, under, at = line.split()
            if token in (0, int(under)):
                return Line(who, int(pid), int(under), float(at))
        raise AssertionError(f"the command says nothing more: {self.process.poll()}")

    def rest(self) -> list[Line]:
        """Return all further lines: until nobody is left who could write one."""
        lines: list[Line] = []
        while True:
            try:
                lines.append(self.line())
            except AssertionError:
                return lines

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait()

    @property
    def guard(self) -> int:
        """The process of the guard."""
        pid = self.process.pid
        (guard,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(guard)


def is_stopped(pid: int) -> bool:
    """Return whether a process was stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stop(pid: int) -> None:
    """Stop a process in its tracks; return when it is."""
    os.kill(pid, signal.SIGSTOP)
    while not is_stopped(pid):
        time.sleep(0.001)
