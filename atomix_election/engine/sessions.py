"""The open sessions of an engine: who has one, what keeps it, and where it left traces."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from atomix_election.clock import Clock
from atomix_election.core.campaign import Granted, Revoked
from atomix_election.core.election import Election
from atomix_election.core.granting import leadership_of, revoked_from
from atomix_election.core.leases import LeaseTable
from atomix_election.engine.limits import check_room
from atomix_election.engine.report import EXPIRED, Report
from atomix_election.errors import NotSessionOwner, SessionEnded
from atomix_election.model import ElectionId, SessionId, session_digest
from atomix_election.stores.base import Store
from atomix_election.tasks import shielded

OVERSLEPT_S = 0.05
"""When the timer comes later than this, the process was stopped: what clients have sent meanwhile is read first."""


@dataclass(slots=True, eq=False)
class Session:
    """An open session.

    Args:
        id: its identity.
        ttl_s: its time-to-live in seconds.
        kept_alive: whether renewals keep it open; else the connections that it was used on do.
        owner: name of the principal that opened it.
        elections: where it may have left anything, so that its end need not look anywhere else.
        registered: the elections that it created and has not closed.
        creating: how many more it is about to create.
        holders: the connections that it was used on.
        leads: the elections that it leads and may act in.
        revoked: the leaderships that were taken from it and that somebody waits for.
        stream: the keep-alive stream that took it up last.
        peer: address that its client was last seen at; "" when that is not known.
        watchers: told whenever one of the last two changes, and when the session has ended.
        ended: whether it has.
    """

    id: SessionId
    ttl_s: float
    kept_alive: bool
    owner: str = ""
    elections: dict[ElectionId, None] = field(default_factory=dict[ElectionId, None])
    registered: set[ElectionId] = field(default_factory=set[ElectionId])
    creating: int = 0
    holders: set["Holder"] = field(default_factory=lambda: set[Holder]())  # noqa: PLW0108 - Holder comes later
    leads: dict[ElectionId, Granted] = field(default_factory=dict[ElectionId, Granted])
    revoked: dict[ElectionId, tuple[Revoked, ...]] = field(default_factory=dict[ElectionId, tuple[Revoked, ...]])
    watchers: dict["Watcher", None] = field(default_factory=lambda: dict[Watcher, None]())  # noqa: PLW0108 - see below
    stream: object = None
    peer: str = ""
    ended: bool = False

    def check_owner(self, owner: str) -> None:
        """Refuse everybody but the principal that opened it.

        Raises:
            NotSessionOwner: this is another one.
        """
        if self.owner != owner:
            raise NotSessionOwner(f"session {self.id.digest} belongs to another principal: open one of your own")

    def look(self, election_id: ElectionId, election: Election) -> None:
        """Take note of what an election means for this session, and tell who watches it."""
        if self.id in election.registered:
            self.registered.add(election_id)
        else:
            self.registered.discard(election_id)
        leads = leadership_of(self.id, election_id.name, election)
        revoked = revoked_from(self.id, election_id.name, election)
        if leads == self.leads.get(election_id) and revoked == self.revoked.get(election_id, ()):
            return
        self.leads.pop(election_id, None)
        self.revoked.pop(election_id, None)
        if leads:
            self.leads[election_id] = leads
        if revoked:
            self.revoked[election_id] = revoked
        self.notify()

    def notify(self) -> None:
        """Tell who watches it that something is new."""
        for watcher in self.watchers:
            watcher.wake()


class Watcher(Protocol):
    """Whoever wants to know what becomes of a session."""

    def wake(self) -> None:
        """Something is new."""
        ...


@dataclass(slots=True, eq=False)
class Holder:
    """What a connection has of sessions: those that it keeps open.

    Args:
        peer: the address at its other end; "" when that is not known.
    """

    peer: str = ""
    sessions: set[Session] = field(default_factory=set[Session])


class Sessions:
    """All open sessions. A session that is not here has ended, whatever the store still holds of it."""

    all_known = True
    """Whether ``find`` knows as much as ``look_up``."""

    def __init__(
        self, store: Store, clock: Clock, ttl_s: float, report: Report, *, max_sessions: int | None = None
    ) -> None:
        self._max_sessions = max_sessions
        self._store = store
        self._clock = clock
        self._ttl_s = ttl_s
        self._report = report
        self._kept_alive: set[SessionId] = set()
        self._leases = LeaseTable()
        self._open: dict[tuple[str, str], Session] = {}
        self._opening = anyio.Lock()
        self._nap = anyio.CancelScope()
        self._nap_until = -math.inf

    def __len__(self) -> int:
        return len(self._open)

    @property
    def longest_ttl_s(self) -> float:
        """The longest time-to-live of an open session."""
        return self._leases.longest_ttl_s

    def is_open(self, session: SessionId) -> bool:
        """Return whether a session has not ended."""
        return session in self._leases

    def is_kept_alive(self, session: SessionId) -> bool:
        """Return whether an open session's client keeps it alive, and so knows when it has to step down."""
        return session in self._kept_alive

    def find(self, namespace: str, session_id: str) -> Session | None:
        """Return the open session of that id, or None."""
        return self._open.get((namespace, session_id))

    async def look_up(self, namespace: str, session_id: str) -> Session | None:
        """Return the session of that id, if it was open when this was called, or None."""
        return self.find(namespace, session_id)

    def get(self, namespace: str, session_id: str) -> Session:
        """Return the open session of that id.

        Raises:
            SessionEnded: there is none.
        """
        session = self.find(namespace, session_id)
        if session is None:
            raise not_open(namespace, session_id)
        return session

    async def restore(self) -> list[Session]:
        """Give every stored session a full time-to-live from now.

        Returns:
            Those that had ended, as their ids came back, and were not swept yet.
        """
        ended: list[Session] = []
        for stored in sorted(await self._store.sessions(), key=lambda stored: stored.session.incarnation):
            former = self.find(stored.session.namespace, stored.session.id)
            if former is not None and self.end(former, EXPIRED):
                ended.append(former)
            self._add(stored.session, stored.ttl_s, stored.kept_alive, stored.owner)
        return ended

    async def open(
        self, namespace: str, session_id: str, *, owner: str = "", kept_alive_ttl_s: float | None = None
    ) -> Session:
        """Return the open session of that id, after opening it if need be.

        Args:
            namespace: where it lives.
            session_id: its id.
            owner: name of the principal that it is for.
            kept_alive_ttl_s: how long a renewal is good for, where renewals are to keep it open; None where
                connections are.

        Raises:
            NotSessionOwner: it is open, and another principal's.
            LimitExceeded: it would be one session too many.
        """
        async with self._opening:
            session = self.find(namespace, session_id)
            if session is None:
                return await self._add_new(namespace, session_id, kept_alive_ttl_s, owner)
        session.check_owner(owner)
        return session

    async def left_s(self, sessions: Iterable[Session]) -> dict[SessionId, float | None]:
        """Return how long open sessions last unless something keeps them; None as long as a connection does."""
        now = self._clock.now()
        return {each.id: self._leases.left_s(each.id, now) for each in sessions}

    async def keep(self, session: Session) -> bool:
        """Renew a session for a client that asks for it, and return whether it was still open.

        What is known here of its elections is then no older than this call.
        """
        self.renew(session)
        return True

    def renew(self, session: Session) -> None:
        """Keep an open session for one more time-to-live."""
        self._leases.renew(session.id, self._clock.now())

    def hold(self, session: Session, holder: Holder) -> None:
        """Keep a session open until its holder lets go, unless it is kept alive by renewals, and by them alone."""
        if session not in holder.sessions and not session.kept_alive:
            session.peer = holder.peer
            holder.sessions.add(session)
            session.holders.add(holder)
            self._leases.hold(session.id)

    def let_go(self, holder: Holder, unless: Callable[[str], bool] | None = None) -> None:
        """A connection holds sessions no longer: one that no other connection holds has one time-to-live left.

        Args:
            holder: what it had of them.
            unless: says in which namespaces it goes on; without it in none, as the connection is gone.
        """
        for session in [each for each in holder.sessions if unless is None or not unless(each.id.namespace)]:
            session.holders.discard(holder)
            holder.sessions.discard(session)
            self._leases.release(session.id, self._clock.now())
        self._wake_if_earlier()

    def left_nothing(self, session: SessionId, election_id: ElectionId) -> None:
        """An election has no trace of a session, so that its end need not look there."""
        found = self.find(session.namespace, session.id)
        if found is not None and found.id == session:
            found.elections.pop(election_id, None)

    def end(self, session: Session, cause: str) -> bool:
        """End a session here and now, and return whether it was still open. There is no way back."""
        self._leases.end(session.id)
        self._kept_alive.discard(session.id)
        session.ended = True
        session.notify()
        for holder in session.holders:
            holder.sessions.discard(session)
        session.holders.clear()
        was_open = self._open.pop((session.id.namespace, session.id.id), None) is not None
        if was_open:
            self._report.session_ended(session.id, cause)
            self._count()
        return was_open

    async def wait_expired(self) -> list[Session]:
        """Wait until sessions have expired, end them, and return them."""
        while True:
            expired = [self._open[each.namespace, each.id] for each in self._leases.expire(self._clock.now())]
            if expired:
                for session in expired:
                    self.end(session, EXPIRED)
                return expired
            deadline = self._leases.next_deadline()
            self._nap_until = math.inf if deadline is None else deadline
            with anyio.CancelScope() as self._nap:
                await self._clock.sleep_until(self._nap_until)
            if self._clock.now() > self._nap_until + OVERSLEPT_S:
                await self._clock.sleep_until(self._clock.now() + OVERSLEPT_S)

    async def _add_new(self, namespace: str, session_id: str, kept_alive_ttl_s: float | None, owner: str) -> Session:
        check_room("max_sessions", self._max_sessions, len(self._open), "open sessions")
        kept_alive = kept_alive_ttl_s is not None
        ttl_s = kept_alive_ttl_s if kept_alive_ttl_s is not None else self._ttl_s
        opening = self._store.open_session(namespace, session_id, ttl_s=ttl_s, kept_alive=kept_alive, owner=owner)
        began = self._clock.now()
        identity = await shielded(opening)  # one in the store that nobody here knows of would never end
        self._report.observer.committed("session", self._clock.now() - began)
        return self._add(identity, ttl_s, kept_alive, owner)

    def _add(self, identity: SessionId, ttl_s: float, kept_alive: bool, owner: str) -> Session:
        session = self._open[identity.namespace, identity.id] = Session(identity, ttl_s, kept_alive, owner)
        if kept_alive:
            self._kept_alive.add(identity)
        self._leases.grant(identity, ttl_s, self._clock.now())
        self._wake_if_earlier()
        self._report.session_opened(identity, ttl_s)
        self._count()
        return session

    def _count(self) -> None:
        renewals = len(self._kept_alive)
        self._report.observer.sessions(renewals, len(self._open) - renewals)

    def _wake_if_earlier(self) -> None:
        deadline = self._leases.next_deadline()
        if deadline is not None and deadline < self._nap_until:
            self._nap.cancel()


def not_open(namespace: str, session_id: str) -> SessionEnded:
    """Return what is said of a session that is not there."""
    digest = session_digest(namespace, session_id)
    return SessionEnded(f"session {digest} is not open: it was never opened, was closed, or expired")
