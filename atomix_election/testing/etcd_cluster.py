"""The members of a simulated etcd: what they hold together, which of them leads, and how time passes for leases."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

import anyio

from atomix_election.clock import Clock
from atomix_election.etcd import WatchEvent
from atomix_election.tasks import Background, background_tasks
from atomix_election.testing.etcd_state import EtcdState

EXPIRY_S = 0.5
"""How often etcd looks for leases that have expired."""
ELECTION_TIMEOUTS_IN_LEAST_TTL = 1.5
"""Etcd grants no lease that is shorter than so many of its own election time-outs."""

Observe = Callable[[int, Sequence[WatchEvent]], None]
"""Is told of a revision, and of what it changed."""


@dataclass(frozen=True, slots=True)
class EtcdFaults:
    """How often something goes wrong, from 0 to 1; how long things take, in seconds.

    Args:
        applied, lost, late: of all writes, see ``Outcome``.
        longest_call_s: the most that a call takes. What is on its way then arrives also when nobody waits for it.
        longest_late_s: the most after which a late write is carried out.
        stale_leader: of all renewals, how many a leader answers without effect that was deposed.
        longest_expiry_s: the most by which the end of a lease comes late, beside the time until etcd looks for it.
    """

    applied: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    longest_call_s: float = 0.0
    longest_late_s: float = 3.0
    stale_leader: float = 0.0
    longest_expiry_s: float = 0.0


class EtcdCluster:
    """The members. An async context manager; time passes for leases inside the block.

    Args:
        clock: what leases go by.
        seed: of all chance.
        faults: what goes wrong; may be replaced at any time.
        least_ttl_s: the shortest lease that is granted, which says how long the members' own election time-out is.
        version: what it says of itself.
        size: how many members there are.

    Attributes:
        state: what is committed.
        leader: the member that leads, or None as long as nobody does and nothing is served.
        observers: are told of each revision, in order, as soon as it is there.
        lives: how often it was restored or made anew: what was on its way to it then is lost.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        faults: EtcdFaults | None = None,
        least_ttl_s: int = 1,
        version: str = "3.5.18",
        size: int = 3,
    ) -> None:
        self.clock = clock
        self.random: Random = Random(seed)
        self.faults: EtcdFaults = faults or EtcdFaults()
        self.least_ttl_s = least_ttl_s
        self.election_timeout_s: float = least_ttl_s / ELECTION_TIMEOUTS_IN_LEAST_TTL
        self.version = version
        self.size = size
        self.state: EtcdState = EtcdState(cluster_id=self.random.getrandbits(63))
        self.leader: int | None = 0
        self.observers: list[Observe] = []
        self.lives: int = 0
        self.changed: anyio.Event = anyio.Event()
        self._is_available = True
        self._running = set(range(size))
        self._told = self.state.revision
        self._is_electing = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        self.background: Background = await self._stack.enter_async_context(background_tasks())
        self.background.start_soon(self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    @property
    def is_available(self) -> bool:
        """Whether anybody reaches it. Time goes on for leases when it is reached again."""
        return self._is_available

    @is_available.setter
    def is_available(self, value: bool) -> None:
        self._is_available = value
        self.notify()

    @property
    def is_served(self) -> bool:
        """Whether there is a leader, and whoever asks reaches a member."""
        return self._is_available and self.leader is not None

    def serves(self, member: int) -> bool:
        """Return whether a member answers."""
        return self.is_served and member in self._running

    def notify(self) -> None:
        """Let everybody look again who waits for something, and tell of what was committed."""
        while self._told < self.state.revision:
            self._told += 1
            events = self.state.events_at(self._told)
            for observe in self.observers:
                observe(self._told, events)
        self.changed.set()
        self.changed = anyio.Event()

    def stop_member(self, member: int) -> None:
        """End a member. If it leads, or no majority is left, nothing is served until another one leads."""
        self._running.discard(member)
        if member == self.leader or not self._has_majority:
            self.leader = None
        self._elect_soon()
        self.notify()

    def start_member(self, member: int) -> None:
        """Start it again."""
        self._running.add(member)
        self._elect_soon()
        self.notify()

    def change_leader(self) -> None:
        """Elect another leader: every lease gets its whole time-to-live again, and an election time-out more."""
        self.leader = self.random.choice(sorted(self._running))
        self.state.raft_term += 1
        self.state.renew_all(self.clock.now(), self.election_timeout_s)
        self.notify()

    def compact(self) -> None:
        """Forget all that was there before now."""
        if self.state.revision > self.state.compacted:
            self.state.compact(self.state.revision)
        self.notify()

    def fill(self) -> None:
        """Let its space be used up."""
        self.state.is_full = True

    def make_room(self) -> None:
        """Let it be written to again."""
        self.state.is_full = False
        self.notify()

    def snapshot(self) -> EtcdState:
        """Return a copy of all that is there."""
        return deepcopy(self.state)

    def restore(self, snapshot: EtcdState, *, bump_revision: int = 0) -> None:
        """Go back in time. Leases begin anew; a restore that bumps revisions makes them go on above."""
        self.state = deepcopy(snapshot)
        self.lives += 1
        if bump_revision:
            self.state.revision += bump_revision
            self.state.compact(self.state.revision)
        self.state.renew_all(self.clock.now(), self.election_timeout_s)
        self._told = self.state.revision
        self.notify()

    def make_anew(self) -> None:
        """Another cluster takes its place, in which there is nothing."""
        self.state = EtcdState(cluster_id=self.random.getrandbits(63))
        self.lives += 1
        self._told = self.state.revision
        self.notify()

    @property
    def _has_majority(self) -> bool:
        return 2 * len(self._running) > self.size

    def _elect_soon(self) -> None:
        if self.leader is None and self._has_majority and not self._is_electing:
            self._is_electing = True
            self.background.start_soon(self._elect)

    async def _elect(self) -> None:
        """Find a leader after one to two election time-outs, unless no majority is left then."""
        await anyio.sleep(self.random.uniform(1, 2) * self.election_timeout_s)
        self._is_electing = False
        if self._has_majority:
            self.change_leader()

    async def _expire(self) -> None:
        while True:
            await self.clock.sleep_until(self.clock.now() + EXPIRY_S)
            if self.is_served and self.state.expire(self.clock.now(), self._late_s):
                self.notify()

    def _late_s(self) -> float:
        return self.random.uniform(0, self.faults.longest_expiry_s)
