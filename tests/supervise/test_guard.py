"""The guard alone: what it decides by, and what it does as a real process."""

import math
import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomix_election.clock import SystemClock
from atomix_election.supervise import guard
from atomix_election.supervise.guard import Watch
from tests.cli.processes import processes_of_session
from tests.supervise.processes import now, stop

STOPS, KILLS = [signal.SIGTERM, signal.SIGCONT], [signal.SIGKILL]
GRACE_S = 2.0
FAR_S = 1000.0


def test_its_clock_is_that_of_the_leadership() -> None:
    """It cannot import it, as it is to start at once."""
    before, its, after = SystemClock().now(), guard.now(), SystemClock().now()
    assert before <= its <= after


def test_it_stops_a_grace_before_it_kills() -> None:
    """And each is done when its time has come."""
    watch = Watch(10.0, GRACE_S)
    assert watch.wake_at() == 8
    assert watch.tick(7.9) == []
    assert watch.tick(8.0) == STOPS
    assert watch.wake_at() == 10
    assert watch.tick(9.9) == []
    assert watch.tick(10.0) == KILLS


def test_a_stop_that_was_asked_for_has_its_own_grace() -> None:
    """But not beyond the deadline."""
    watch = Watch(10.0, GRACE_S)
    assert watch.stop(1.0) == STOPS
    assert watch.stop(2.0) == []
    assert watch.tick(2.9) == []
    assert watch.tick(3.0) == KILLS
    late = Watch(10.0, GRACE_S)
    late.stop(9.0)
    assert late.tick(10.0) == KILLS


@given(
    st.lists(
        st.tuples(st.floats(0, 20), st.sampled_from(["prolong", "stop", "kill", "tick"]), st.floats(0, 40)), max_size=20
    )
)
def test_it_is_never_late_and_never_goes_back(events: list[tuple[float, str, float]]) -> None:
    """Whatever it is told in whatever order: after SIGTERM there comes SIGKILL, at the latest deadline at last."""
    watch, latest, stopped = Watch(5.0, GRACE_S), 5.0, math.inf
    for when, what, kill_at in sorted(events):
        match what:
            case "prolong":
                watch.prolong(kill_at)
                latest = max(latest, kill_at)
            case "stop":
                watch.stop(when)
                stopped = min(stopped, when)
            case "kill":
                watch.kill()
                stopped = -math.inf
            case _:
                signals = watch.tick(when)
                if when >= latest - GRACE_S:
                    stopped = min(stopped, when)
                assert (signal.SIGKILL in signals) == (when >= min(latest, stopped + GRACE_S))
    assert watch.wake_at() <= latest


class Guarding:
    """A guard as a process, and the pipes to it."""

    def __init__(self, *command: str, kill_after_s: float = FAR_S, grace_s: float = FAR_S / 2) -> None:
        hears, self.commands = os.pipe()
        self.reports, says = os.pipe()
        waits, self.go = os.pipe()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", guard.__file__),
                *(str(each) for each in (hears, says, waits, now() + kill_after_s, grace_s)),
                *command,
            ],
            pass_fds=(hears, says, waits),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        for each in (hears, says, waits):
            os.close(each)
        assert self.process.stdout is not None
        self.output = self.process.stdout
        self._open = {self.commands, self.go}
        self._said = b""
        ready, pid = self.report().split()
        assert ready == "ready"
        self.pid = int(pid)

    def report(self) -> str:
        """Return the next thing that it says; "" when it says no more."""
        while b"\n" not in self._said:
            said = os.read(self.reports, 4096)
            if not said:
                return ""
            self._said += said
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def reports_nothing(self) -> bool:
        """Return whether there is nothing to read."""
        return not self._said and not select.select([self.reports], [], [], 0)[0]

    def tell(self, line: str) -> None:
        """Tell it something."""
        os.write(self.commands, f"{line}\n".encode())

    def begin(self) -> None:
        """Let the process become the command."""
        os.write(self.go, b"g")

    def close(self, pipe: int) -> None:
        """Close a pipe, as the end of its process would."""
        self._open.discard(pipe)
        os.close(pipe)

    def end(self) -> None:
        """Leave nothing behind."""
        for each in list(self._open):
            self.close(each)
        os.killpg(self.pid, signal.SIGKILL) if processes_of_session(self.pid) else None
        self.process.kill()
        self.process.wait()
        self.output.close()
        os.close(self.reports)


