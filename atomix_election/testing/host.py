"""The simulated server: one engine after the other on the same store, which is slow and fails."""

import random
from dataclasses import dataclass

import anyio

from atomix_election.clock import Clock
from atomix_election.core.election import Election
from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.errors import StoreError, Unavailable
from atomix_election.model import ElectionId
from atomix_election.service import ElectionService
from atomix_election.stores.base import Record
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing.checker import Checker


@dataclass(slots=True)
class StoreFaults:
    """How bad a store is: the longest time of a write in seconds, and how likely it fails, from 0 to 1."""

    delay_s: float = 0.0
    failing: float = 0.0


class FaultyStore(MemoryStore):
    """A memory store that takes its time, fails, and shows what is committed.

    Args:
        checker: sees every commit.
        chance: decides what happens to each write.
        faults: how bad it is; may be changed at any time.
    """

    def __init__(self, checker: Checker, chance: random.Random, faults: StoreFaults) -> None:
        super().__init__()
        self.faults = faults
        self._checker = checker
        self._chance = chance

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``."""
        if self.faults.delay_s:
            await anyio.sleep(self._chance.uniform(0, self.faults.delay_s))
        if self.faults.failing and self._chance.random() < self.faults.failing:
            raise StoreError("the disk is full")
        before = (await self.read(election_id)).election
        record = await super().write(election_id, election, expected=expected)
        if record is not None:
            self._checker.committed(election_id.name, before, election)
        return record


class Host:
    """Where the engine runs, and runs anew.

    Args:
        store: what the engines find.
        clock: the server's.
    """

    def __init__(self, store: FaultyStore, clock: Clock) -> None:
        self.store = store
        self.engine: Engine | None = None
        self._clock = clock
        self._connection: Connection | None = None
        self._scope = anyio.CancelScope()
        self._gone = anyio.Event()

    def service(self) -> ElectionService:
        """Return a connection to the engine that runs now.

        Raises:
            Unavailable: none runs.
        """
        if self._connection is None:
            raise Unavailable("nobody listens")
        return self._connection

    async def serve(self) -> None:
        """Run an engine until ``stop``."""
        self._gone = anyio.Event()
        limits = SessionLimits(min_ttl_s=0.1)
        engine = Engine(self.store, clock=self._clock, limits=limits, wall_clock=self._clock.now)
        with anyio.CancelScope() as self._scope:
            try:
                async with engine.running():
                    self.engine, self._connection = engine, Connection(engine)
                    await anyio.sleep_forever()
            finally:
                self.engine = self._connection = None
        self._gone.set()

    async def stop(self) -> None:
        """End the engine, and wait until it is gone."""
        self._scope.cancel()
        await self._gone.wait()

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
        return found
