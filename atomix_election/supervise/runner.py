"""Runs a command while this process leads: carries out what ``rules`` decides, by the clock of the leadership."""

import logging
import os
import signal
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import anyio

from atomix_election.client import Client, LeaderElection
from atomix_election.clock import Clock
from atomix_election.core.campaign import Action as CampaignAction
from atomix_election.core.campaign import Campaign, Granted, Timing
from atomix_election.errors import ElectionError, InvalidRequest, LeadershipLost
from atomix_election.leadership import Leadership, LeadershipObserver
from atomix_election.model import Term
from atomix_election.supervise.guard import adopt_orphans
from atomix_election.supervise.guarded import Guarded, guarded
from atomix_election.supervise.rules import (
    SIGNALLED,
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
from atomix_election.tasks import Background, background_tasks, see_through

LONGEST_NAP_S = 0.25
"""How often at least the clock is looked at: a timer does not end while the machine sleeps."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

log: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, and how.

    Args:
        command: a program, which is looked for on PATH, and its arguments.
        mode: what happens when it has ended, or the leadership was lost.
        grace_s: seconds from SIGTERM to SIGKILL; by default a quarter of the time-to-live of the session.
        takeover_delay_s: seconds between an election and the start of the command.

    Raises:
        InvalidRequest: there is no command, or a time is negative.
    """

    command: Sequence[str]
    mode: Mode = Mode.UNTIL_DONE
    grace_s: float | None = None
    takeover_delay_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise InvalidRequest("there is no command to run: give one after --")
        for name, value in (("grace", self.grace_s), ("takeover delay", self.takeover_delay_s)):
            if value is not None and not 0 <= value < float("inf"):
                raise InvalidRequest(f"the {name} is {value} s: it must be a time from 0 on")


@dataclass(frozen=True, slots=True)
class Status:
    """What a runner does at a moment.

    Args:
        phase: where the command is.
        leads: whether it leads and was not told to stop.
        token: under which it leads; None when it does not.
        pid: of the command, while there is one.
        is_connected: whether there is an open session, and so a place in the queue or the lead.
        silent_s: for how long its event loop has not looked at the clock.
    """

    phase: Phase
    leads: bool
    token: int | None
    pid: int | None
    is_connected: bool
    silent_s: float


class Runner(LeadershipObserver):
    """Runs a command whenever its candidate leads. It takes over the signals and the orphans of its process.

    Args:
        client: what stands in the election, and in no other.
        election: of that client.
        plan: what is to be run.
        clock: that of the client.
    """

    def __init__(self, client: Client, election: LeaderElection, plan: Plan, clock: Clock) -> None:
        self._keeper = client.candidates().keeper
        self._election = election
        self._plan = plan
        self._clock = clock
        self._rules = Supervision(plan.mode, plan.takeover_delay_s)
        self._tasks: Background
        self._waiting = anyio.CancelScope()
        self._left = anyio.Event()
        self._nap = anyio.CancelScope()
        self._nap_ends = 0.0
        self._looked_at = clock.now()
        self._timing: Timing | None = None
        self._lease = Lease(1.0)
        self._leadership: Leadership | None = None
        self._guarded: Guarded | None = None
        self._place = 0

    async def run(self) -> int:
        """Run it, and return what to exit with: the exit status of the command, or one that says why there is none.

        Raises:
            InvalidRequest: the grace does not fit the time-to-live that the server has granted.
            CandidateTaken: see ``LeaderElection.lead``, also for whatever else is raised.
        """
        adopt_orphans()
        self._keeper.observer = self
        with _receiving() as received:
            async with background_tasks() as tasks:
                self._tasks = tasks
                for job in (self._tick, self._follow):
                    tasks.start_soon(job)
                tasks.start_soon(self._obey, received)
                return await self._run()

    async def _run(self) -> int:
        for attempt in count():
            with anyio.CancelScope() as self._waiting:
                if attempt:
                    await self._keeper.pause(attempt - 1)
                await self._lead()
            self._rules.left()
            if self._rules.status is not None:
                return self._rules.status
        raise AssertionError("it goes on for ever")

    def status(self) -> Status:
        """Return what it does now. Any thread may ask."""
        rules, leadership, guarded = self._rules, self._leadership, self._guarded
        leads = leadership is not None and self._election.is_leader
        return Status(
            phase=rules.phase,
            leads=leads and rules.phase not in (Phase.STOPPING, Phase.LEAVING),
            token=leadership.token if leadership is not None and leads else None,
            pid=guarded.pid if guarded is not None else None,
            is_connected=bool(self._keeper.session_id),
            silent_s=self._clock.now() - self._looked_at,
        )

    def stepped(self, campaign: Campaign, actions: Sequence[CampaignAction]) -> None:
        """See ``LeadershipObserver.stepped``: the deadline may be a later one."""
        self._timing = campaign.timing or self._timing
        if self._leadership is not None:
            until = campaign.deadlines.get(self._granted(self._leadership))
            if until is not None:
                self._do(self._rules.renewed(self._clock.now(), until))

    def _granted(self, leadership: Leadership) -> Granted:
        return Granted(self._election.name, leadership.token, self._election.candidate_id)

    async def _lead(self) -> None:
        """Wait for the lead, and stay in it until nothing more is to be run under it."""
        await self._keeper.opened()
        assert self._timing is not None, "a session was opened without its time-to-live"
        self._lease = Lease(self._timing.ttl_s, self._plan.grace_s)
        leadership = None
        try:
            async with self._election.lead() as leadership:
                await self._hold(leadership)
        except LeadershipLost:
            if leadership is None:
                raise
        if self._rules.lost:
            self.note(f"no longer leads: {self._rules.lost}", logging.WARNING, token=leadership.token)

    async def _hold(self, leadership: Leadership) -> None:
        self.note(f"elected, token {leadership.token}", token=leadership.token)
        self._leadership, self._left = leadership, anyio.Event()
        now = self._clock.now()
        try:
            self._do(self._rules.elected(now, now + leadership.remaining, self._lease))
            await self._left.wait()
        except anyio.get_cancelled_exc_class():
            why = leadership.reason.value if leadership.reason else "cancelled"
            self._do(self._rules.lose(self._clock.now(), why))
            await see_through(self._left.wait)  # nobody else may lead before all of it is gone
            raise
        finally:
            self._leadership = None
            self._place = 0

    async def _command(self, kill_at: float, leadership: Leadership) -> None:
        """Start the command under a guard, and see both to their end."""
        try:
            async with guarded(
                self._plan.command, self._environment(leadership), kill_at=kill_at, grace_s=self._lease.grace_s
            ) as self._guarded:
                if not await self._listen(self._guarded):
                    self._do(self._rules.guard_ended(self._clock.now()))
                    await self._guarded.strike()
        except OSError as error:
            self.note(f"no guard could be started: {error}", logging.ERROR)
            self._do(self._rules.guard_ended(self._clock.now()))
        except BaseException:
            self._left.set()  # the guard has seen to the command
            raise
        finally:
            self._guarded = None
        self._do(self._rules.gone(self._clock.now()))

    async def _listen(self, guarded: Guarded) -> bool:
        """Hear what the guard says; return whether it was that nothing of the command is left."""
        while words := await guarded.report():
            now = self._clock.now()
            match words:
                case ["ready", _]:
                    self._do(self._rules.ready(now))
                case ["stopping"]:
                    self._do(self._rules.stopped(now))
                case ["failed", number]:
                    why = os.strerror(int(number))
                    self.note(f"{self._plan.command[0]} cannot be run: {why}", logging.ERROR)
                    self._rules.failed()
                case ["denied"]:
                    self.note(
                        "the command may not be sent signals, so that it cannot be stopped: "
                        "it must not run as another user",
                        logging.ERROR,
                    )
                case ["ended", status]:
                    self._note_end(int(status))
                    self._do(self._rules.ended(now, int(status)))
                case ["gone"]:
                    return True
                case _:
                    raise AssertionError(f"the guard said {words}")
        return False

    def _environment(self, leadership: Leadership) -> Mapping[str, str]:
        return {
            **os.environ,
            "ATOMIX_ELECTION_NAME": self._election.name,
            "ATOMIX_ELECTION_NAMESPACE": self._election.namespace,
            "ATOMIX_ELECTION_CANDIDATE": self._election.candidate_id,
            "ATOMIX_ELECTION_TOKEN": str(leadership.token),
            "ATOMIX_ELECTION_TERM": str(leadership.term.number),
            "ATOMIX_ELECTION_REVISION": str(leadership.term.revision),
        }

    def _do(self, actions: Sequence[Action]) -> None:
        """Carry out what the rules have decided."""
        for action in actions:
            if isinstance(action, Start):
                assert self._leadership is not None, "it starts only while it leads"
                self._tasks.start_soon(self._command, action.kill_at, self._leadership)
            elif isinstance(action, Leave):
                self._left.set()
                if self._leadership is None:
                    self._waiting.cancel()
            elif self._guarded is not None:
                self._tell(self._guarded, action)
        if self._rules.wake_at() < self._nap_ends:
            self._nap.cancel()

    def _tell(self, guarded: Guarded, action: Action) -> None:
        match action:
            case Begin():
                guarded.begin()
                self.note(f"started {self._plan.command[0]}, process {guarded.pid}", pid=guarded.pid)
            case Prolong(kill_at):
                guarded.tell(f"deadline {kill_at!r}")
            case Stop(why):
                self.note(f"stopping process group {guarded.pid}: {why}", pid=guarded.pid)
                guarded.tell("stop")
            case Forward(number):
                guarded.tell(f"signal {number}")
            case Kill():
                self.note(f"killing process group {guarded.pid}", logging.WARNING, pid=guarded.pid)
                guarded.tell("kill")
            case Strike(why):
                self.note(f"killing process group {guarded.pid}: {why}", logging.ERROR, pid=guarded.pid)
                guarded.give_up()
            case Start() | Leave():
                raise AssertionError("not for a guard")

    async def _tick(self) -> None:
        while True:
            now = self._looked_at = self._clock.now()
            self._do(self._rules.tick(now))
            self._nap_ends = min(self._rules.wake_at(), now + LONGEST_NAP_S)
            with anyio.CancelScope() as self._nap:
                await self._clock.sleep_until(self._nap_ends)

    async def _obey(self, received: AsyncIterator[signal.Signals]) -> None:
        async for number in received:
            if number in (signal.SIGTERM, signal.SIGINT):
                self.note(f"{number.name} received")
            self._do(self._rules.signalled(self._clock.now(), number))

    async def _follow(self) -> None:
        """Say which place in the queue it has, whenever that is another one."""
        for attempt in count():
            try:
                async with self._election.events() as events:
                    async for event in events:
                        self._see(event.term)
            except ElectionError as error:
                log.debug("the queue cannot be watched: %s", error)
            await self._keeper.pause(attempt)

    def _see(self, term: Term) -> None:
        waits = self._rules.phase is Phase.WAITING and self._election.candidate_id in term.candidates[1:]
        place = term.candidates.index(self._election.candidate_id) if waits else 0
        if place and place != self._place:
            self.note(f"waiting, {place} before it, {term.leader} leads", place=place, leader=term.leader)
        self._place = place

    def _note_end(self, status: int) -> None:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.note(f"the command {how}", status=SIGNALLED - status if status < 0 else status)

    def note(self, what: str, level: int = logging.INFO, **fields: Any) -> None:
        """Log a line about it.

        Args:
            what: happened.
            level: of the line.
            fields: facts, for who reads the log as JSON.
        """
        name, candidate = self._election.name, self._election.candidate_id
        log.log(
            level, "%s in %s: %s", candidate, name, what, extra={"election": name, "candidate": candidate, **fields}
        )


@contextmanager
def _receiving() -> Generator[AsyncIterator[signal.Signals]]:
    """Receive signals, but for those that this process was started to ignore, as by nohup."""
    heard = [each for each in _SIGNALS if each == signal.SIGTERM or signal.getsignal(each) is not signal.SIG_IGN]
    with anyio.open_signal_receiver(*heard) as received:
        yield received