@pytest.fixture
def guarding() -> Generator[list[Guarding]]:
    """What a test adds to it is ended."""
    started: list[Guarding] = []
    yield started
    for each in started:
        each.end()


def shell(guarding: list[Guarding], script: str, **times_s: float) -> Guarding:
    """Start a guard with a script, which waits."""
    guarding.append(Guarding("sh", "-c", script, **times_s))
    return guarding[-1]


def ending(guarded: Guarding) -> list[str]:
    """Return what a guard says until it has ended."""
    reports = list(iter(guarded.report, ""))
    assert guarded.process.wait() == 0
    assert not processes_of_session(guarded.pid)
    return reports


def test_a_command_that_ends_by_itself(guarding: list[Guarding]) -> None:
    """Its exit status is told, and then that nothing is left."""
    guarded = shell(guarding, "exit 7")
    guarded.begin()
    assert ending(guarded) == ["ended 7", "gone"]


def test_nothing_runs_that_nobody_let_begin(guarding: list[Guarding]) -> None:
    """Neither when the other side dies, nor when it only closes that pipe: a process that waits is not the command."""
    guarded = shell(guarding, "echo runs")
    guarded.close(guarded.commands)
    assert ending(guarded) == ["ended -15", "gone"]
    assert guarded.output.read() == b""
    other = shell(guarding, "echo runs")
    other.close(other.go)
    assert ending(other) == ["ended 126", "gone"]
    assert other.output.read() == b""


def test_nothing_begins_when_the_guard_has_died_before(guarding: list[Guarding]) -> None:
    """Though it was let begin: who had asked for it could not know."""
    guarded = shell(guarding, "echo runs")
    guarded.process.kill()
    guarded.process.wait()
    guarded.close(guarded.go)
    assert guarded.output.read() == b""


def test_the_end_of_the_other_side_is_the_end_of_the_command(guarding: list[Guarding]) -> None:
    """SIGTERM at once, and SIGKILL after the grace, to the whole group."""
    guarded = shell(guarding, "trap 'echo stopped' TERM; sleep 100 & echo runs; while :; do wait; done", grace_s=0.3)
    guarded.begin()
    assert guarded.output.readline() == b"runs\n"
    closed = now()
    guarded.close(guarded.commands)
    assert ending(guarded) == ["ended -9", "gone"]
    assert now() - closed >= 0.3
    assert guarded.output.read() == b"stopped\n"


def test_its_time_is_over(guarding: list[Guarding]) -> None:
    """Nobody told it a later deadline."""
    began = now()
    guarded = shell(guarding, "trap '' TERM; echo runs; while :; do sleep 0.01; done", kill_after_s=2.0, grace_s=0.3)
    guarded.begin()
    assert guarded.report() == "stopping"
    assert now() - began >= 1.7
    assert ending(guarded) == ["ended -9", "gone"]
    assert 2.0 <= now() - began < 5.0


def test_a_later_deadline_is_heard(guarding: list[Guarding]) -> None:
    """And an earlier one after it takes nothing away."""
    guarded = shell(guarding, "sleep 2.1; echo done", kill_after_s=2.0, grace_s=0.1)
    guarded.begin()
    guarded.tell(f"deadline {now() + FAR_S!r}")
    guarded.tell("deadline 1.0")
    assert ending(guarded) == ["ended 0", "gone"]
    assert guarded.output.read() == b"done\n"


