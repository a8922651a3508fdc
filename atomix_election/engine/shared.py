"""The engine of a store that other engines use at the same time."""

import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from atomix_election.clock import Clock, wall_clock_s
from atomix_election.engine.engine import Engine
from atomix_election.engine.lanes import Lane
from atomix_election.engine.limits import NO_LIMITS, ElectionLimits, SessionLimits
from atomix_election.engine.report import ENDED
from atomix_election.engine.sessions import Session
from atomix_election.engine.shared_lanes import SharedLane
from atomix_election.engine.shared_sessions import SharedSessions
from atomix_election.errors import InvalidRequest, OutcomeUnknown, StoreError, Unavailable
from atomix_election.model import ElectionId, SessionId, Term
from atomix_election.observer import Observer
from atomix_election.stores.base import Change, ElectionChanged, Record, SessionGone, SessionOpened, SharedStore

STAGGER_S = 0.5
"""How much longer each engine leaves a clearing-up to those that come before it."""
AUDIT_S = 30.0
"""How often it is looked whether an election still has something of a session that is gone."""

log: logging.Logger = logging.getLogger(__name__)


class SharedEngine(Engine):
    """Runs the elections of a store that other engines run too.

    What it knows comes from the changes of the store, its own included: watchers, sessions and counts follow them.
    A session ends when the store says so, and each engine sees to it that nothing of it stays.

    Args:
        store: where elections and sessions are kept.
        clock, limits, election_limits, observer, wall_clock: as of an ``Engine``. Limits are checked by what this
            engine knows: several together may exceed them by what is under way.
        chance: returns numbers from 0 to 1.
    """

    def __init__(
        self,
        store: SharedStore,
        *,
        clock: Clock | None = None,
        limits: SessionLimits | None = None,
        election_limits: ElectionLimits = NO_LIMITS,
        observer: Observer | None = None,
        wall_clock: Callable[[], float] = wall_clock_s,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._shared = store
        self._chance = chance
        super().__init__(
            store,
            clock=clock,
            limits=limits,
            election_limits=election_limits,
            observer=observer,
            wall_clock=wall_clock,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """See ``Engine.running``. Changes of the store are followed in one user's tasks: there is one at a time.

        Raises:
            InvalidRequest: it is running already.
        """
        if self._lent:
            raise InvalidRequest("this engine is running already: an engine of a shared store has one user at a time")
        async with super().running():
            yield

    @property
    def longest_failover_s(self) -> float:
        """See ``Engine.longest_failover_s``."""
        return self._shared.longest_failover_s(self.sessions.longest_ttl_s)

    def ttl_s(self, wanted_s: float | None) -> float:
        """See ``Engine.ttl_s``."""
        return self._shared.ttl_s(super().ttl_s(wanted_s))

    def check_running(self) -> None:
        """See ``Engine.check_running``."""
        super().check_running()
        if self._broken is not None:
            raise StoreError(str(self._broken))

    async def end_session(self, session: Session, cause: str = ENDED) -> None:
        """See ``Engine.end_session``."""
        await super().end_session(session, cause)
        self.check_running()

    def release(self, session: Session) -> None:
        """See ``Engine.release``. In a store that cannot be relied on any more, nobody keeps it either."""
        if self._broken is None:
            super().release(session)

    def _start_anew(self) -> None:
        self._broken: StoreError | None = None
        self._expiring: set[tuple[ElectionId, SessionId]] = set()
        super()._start_anew()

    async def _end_if_last(self, session: Session) -> None:
        """See ``Engine._end_if_last``. What others have registered is known once all changes from before are."""
        try:
            await self._shared.catch_up()
        except StoreError as error:
            raise OutcomeUnknown(f"the session has left the election, and may not have ended: {error}") from error
        await super()._end_if_last(session)

    def _no_sessions(self) -> SharedSessions:
        most = self._election_limits.max_sessions
        sessions = SharedSessions(self._shared, self._clock, self.limits.default_ttl_s, self.report, max_sessions=most)
        self._shared_sessions = sessions
        return sessions

    def _new_lane(self, election_id: ElectionId) -> Lane:
        return SharedLane(election_id, self._lane_parts, self._shared, self._shared_sessions, self._chance)

    async def _restore(self) -> None:
        """Take up what the store has, and sweep what ended sessions left in it."""
        self._begin_hold()
        self.report.restart()
        self._start(self._follow)
        await self._shared.catch_up()
        self.check_running()
        self._start(self._shared_sessions.keep_held)
        self._start(self._audit)

    async def _follow(self) -> None:
        """Take the changes of the store, until it cannot be relied on any more."""
        try:
            async for changes in self._shared.changes():
                for change in changes:
                    self._take(change)
        except StoreError as error:
            log.critical("%s", error)
            self._broken = error
            for lane in list(self._lanes.values()):
                lane.fail(Unavailable(str(error)))

    def _take(self, change: Change) -> None:
        match change:
            case SessionOpened(stored):
                superseded = self._shared_sessions.opened(stored)
                if superseded is not None:
                    self._start(self._sweep, superseded, anyio.Event())
            case SessionGone(identity):
                self._sweep_later(self._shared_sessions.gone(identity))
            case ElectionChanged(election_id, before, after, terms):
                self._changed(election_id, before, after, terms)

    def _changed(self, election_id: ElectionId, before: Record, after: Record, terms: tuple[Term, ...]) -> None:
        if after.version and not before.version:
            self._count.restore(election_id.namespace)
            self.report.created()
        if before.version and not after.version:
            self._count.remove(election_id.namespace)
            self.report.forgotten()
        for session in after.election.sessions() - before.election.sessions():
            self._shared_sessions.leaves_traces(session, election_id)
        self._committed(election_id, before.election, after.election)
        lane = self._lanes.get(election_id)
        if isinstance(lane, SharedLane):
            lane.show(terms)

    def _sweep_later(self, session: Session | None) -> None:
        """See to it that nothing of a session stays that was not ended here."""
        if session is not None:
            for election_id in session.elections:
                self._expire_later(election_id, session.id)

    def _expire_later(self, election_id: ElectionId, session: SessionId) -> None:
        if (election_id, session) not in self._expiring:
            self._expiring.add((election_id, session))
            self._start(self._expire_unless_done, election_id, session)

    async def _expire_unless_done(self, election_id: ElectionId, session: SessionId) -> None:
        """Remove what is left of a session once others had the time to."""
        await self._clock.sleep_until(self._clock.now() + self._stagger_s(election_id))
        if session in self._shared.latest(election_id).election.sessions():
            await self._expire(election_id, session)
        self._expiring.discard((election_id, session))

    def _stagger_s(self, election_id: ElectionId) -> float:
        return self._shared.rank(election_id) * STAGGER_S

    async def _sweep(self, session: Session, swept: anyio.Event) -> None:
        """End a session in the store, and then remove it everywhere: whoever looks sees that it is gone."""
        while True:
            if self._broken is not None:
                swept.set()
                return
            began = self._clock.now()
            try:
                await self._shared.end_session(session.id)
                self.report.observer.committed("session", self._clock.now() - began)
                await self._shared.catch_up()
                break
            except (StoreError, OutcomeUnknown):
                await self._pause()
        async with anyio.create_task_group() as elections:
            for election_id in session.elections:
                elections.start_soon(self._expire, election_id, session.id)
        self._shared_sessions.swept(session.id)
        self.report.session_swept(session.id)
        swept.set()

    async def _audit(self) -> None:
        """Look from time to time for what is left of sessions that are gone."""
        while True:
            for election_id, election in list(self._shared.known()):
                for session in election.sessions():
                    if not self._shared_sessions.is_open(session) and not self._shared_sessions.is_ending(session):
                        self._expire_later(election_id, session)
                await anyio.lowlevel.checkpoint()
            await self._clock.sleep_until(self._clock.now() + AUDIT_S)
