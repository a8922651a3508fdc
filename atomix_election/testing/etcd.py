"""An etcd in memory, for tests of what uses one: it has etcd's ways, the bad ones too, and no sockets.

    async with SimulatedEtcd(VirtualClock(), seed=1) as etcd:
        client = etcd.client()
        async with open_etcd_store(client) as store:
            client.next_writes.append(Outcome.LATE)
            ...

Equal seeds give equal runs, under Trio's ``MockClock`` also in time. It runs on asyncio and Trio.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from random import Random
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.lowlevel

from atomix_election.clock import Clock
from atomix_election.etcd import (
    Compare,
    EtcdOutcomeUnknown,
    EtcdRefused,
    EtcdUnavailable,
    Get,
    GetResult,
    Header,
    Lease,
    LeaseState,
    Operation,
    Put,
    Status,
    TxnResult,
    WatchBatch,
    WentBack,
)
from atomix_election.etcd.values import Delete
from atomix_election.tasks import background_tasks
from atomix_election.testing.etcd_state import EtcdState

CALL_S = 5.0
"""How long a call may take, unless it says otherwise."""
EXPIRY_S = 0.5
"""How often etcd looks for leases that have expired."""

_T = TypeVar("_T")


class Outcome(Enum):
    """What becomes of a write."""

    ANSWERED = 0
    """It is carried out, and answered."""
    APPLIED = 1
    """It is carried out, and the answer is lost."""
    LOST = 2
    """It is not carried out, and the client does not know."""
    LATE = 3
    """It is carried out some time after the client has given up."""


@dataclass(frozen=True, slots=True)
class EtcdFaults:
    """How often something goes wrong, from 0 to 1; how long things take, in seconds.

    Args:
        applied, lost, late: of all writes, see ``Outcome``.
        longest_call_s: the most that a call takes.
        longest_late_s: the most after which a late write is carried out.
        stale_leader: of all renewals, how many a leader answers without effect that was deposed.
    """

    applied: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    longest_call_s: float = 0.0
    longest_late_s: float = 3.0
    stale_leader: float = 0.0


class SimulatedEtcd:
    """A cluster of etcd, as its clients see it. An async context manager; time passes for its leases inside the block.

    Args:
        clock: what its leases go by.
        seed: of all chance.
        faults: what goes wrong.
        least_ttl_s: the shortest lease that it grants.
        version: what it says of itself.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        faults: EtcdFaults | None = None,
        least_ttl_s: int = 1,
        version: str = "3.5.18",
    ) -> None:
        self.clock = clock
        self.random = Random(seed)
        self.faults = faults or EtcdFaults()
        self.least_ttl_s = least_ttl_s
        self.version = version
        self.state = EtcdState(cluster_id=self.random.getrandbits(63))
        self._is_available = True
        self.changed = anyio.Event()
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._running.__aenter__()
        self.background = await self._running.enter_async_context(background_tasks())
        self.background.start_soon(self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._running.__aexit__(kind, error, trace)

    @property
    def is_available(self) -> bool:
        """Whether anybody reaches it. Time goes on for leases when it is reached again."""
        return self._is_available

    @is_available.setter
    def is_available(self, value: bool) -> None:
        self._is_available = value
        self.notify()

    def client(self) -> "SimulatedClient":
        """Return a client of it: an ``Etcd``."""
        return SimulatedClient(self)

    def notify(self) -> None:
        """Let watches look again."""
        self.changed.set()
        self.changed = anyio.Event()

    def change_leader(self) -> None:
        """Elect another leader: every lease gets its whole time-to-live again."""
        self.state.raft_term += 1
        for lease in self.state.leases.values():
            lease.until = self.clock.now() + lease.ttl_s

    def snapshot(self) -> EtcdState:
        """Return a copy of all that is there."""
        return deepcopy(self.state)

    def restore(self, snapshot: EtcdState, *, bump_revision: int = 0) -> None:
        """Go back in time. Leases begin anew; a restore that bumps revisions makes them go on above."""
        self.state = deepcopy(snapshot)
        if bump_revision:
            self.state.revision += bump_revision
            self.state.compact(self.state.revision)
        self.change_leader()
        self.state.raft_term = snapshot.raft_term
        self.notify()

    async def _expire(self) -> None:
        while True:
            await self.clock.sleep_until(self.clock.now() + EXPIRY_S)
            if self.is_available:
                before = self.state.revision
                self.state.expire(self.clock.now())
                if self.state.revision != before:
                    self.notify()


class SimulatedClient:
    """A client of a simulated etcd: see ``EtcdClient``, whose methods these are.

    Attributes:
        next_writes: what becomes of the next writes of this client, before chance decides.
        stale_renewals: how many of its next renewals a leader answers that was deposed.
        refused_watches: how many of the next times that it waits for changes it is refused that.
    """

    def __init__(self, etcd: SimulatedEtcd) -> None:
        self._etcd = etcd
        self.next_writes: deque[Outcome] = deque()
        self._is_cut_off = False
        self.stale_renewals = 0
        self.refused_watches = 0

    @property
    def is_cut_off(self) -> bool:
        """Whether it reaches nothing: calls fail when their time is over, and watches hear nothing."""
        return self._is_cut_off

    @is_cut_off.setter
    def is_cut_off(self, value: bool) -> None:
        self._is_cut_off = value
        self._etcd.notify()

    async def get(self, get: Get, *, timeout_s: float | None = None) -> GetResult:
        """See ``EtcdClient.get``."""
        return await self._read(lambda state: state.get(get), timeout_s)

    async def txn(
        self,
        compares: Iterable[Compare],
        success: Iterable[Operation],
        failure: Iterable[Operation] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        """See ``EtcdClient.txn``."""
        compares, success, failure = tuple(compares), tuple(success), tuple(failure)
        assert max(len(compares), len(success), len(failure)) <= 128, "etcd allows 128 operations in a transaction"
        writes = any(isinstance(each, Put | Delete) for each in (*success, *failure))
        return await (self._write if writes else self._read)(
            lambda state: state.txn(compares, success, failure), timeout_s
        )

    async def grant(self, ttl_s: int, lease_id: int = 0, *, timeout_s: float | None = None) -> Lease:
        """See ``EtcdClient.grant``."""
        granted_s = max(ttl_s, self._etcd.least_ttl_s)
        lease_id = lease_id or self._etcd.random.getrandbits(62) + 1

        def grant(state: EtcdState) -> Lease:
            state.grant(lease_id, granted_s, self._etcd.clock.now())
            return Lease(state.header, lease_id, granted_s)

        return await self._write(grant, timeout_s)

    async def revoke(self, lease_id: int, *, timeout_s: float | None = None) -> Header:
        """See ``EtcdClient.revoke``."""

        def revoke(state: EtcdState) -> Header:
            state.revoke(lease_id)
            return state.header

        return await self._write(revoke, timeout_s)

    async def keep_alive(self, lease_id: int, *, timeout_s: float | None = None) -> Lease:
        """See ``EtcdClient.keep_alive``."""

        def renew(state: EtcdState) -> Lease:
            lease = state.leases.get(lease_id)
            if lease is None:
                return Lease(state.header, lease_id, 0)
            if self._is_stale():
                header = state.header
                state.raft_term += 1
                return Lease(header, lease_id, lease.ttl_s)
            lease.until = self._etcd.clock.now() + lease.ttl_s
            return Lease(state.header, lease_id, lease.ttl_s)

        return await self._read(renew, timeout_s)

    async def time_to_live(self, lease_id: int, *, keys: bool = False, timeout_s: float | None = None) -> LeaseState:
        """See ``EtcdClient.time_to_live``."""

        def look(state: EtcdState) -> LeaseState:
            lease = state.leases.get(lease_id)
            if lease is None:
                return LeaseState(state.header, lease_id, 0, 0)
            left_s = max(int(lease.until - self._etcd.clock.now()), 0)
            return LeaseState(state.header, lease_id, left_s, lease.ttl_s, tuple(sorted(lease.keys)) if keys else ())

        return await self._read(look, timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> Status:
        """See ``EtcdClient.status``."""
        return await self._read(lambda state: Status(state.header, self._etcd.version, 1, 0, ()), timeout_s)

    @asynccontextmanager
    async def watch(
        self, key: bytes, end: bytes = b"", *, start_revision: int, previous: bool = False
    ) -> AsyncGenerator["SimulatedWatch"]:
        """See ``EtcdClient.watch``."""
        assert not previous, "former values are not simulated"
        yield SimulatedWatch(self._etcd, self, key, end, start_revision)

    def _is_stale(self) -> bool:
        if self.stale_renewals:
            self.stale_renewals -= 1
            return True
        return self._etcd.random.random() < self._etcd.faults.stale_leader

    async def _read(self, answer: Callable[[EtcdState], _T], timeout_s: float | None) -> _T:
        await self._travel(timeout_s)
        result = answer(self._etcd.state)
        await self._travel(timeout_s)
        return result

    async def _write(self, change: Callable[[EtcdState], _T], timeout_s: float | None) -> _T:
        await self._travel(timeout_s)
        outcome = self.next_writes.popleft() if self.next_writes else self._chosen()
        if outcome is Outcome.LATE:
            self._etcd.background.start_soon(self._apply_late, change)
        if outcome in (Outcome.LATE, Outcome.LOST):
            raise EtcdOutcomeUnknown(f"the answer was lost ({outcome.name})")
        try:
            result = change(self._etcd.state)
        finally:
            self._etcd.notify()
        if outcome is Outcome.APPLIED:
            raise EtcdOutcomeUnknown(f"the answer was lost ({outcome.name})")
        try:
            await self._travel(timeout_s)
        except EtcdUnavailable as error:
            raise EtcdOutcomeUnknown(f"the answer was lost: {error}") from error
        return result

    async def _travel(self, timeout_s: float | None) -> None:
        """Let a message take its time, in one direction."""
        await anyio.lowlevel.checkpoint()
        clock, longest_s = self._etcd.clock, self._etcd.faults.longest_call_s / 2
        if longest_s:
            await clock.sleep_until(clock.now() + self._etcd.random.random() * longest_s)
        if self.is_cut_off or not self._etcd.is_available:
            limit_s = CALL_S if timeout_s is None else timeout_s
            await clock.sleep_until(clock.now() + limit_s)
            raise EtcdUnavailable(f"etcd did not answer within {limit_s:g} s")

    def _chosen(self) -> Outcome:
        chance, faults = self._etcd.random.random(), self._etcd.faults
        for outcome, share in (
            (Outcome.APPLIED, faults.applied),
            (Outcome.LOST, faults.lost),
            (Outcome.LATE, faults.late),
        ):
            chance -= share
            if chance < 0:
                return outcome
        return Outcome.ANSWERED

    async def _apply_late(self, change: Callable[[EtcdState], object]) -> None:
        clock = self._etcd.clock
        await clock.sleep_until(clock.now() + self._etcd.random.random() * self._etcd.faults.longest_late_s)
        with suppress(EtcdRefused):
            change(self._etcd.state)
        self._etcd.notify()


class SimulatedWatch:
    """An iterator of batches of changes, each of one revision: see ``Watch``."""

    def __init__(self, etcd: SimulatedEtcd, client: SimulatedClient, key: bytes, end: bytes, revision: int) -> None:
        self._etcd = etcd
        self._client = client
        self._key = key
        self._end = end
        self.next_revision = revision

    def __aiter__(self) -> "SimulatedWatch":
        return self

    async def __anext__(self) -> WatchBatch:
        """Wait for changes."""
        await anyio.lowlevel.checkpoint()
        while True:
            changed, state = self._etcd.changed, self._etcd.state
            if self._client.refused_watches:
                self._client.refused_watches -= 1
                raise EtcdRefused("Watch: etcd refused it, authentication failed")
            if not self._client.is_cut_off and self._etcd.is_available:
                if state.revision < self.next_revision - 1:
                    raise WentBack(
                        f"etcd is at revision {state.revision}, and was at {self.next_revision - 1}",
                        seen_revision=self.next_revision - 1,
                        found_revision=state.revision,
                    )
                events = state.events_from(self.next_revision, self._key, self._end)
                if events:
                    batch = WatchBatch(state.header, tuple(events))
                    self.next_revision = batch.revision + 1
                    return batch
            await changed.wait()