def test_what_a_command_leaves_behind_is_ended(guarding: list[Guarding]) -> None:
    """It is sent SIGTERM as soon as the command itself has ended, and is gone when that is said."""
    guarded = shell(guarding, "(trap '' TERM; sleep 100) & exit 3", grace_s=0.2)
    guarded.begin()
    assert ending(guarded) == ["ended 3", "gone"]


def test_stop_kill_and_signals(guarding: list[Guarding]) -> None:
    """Each reaches the command, also one that was stopped."""
    guarded = shell(guarding, "trap 'echo hup' HUP; trap 'echo term' TERM; echo runs; while :; do sleep 0.01; done")
    guarded.begin()
    guarded.output.readline()
    guarded.tell(f"signal {int(signal.SIGHUP)}")
    assert guarded.output.readline() == b"hup\n"
    stop(guarded.pid)
    guarded.tell("stop")
    assert guarded.output.readline() == b"term\n"
    assert guarded.reports_nothing()
    guarded.tell("kill")
    assert ending(guarded) == ["ended -9", "gone"]


def test_signals_to_the_guard_leave_no_command_unguarded(guarding: list[Guarding]) -> None:
    """A service manager sends SIGTERM to all; it is not the guard's to obey, and the command gets its own."""
    guarded = shell(guarding, "trap 'echo term; exit 4' TERM; echo runs; while :; do sleep 0.01; done")
    guarded.begin()
    guarded.output.readline()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        guarded.process.send_signal(number)
    guarded.tell("stop")
    assert ending(guarded) == ["ended 4", "gone"]
    assert guarded.output.read() == b"term\n"


def signals(status: str) -> dict[str, int]:
    """Return which signals are blocked, and which ignored, as the kernel says of a process."""
    found = [line.split() for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn"))]
    return {name.rstrip(":"): int(mask, 16) for name, mask in found}


def test_signals_mean_to_the_command_what_they_meant_to_whoever_started_it(guarding: list[Guarding]) -> None:
    """None is ignored or blocked but for those that were, as by nohup; and Python's own choices are undone."""
    guarded = shell(guarding, "grep -E 'Sig(Ign|Blk)' /proc/self/status")
    guarded.begin()
    of_the_command = signals(guarded.output.read().decode())
    ours = signals(Path("/proc/self/status").read_text())
    by_python = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert of_the_command == {"SigBlk": ours["SigBlk"], "SigIgn": ours["SigIgn"] & ~by_python}
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        other = shell(guarding, "grep SigIgn /proc/self/status")
    finally:
        signal.signal(signal.SIGHUP, former)
    other.begin()
    assert signals(other.output.read().decode())["SigIgn"] == of_the_command["SigIgn"] | 1 << (signal.SIGHUP - 1)


def test_the_command_inherits_no_pipe_of_the_guard(guarding: list[Guarding]) -> None:
    """It could keep them open for longer than the guard lives."""
    guarded = shell(guarding, "ls -l /proc/self/fd | grep -c pipe")
    guarded.begin()
    assert guarded.output.readline() == b"1\n"  # to grep


@pytest.mark.parametrize(
    ("command", "status"), [("/nowhere/at/all", guard.NOT_FOUND), (str(Path(__file__)), guard.NOT_EXECUTABLE)]
)
def test_what_cannot_be_run(guarding: list[Guarding], command: str, status: int) -> None:
    """It is told why, with the exit status that a shell has."""
    guarding.append(Guarding(command))
    guarding[-1].begin()
    failed, ended, gone = ending(guarding[-1])
    assert failed.split()[0] == "failed"
    assert os.strerror(int(failed.split()[1])) in ("No such file or directory", "Permission denied")
    assert (ended, gone) == (f"ended {status}", "gone")


def test_it_is_small(guarding: list[Guarding]) -> None:
    """One stands beside each command."""
    guarded = shell(guarding, "sleep 100")
    (resident,) = [
        int(line.split()[1])
        for line in Path(f"/proc/{guarded.process.pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    ]
    assert resident < 20_000
