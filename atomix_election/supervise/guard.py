"""The guard: a small process that starts a command, and ends it in time, whatever becomes of who asked for it.

Run as a file of its own, with the standard library alone, so that it starts at once and stays small. It is told each
new deadline through a pipe; when the pipe closes, its other end was killed. All times are of the clock that goes on
while the machine sleeps, which processes share, so that a deadline means the same on both sides.

It reads lines: ``deadline T``, ``signal N``, ``stop`` and ``kill``. It writes lines:

    ready PID       the process of the command is there; it waits for a byte on a pipe of its own before it becomes it
    stopping        the guard has stopped it of its own accord
    failed ERRNO    it could not become the command
    denied          a signal to the command was refused
    ended STATUS    the process has ended; minus the signal that killed it
    gone            nothing of its process group is left
"""

import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit statuses of a process that could not become the command, as shells have them."""
LONGEST_NAP_S = 0.25
"""How often at least the clock is looked at: a wait does not end while the machine sleeps."""
LINGER_S = 0.02
"""How often it is looked whether a group is gone whose first process has ended: not all of it need be the guard's."""

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""What is sent to all processes of a service, or by accident, must not leave a command unguarded."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

now: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


class Watch:
    """Decides which signals the group is sent, and when. Without I/O; once it was told to stop, that is for good.

    Args:
        kill_at: when all of it must be killed, as long as no later time is told.
        grace_s: seconds from SIGTERM to SIGKILL.
    """

    def __init__(self, kill_at: float, grace_s: float) -> None:
        self.kill_at: float = kill_at
        self.grace_s = grace_s
        self.stopped_at: float | None = None
        self.is_killed: bool = False

    def prolong(self, kill_at: float) -> None:
        """A later deadline. None that comes late takes time away."""
        self.kill_at = max(self.kill_at, kill_at)

    def stop(self, when: float) -> list[signal.Signals]:
        """Stop it now; return the signals to send."""
        if self.stopped_at is not None:
            return []
        self.stopped_at = when
        return [signal.SIGTERM, signal.SIGCONT]  # a process that is stopped would not hear the first

    def kill(self) -> list[signal.Signals]:
        """Kill it now; return the signals to send."""
        self.is_killed = True
        return [signal.SIGKILL]

    def tick(self, when: float) -> list[signal.Signals]:
        """Time has passed; return the signals to send."""
        signals = self.stop(when) if when >= self.kill_at - self.grace_s else []
        if self.is_killed or when >= self._end:
            return self.kill()
        return signals

    def wake_at(self) -> float:
        """Return when to call ``tick`` at the latest."""
        return self.kill_at - self.grace_s if self.stopped_at is None else self._end

    @property
    def _end(self) -> float:
        return self.kill_at if self.stopped_at is None else min(self.kill_at, self.stopped_at + self.grace_s)


