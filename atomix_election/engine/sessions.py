"""The open sessions of an engine: who has one, what keeps it, and where it left traces."""

import math
from dataclasses import dataclass, field

import anyio

from atomix_election.clock import Clock
from atomix_election.core.leases import LeaseTable
from atomix_election.errors import SessionEnded
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Store


@dataclass(slots=True, eq=False)
class Session:
    """An open session.

    Args:
        id: its identity.
        elections: where it may have left anything, so that its end need not look anywhere else.
        registered: the elections that it created and has not closed.
        holders: the connections that it was used on.
    """

    id: SessionId
    elections: set[ElectionId] = field(default_factory=set[ElectionId])
    registered: set[ElectionId] = field(default_factory=set[ElectionId])
    holders: set["Holder"] = field(default_factory=lambda: set[Holder]())  # noqa: PLW0108 - Holder comes later


@dataclass(slots=True, eq=False)
class Holder:
    """What a connection has of sessions: those that it keeps open."""

    sessions: set[Session] = field(default_factory=set[Session])


class Sessions:
    """All open sessions. A session that is not here has ended, whatever the store still holds of it."""

    def __init__(self, store: Store, clock: Clock, ttl_s: float) -> None:
        self._store = store
        self._clock = clock
        self._ttl_s = ttl_s
        self._leases = LeaseTable()
        self._open: dict[tuple[str, str], Session] = {}
        self._opening = anyio.Lock()
        self._nap = anyio.CancelScope()
        self._nap_until = -math.inf

    def __len__(self) -> int:
        return len(self._open)

    def is_open(self, session: SessionId) -> bool:
        """Return whether a session has not ended."""
        return session in self._leases

    def find(self, namespace: str, session_id: str) -> Session | None:
        """Return the open session of that id, or None."""
        return self._open.get((namespace, session_id))

    def get(self, namespace: str, session_id: str) -> Session:
        """Return the open session of that id.

        Raises:
            SessionEnded: there is none.
        """
        session = self.find(namespace, session_id)
        if session is None:
            raise SessionEnded(f"session {session_id!r} is not open: it was never opened, was closed, or expired")
        return session

    async def restore(self) -> None:
        """Give every stored session a full time-to-live from now."""
        for stored in await self._store.sessions():
            self._add(stored.session, stored.ttl_s)

    async def open(self, namespace: str, session_id: str) -> Session:
        """Return the open session of that id, after opening it if need be."""
        async with self._opening:
            return self.find(namespace, session_id) or await self._add_new(namespace, session_id)

    def hold(self, session: Session, holder: Holder) -> None:
        """Keep a session open until its holder lets go."""
        if session not in holder.sessions:
            holder.sessions.add(session)
            session.holders.add(holder)
            self._leases.hold(session.id)

    def let_go(self, holder: Holder) -> None:
        """A connection is gone: a session that no other one holds has one time-to-live left."""
        for session in holder.sessions:
            session.holders.discard(holder)
            self._leases.release(session.id, self._clock.now())
        holder.sessions.clear()
        self._wake_if_earlier()

    def end(self, session: Session) -> bool:
        """End a session here and now, and return whether it was still open. There is no way back."""
        self._leases.end(session.id)
        for holder in session.holders:
            holder.sessions.discard(session)
        session.holders.clear()
        return self._open.pop((session.id.namespace, session.id.id), None) is not None

    async def wait_expired(self) -> list[Session]:
        """Wait until sessions have expired, end them, and return them."""
        while True:
            expired = [self._open[each.namespace, each.id] for each in self._leases.expire(self._clock.now())]
            if expired:
                for session in expired:
                    self.end(session)
                return expired
            deadline = self._leases.next_deadline()
            self._nap_until = math.inf if deadline is None else deadline
            with anyio.CancelScope() as self._nap:
                await self._clock.sleep_until(self._nap_until)

    async def _add_new(self, namespace: str, session_id: str) -> Session:
        with anyio.CancelScope(shield=True):  # one in the store that nobody here knows of would never end
            identity = await self._store.open_session(namespace, session_id, self._ttl_s)
            return self._add(identity, self._ttl_s)
        raise AssertionError("nobody cancels this scope")

    def _add(self, identity: SessionId, ttl_s: float) -> Session:
        session = self._open[identity.namespace, identity.id] = Session(identity)
        self._leases.grant(identity, ttl_s, self._clock.now())
        self._wake_if_earlier()
        return session

    def _wake_if_earlier(self) -> None:
        deadline = self._leases.next_deadline()
        if deadline is not None and deadline < self._nap_until:
            self._nap.cancel()
