"""The rules of a command beside its guard, in a world where either may die, stop or be late, at any moment."""

import signal
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election import InvalidRequest
from atomix_election.supervise.guard import Watch
from atomix_election.supervise.rules import (
    FIRST_RESTART_S,
    LONGEST_RESTART_S,
    LOST,
    Action,
    Begin,
    Forward,
    Kill,
    Lease,
    Leave,
    Mode,
    Phase,
    Prolong,
    Start,
    Stop,
    Strike,
    Supervision,
)

TTL_S = 10.0
LEASE = Lease(TTL_S)
TERM = signal.SIGTERM


class World:
    """A supervision, its guard and its command, as far as they matter; time passes as told.

    What must hold is checked whenever anything happens.
    """

    def __init__(self, mode: Mode, *, stubborn: bool = False, delay_s: float = 0.0) -> None:
        self.now = 100.0
        self.rules = Supervision(mode, delay_s)
        self.until = 0.0
        self.leads = False
        self.watch: Watch | None = None
        self.guard_stopped = False
        self.awake = True
        self.command = ""
        """``waits`` before it becomes the command, ``runs`` until it has ended."""
        self.starts: list[float] = []
        self.done: list[Action] = []
        self._stubborn = stubborn
        self._told: list[tuple[str, int]] = []

    def elect(self) -> None:
        """Its turn has come."""
        if self.rules.phase is Phase.WAITING and self.rules.status is None and self.awake:
            self.leads, self.until = True, self.now + TTL_S
            self.do(self.rules.elected(self.now, self.until, LEASE))

    def renew(self) -> None:
        """A renewal was answered."""
        if self.leads and self.awake and self.now < self.until:
            self.until = self.now + TTL_S
            self.do(self.rules.renewed(self.now, self.until))

    def lose(self) -> None:
        """The leadership is taken from it."""
        if self.leads and self.awake:
            self.do(self.rules.lose(self.now, "superseded"))

    def signal(self, number: int) -> None:
        """The process is sent a signal."""
        if self.awake:
            self.do(self.rules.signalled(self.now, number))

    def exit(self, status: int = 0) -> None:
        """The command ends by itself."""
        if self.command == "runs":
            self._end(status)
        self.settle()

    def kill_guard(self) -> None:
        """Somebody kills the guard. (Nobody looks after a command whose wrapper sleeps meanwhile.)"""
        if self.watch is not None and self.awake:
            self._guard_dies()
            self.settle()

    def stop_guard(self) -> None:
        """Somebody stops the guard."""
        self.guard_stopped = self.watch is not None and self.awake

    def sleep(self) -> None:
        """The wrapper is stopped."""
        self.awake = self.guard_stopped

    def wake(self) -> None:
        """The wrapper goes on."""
        self.awake = True
        self.settle()

    def pass_time(self, duration_s: float) -> None:
        """Time passes."""
        end = self.now + duration_s
        while self.now < end:
            times = [self.rules.wake_at()] if self.awake else []
            if self.watch is not None and not self.guard_stopped:
                times.append(self.watch.wake_at())
            self.now = min([end, *(each for each in times if each > self.now)])
            self.settle()

    def settle(self) -> None:
        """Everybody does what is due."""
        if self.watch is not None and not self.guard_stopped:
            was_asked = self.watch.stopped_at is not None
            self._group(self.watch.tick(self.now))
            if not was_asked and self.watch is not None and self.watch.stopped_at is not None:
                self._told.append(("stopping", 0))
        if self.awake:
            if self.leads and self.now >= self.until - 1:
                self.do(self.rules.lose(self.now, "expired"))
            self.do(self.rules.tick(self.now))
            while self._told and not (self.guard_stopped and self.watch is not None):
                self._hear(*self._told.pop(0))
        self.check()

    def check(self) -> None:
        """Law 2: nothing runs when the deadline has come, with the margin, or half of it when the guard fails."""
        if self.command == "runs":
            late_s = LEASE.margin_s / 2 if self.guard_stopped or self.watch is None else 0.0
            assert self.now <= self.until - LEASE.margin_s + late_s

    def do(self, actions: Sequence[Action]) -> None:
        """Carry out what the rules say."""
        for action in actions:
            self.done.append(action)
            match action:
                case Start(kill_at):
                    assert self.watch is None
                    assert self.command == ""
                    assert self.leads
                    assert kill_at - LEASE.grace_s > self.now, "it would be stopped at once (law 1)"
                    self.watch, self.command = Watch(kill_at, LEASE.grace_s), "waits"
                    self.guard_stopped = False
                    self._told.append(("ready", 0))
                case Begin():
                    assert self.command in ("waits", "") or self.watch is None
                    if self.command == "waits":
                        self.command = "runs"
                        self.starts.append(self.now)
                case Strike():
                    self._guard_dies()
                    self._end(-signal.SIGKILL)
                case Leave():
                    assert self.command == "", "the block was left while the command ran (law 4)"
                    self.rules.left()
                    self.leads = False
                case Prolong() | Stop() | Kill() | Forward():
                    self._guard_hears(action)

    def _guard_hears(self, action: Prolong | Stop | Kill | Forward) -> None:
        if self.watch is None or self.guard_stopped:
            return
        match action:
            case Prolong(kill_at):
                self.watch.prolong(kill_at)
            case Stop():
                self._group(self.watch.stop(self.now))
            case Kill():
                self._group(self.watch.kill())
            case Forward(number):
                assert number not in (signal.SIGTERM, signal.SIGKILL)

    def _group(self, signals: Sequence[int]) -> None:
        deadly = signal.SIGKILL in signals or (signal.SIGTERM in signals and not self._stubborn)
        if deadly and self.command:
            self._end(-signal.SIGKILL)

    def _end(self, status: int) -> None:
        self.command = ""
        if self.watch is not None:
            self._told += [("ended", status), ("gone", 0)]

    def _guard_dies(self) -> None:
        if self.watch is None:
            return
        self.watch = None
        self.guard_stopped = False
        if self.command == "waits":
            self.command = ""  # nobody lets it go on
        if ("gone", 0) not in self._told:
            self._told.append(("died", 0))

    def _hear(self, what: str, status: int) -> None:
        match what:
            case "ready":
                self.do(self.rules.ready(self.now))
            case "stopping":
                self.do(self.rules.stopped(self.now))
            case "ended":
                self.do(self.rules.ended(self.now, status))
            case "gone":
                self.watch = None
                self.do(self.rules.gone(self.now))
            case _:
                self.do(self.rules.guard_ended(self.now))
                self.command = ""
                self.do(self.rules.gone(self.now))


