"""The engine: the elections of one store, served to the connections of this process."""

import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVarTuple

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint

from atomix_election.broadcast import Subscription
from atomix_election.clock import Clock, SystemClock, wall_clock_s
from atomix_election.core.commands import Close as CloseElection
from atomix_election.core.commands import Command, Create, ExpireSession, Forget, Operation, SteppedDown
from atomix_election.core.election import Displaced, Election
from atomix_election.core.granting import waits_until
from atomix_election.engine import inspection
from atomix_election.engine.lanes import Lane, LaneParts, Waiting
from atomix_election.engine.limits import NO_LIMITS, ElectionCount, ElectionLimits, SessionLimits, check_room
from atomix_election.engine.report import DISCONNECTED, ENDED, Report
from atomix_election.engine.sessions import Session, Sessions
from atomix_election.errors import LimitExceeded, OutcomeUnknown, StoreError, Unavailable
from atomix_election.model import ElectionDescription, ElectionId, ElectionPage, SessionId, Term
from atomix_election.observer import NoObserver, Observer
from atomix_election.stores.base import Store
from atomix_election.tasks import Background, background_tasks

_Args = TypeVarTuple("_Args")

EXPIRY_DELAY_S = 0.1
"""How late the end of a session may come when the machine is not overloaded."""
MAX_TURNS = 64
"""Calls in a row that are answered without a wait; after so many, whoever else is ready to run does so."""
EXPIRY_RETRY_S = 0.5
"""Pause before the end of a session that the store could not take is tried again."""


