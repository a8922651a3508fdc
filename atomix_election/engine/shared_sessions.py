"""The open sessions of a shared store: the store says when one ends, and any engine may renew it."""

import logging
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

import anyio

from atomix_election.clock import Clock
from atomix_election.engine.limits import check_room
from atomix_election.engine.report import EXPIRED, Report
from atomix_election.engine.sessions import Holder, Session, Sessions
from atomix_election.errors import SessionEnded, StoreError
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import SharedStore, StoredSession

RENEWALS_IN_A_TIME_TO_LIVE = 3
"""How often a session is renewed that connections keep open."""
MAX_CALLS_AT_A_TIME = 64
"""Renewals and questions about leases that are under way together."""

log: logging.Logger = logging.getLogger(__name__)


class SharedSessions(Sessions):
    """The sessions that are known to be open. They come and go as the changes of the store are taken."""

    all_known = False

    def __init__(
        self, store: SharedStore, clock: Clock, ttl_s: float, report: Report, *, max_sessions: int | None = None
    ) -> None:
        super().__init__(store, clock, store.ttl_s(ttl_s), report, max_sessions=max_sessions)
        self._shared = store
        self._ending: dict[SessionId, Session] = {}
        self._opening_ids: defaultdict[tuple[str, str], anyio.Lock] = defaultdict(anyio.Lock)
        self._due: set[Session] = set()
        self._pause = anyio.CancelScope()

    def opened(self, stored: StoredSession) -> Session | None:
        """A session is in the store. Of two with one id the newer one counts; return the other, whose end that is."""
        former = self.find(stored.session.namespace, stored.session.id)
        if stored.session in self._ending or (former is not None and former.id == stored.session):
            return None
        if former is not None and former.id.incarnation > stored.session.incarnation:
            older = Session(stored.session, stored.ttl_s, stored.kept_alive, stored.owner)
            self._ending[older.id] = older
            return older
        if former is not None:
            self.end(former, EXPIRED)
        self._add(stored.session, stored.ttl_s, stored.kept_alive, stored.owner)
        return former

    def gone(self, identity: SessionId) -> Session | None:
        """A session is in the store no longer; return it if its end was not known here."""
        session = self.find(identity.namespace, identity.id)
        return session if session is not None and session.id == identity and super().end(session, EXPIRED) else None

    def leaves_traces(self, identity: SessionId, election_id: ElectionId) -> None:
        """An election has something of a session, whether it is open or is just being ended here."""
        session = self._ending.get(identity) or self.find(identity.namespace, identity.id)
        if session is not None and session.id == identity:
            session.elections[election_id] = None

    def is_ending(self, identity: SessionId) -> bool:
        """Return whether the end of a session was decided here, and is not yet complete."""
        return identity in self._ending

    def end(self, session: Session, cause: str) -> bool:
        """See ``Sessions.end``. Decided here: until ``swept`` it is ending, whatever the store says."""
        self._ending[session.id] = session
        return super().end(session, cause)

    def swept(self, identity: SessionId) -> None:
        """Nothing of a session that was ended here is left."""
        self._ending.pop(identity, None)

    async def look_up(self, namespace: str, session_id: str) -> Session | None:
        """See ``Sessions.look_up``. One that is not known here may have been opened elsewhere a moment ago."""
        session = self.find(namespace, session_id)
        if session is None:
            await self._shared.catch_up()
            session = self.find(namespace, session_id)
        return session

    async def open(
        self, namespace: str, session_id: str, *, owner: str = "", kept_alive_ttl_s: float | None = None
    ) -> Session:
        """See ``Sessions.open``.

        Raises:
            SessionEnded: it was opened, and has ended since.
        """
        key = (namespace, session_id)
        lock = self._opening_ids[key]
        try:
            async with lock:
                session = await self.look_up(namespace, session_id)
                if session is None or not (session.kept_alive or await self._shared.renew(session.id)):
                    session = await self._open_new(namespace, session_id, kept_alive_ttl_s, owner)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._opening_ids.pop(key, None)
        session.check_owner(owner)
        return session

    async def _open_new(self, namespace: str, session_id: str, kept_alive_ttl_s: float | None, owner: str) -> Session:
        check_room("max_sessions", self._max_sessions, len(self), "open sessions")
        kept_alive = kept_alive_ttl_s is not None
        ttl_s = kept_alive_ttl_s if kept_alive_ttl_s is not None else self._ttl_s
        began = self._clock.now()
        identity = await self._shared.open_session(
            namespace, session_id, ttl_s=ttl_s, kept_alive=kept_alive, owner=owner, alone=True
        )
        self._report.observer.committed("session", self._clock.now() - began)
        await self._shared.catch_up()
        session = self.find(namespace, session_id)
        if session is None or session.id.incarnation < identity.incarnation:
            raise SessionEnded(f"session {identity.digest} ended while it was being opened: open another one")
        return session

    async def keep(self, session: Session) -> bool:
        """See ``Sessions.keep``."""
        return await self._shared.renew(session.id)

    async def left_s(self, sessions: Iterable[Session]) -> dict[SessionId, float | None]:
        """See ``Sessions.left_s``. Only connections to this engine are known here."""
        left_s: dict[SessionId, float | None] = {}
        failures: list[StoreError] = []

        async def ask(session: Session) -> None:
            try:
                left_s[session.id] = None if session.holders else await self._shared.lease_left_s(session.id)
            except StoreError as error:
                failures.append(error)

        await _for_each(sessions, ask)
        if failures:
            raise StoreError(str(failures[0]))
        return left_s

    def left_nothing(self, session: SessionId, election_id: ElectionId) -> None:
        """See ``Sessions.left_nothing``. It may have entered again elsewhere before this was known here."""
        if session not in self._shared.latest(election_id).election.sessions():
            super().left_nothing(session, election_id)

    def hold(self, session: Session, holder: Holder) -> None:
        """See ``Sessions.hold``. It may be about to end, as whoever kept it has died."""
        if not session.kept_alive and not session.holders:
            self._renew_now([session])
        super().hold(session, holder)

    def let_go(self, holder: Holder, unless: Callable[[str], bool] | None = None) -> None:
        """See ``Sessions.let_go``."""
        held = list(holder.sessions)
        super().let_go(holder, unless)
        self._renew_now(session for session in held if not session.holders)

    async def keep_held(self) -> None:
        """Renew for ever what open connections keep, and give what they have let go of its last time-to-live."""
        next_round = -math.inf
        while True:
            now = self._clock.now()
            due, self._due = self._due, set()
            if now >= next_round:
                due.update(session for session in self._open.values() if session.holders)
                next_round = math.inf
            intervals_s = (each.ttl_s / RENEWALS_IN_A_TIME_TO_LIVE for each in due if each.holders)
            next_round = min(next_round, now + min(intervals_s, default=math.inf))
            await _for_each([each for each in due if not each.ended], self._renew_held)
            with anyio.CancelScope() as self._pause:
                if not self._due:
                    await self._clock.sleep_until(next_round)

    def _renew_now(self, sessions: Iterable[Session]) -> None:
        self._due.update(sessions)
        if self._due:
            self._pause.cancel()

    async def _renew_held(self, session: Session) -> None:
        try:
            await self._shared.renew(session.id)
        except StoreError:
            log.warning("session %s could not be renewed for its connection; tried again", session.id.digest)


async def _for_each(sessions: Iterable[Session], job: Callable[[Session], Awaitable[None]]) -> None:
    """Do something for each session, for several at a time."""
    limiter = anyio.CapacityLimiter(MAX_CALLS_AT_A_TIME)

    async def limited(session: Session) -> None:
        async with limiter:
            await job(session)

    async with anyio.create_task_group() as tasks:
        for session in sessions:
            tasks.start_soon(limited, session)