EVENTS = st.one_of(
    st.sampled_from(
        ["elect", "renew", "lose", "kill_guard", "stop_guard", "sleep", "wake", "exit", "TERM", "INT", "HUP", "elect"]
    ),
    st.floats(0.01, TTL_S),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(Mode), st.booleans(), st.sampled_from([0.0, 3.0]), st.lists(EVENTS, max_size=30))
def test_the_laws_hold_whatever_happens(mode: Mode, stubborn: bool, delay_s: float, events: list[str | float]) -> None:
    """Nothing runs past its time or without a guard, and nothing is left while anything runs; in the end all ends."""
    world = World(mode, stubborn=stubborn, delay_s=delay_s)
    world.elect()
    for event in events:
        if not isinstance(event, str):
            world.pass_time(event)
        elif event.isupper():
            world.signal(getattr(signal, f"SIG{event}"))
        else:
            getattr(world, event)()
        world.settle()
    world.wake()
    world.signal(TERM)
    world.pass_time(2 * TTL_S)
    assert world.command == ""
    assert world.rules.status is not None
    assert world.rules.phase is Phase.WAITING


def run_and_end(mode: Mode, status: int = 0) -> World:
    """Return a world in which a command ran, and ended by itself."""
    world = World(mode)
    world.elect()
    world.settle()
    world.exit(status)
    return world


@pytest.mark.parametrize("mode", [Mode.UNTIL_DONE, Mode.ONCE])
@pytest.mark.parametrize(("ended", "status"), [(0, 0), (7, 7), (-9, 137)])
def test_a_command_that_ends_is_the_end(mode: Mode, ended: int, status: int) -> None:
    """Its exit status is passed on, as a shell does it."""
    assert run_and_end(mode, ended).rules.status == status


@pytest.mark.parametrize(("mode", "status"), [(Mode.UNTIL_DONE, None), (Mode.RESTART, None), (Mode.ONCE, LOST)])
def test_a_loss_is_only_once_the_end(mode: Mode, status: int | None) -> None:
    """Else it waits for its next turn, and runs again."""
    world = World(mode)
    world.elect()
    world.settle()
    world.lose()
    world.settle()
    assert (world.rules.status, world.leads) == (status, False)
    world.elect()
    world.settle()
    assert len(world.starts) == (1 if status else 2)


