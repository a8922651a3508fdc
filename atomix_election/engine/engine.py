"""The engine: the elections of one store, served to the connections of this process."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple

import anyio
from anyio.abc import TaskGroup

from atomix_election.clock import Clock, SystemClock
from atomix_election.core.commands import Close as CloseElection
from atomix_election.core.commands import Command, Create, ExpireSession, Operation
from atomix_election.engine.lanes import Lane
from atomix_election.engine.sessions import Session, Sessions
from atomix_election.errors import ElectionError, LimitExceeded, StoreError, Unavailable
from atomix_election.model import DEFAULT_SESSION_TTL_S, ElectionId, Event, SessionId, Term
from atomix_election.stores.base import Store
from atomix_election.tasks import background_tasks

_Args = TypeVarTuple("_Args")

EXPIRY_RETRY_S = 0.5
"""Pause before the end of a session that the store could not take is tried again."""


class Engine:
    """Runs the elections of one store, with tasks that it is lent by its users.

    Args:
        store: where elections and sessions are kept. This engine must be its only user.
        clock: what time it is.
        session_ttl_s: seconds that a session lasts after the last connection that used it has closed.
    """

    def __init__(
        self, store: Store, *, clock: Clock | None = None, session_ttl_s: float = DEFAULT_SESSION_TTL_S
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self.sessions = Sessions(store, self._clock, session_ttl_s)
        self._lanes: dict[ElectionId, Lane] = {}
        self._lent: list[TaskGroup] = []
        self._restoring = anyio.Lock()
        self._restored = False

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the engine running for as long as the block lasts. Several users may do so at the same time."""
        async with background_tasks() as tasks:
            self._lent.append(tasks)
            try:
                async with self._restoring:
                    if not self._restored:
                        await self._restore()
                        self._restored = True
                        self._start(self._expire_sessions)
                yield
            finally:
                self._lent.remove(tasks)
                if not self._lent:
                    for lane in list(self._lanes.values()):
                        lane.fail(_closed())

    async def submit(self, election_id: ElectionId, command: Command, operation: Operation | None = None) -> Term:
        """Apply a command after those that wait already, and return the term after it once it is committed.

        Raises:
            ElectionError: the command was refused, or could not be committed.
        """
        lane = self._lane(election_id)
        waiting = lane.add(command, operation)
        if lane.claim():
            self._spawner().start_soon(self._work, election_id, lane)
        return await waiting.outcome()

    async def read(self, election_id: ElectionId) -> Term:
        """Return the current term of an election."""
        self._spawner()
        return (await self._store.read(election_id)).election.term

    @asynccontextmanager
    async def watch(self, election_id: ElectionId, buffer: int) -> AsyncGenerator[AsyncIterator[Event]]:
        """Watch an election. The subscription is made before the snapshot is read, so that nothing is missed."""
        lane = self._lane(election_id)
        try:
            with lane.watchers.subscribe(buffer) as subscription:
                subscription.begin(await self.read(election_id))
                yield subscription
        finally:
            self._drop_if_idle(election_id, lane)

    async def create(self, session: Session, election_id: ElectionId, operation: Operation | None) -> None:
        """Register an election with an open session."""
        session.registered.add(election_id)
        try:
            await self.submit(election_id, Create(session.id), operation)
        except ElectionError:
            session.registered.discard(election_id)
            raise

    async def close(self, session: Session, election_id: ElectionId, operation: Operation | None) -> None:
        """Take a session out of an election; it ends with its last one."""
        await self.submit(election_id, CloseElection(session.id), operation)
        session.registered.discard(election_id)
        if not session.registered and self.sessions.end(session):
            swept = anyio.Event()
            self._start(self._sweep, session, swept)
            await swept.wait()

    def _spawner(self) -> TaskGroup:
        if not self._lent:
            raise _closed()
        return self._lent[-1]

    def _start(self, job: Callable[[*_Args], Awaitable[None]], *args: *_Args) -> None:
        """Start a job that moves on to another user's tasks when those that it runs in end."""

        async def run() -> None:
            try:
                await job(*args)
            except anyio.get_cancelled_exc_class():
                if self._lent:
                    self._lent[-1].start_soon(run)
                raise

        self._spawner().start_soon(run)

    def _lane(self, election_id: ElectionId) -> Lane:
        self._spawner()
        lane = self._lanes.get(election_id)
        if lane is None:
            lane = self._lanes[election_id] = Lane(election_id, self._store, self.sessions.is_open)
        return lane

    async def _work(self, election_id: ElectionId, lane: Lane) -> None:
        with anyio.CancelScope(shield=True):  # whoever waits gets an answer, and what was begun is finished
            await lane.work()
        self._drop_if_idle(election_id, lane)

    def _drop_if_idle(self, election_id: ElectionId, lane: Lane) -> None:
        if lane.idle and self._lanes.get(election_id) is lane:
            del self._lanes[election_id]

    async def _restore(self) -> None:
        """Take up what the store has, and sweep what ended sessions left in it."""
        await self.sessions.restore()
        async for election_id, election in self._store.elections():
            traces = {each.session for each in election.candidates} | election.registered | election.operations.keys()
            for identity in traces:
                session = self.sessions.find(identity.namespace, identity.id)
                if session is None or session.id != identity:
                    self._start(self._expire, election_id, identity)
                    continue
                session.elections.add(election_id)
                if identity in election.registered:
                    session.registered.add(election_id)

    async def _expire_sessions(self) -> None:
        while True:
            for session in await self.sessions.wait_expired():
                self._start(self._sweep, session, anyio.Event())

    async def _sweep(self, session: Session, swept: anyio.Event) -> None:
        """Remove an ended session everywhere, and then from the store."""
        async with anyio.create_task_group() as elections:
            for election_id in session.elections:
                elections.start_soon(self._expire, election_id, session.id)
        while True:
            try:
                await self._store.end_session(session.id)
                break
            except StoreError:
                await self._pause()
        swept.set()

    async def _expire(self, election_id: ElectionId, session: SessionId) -> None:
        while True:
            try:
                await self.submit(election_id, ExpireSession(session))
                return
            except (StoreError, LimitExceeded):
                await self._pause()

    async def _pause(self) -> None:
        await self._clock.sleep_until(self._clock.now() + EXPIRY_RETRY_S)


def _closed() -> Unavailable:
    return Unavailable("the election engine is closed")
