"""When sessions end: a table of deadlines. Whoever holds it says what time it is."""

import heapq
from collections import Counter
from dataclasses import dataclass

from atomix_election.model import SessionId

SPARE_ENTRIES = 64
"""How many entries of ended leases are kept in any case, so that few leases are not put in order again and again."""


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    deadline: float
    holds: int = 0
    queued: bool = False


class LeaseTable:
    """The open sessions of a server, and when each ends unless something keeps it.

    A session is kept by renewals, each good for one time-to-live from ``now``, or by holds (open connections), as
    long as there is one. ``renew`` costs the same however many sessions there are: deadlines only move back, so each
    lease has one entry in the order, no later than its deadline, which is put right when it comes up. Entries of leases
    that were ended before go when they are most of the order, also if ``expire`` is never called.
    """

    def __init__(self) -> None:
        self._leases: dict[SessionId, _Lease] = {}
        self._order: list[tuple[float, SessionId]] = []
        self._ttls_s: Counter[float] = Counter()
        self.longest_ttl_s: float = 0.0
        """The longest time-to-live of an open session: for so long anybody may have to wait for another's end."""

    def __contains__(self, session: SessionId) -> bool:
        return session in self._leases

    def __len__(self) -> int:
        return len(self._leases)

    def grant(self, session: SessionId, ttl_s: float, now: float) -> None:
        """Open a session until ``now + ttl_s`` at the earliest."""
        self.end(session)
        self._leases[session] = lease = _Lease(ttl_s, now + ttl_s)
        self._ttls_s[ttl_s] += 1
        self.longest_ttl_s = max(self.longest_ttl_s, ttl_s)
        self._queue(session, lease)

    def renew(self, session: SessionId, now: float) -> None:
        """Keep an open session for one more time-to-live."""
        lease = self._leases[session]
        lease.deadline = max(lease.deadline, now + lease.ttl_s)

    def hold(self, session: SessionId) -> None:
        """Keep an open session until ``release`` is called as often."""
        self._leases[session].holds += 1

    def release(self, session: SessionId, now: float) -> None:
        """Give up one hold; with the last one the session has one time-to-live left."""
        lease = self._leases.get(session)
        if lease is None or not lease.holds:
            return
        lease.holds -= 1
        if lease.holds == 0:
            self.renew(session, now)
            self._queue(session, lease)

    def end(self, session: SessionId) -> None:
        """Close a session now; one that is not open stays so."""
        lease = self._leases.pop(session, None)
        if lease is None:
            return
        self._ttls_s[lease.ttl_s] -= 1
        if not self._ttls_s[lease.ttl_s]:
            del self._ttls_s[lease.ttl_s]
            if lease.ttl_s == self.longest_ttl_s:
                self.longest_ttl_s = max(self._ttls_s, default=0.0)
        if len(self._order) > 2 * len(self._leases) + SPARE_ENTRIES:
            self._order = [each for each in self._order if each[1] in self._leases]
            heapq.heapify(self._order)

    def left_s(self, session: SessionId, now: float) -> float | None:
        """Return how long an open session lasts unless something keeps it; None as long as something holds it."""
        lease = self._leases[session]
        return None if lease.holds else max(lease.deadline - now, 0.0)

    def expire(self, now: float) -> list[SessionId]:
        """Close the sessions whose deadline has passed, and return them."""
        ended: list[SessionId] = []
        while self._order and self._order[0][0] <= now:
            _, session = heapq.heappop(self._order)
            lease = self._leases.get(session)
            if lease is None:
                continue
            lease.queued = False
            if lease.holds:
                continue
            if lease.deadline > now:
                self._queue(session, lease)
            else:
                self.end(session)
                ended.append(session)
        return ended

    def next_deadline(self) -> float | None:
        """When ``expire`` has to look again, or None as long as nothing can end."""
        return self._order[0][0] if self._order else None

    def _queue(self, session: SessionId, lease: _Lease) -> None:
        if not lease.queued:
            lease.queued = True
            heapq.heappush(self._order, (lease.deadline, session))
