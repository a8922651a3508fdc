"""What becomes of a command whose process stands in an election: when it is started, stopped, started again, and left.

Pure: it is told what happened and what time it is, and returns what is to be done. Its laws:

1. The command is started only while its leadership lasts for longer than the command may take to be stopped.
2. It is told to stop a grace before it has to be killed, and killed a margin before the deadline of its leadership.
3. What was told to stop is never told to go on; what runs next is started anew.
4. The block that leads is left only when nothing is left of the command's process group.
5. A command runs only beside its guard: without one it is killed.
"""

import math
import signal
from dataclasses import dataclass
from enum import Enum

from atomix_election.core.campaign import Timing
from atomix_election.errors import InvalidRequest
from atomix_election.supervise.guard import NOT_EXECUTABLE

LOST = 124
"""Exit status with ``Mode.ONCE`` when the leadership ended before the command did."""
SIGNALLED = 128
"""Exit statuses above it are signals, as shells have them."""
FIRST_RESTART_S = 1.0
"""How long ``Mode.RESTART`` waits before it starts the command for the second time; twice as long each time."""
LONGEST_RESTART_S = 60.0
"""How long it waits at most; a command that ran for so long is started as if for the first time."""
GRACE_PART = 0.25
"""Part of the time-to-live that a command has between SIGTERM and SIGKILL, unless told otherwise."""


class Mode(Enum):
    """What happens when the command has ended, or its leadership was lost."""

    UNTIL_DONE = "until done"
    """A command that ends by itself is the end; after a loss it runs again when it is elected again."""
    ONCE = "once"
    """The first leadership is the last, whatever ended it."""
    RESTART = "restart"
    """The command is started again for as long as it leads; after a loss it runs again when it is elected again."""


class Phase(Enum):
    """Where a command is."""

    WAITING = "waiting"
    """In the queue."""
    HOLDING = "holding"
    """Leads, and the command is not started yet, or not yet again."""
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    """Told to stop, or ended, and not all of its process group is gone."""
    LEAVING = "leaving"
    """Nothing of the command is left, and the queue is about to be."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the guard, and with it the process that waits to become the command."""

    kill_at: float


@dataclass(frozen=True, slots=True)
class Begin:
    """Let that process become the command."""


@dataclass(frozen=True, slots=True)
class Prolong:
    """Tell the guard a later deadline."""

    kill_at: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Have the guard stop the command: SIGTERM, and after the grace SIGKILL."""

    why: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Have the guard kill the command."""


@dataclass(frozen=True, slots=True)
class Strike:
    """Do it without the guard: end it, kill the group, and say when it is gone."""

    why: str


