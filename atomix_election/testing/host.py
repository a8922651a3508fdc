"""The simulated server: one engine after the other on the same store, which is slow and fails."""

import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from atomix_election.clock import Clock
from atomix_election.core.election import Election
from atomix_election.core.floors import Floors, reached_by
from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.errors import StoreError, Unavailable
from atomix_election.model import ElectionId, Term
from atomix_election.service import Call, Service
from atomix_election.stores.base import Record
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing.invariants import Invariants

DRIFT = 0.01
"""How much slower or faster than real time a clock runs at most."""


@dataclass(slots=True)
class Backup:
    """What is left of a store in a backup of it, as far as a restore uses it.

    Args:
        elections: those that it had.
        floors: the highest of all numbers and revisions in it.
        reached: what the clock had reached when it was made or restored.
    """

    elections: tuple[ElectionId, ...]
    floors: Floors
    reached: int


@dataclass(slots=True)
class StoreFaults:
    """How bad a store is: the longest time of a write in seconds, and how likely it fails, from 0 to 1."""

    delay_s: float = 0.0
    failing: float = 0.0


class FaultyStore(MemoryStore):
    """A memory store that takes its time, fails, and shows what is committed.

    Args:
        invariants: sees every commit.
        chance: decides what happens to each write.
        faults: how bad it is; may be changed at any time.
    """

    def __init__(self, invariants: Invariants, chance: random.Random, faults: StoreFaults) -> None:
        super().__init__()
        self.faults = faults
        self._invariants = invariants
        self._chance = chance
        self._hold_s: float | None = None
        self._reached = 0

    def read_now(self, election_id: ElectionId) -> Record | None:
        """See ``Store.read_now``. Everything takes its time here."""

    @property
    def hold_s(self) -> float | None:
        """See ``Store.hold_s``."""
        return self._hold_s

    async def end_hold(self) -> None:
        """See ``Store.end_hold``."""
        await self._be_bad()
        self._hold_s = None

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``."""
        await self._be_bad()
        before = (await self.read(election_id)).election
        record = await super().write(election_id, election, expected=expected)
        if record is not None:
            self._invariants.committed(election_id.name, before, election)
        return record

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        """See ``Store.forget``."""
        await self._be_bad()
        left = await super().forget(election_id, expected=expected)
        if left is not None and expected:
            self._invariants.note(f"forgot {election_id.name}, which goes on from {left.election.term}")
        return left

    def back_up(self, now_ms: int) -> Backup:
        """Return what a backup has that is made now."""
        floors = Floors()
        for each in (*self._floors.values(), *(record.election for record in self._records.values())):
            floors = floors.over(each)
        return Backup(tuple(self._records), floors, max(self._reached, reached_by(now_ms)))

    def restored(self, backup: Backup, now_ms: int, longest_ttl_s: float) -> "FaultyStore":
        """Return the store that a restore makes of a backup, which is as bad as this one; see ``sqlite_backup``."""
        floors = backup.floors.restored(now_ms, reached=backup.reached)
        assert floors is not None, "the clock never goes back here"
        backup.reached = floors.number
        store = FaultyStore(self._invariants, self._chance, self.faults)
        store._floors = {
            each.namespace: floors for each in (*backup.elections, *self._records, ElectionId("default", ""))
        }
        store._versions = store._incarnations = store._reached = floors.number
        for election_id in backup.elections:
            store._versions += 1
            store._records[election_id] = Record(floors.begin(), store._versions)
            store._names[election_id.namespace].add(election_id.name)
        store._hold_s = longest_ttl_s
        return store

    async def _be_bad(self) -> None:
        if self.faults.delay_s:
            await anyio.sleep(self._chance.uniform(0, self.faults.delay_s))
        if self.faults.failing and self._chance.random() < self.faults.failing:
            raise StoreError("the disk is full")


class _WatchedConnection(Connection):
    """Lets the invariants know while a command is at work that may change the order of a queue."""

    def __init__(self, engine: Engine, invariants: Invariants) -> None:
        super().__init__(engine)
        self._invariants = invariants

    @contextmanager
    def _operating(self) -> Generator[None]:
        self._invariants.operators += 1
        try:
            yield
        finally:
            self._invariants.operators -= 1

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        with self._operating():
            return await super().anoint(call, candidate_id)

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        with self._operating():
            return await super().promote(call, candidate_id)

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        with self._operating():
            return await super().evict(call, candidate_id)


class Host:
    """Where the engine runs, and runs anew.

    Args:
        store: what the engines find.
        clock: the server's.
        invariants: told of operators at work, and of holds.
        ttl_s: the time-to-live of all sessions.
    """

    def __init__(self, store: FaultyStore, clock: Clock, invariants: Invariants, ttl_s: float) -> None:
        self.store = store
        self._ttl_s = ttl_s
        self.engine: Engine | None = None
        self._clock = clock
        self._invariants = invariants
        self._connections: dict[str, Connection] = {}
        self._scope = anyio.CancelScope()
        self._gone = anyio.Event()

    def service(self, name: str) -> Service:
        """Return the connection of that name to the engine that runs now; it is made where there is none.

        Raises:
            Unavailable: none runs.
        """
        if self.engine is None:
            raise Unavailable("nobody listens")
        if name not in self._connections:
            self._connections[name] = _WatchedConnection(self.engine, self._invariants)
        return self._connections[name]

    def hung_up(self, name: str) -> None:
        """A connection was closed at the client's end, and that has arrived."""
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.disconnect(by_peer=True)

    async def serve(self) -> None:
        """Run an engine until ``stop``."""
        self._gone = anyio.Event()
        limits = SessionLimits(min_ttl_s=0.1, default_ttl_s=self._ttl_s, max_ttl_s=self._ttl_s)
        if self.store.hold_s is not None:
            self._invariants.nobody_before = anyio.current_time() + self._ttl_s / (1 + DRIFT)
        engine = Engine(self.store, clock=self._clock, limits=limits, wall_clock=self._clock.now)
        with anyio.CancelScope() as self._scope:
            try:
                async with engine.running():
                    self.engine = engine
                    await anyio.sleep_forever()
            finally:
                self.engine = None
                self._connections.clear()
        self._gone.set()

    async def stop(self) -> None:
        """End the engine, and wait until it is gone."""
        self._scope.cancel()
        await self._gone.wait()

    def restore(self, backup: Backup, now_ms: int) -> None:
        """Put what is made of a backup in the place of the store; no engine may run."""
        self.store = self.store.restored(backup, now_ms, self._ttl_s)

    def left_behind(self) -> list[str]:
        """Return what is still there when all clients have gone."""
        engine = self.engine
        found = [f"session {each.session.id}" for each in self.store._sessions.values()]  # type: ignore[reportPrivateUsage]  # noqa: SLF001
        for election_id, record in self.store._records.items():  # type: ignore[reportPrivateUsage]  # noqa: SLF001
            election = record.election
            found += [f"{each} in {election_id.name}" for each in election.sessions()]
        if engine is not None:
            found += [f"{len(engine.sessions)} open sessions"] if len(engine.sessions) else []
            found += [f"lane {each}" for each in engine._lanes]  # type: ignore[reportPrivateUsage]  # noqa: SLF001
            found += [f"wait {each}" for each in engine._waits]  # type: ignore[reportPrivateUsage]  # noqa: SLF001
        return found
