"""A store that records, delays, fails and conflicts as told, and shortcuts to call an engine with."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import trio

from atomix_election.core.election import Election
from atomix_election.engine import Connection, Engine
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.model import DEFAULT_SESSION_TTL_S, ElectionId, SessionId
from atomix_election.service import Call
from atomix_election.stores.base import Record, StoredSession, Written
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import VirtualClock

TTL_S = DEFAULT_SESSION_TTL_S
LATE_S = 0.1
"""How late the end of a session may come."""


class RecordingStore:
    """A memory store under control of a test."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.reads = 0
        self.writes: list[Election] = []
        self.write_delay_s = 0.0
        self.failing = False
        self.doubtful: bool | None = None
        """Whether the next write or forget takes place, whose outcome nobody is told; then the store is unreadable."""
        self.unreadable = False
        self.conflicts = 0
        self.held_for_s: float | None = None
        """What it says of a restore."""

    @property
    def id(self) -> str:
        """See ``Store.id``."""
        return self.memory.id

    def read_now(self, election_id: ElectionId) -> Record | None:
        """See ``Store.read_now``."""

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        """See ``Store.write_now``."""
        raise AssertionError("nothing is known without a wait")

    async def read(self, election_id: ElectionId) -> Record:
        """See ``Store.read``."""
        self.reads += 1
        if self.unreadable:
            raise StoreError("the disk is gone")
        return await self.memory.read(election_id)

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``; it fails or conflicts after the delay."""
        if self.write_delay_s:
            await anyio.sleep(self.write_delay_s)
        if self.failing:
            raise StoreError("the disk is full")
        if self.doubtful is not None:
            if self.doubtful:
                await self.memory.write(election_id, election, expected=expected)
            self.doubtful, self.unreadable = None, True
            raise OutcomeUnknown("whether it was written cannot be found out now")
        if self.conflicts:
            self.conflicts -= 1
            await self._write_by_somebody_else(election_id)
            return None
        record = await self.memory.write(election_id, election, expected=expected)
        if record is not None:
            self.writes.append(election)
        return record

    async def _write_by_somebody_else(self, election_id: ElectionId) -> None:
        record = await self.memory.read(election_id)
        await self.memory.write(election_id, record.election, expected=record.version)

    @property
    def hold_s(self) -> float | None:
        """See ``Store.hold_s``."""
        return self.held_for_s

    async def end_hold(self) -> None:
        """See ``Store.end_hold``."""
        if self.failing:
            raise StoreError("the disk is full")
        self.held_for_s = None

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        """See ``Store.forget``; it fails or conflicts after the delay, as a write does."""
        if self.write_delay_s:
            await anyio.sleep(self.write_delay_s)
        if self.failing:
            raise StoreError("the disk is full")
        if self.doubtful is not None:
            if self.doubtful:
                await self.memory.forget(election_id, expected=expected)
            self.doubtful, self.unreadable = None, True
            raise OutcomeUnknown("whether it was written cannot be found out now")
        if self.conflicts:
            self.conflicts -= 1
            await self._write_by_somebody_else(election_id)
            return None
        return await self.memory.forget(election_id, expected=expected)

    def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        """See ``Store.elections``."""
        return self.memory.elections()

    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        """See ``Store.page``."""
        self.reads += 1
        return await self.memory.page(namespace, after=after, limit=limit)

    async def open_session(self, *args: Any, **kwargs: Any) -> SessionId:
        """See ``Store.open_session``."""
        return await self.memory.open_session(*args, **kwargs)

    async def end_session(self, session: SessionId) -> None:
        """See ``Store.end_session``."""
        if self.failing:
            raise StoreError("the disk is full")
        await self.memory.end_session(session)

    async def sessions(self) -> list[StoredSession]:
        """See ``Store.sessions``."""
        return await self.memory.sessions()


class PromptStore(RecordingStore):
    """The same for callers without a task, on Trio."""

    def read_now(self, election_id: ElectionId) -> Record | None:
        """See ``Store.read_now``."""
        self.reads += 1
        return None if self.unreadable else self.memory.read_now(election_id)

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        """See ``Store.write_now``; with a delay it is done later, else on return."""

        async def write() -> None:
            try:
                record = await self.write(election_id, election, expected=expected)
            except (StoreError, OutcomeUnknown) as error:
                done(error)
            else:
                done(record is not None)

        if self.write_delay_s:
            trio.lowlevel.spawn_system_task(write)
        else:
            with suppress(StopIteration):
                write().send(None)


@asynccontextmanager
async def running(store: RecordingStore) -> AsyncGenerator[Engine]:
    """Run an engine on a store, with virtual time."""
    engine = Engine(store, clock=VirtualClock())
    async with engine.running():
        yield engine


def about(session: str = "", name: str = "e") -> Call:
    """Return what a call says of itself."""
    return Call(name, session=session)


async def stand(connection: Connection, session: str, candidate_id: str = "", name: str = "e") -> None:
    """Create and enter, as a client does."""
    await connection.create(about(session, name))
    await connection.enter(about(session, name), candidate_id)


async def candidates(engine: Engine, name: str = "e") -> tuple[str, ...]:
    """Return the queue of an election."""
    return (await Connection(engine).get_term(about(name=name))).candidates
