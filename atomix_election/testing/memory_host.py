"""The simulated server on a memory store: one engine after the other on the same store, which is slow and fails."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

import anyio

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors, reached_by
from atomix_election.engine import Engine
from atomix_election.errors import StoreError, Unavailable
from atomix_election.model import ElectionId
from atomix_election.service import Service
from atomix_election.stores.base import Record
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing.checker import Promises, Violation
from atomix_election.testing.host import (
    DRIFT,
    Host,
    HostedConnection,
    HostedEngine,
    Surroundings,
    left_in,
    left_in_store,
)


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
    """How bad a store is: the longest time of a read or a write in seconds, and how likely it fails, from 0 to 1."""

    delay_s: float = 0.0
    failing: float = 0.0


class FaultyStore(MemoryStore):
    """A memory store that takes its time and fails.

    Args:
        chance: decides what happens to each read and write.
        faults: how bad it is; may be changed at any time.
    """

    def __init__(self, chance: random.Random, faults: StoreFaults) -> None:
        super().__init__()
        self.faults = faults
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

    async def read(self, election_id: ElectionId) -> Record:
        """See ``Store.read``. It takes its time before and after it looks, so that what it found may be old."""
        await self._be_bad()
        record = await super().read(election_id)
        await self._take_time()
        return record

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``."""
        await self._be_bad()
        return await super().write(election_id, election, expected=expected)

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        """See ``Store.forget``."""
        await self._be_bad()
        return await super().forget(election_id, expected=expected)

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
        store = FaultyStore(self._chance, self.faults)
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
        await self._take_time()
        if self.faults.failing and self._chance.random() < self.faults.failing:
            raise StoreError("the disk is full")

    async def _take_time(self) -> None:
        if self.faults.delay_s:
            await anyio.sleep(self._chance.uniform(0, self.faults.delay_s))


class MemoryHost(Host):
    """One server in memory, which is stopped in order and started again. Its store goes on, and may be restored."""

    conditions: ClassVar[tuple[str, ...]] = ("store errors", "slow store")
    acts: ClassVar[tuple[str, ...]] = ("restarts", "restore")

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._chance = surroundings.chance
        self._ttl_s = surroundings.ttl_s
        self._clock = surroundings.new_clock()
        faults = StoreFaults(
            delay_s=self._ttl_s / 20 if "slow store" in surroundings.faults else 0.0,
            failing=0.1 if "store errors" in surroundings.faults else 0.0,
        )
        self._store = FaultyStore(self._chance, faults)
        self._backups: list[Backup] = []
        self._engine: Engine | None = None
        self._connections: dict[str, HostedConnection] = {}
        self._scope = anyio.CancelScope()
        self._gone = anyio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """See ``Host.running``."""
        self._surroundings.start(self._serve)
        await anyio.sleep(0.001)
        try:
            yield
        finally:
            await self._stop()

    def service(self, name: str) -> Service:
        """See ``Host.service``."""
        if self._engine is None:
            raise Unavailable("nobody listens")
        if name not in self._connections:
            invariants = self._surroundings.invariants
            self._connections[name] = HostedConnection(self._engine, invariants, is_gone=lambda: False)
        return self._connections[name]

    def hung_up(self, name: str) -> None:
        """See ``Host.hung_up``."""
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.disconnect(by_peer=True)

    async def do(self, fault: str) -> None:
        """See ``Host.do``."""
        if fault == "restarts":
            await self._restart()
            return
        # The store is lost, and made anew of a backup of it, or of one that it was made of, or of another one.
        if not self._backups or self._chance.random() < 0.5:
            self._backups.append(self._store.back_up(self._now_ms()))
        await anyio.sleep(self._chance.uniform(0.0, self._ttl_s))
        await self._restart(self._chance.choice(self._backups))

    async def calm_down(self) -> None:
        """See ``Host.calm_down``."""
        self._store.faults.delay_s = self._store.faults.failing = 0.0

    @property
    def promises(self) -> Promises:
        """See ``Host.promises``."""
        return Promises(numbers_jump="restore" in self._surroundings.faults)

    def excuses(self, violation: Violation) -> bool:
        """See ``Host.excuses``. Nothing is."""
        return False

    @property
    def may_skip_changes(self) -> bool:
        """See ``Host.may_skip_changes``."""
        return False

    @property
    def longest_failover_s(self) -> float:
        """See ``Host.longest_failover_s``."""
        assert self._engine is not None
        return self._engine.longest_failover_s / (1 - DRIFT)

    async def left_behind(self) -> list[str]:
        """See ``Host.left_behind``."""
        return await left_in_store(self._store) + left_in(self._engine)

    async def _restart(self, backup: Backup | None = None) -> None:
        self._engine, stopped_at = None, self._surroundings.record.now()
        for name in self._connections:
            self._surroundings.lost(name)
        await self._stop()
        await anyio.sleep(self._chance.uniform(0.01, self._ttl_s))
        if backup is not None:
            self._store = self._store.restored(backup, self._now_ms(), self._ttl_s)
            self._surroundings.restored(stopped_at, backup.reached)
        self._surroundings.start(self._serve)

    async def _serve(self) -> None:
        """Run an engine until ``_stop``."""
        self._gone = anyio.Event()
        engine = HostedEngine(self._store, self._surroundings, self._clock)
        with anyio.CancelScope() as self._scope:
            try:
                async with engine.running():
                    self._engine = engine
                    await anyio.sleep_forever()
            finally:
                self._engine = None
                self._connections.clear()
        self._gone.set()

    async def _stop(self) -> None:
        """End the engine, and wait until it is gone."""
        self._scope.cancel()
        await self._gone.wait()

    def _now_ms(self) -> int:
        return int(self._surroundings.wall_clock_s() * 1000)