def adopt_orphans() -> None:
    """Let processes whose parent has ended become this one's children, on Linux: so that none stays a zombie."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(ImportError, MemoryError, OSError, AttributeError):  # what it adds is not what safety rests on
            import ctypes

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class _Guard:
    """A command that was started, and the pipes to who asked for it."""

    def __init__(self, commands: int, reports: int, watch: Watch) -> None:
        self._commands = commands
        self._reports = reports
        self._watch = watch
        self._pending = b""
        self._pid = 0
        self._has_ended = False
        self._was_denied = False
        self._poll = select.poll()
        self._poll.register(commands, select.POLLIN)

    def run(self, command: Sequence[str], go: int) -> None:
        """Start the command, and see it to its end."""
        adopt_orphans()
        wakeups, wakes = os.pipe()
        for each in (wakeups, wakes):
            os.set_blocking(each, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        self._poll.register(wakeups, select.POLLIN)
        self._pid, failures = _fork(command, go, (self._commands, self._reports))
        self._report(f"ready {self._pid}")
        while not self._is_over(failures):
            stops = self._watch.stopped_at is None
            self._send(self._watch.tick(now()))
            if stops and self._watch.stopped_at is not None:
                self._report("stopping")
            nap_s = min(self._watch.wake_at() - now(), LINGER_S if self._has_ended else LONGEST_NAP_S)
            if self._watch.is_killed:
                nap_s = LINGER_S
            for descriptor, _ in self._poll.poll(max(nap_s, 0.0) * 1000 + 1):
                if descriptor == self._commands:
                    self._obey()
                else:
                    os.read(wakeups, 4096)

    def _is_over(self, failures: int) -> bool:
        """Take note of processes that have ended; return whether none is left of the group."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self._command_ended(os.waitstatus_to_exitcode(ended[1]), failures)
        if not self._has_ended:
            return False
        try:
            os.killpg(self._pid, 0)
        except ProcessLookupError:
            self._report("gone")
            return True
        except PermissionError:
            pass  # somebody is there
        return False

    def _command_ended(self, status: int, failures: int) -> None:
        self._has_ended = True
        failure = os.read(failures, 16)
        if failure:
            self._report(f"failed {int(failure)}")
        self._report(f"ended {status}")
        self._send(self._watch.stop(now()))  # what it has left behind

    def _obey(self) -> None:
        said = os.read(self._commands, 65536)
        if not said:
            self._poll.unregister(self._commands)
            self._send(self._watch.stop(now()))
            return
        *lines, self._pending = (self._pending + said).split(b"\n")
        for line in lines:
            match line.split():
                case [b"deadline", kill_at]:
                    self._watch.prolong(float(kill_at))
                case [b"signal", number]:
                    self._send([signal.Signals(int(number))])
                case [b"stop"]:
                    self._send(self._watch.stop(now()))
                case [b"kill"]:
                    self._send(self._watch.kill())
                case _:
                    raise AssertionError(f"the guard does not know {line!r}")

    def _send(self, signals: Sequence[signal.Signals]) -> None:
        for each in signals:
            try:
                os.killpg(self._pid, each)
            except ProcessLookupError:
                return  # it has ended, which is noticed in a moment
            except PermissionError:
                if not self._was_denied:
                    self._was_denied = True
                    self._report("denied")

    def _report(self, line: str) -> None:
        with suppress(BrokenPipeError):  # nobody is there any more: all the same goes on
            os.write(self._reports, f"{line}\n".encode())


def _ignore(number: int, frame: FrameType | None) -> None:
    """A child has ended: what matters is the byte that ``set_wakeup_fd`` writes."""


def _fork(command: Sequence[str], go: int, ours: Sequence[int]) -> tuple[int, int]:
    """Make the process of the command, in a session of its own, and return its id and where it tells that it failed.

    It becomes the command when there is a byte on ``go``, and ends when nobody is left to write one.
    """
    failures, fails = os.pipe()
    guard, pid = os.getpid(), os.fork()
    if pid == 0:
        _become(command, go, fails, guard, (*ours, failures))
    os.close(go)
    os.close(fails)
    os.read(failures, 1)  # the session is there, and a signal to the group gets at it
    return pid, failures


def _become(command: Sequence[str], go: int, fails: int, guard: int, ours: Sequence[int]) -> None:
    status = NOT_EXECUTABLE
    try:
        for each in ours:
            os.close(each)
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (*_IGNORED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, _former.get(number, signal.SIG_DFL))
        os.write(fails, b"\n")
        if os.read(go, 1) and os.getppid() == guard:
            os.execvp(command[0], list(command))  # noqa: S606 - that is what it is for
    except OSError as error:
        status = NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE
        os.write(fails, str(error.errno).encode())
    finally:
        os._exit(status)


_former: dict[int, signal.Handlers] = {}
"""Signals that were ignored when the guard was started, as by nohup: the command ignores them too."""


def main(arguments: Sequence[str]) -> None:
    """Guard a command.

    Args:
        arguments: file descriptors to read commands from, to write reports to, and that the command waits for; when to
            kill; the grace in seconds; and the command.
    """
    commands, reports, go = (int(each) for each in arguments[:3])
    kill_at, grace_s = (float(each) for each in arguments[3:5])
    for each in (commands, reports, go):
        os.set_inheritable(each, False)
    for number in _IGNORED:
        if signal.signal(number, signal.SIG_IGN) is signal.SIG_IGN:
            _former[number] = signal.SIG_IGN
    _Guard(commands, reports, Watch(kill_at, grace_s)).run(arguments[5:], go)


if __name__ == "__main__":
    main(sys.argv[1:])
