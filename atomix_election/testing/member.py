"""One simulated client: a process with a session of its own that leads, enters and leaves by chance."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from atomix_election.client import Client, LeaderElection, client_of
from atomix_election.clock import Clock
from atomix_election.core.campaign import Granted
from atomix_election.core.candidacy import Place
from atomix_election.errors import ElectionError
from atomix_election.leadership import Leadership, SessionKeeper
from atomix_election.testing.clocks import SleepingClock
from atomix_election.testing.history import Entry, Gone, History, Records
from atomix_election.testing.invariants import Stint
from atomix_election.testing.network import FaultyService
from atomix_election.testing.recording import record_keeper

SLOW_READER = 0.3
"""How likely a watcher is slow to read; changes that it does not get to are skipped."""
WATCH_BUFFERS = (1, 2, 64)
"""How many changes may wait for a watcher."""


class WorkFailed(Exception):
    """What the work of a simulated client raises of its own."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What a client does.

    Args:
        elections: their names.
        ttl_s: its time-to-live in seconds.
        work_s: the longest that it works in one go.
        linger_s: the longest that its work goes on after it was cancelled, shielded.
        operates: whether it now and then moves or evicts candidates, its own and others.
        releases: whether its session ends as soon as its connection closes.
        note: takes lines of the history.
        record: takes its records; by default nobody reads them.
    """

    elections: tuple[str, ...]
    ttl_s: float
    work_s: float
    linger_s: float
    operates: bool
    releases: bool
    note: Callable[[str], None]
    record: Records = field(default_factory=History)


class OwnRecords(Records):
    """The records of a process, which end with it.

    Args:
        record: where they go.
    """

    def __init__(self, record: Records) -> None:
        self._record = record
        self.is_over = False

    def now(self) -> float:
        """See ``Records.now``."""
        return self._record.now()

    def __call__(self, entry: Entry) -> None:
        """Take a record, if the process is still there."""
        if not self.is_over:
            self._record(entry)


class Member:
    """A client's process.

    Args:
        process: its name, never used again.
        candidate_ids: under which it stands in each election; each of them leads, enters and leaves by itself.
        service: its own way to the servers.
        clock: its own.
        chance: decides what it does.
        habits: what it may do.
    """

    def __init__(
        self,
        process: str,
        candidate_ids: tuple[str, ...],
        service: FaultyService,
        clock: Clock,
        chance: random.Random,
        habits: Habits,
    ) -> None:
        self.process = process
        self._candidate_ids = candidate_ids
        self.service = service
        self.clock: SleepingClock = SleepingClock(clock)
        self.scope: anyio.CancelScope = anyio.CancelScope()
        self.stints: set[Stint] = set()
        self.calm: anyio.Event = anyio.Event()
        self.has_crashed: bool = False
        self.done: bool = False
        self._chance = chance
        self._habits = habits
        sessions = iter(range(1 << 30))
        self.keeper: SessionKeeper = SessionKeeper(
            service,
            "default",
            clock=self.clock,
            ttl_s=habits.ttl_s,
            new_session_id=lambda: f"{process}.{next(sessions)}",
            chance=chance.random,
            release_on_disconnect=habits.releases,
        )
        self._record = OwnRecords(habits.record)
        record_keeper(self.keeper, self._record, who=process)
        self._client: Client | None = None

    @property
    def elections(self) -> tuple[str, ...]:
        """Where it takes part."""
        return self._habits.elections

    def crash(self) -> None:
        """Tell nobody anything any more."""
        self.has_crashed = True
        self._end_records()
        self.service.kill()

    def _end_records(self) -> None:
        self._record(Gone(self.process, self._habits.ttl_s, self._record.now()))
        self._record.is_over = True

    def now(self) -> float:
        """Return the time by its own clock."""
        return self.clock.now()

    def places(self) -> list[Place]:
        """Return where it may be a candidate."""
        return [(name, each) for name in self._habits.elections for each in self._candidate_ids]

    def leads(self, place: Place) -> Granted | None:
        """Return what ``is_leader`` and the token say."""
        return self.keeper.leads(place)

    def stands_anywhere(self) -> list[str]:
        """Return the elections that it leads or waits to lead."""
        if self._client is None or not self.keeper.started:
            return []
        candidates = self._client.candidates()
        return [place[0] for place in self.places() if candidates.standing(place) is not None]

    async def live(self) -> None:
        """Do this and that until the calm, lead each election once more, and leave."""
        with self.scope:
            async with client_of(self.keeper, inspection=self.service) as client:
                self._client = client
                async with anyio.create_task_group() as elections:
                    for name, candidate_id in self.places():
                        elections.start_soon(self._take_part, client.election(name, candidate_id=candidate_id))
                self._client = None
            self.done = True
            self._end_records()
            self._note("has left")

    async def _take_part(self, election: LeaderElection) -> None:
        acts = [self._lead, self._lead, self._run, self._enter, self._withdraw_meanwhile, self._watch]
        if self._habits.operates:
            acts.append(self._operate)
        while not self.calm.is_set():
            await self._sleep(self._chance.uniform(0, self._habits.ttl_s / 2))
            act = self._chance.choice(acts)
            with anyio.CancelScope() as scope:
                if self._chance.random() < 0.2:
                    scope.deadline = anyio.current_time() + self._chance.uniform(0, 2 * self._habits.ttl_s)
                with suppress(ElectionError, WorkFailed):
                    await act(election)
        while True:
            with suppress(ElectionError, WorkFailed):
                async with election.lead() as leadership:
                    await self._work(election, leadership, 0.1)
                    return
            await self._sleep(0.1)

    async def _lead(self, election: LeaderElection) -> None:
        async with election.lead() as leadership:
            await self._work(election, leadership, self._chance.uniform(0, self._habits.work_s))

    async def _run(self, election: LeaderElection) -> None:
        async def work(leadership: Leadership) -> None:
            await self._work(election, leadership, self._chance.uniform(0, self._habits.work_s))

        await election.run(work)

    async def _enter(self, election: LeaderElection) -> None:
        async with election:
            await election.enter()
            await self._sleep(self._chance.uniform(0, self._habits.work_s))

    async def _withdraw_meanwhile(self, election: LeaderElection) -> None:
        async with anyio.create_task_group() as both:
            both.start_soon(self._withdraw_soon, election)
            with suppress(ElectionError, WorkFailed):
                await self._lead(election)
            both.cancel_scope.cancel()

    async def _withdraw_soon(self, election: LeaderElection) -> None:
        await self._sleep(self._chance.uniform(0, self._habits.work_s))
        with suppress(ElectionError):
            await election.withdraw()

    async def _watch(self, election: LeaderElection) -> None:
        pause_s = self._habits.ttl_s / 4 if self._chance.random() < SLOW_READER else 0.0
        async with election.events(buffer=self._chance.choice(WATCH_BUFFERS)) as events:
            end = self.now() + self._chance.uniform(0, 2 * self._habits.work_s)
            with anyio.move_on_after(2 * self._habits.work_s):
                while self.now() < end:
                    await anext(events)
                    await self._sleep(self._chance.uniform(0, pause_s))

    async def _operate(self, election: LeaderElection) -> None:
        candidates = (await election.get_term()).candidates
        if candidates:
            candidate_id = self._chance.choice(candidates)
            act = self._chance.choice((election.anoint, election.promote, election.evict))
            self._note(f"operates: {act.__name__} {candidate_id} in {election.name}")
            await act(candidate_id)

    async def _work(self, election: LeaderElection, leadership: Leadership, duration_s: float) -> None:
        place = (election.name, election.candidate_id)
        stint = Stint(place, leadership, self.now() + leadership.remaining)
        self.stints.add(stint)
        self._note(f"begins to work in {place[0]} under {leadership.token}")
        try:
            await self._sleep(duration_s)
            if self._chance.random() < 0.1:
                raise WorkFailed
        finally:
            if self._habits.linger_s and self._chance.random() < 0.5:
                with anyio.CancelScope(shield=True):
                    await self._sleep(self._chance.uniform(0, self._habits.linger_s))
            self.stints.discard(stint)
            self._note(f"has worked in {place[0]} under {leadership.token}")

    async def _sleep(self, duration_s: float) -> None:
        await self.clock.sleep_until(self.now() + duration_s)

    def _note(self, what: str) -> None:
        self._habits.note(f"{self.process} {what}")