@dataclass(frozen=True, slots=True)
class Forward:
    """Have the guard send the group a signal."""

    number: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the block that leads, or wait no longer for it."""


Action = Start | Begin | Prolong | Stop | Kill | Strike | Forward | Leave


@dataclass(frozen=True, slots=True)
class Lease:
    """How the time of a leadership is shared out, for a time-to-live.

    Args:
        ttl_s: the time-to-live, in seconds.
        wanted_grace_s: from SIGTERM to SIGKILL; by default a quarter of the time-to-live.

    Raises:
        InvalidRequest: a single slow answer would already cost the command its life.
    """

    ttl_s: float
    wanted_grace_s: float | None = None

    def __post_init__(self) -> None:
        if self.grace_s > self.longest_grace_s:
            raise InvalidRequest(
                f"a grace of {self.grace_s:g} s does not fit a time-to-live of {self.ttl_s:g} s: as renewing takes the "
                f"rest, it can be {self.longest_grace_s:.3g} s. Choose a shorter grace or a longer time-to-live"
            )

    @property
    def grace_s(self) -> float:
        """From SIGTERM to SIGKILL."""
        return self.ttl_s * GRACE_PART if self.wanted_grace_s is None else self.wanted_grace_s

    @property
    def longest_grace_s(self) -> float:
        """What renewing leaves, when an answer takes as long as is waited for one."""
        timing = Timing(self.ttl_s)
        return self.ttl_s - timing.renew_interval_s - timing.answer_timeout_s - timing.margin_s - self.margin_s

    @property
    def margin_s(self) -> float:
        """How long before the deadline all is killed, so that it is gone by then."""
        return Timing(self.ttl_s).margin_s

    @property
    def patience_s(self) -> float:
        """How long the guard is waited for when it is late."""
        return self.margin_s / 2


class Supervision:
    """The state of one command, from its first place in the queue to its exit status.

    Args:
        mode: see ``Mode``.
        takeover_delay_s: how long after each election the command is started.
    """

    def __init__(self, mode: Mode, takeover_delay_s: float = 0.0) -> None:
        self.phase: Phase = Phase.WAITING
        self.status: int | None = None
        """What to exit with, once it is known; the block is left first."""
        self.lost: str = ""
        """Why the command was told to stop, or not started, unless it was a signal to this process."""
        self._mode = mode
        self._takeover_delay_s = takeover_delay_s
        self._lease = Lease(1.0)
        self._until = -math.inf
        self._start_at = math.inf
        self._began_at = math.inf
        self._stop_at = math.inf
        self._restarts = 0
        self._signals = 0
        self._failed = False
        self._ended: int | None = None
        self._is_striking = False
        self._leads = False

    @property
    def kill_at(self) -> float:
        """When the command has to be killed, as far as is known."""
        return self._until - self._lease.margin_s

    def elected(self, now: float, until: float, lease: Lease) -> list[Action]:
        """It leads, until this time at least."""
        self._lease, self._until, self.lost = lease, until, ""
        self._leads = True
        self._restarts = 0
        self._start_at = now + self._takeover_delay_s
        if self.status is not None:
            return self._leave()
        self.phase = Phase.HOLDING
        return self.tick(now)

    def renewed(self, now: float, until: float) -> list[Action]:
        """It leads for longer."""
        if until <= self._until or not self._leads:
            return []
        self._until = until
        if self.phase in (Phase.STARTING, Phase.RUNNING):
            return [Prolong(self.kill_at)]
        return self.tick(now)

    def lose(self, now: float, why: str) -> list[Action]:
        """It leads no longer, or must not."""
        if self.phase in (Phase.WAITING, Phase.LEAVING):
            return []
        self._leads = False
        if self.phase is Phase.HOLDING:
            self.lost = why
            return self._leave()
        return self._stop(now, why)

    def ready(self, now: float) -> list[Action]:
        """The guard is there, and the process of the command, which waits."""
        if self.phase is not Phase.STARTING:
            return [Kill()]  # it was to be stopped before there was a guard to say it to
        self.phase = Phase.RUNNING
        self._began_at = now
        return [Prolong(self.kill_at), Begin()]

    def stopped(self, now: float) -> list[Action]:
        """The guard has stopped the command of its own accord: its time is over."""
        return self._stop(now, "its lease runs out")

    def failed(self) -> None:
        """The command could not be started."""
        self._failed = True

    def ended(self, now: float, status: int) -> list[Action]:
        """The process of the command has ended, with this exit status, or minus the signal that killed it.

        The guard ends what it has left behind.
        """
        self._ended = SIGNALLED - status if status < 0 else status
        if self.phase is Phase.STOPPING:
            return []
        self.phase = Phase.STOPPING
        self._stop_at = now
        return []

    def gone(self, now: float) -> list[Action]:
        """Nothing is left of the process group."""
        if self._failed and self.status is None:
            self.status = NOT_EXECUTABLE if self._ended is None else self._ended
        elif not self.lost and self._mode is not Mode.RESTART and self.status is None:
            self.status = self._ended
        if self.status is not None or self.lost or not self._leads:
            return self._leave()
        self.phase = Phase.HOLDING
        self._start_at = now + self._restart_pause_s(now)
        return self.tick(now)

    def guard_ended(self, now: float) -> list[Action]:
        """The guard has ended before it said that the group is gone, or could not be started."""
        if self._is_striking:
            return []
        self._stop(now, "its guard has ended")
        return self._strike("its guard has ended")

    def signalled(self, now: float, number: int) -> list[Action]:
        """This process was sent a signal."""
        if number not in (signal.SIGTERM, signal.SIGINT):
            return [Forward(number)] if self.phase is Phase.RUNNING else []
        self._signals += 1
        if self._signals > 1:
            return [Kill()] if self.phase is Phase.STOPPING else []
        self.status = SIGNALLED + number
        if self.phase in (Phase.WAITING, Phase.HOLDING):
            return self._leave()
        return [] if self.phase is Phase.LEAVING else self._stop(now, signal.Signals(number).name)

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        if self.phase is Phase.HOLDING and now >= self._start_at and now < self.kill_at - self._lease.grace_s:
            self.phase = Phase.STARTING
            self._ended, self._failed, self._is_striking = None, False, False
            self._stop_at = math.inf
            return [Start(self.kill_at)]
        if self.phase in (Phase.STARTING, Phase.RUNNING) and now >= self.kill_at - self._lease.grace_s:
            return self._stop(now, "its lease runs out")
        if self.phase is Phase.STOPPING and not self._is_striking and now >= self._strike_at:
            return self._strike("its guard does not answer")
        return []

    def wake_at(self) -> float:
        """Return when to call ``tick`` at the latest."""
        match self.phase:
            case Phase.HOLDING:
                return self._start_at if self._start_at < self.kill_at - self._lease.grace_s else math.inf
            case Phase.STARTING | Phase.RUNNING:
                return self.kill_at - self._lease.grace_s
            case Phase.STOPPING:
                return math.inf if self._is_striking else self._strike_at
            case Phase.WAITING | Phase.LEAVING:
                return math.inf

    def left(self) -> None:
        """The block was left; without a status it is entered anew."""
        self.phase = Phase.WAITING

    @property
    def _strike_at(self) -> float:
        return min(self.kill_at, self._stop_at + self._lease.grace_s) + self._lease.patience_s

    def _stop(self, now: float, why: str) -> list[Action]:
        if self.phase not in (Phase.STARTING, Phase.RUNNING):
            return []
        self.phase = Phase.STOPPING
        self._stop_at = now
        self.lost = "" if self.status is not None else why
        return [Stop(why)]

    def _strike(self, why: str) -> list[Action]:
        self._is_striking = True
        return [Strike(why)]

    def _leave(self) -> list[Action]:
        if self._mode is Mode.ONCE and self.status is None:
            self.status = LOST
        self.phase = Phase.LEAVING
        return [Leave()]

    def _restart_pause_s(self, now: float) -> float:
        if now - self._began_at >= LONGEST_RESTART_S:
            self._restarts = 0
        pause_s = min(FIRST_RESTART_S * 2**self._restarts, LONGEST_RESTART_S)
        self._restarts = min(self._restarts + 1, 10)
        return pause_s