def test_restarting_waits_longer_each_time() -> None:
    """Up to a limit; after a command that ran for long it begins anew."""
    world = World(Mode.RESTART)
    world.elect()
    waited: list[float] = []
    for _ in range(9):
        world.settle()
        ended = world.now
        world.exit(1)
        while world.command != "runs":
            world.renew()
            world.pass_time(0.25)
        waited.append(world.starts[-1] - ended)
    assert waited == [min(FIRST_RESTART_S * 2**each, LONGEST_RESTART_S) for each in range(9)]
    for _ in range(61):
        world.renew()
        world.pass_time(1)
    world.exit()
    world.pass_time(FIRST_RESTART_S)
    assert world.command == "runs"
    assert world.rules.status is None


def test_a_takeover_delay_is_kept_after_each_election() -> None:
    """And who loses the lead meanwhile starts nothing."""
    world = World(Mode.UNTIL_DONE, delay_s=3)
    world.elect()
    world.pass_time(2.99)
    assert world.starts == []
    world.lose()
    world.pass_time(1)
    world.elect()
    elected = world.now
    world.pass_time(4)
    assert world.starts == [elected + 3]


def test_nothing_starts_that_would_have_to_stop_at_once() -> None:
    """It waits for a renewal."""
    world = World(Mode.UNTIL_DONE, delay_s=TTL_S - LEASE.grace_s)
    world.elect()
    world.pass_time(TTL_S - 2)
    assert world.starts == []
    world.renew()
    world.pass_time(0.5)
    assert world.starts == [world.now]


def test_a_second_signal_kills() -> None:
    """The first one is passed on, and what it waits for is the end of the command; the status names the first."""
    world = World(Mode.RESTART, stubborn=True)
    world.elect()
    world.settle()
    world.signal(signal.SIGINT)
    world.pass_time(0.1)
    assert world.command == "runs"
    world.signal(signal.SIGTERM)
    world.settle()
    assert (world.command, world.rules.status) == ("", 128 + signal.SIGINT)


def test_other_signals_are_for_the_command_alone() -> None:
    """Where there is none they do nothing."""
    world = World(Mode.UNTIL_DONE)
    world.signal(signal.SIGHUP)
    world.elect()
    world.settle()
    world.signal(signal.SIGHUP)
    assert [each for each in world.done if isinstance(each, Forward)] == [Forward(signal.SIGHUP)]
    assert world.rules.status is None


def test_a_signal_while_the_guard_is_started() -> None:
    """The process that waits to become the command never does."""
    rules = Supervision(Mode.UNTIL_DONE)
    assert rules.elected(0, TTL_S, LEASE) == [Start(TTL_S - LEASE.margin_s)]
    assert rules.signalled(0.1, TERM) == [Stop("SIGTERM")]
    assert rules.ready(0.2) == [Kill()]
    assert rules.ended(0.3, -signal.SIGKILL) == []
    assert rules.gone(0.3) == [Leave()]
    assert rules.status == 128 + TERM


@pytest.mark.parametrize("mode", Mode)
def test_what_cannot_be_started_is_the_end(mode: Mode) -> None:
    """Trying again would not help."""
    rules = Supervision(mode)
    rules.elected(0, TTL_S, LEASE)
    rules.ready(0.1)
    rules.failed()
    rules.ended(0.2, 127)
    assert rules.gone(0.2) == [Leave()]
    assert rules.status == 127


def test_a_lost_restart_does_not_go_on() -> None:
    """The command ended by itself, and before its group was gone the lead was lost."""
    rules = Supervision(Mode.RESTART)
    rules.elected(0, TTL_S, LEASE)
    rules.ready(0.1)
    rules.ended(0.2, 0)
    assert rules.lose(0.3, "evicted") == []
    assert rules.gone(0.4) == [Leave()]


def test_a_grace_must_leave_time_for_renewals() -> None:
    """One slow answer must not cost a command its life."""
    with pytest.raises(
        InvalidRequest, match=r"a grace of 4 s does not fit a time-to-live of 10 s: .* it can be 3\.67 s"
    ):
        Lease(10, 4)
    assert Lease(10, 3.6).grace_s == 3.6
    assert Lease(10).grace_s == 2.5