class Engine:
    """Runs the elections of one store, with tasks that it is lent by its users.

    Args:
        store: where elections and sessions are kept. This engine must be its only user.
        clock: what time it is.
        limits: time-to-lives of sessions.
        election_limits: how much it keeps; without them any number of everything.
        observer: is told what can be counted.
        wall_clock: what time it is for people: when candidates entered, when terms began.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        limits: SessionLimits | None = None,
        election_limits: ElectionLimits = NO_LIMITS,
        observer: Observer | None = None,
        wall_clock: Callable[[], float] = wall_clock_s,
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._wall_clock = wall_clock
        self.limits: SessionLimits = limits or SessionLimits()
        self.report: Report = Report(observer or NoObserver())
        self._election_limits = election_limits
        self._watchers = 0
        self._turns = 0
        self._lanes: dict[ElectionId, Lane] = {}
        self._waits: dict[tuple[ElectionId, Displaced], anyio.CancelScope] = {}
        self._sweeps: set[anyio.Event] = set()
        """Those that somebody waits for."""
        self._lent: list[Background] = []
        self._admits_from = -math.inf
        self._restoring = anyio.Lock()
        self._restored = False
        self._start_anew()

    @property
    def store_id(self) -> str:
        """Identity of the store."""
        return self._store.id

    @property
    def longest_failover_s(self) -> float:
        """How long it takes at most from the last renewal of any session until the next one may lead."""
        return self.sessions.longest_ttl_s + EXPIRY_DELAY_S

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the engine running for as long as the block lasts. Several users may do so at the same time."""
        async with background_tasks() as tasks:
            self._lent.append(tasks)
            try:
                async with self._restoring:
                    if not self._restored:
                        await self._restore_all()
                        self._restored = True
                yield
            finally:
                self._lent.remove(tasks)
                if not self._lent:
                    self._stop()

    def ttl_s(self, wanted_s: float | None) -> float:
        """Return the time-to-live that a session gets; None for one whose client does not say."""
        return self.limits.ttl_s(wanted_s)

    def check_admits(self) -> None:
        """Raise Unavailable while leaders from before a restore may still act."""
        left_s = self._admits_from - self._clock.now()
        if left_s > 0:
            raise Unavailable(
                "the store was restored from a backup, and leaders from before may still act: "
                f"nobody is admitted for another {math.ceil(left_s)} s; try again then"
            )

    def check_running(self) -> None:
        """Raise Unavailable if the engine is not running, or StoreError if its store cannot be relied on any more."""
        if not self._lent:
            raise _closed()

    async def open_session(
        self, namespace: str, session_id: str, *, owner: str = "", kept_alive_ttl_s: float | None = None
    ) -> Session:
        """Return the open session of that id, after opening it if need be: see ``Sessions.open``.

        Raises:
            Unavailable: the engine has ended meanwhile. One that was opened then is left to the next one.
        """
        sessions = self.sessions
        session = await sessions.open(namespace, session_id, owner=owner, kept_alive_ttl_s=kept_alive_ttl_s)
        if sessions is not self.sessions:
            raise _closed()
        return session

    async def look_up(self, namespace: str, session_id: str) -> Session | None:
        """Return the session of that id, if it was open when this was called, or None.

        Raises:
            Unavailable: the engine has ended meanwhile.
        """
        sessions = self.sessions
        session = await sessions.look_up(namespace, session_id)
        if sessions is not self.sessions:
            raise _closed()
        return session

    def _stop(self) -> None:
        """The last user leaves, or the start has failed. Whoever comes next starts from what is in the store."""
        for lane in list(self._lanes.values()):
            lane.fail(_closed())
        for swept in self._sweeps:
            swept.set()
        self._lanes.clear()
        self._waits.clear()
        self._sweeps.clear()
        self._start_anew()
        self._restored = False

    def _start_anew(self) -> None:
        self.sessions: Sessions = self._no_sessions()
        self._count = ElectionCount(self._election_limits)
        self._lane_parts = LaneParts(
            self._store,
            self.sessions,
            self._committed,
            self._go_on,
            self.report,
            self._clock,
            self._wall_clock,
            self._count,
            self._election_limits.max_candidates,
        )

    def _no_sessions(self) -> Sessions:
        most = self._election_limits.max_sessions
        return Sessions(self._store, self._clock, self.limits.default_ttl_s, self.report, max_sessions=most)

    async def submit(self, election_id: ElectionId, command: Command, operation: Operation | None = None) -> Term:
        """Apply a command after those that wait already, and return the term after it once it is committed.

        Raises:
            ElectionError: the command was refused, or could not be committed.
        """
        return await self.answered(self.submit_now(election_id, command, operation))

    def submit_now(self, election_id: ElectionId, command: Command, operation: Operation | None = None) -> Waiting:
        """Hand over a command. Where the store never waits it is committed on return, unless others are before it.

        Raises:
            LimitExceeded: too many commands wait for that election.
            Unavailable: the engine is not running.
        """
        lane = self._lane(election_id)
        waiting = lane.add(command, operation)
        if lane.claim():
            self._go_on(lane)
        return waiting

    async def answered(self, waiting: Waiting) -> Term:
        """Wait for what becomes of a command that was handed over; one that is answered already counts as a turn."""
        if waiting.outcome is not None:
            await self.turn()
        return await waiting.answered()

    async def turn(self) -> None:
        """Something was done without a wait. Every so often others have to get their turn."""
        self._turns += 1
        if self._turns >= MAX_TURNS:
            self._turns = 0
            await cancel_shielded_checkpoint()  # what was done is told; the next call begins with a look

    async def read(self, election_id: ElectionId) -> Term:
        """Return the current term of an election."""
        term = self.read_now(election_id)
        if term is None:
            return (await self._store.read(election_id)).election.term
        await self.turn()
        return term

    def read_now(self, election_id: ElectionId) -> Term | None:
        """Return the current term of an election if that is certainly known here without a wait.

        Raises:
            Unavailable: the engine is not running.
        """
        self.check_running()
        record = self._store.read_now(election_id)
        return None if record is None else record.election.term

    async def list_elections(self, namespace: str, page_size: int, page_token: str) -> ElectionPage:
        """Return a page of the elections of a namespace."""
        self.check_running()
        return await inspection.list_elections(self._store, namespace, page_size, page_token)

    async def describe(self, election_id: ElectionId) -> ElectionDescription:
        """Return all that may be known of an election."""
        self.check_running()
        return await inspection.describe((await self._store.read(election_id)).election, self.sessions)

    @asynccontextmanager
    async def watch(self, election_id: ElectionId, buffer: int) -> AsyncGenerator[Subscription]:
        """Watch an election. The subscription is made before the snapshot is read, so that nothing is missed.

        Raises:
            LimitExceeded: it would be one watcher too many.
        """
        check_room("max_watchers", self._election_limits.max_watchers, self._watchers, "watchers")
        lane = self._lane(election_id)
        self._watchers += 1
        self.report.watching(+1)
        try:
            with lane.watchers.subscribe(buffer) as subscription:
                subscription.begin(lane.share(await self.read(election_id)))
                yield subscription
        finally:
            self._watchers -= 1
            self.report.watching(-1)
            self._drop_if_idle(lane)

    async def forget(self, election_id: ElectionId) -> Term:
        """Remove an election that nobody uses, and return the term that is read of it from now on.

        Raises:
            InvalidRequest: it is in use.
        """
        return await self.submit(election_id, Forget())

    async def create(self, session: Session, election_id: ElectionId, operation: Operation | None) -> None:
        """Register an election with an open session."""
        session.creating += 1
        try:
            await self.submit(election_id, Create(session.id), operation)
        finally:
            session.creating -= 1

    async def close(self, session: Session, election_id: ElectionId, operation: Operation | None) -> None:
        """Take a session out of an election; it ends with its last one."""
        await self.submit(election_id, CloseElection(session.id), operation)
        await self._end_if_last(session)

    async def _end_if_last(self, session: Session) -> None:
        """End a session that Create opened when no election is registered with it any more."""
        if not session.registered and not session.creating and not session.kept_alive:
            await self.end_session(session)

    async def end_session(self, session: Session, cause: str = ENDED) -> None:
        """End a session, and wait until its candidates are gone everywhere; nothing happens if it has ended.

        Raises:
            Unavailable: the engine has ended before that.
        """
        sessions, swept = self.sessions, anyio.Event()
        if not sessions.end(session, cause):
            return
        self._start(self._sweep, session, swept)
        self._sweeps.add(swept)
        try:
            await swept.wait()
        finally:
            self._sweeps.discard(swept)
        if sessions is not self.sessions:
            raise _closed()

    def release(self, session: Session) -> None:
        """End a session without waiting for it."""
        if self.sessions.end(session, DISCONNECTED):
            self._start(self._sweep, session, anyio.Event())

    def insist(self, election_id: ElectionId, command: Command) -> None:
        """See to it that a command is committed, without waiting for it."""
        self._start(self._insist, election_id, command)

    def _spawner(self) -> Background:
        self.check_running()
        return self._lent[-1]

    def _start(self, job: Callable[[*_Args], Coroutine[Any, Any, None]], *args: *_Args) -> None:
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
        self.check_running()
        lane = self._lanes.get(election_id)
        if lane is None:
            lane = self._lanes[election_id] = self._new_lane(election_id)
        return lane

    def _new_lane(self, election_id: ElectionId) -> Lane:
        return Lane(election_id, self._lane_parts)

    def _go_on(self, lane: Lane) -> None:
        """Let a lane work that has something to do, in a task only where it cannot do without."""
        if self._lanes.get(lane.election_id) is lane:  # else the engine has ended meanwhile, or began anew
            if lane.advance():
                self._drop_if_idle(lane)
            else:
                self._spawner().start_soon(self._work, lane)

    async def _work(self, lane: Lane) -> None:
        try:
            await lane.work()
        finally:
            if self._lent and lane.claim():  # this user leaves, and others have commands waiting
                self._lent[-1].start_soon(self._work, lane)
            self._drop_if_idle(lane)

    def _drop_if_idle(self, lane: Lane) -> None:
        if lane.idle and self._lanes.get(lane.election_id) is lane:
            del self._lanes[lane.election_id]

    async def _restore_all(self) -> None:
        """Take up what the store has, or nothing of it: somebody else may wait to try it again."""
        try:
            await self._restore()
        except BaseException:
            self._stop()
            raise

    async def _restore(self) -> None:
        """Take up what the store has, and sweep what ended sessions left in it."""
        self._begin_hold()
        self.report.restart()
        for ended in await self.sessions.restore():
            self._start(self._sweep, ended, anyio.Event())
        async for election_id, election in self._store.elections():
            self._count.restore(election_id.namespace)
            for identity in election.sessions():
                session = self.sessions.find(identity.namespace, identity.id)
                if session is None or session.id != identity:
                    self._start(self._expire, election_id, identity)
                else:
                    session.elections[election_id] = None
            self.report.created()
            self._committed(election_id, Election(), election)
        self._start(self._expire_sessions)

    def _begin_hold(self) -> None:
        """Admit nobody for a while if the store was restored."""
        hold_s = self._store.hold_s
        if hold_s is not None:
            # From the start on, as nobody knows how long ago the former server ended, nor by which clock.
            self._admits_from = self._clock.now() + max(hold_s, self.limits.max_ttl_s)
            self._start(self._end_hold)

    def _committed(self, election_id: ElectionId, before: Election, after: Election) -> None:
        """See what a change means for the sessions in it, and let nobody wait for a displaced leader for ever."""
        self.report.led(before, after)
        concerned = {each.session for each in before.candidates[:1] + after.candidates[:1]}
        if before.displaced or after.displaced:
            concerned |= {each.candidate.session for each in before.displaced + after.displaced}
        if before.registered is not after.registered:
            concerned |= before.registered ^ after.registered
        for identity in concerned:
            session = self.sessions.find(identity.namespace, identity.id)
            if session is not None and session.id == identity:
                session.look(election_id, after)
        if before.displaced is not after.displaced:
            self._see_displaced(election_id, before, after)

    def _see_displaced(self, election_id: ElectionId, before: Election, after: Election) -> None:
        for displaced in set(before.displaced) - set(after.displaced):
            wait = self._waits.pop((election_id, displaced), None)
            if wait is not None:
                wait.cancel()
        for displaced in after.displaced:
            if displaced not in before.displaced and self._lent:  # else the next engine begins to wait
                self._start(self._end_waiting, election_id, displaced, self._clock.now())

    async def _end_hold(self) -> None:
        """Let the store know when nobody from before a restore can act any more."""
        await self._clock.sleep_until(self._admits_from)
        while True:
            try:
                await self._store.end_hold()
                return
            except (StoreError, OutcomeUnknown):
                await self._pause()

    async def _end_waiting(self, election_id: ElectionId, displaced: Displaced, since: float) -> None:
        """Wait for a displaced leader no longer than need be; the end of its session ends it too."""
        identity = displaced.candidate.session
        session = self.sessions.find(identity.namespace, identity.id)
        if session is None or session.id != identity:
            return
        with anyio.CancelScope() as wait:
            self._waits[election_id, displaced] = wait
            await self._clock.sleep_until(waits_until(since, session.ttl_s) + self._stagger_s(election_id))
            if self._waits.pop((election_id, displaced), None) is None:
                return  # it was seen off as its time ended, too late to cancel what had woken up
            await self._insist(election_id, SteppedDown(identity, displaced.number))

    def _stagger_s(self, election_id: ElectionId) -> float:
        """Return how much longer a clearing-up is left to others."""
        return 0.0

    async def _expire_sessions(self) -> None:
        while True:
            for session in await self.sessions.wait_expired():
                self._start(self._sweep, session, anyio.Event())

    async def _sweep(self, session: Session, swept: anyio.Event) -> None:
        """End a session in the store, and then remove it everywhere: after a restart it is open and whole, or gone."""
        while True:
            began = self._clock.now()
            try:
                await self._store.end_session(session.id)
                self.report.observer.committed("session", self._clock.now() - began)
                break
            except (StoreError, OutcomeUnknown):
                await self._pause()
        async with anyio.create_task_group() as elections:
            for election_id in session.elections:
                elections.start_soon(self._expire, election_id, session.id)
        self.report.session_swept(session.id)
        swept.set()

    async def _expire(self, election_id: ElectionId, session: SessionId) -> None:
        await self._insist(election_id, ExpireSession(session))

    async def _insist(self, election_id: ElectionId, command: Command) -> None:
        """Submit a command that must not be lost, until the store takes it."""
        while True:
            try:
                await self.submit(election_id, command)
                return
            except (StoreError, OutcomeUnknown, LimitExceeded):
                await self._pause()
            except Unavailable:  # the last user has left; the store has what the next engine needs to go on
                await anyio.sleep_forever()

    async def _pause(self) -> None:
        await self._clock.sleep_until(self._clock.now() + EXPIRY_RETRY_S)


def _closed() -> Unavailable:
    return Unavailable("the election engine is closed")
