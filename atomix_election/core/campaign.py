"""A client's own state machine: when it must renew, where it leads, when it must step down.

It belongs to one session and covers all elections of its client. It is told what happened and what time it is, and
returns what is to be done. Its laws:

1. It leads only under a number that an answer to a renewal has granted, and only before the deadline that it counts
   from the *sending* of that renewal: ``sent + ttl - margin``.
2. It never leads again under a number that it gave up.
3. Another number, or none, in an answer ends a leadership at once; so does a term that shows another one.
4. It confirms that it stepped down from a leadership only when no work goes on under it.
5. A withdrawal that may still arrive counts as one that has: what is granted to that candidate before a later write of
   the session was accepted, after which it comes too late, is given up.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from atomix_election.errors import InvalidRequest, LossReason
from atomix_election.model import Term

LONGEST_CALL_S = 5.0
"""How long one call may take at most, with all its tries, however long the time-to-live."""
LONGEST_CONNECT_S = 2.0
"""How long one target may take at most to accept a connection before the next one is tried."""
MARGIN_PART = 0.025
"""Part of the time-to-live that covers clocks of different rates: 1 % on either side needs 1 - 0.99 / 1.01 = 0.0198."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What follows from a time-to-live, in seconds.

    Args:
        ttl_s: the time-to-live that the server granted.

    Raises:
        InvalidRequest: it is not positive.
    """

    ttl_s: float

    def __post_init__(self) -> None:
        if not self.ttl_s > 0:
            raise InvalidRequest(f"the time-to-live is {self.ttl_s} s: it must be more than 0")
        parts = {
            "renew interval": self.renew_interval_s,
            "call timeout": max(self.call_timeout_s, self.answer_timeout_s),
            "grace": self.grace_s,
            "margin": self.margin_s,
        }
        if sum(parts.values()) >= self.ttl_s:
            listed = " + ".join(f"{name} {value:g} s" for name, value in parts.items())
            raise InvalidRequest(f"{listed} must be less than the time-to-live of {self.ttl_s:g} s")

    @property
    def renew_interval_s(self) -> float:
        """How often a session is renewed."""
        return self.ttl_s / 3

    @property
    def answer_timeout_s(self) -> float:
        """How long an answer may take before the connection is given up, so that one that hangs costs no lease."""
        return self.ttl_s / 4

    @property
    def call_timeout_s(self) -> float:
        """How long a call may take with all its tries, so that one that hangs does not use up the lease."""
        return min(self.ttl_s / 2, LONGEST_CALL_S)

    @property
    def connect_timeout_s(self) -> float:
        """How long one of several targets may take to accept a connection."""
        return min(self.ttl_s / 4, LONGEST_CONNECT_S)

    @property
    def longest_pause_s(self) -> float:
        """How long is waited at most between two tries."""
        return self.ttl_s / 10

    @property
    def grace_s(self) -> float:
        """How long before its deadline a leadership begins to step down."""
        return min(self.ttl_s / 10, 1.0)

    @property
    def margin_s(self) -> float:
        """How much earlier than the server the client counts a lease as ended."""
        return self.ttl_s * MARGIN_PART

    @property
    def watchdog_interval_s(self) -> float:
        """How often at least the clock is looked at, as timers stop while a machine sleeps."""
        return self.ttl_s / 10


class Granted(NamedTuple):
    """A leadership as an answer names it."""

    election: str
    number: int
    candidate_id: str


class Revoked(NamedTuple):
    """A leadership that was taken from the session.

    Args:
        granted: which one.
        evicted: whether its candidate was removed, not only moved back.
    """

    granted: Granted
    evicted: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says to a renewal; times in seconds.

    Args:
        renewal: which one it answers.
        store_id: identity of the store.
        ttl_s: the granted time-to-live.
        longest_failover_s: how long a takeover takes at most.
        leaderships: where the session leads and may act.
        revoked: leaderships that were taken from it and that it has to confirm.
        ended: the session is not open; nothing else but the identity of the store is said.
    """

    renewal: int
    store_id: str
    ttl_s: float = 0.0
    longest_failover_s: float = 0.0
    leaderships: tuple[Granted, ...] = ()
    revoked: tuple[Revoked, ...] = ()
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Renew:
    """Send a renewal, with these confirmations."""

    renewal: int
    stepped_down: tuple[Granted, ...] = ()


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Give the connection up: a renewal was not answered in time."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection when all work has ended: that ends the session at the server, and lets the next one lead."""


@dataclass(frozen=True, slots=True)
class StartLeading:
    """Lead: work may begin under this number."""

    granted: Granted


@dataclass(frozen=True, slots=True)
class StepDown:
    """Lead no longer: cancel the work under this number, wait for it, and say that it ended."""

    granted: Granted
    reason: LossReason


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Withdraw the candidate: the session still leads under a number that it gave up, so that nobody leads."""

    granted: Granted


@dataclass(frozen=True, slots=True)
class Abandon:
    """Let the session end: this work did not stop by its deadline, so that nothing may be withdrawn or renewed."""

    granted: Granted


Action = Renew | Reconnect | HangUp | StartLeading | StepDown | GiveBack | Abandon


class _Seen(NamedTuple):
    """The newest term that was seen of an election, and the last renewal that had been sent by then."""

    term: Term
    renewal: int


class Campaign:
    """The state. Each method is told what happened, and when, and returns what to do, in order.

    Args:
        jitter: a number from 0 to 1 that shifts this client's renewals against those of others.
        releases: whether the session ends as soon as its connection closes, so that it leads no more from then on.
    """

    def __init__(self, jitter: float = 0.0, *, releases: bool = False) -> None:
        self.over: LossReason | None = None
        """Why the session has ended, once it has; a new one then needs a new Campaign."""
        self.timing: Timing | None = None
        self.longest_failover_s: float | None = None
        self.store_id: str | None = None
        self._jitter = jitter
        self._releases = releases
        self._held: dict[str, Granted] = {}
        self._deadlines: dict[Granted, float] = {}
        self._working: set[Granted] = set()
        self._overdue: set[Granted] = set()
        self._given_up: dict[str, int] = {}
        self._seen: dict[str, _Seen] = {}
        self._leaving: Counter[tuple[str, str]] = Counter()
        self._may_still_leave: set[tuple[str, str]] = set()
        self._revoked: set[Granted] = set()
        self._confirmed: set[Granted] = set()
        self._sent: dict[int, float] = {}
        self._connected = False
        self._renewal = 0
        self._answered = 0
        self._renew_at = math.inf
        self._refused_since = math.inf

    @property
    def working(self) -> bool:
        """Whether work goes on under any leadership, held or lost."""
        return bool(self._working)

    @property
    def deadlines(self) -> Mapping[Granted, float]:
        """Until when something may still be done under a leadership: those held, and those whose work goes on."""
        return self._deadlines

    def leads(self, election: str, candidate_id: str, now: float) -> Granted | None:
        """Return the leadership under which a candidate may act at this moment, or None."""
        granted = self._held.get(election)
        # Another thread may ask while this one is giving it up.
        if granted is None or granted.candidate_id != candidate_id or now >= self._deadlines.get(granted, -math.inf):
            return None
        return granted

    def remaining_s(self, granted: Granted, now: float) -> float:
        """Return for how long a leadership lasts if no renewal is answered any more; 0 when it is over."""
        if self._held.get(granted.election) != granted:
            return 0.0
        return max(self._deadlines.get(granted, -math.inf) - now, 0.0)

    def connected(self, now: float) -> list[Action]:
        """A stream is open. What was sent on former ones is not answered any more."""
        self._connected = True
        self._sent.clear()
        self._confirmed.clear()
        return [] if self.over else [self._renew(now)]

    def disconnected(self) -> list[Action]:
        """The stream is gone. Nothing is lost by that, unless the session ends with it, and the deadlines go on."""
        self._connected = False
        self._sent.clear()
        self._renew_at = math.inf
        return self.ended(LossReason.SESSION_ENDED) if self._releases and self.timing is not None else []

    def renewed(self, answer: Answer, now: float) -> list[Action]:
        """An answer came. One to a renewal of a former stream says nothing."""
        sent = self._sent.get(answer.renewal)
        if sent is None or self.over:
            return []
        if self.store_id not in (None, answer.store_id):
            return self.ended(LossReason.STORE_CHANGED)
        if answer.ended:
            return self.ended(LossReason.SESSION_ENDED)
        actions = self._expire(now)
        if self.over:
            return actions
        self.store_id = answer.store_id
        self.longest_failover_s = answer.longest_failover_s
        if self.timing is None:
            self.timing = Timing(answer.ttl_s)
            self._renew_at = self._next_renewal(sent)
        self._answered = answer.renewal
        self._refused_since = math.inf
        self._sent = {renewal: when for renewal, when in self._sent.items() if renewal >= answer.renewal}
        actions += self._take_back(answer)
        for granted in answer.leaderships:
            if not self._is_outdated(granted, answer.renewal):
                actions += self._grant(granted, sent + self.timing.ttl_s - self.timing.margin_s, now)
        return actions + self._confirm(now)

    def refused(self, now: float) -> list[Action]:
        """The server did not accept the credentials. Who hears that for a time-to-live has no session any more."""
        if self.timing is None or self.over:
            return []
        self._refused_since = min(self._refused_since, now)
        return self.ended(LossReason.SESSION_ENDED) if now >= self._refused_since + self.timing.ttl_s else []

    def disowned(self) -> list[Action]:
        """The server takes this client for another principal than the one that opened the session.

        So it can neither renew the session nor end it: for this client it is over, and what is left of it at the server
        keeps everybody else from leading until its time-to-live has passed. One that was never open is tried again.
        """
        return [] if self.timing is None else self.ended(LossReason.SESSION_ENDED)

    def term_seen(self, election: str, term: Term) -> list[Action]:
        """A term was seen, in a reply or an event. One that is not that of the held leadership ends it."""
        seen = self._seen.get(election)
        if seen is None or (term.number, term.revision) > (seen.term.number, seen.term.revision):
            self._seen[election] = _Seen(term, self._renewal)
        granted = self._held.get(election)
        if granted is None or term.number < granted.number:
            return []
        if term.number == granted.number and term.leader == granted.candidate_id:
            return []
        gone = granted.candidate_id not in term.candidates
        return self._lose(granted, LossReason.EVICTED if gone else LossReason.SUPERSEDED)

    def leaving(self, election: str, candidate_id: str) -> list[Action]:
        """The candidate is about to be withdrawn: it leads no more, whatever is granted until ``left``."""
        self._leaving[election, candidate_id] += 1
        granted = self._held.get(election)
        if granted is None or granted.candidate_id != candidate_id:
            return []
        return self._lose(granted, LossReason.WITHDRAWN)

    def left(self, election: str, candidate_id: str) -> None:
        """The withdrawal was answered, or is not waited for any more."""
        self._leaving[election, candidate_id] -= 1

    def may_still_leave(self, election: str, candidate_id: str) -> None:
        """The withdrawal was sent, and nobody knows whether it has arrived (law 5)."""
        self._may_still_leave.add((election, candidate_id))

    def written(self, election: str) -> None:
        """A write of the session was accepted: none that was sent before it takes place any more (law 5)."""
        self._may_still_leave = {each for each in self._may_still_leave if each[0] != election}

    def ended(self, reason: LossReason) -> list[Action]:
        """The session has ended: it leads nowhere any more."""
        self.over = self.over or reason
        self._renew_at = math.inf
        self._sent.clear()
        return [action for granted in list(self._held.values()) for action in self._lose(granted, reason)]

    def work_began(self, granted: Granted) -> None:
        """Work goes on under a leadership, until ``work_ended``."""
        self._working.add(granted)

    def work_ended(self, granted: Granted, now: float) -> list[Action]:
        """The work has ended, and the leadership with it. What was taken away is confirmed."""
        self._working.discard(granted)
        self._overdue.discard(granted)
        if self._held.get(granted.election) == granted:
            self._lose(granted, LossReason.EXPIRED)
        else:
            self._deadlines.pop(granted, None)
        return self._confirm(now)

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        actions = self._expire(now)
        if self.over or self.timing is None:
            return actions
        if any(now >= sent + self.timing.answer_timeout_s for sent in self._unanswered()):
            return [*actions, *self.disconnected(), HangUp() if self._releases else Reconnect()]
        if now >= self._renew_at:
            actions.append(self._renew(now))
        return actions

    def wake_at(self, now: float) -> float:
        """Return when to call ``tick`` at the latest; soon enough to notice that the machine slept."""
        if self.timing is None:
            return math.inf
        times = [now + self.timing.watchdog_interval_s, self._renew_at]
        times += [self._deadlines[granted] - self.timing.grace_s for granted in self._held.values()]
        times += [self._deadlines[granted] for granted in self._working - self._overdue]
        times += [sent + self.timing.answer_timeout_s for sent in self._unanswered()]
        return min(times)

    def _unanswered(self) -> list[float]:
        """Return when the renewals were sent that still wait; an answered one stays, as further answers may name it."""
        return [sent for renewal, sent in self._sent.items() if renewal > self._answered]

    def _expire(self, now: float) -> list[Action]:
        """Law 1: by its own clock, a leadership steps down before its deadline, and work has ended by it."""
        if self.timing is None:
            return []
        actions: list[Action] = []
        for granted in list(self._held.values()):
            if now >= self._deadlines[granted] - self.timing.grace_s:
                actions += self._lose(granted, LossReason.EXPIRED)
        for granted in sorted(self._working - self._overdue):
            if now >= self._deadlines[granted]:
                self._overdue.add(granted)
                actions += [Abandon(granted), *self.ended(LossReason.EXPIRED)]
        return actions

    def _take_back(self, answer: Answer) -> list[Action]:
        """Law 3: what the answer does not name is lost."""
        named = {granted.election: granted for granted in answer.leaderships}
        evicted = {revoked.granted for revoked in answer.revoked if revoked.evicted}
        actions: list[Action] = []
        for granted in list(self._held.values()):
            if named.get(granted.election) != granted:
                actions += self._lose(granted, LossReason.EVICTED if granted in evicted else LossReason.SUPERSEDED)
        self._revoked = {revoked.granted for revoked in answer.revoked}
        for granted in self._revoked:
            self._give_up(granted)
        return actions

    def _grant(self, granted: Granted, deadline: float, now: float) -> list[Action]:
        if self._held.get(granted.election) == granted:
            self._deadlines[granted] = max(self._deadlines[granted], deadline)
            return []
        if self._leaving[granted.election, granted.candidate_id] > 0:
            self._give_up(granted)
            return []
        if (granted.election, granted.candidate_id) in self._may_still_leave:
            self._give_up(granted)
        if granted.number <= self._given_up.get(granted.election, 0):
            return [] if granted in self._working else [GiveBack(granted)]
        if self.timing is None or now >= deadline - self.timing.grace_s:
            return []
        self._held[granted.election] = granted
        self._deadlines[granted] = deadline
        return [StartLeading(granted)]

    def _is_outdated(self, granted: Granted, renewal: int) -> bool:
        """Whether an answer may be older than a term that was seen since its renewal was sent, and contradicts it."""
        seen = self._seen.get(granted.election)
        if seen is None or renewal > seen.renewal or granted.number > seen.term.number:
            return False
        return granted.number < seen.term.number or granted.candidate_id != seen.term.leader

    def _lose(self, granted: Granted, reason: LossReason) -> list[Action]:
        del self._held[granted.election]
        self._give_up(granted)
        if granted in self._working:
            return [StepDown(granted, reason)]
        del self._deadlines[granted]
        return []

    def _give_up(self, granted: Granted) -> None:
        """Law 2: this number, and any lower one, is over for good."""
        self._given_up[granted.election] = max(self._given_up.get(granted.election, 0), granted.number)

    def _confirm(self, now: float) -> list[Action]:
        """Law 4: renew at once when there is something new to confirm."""
        if self.over or not self._connected or not self._confirmable() - self._confirmed:
            return []
        return [self._renew(now)]

    def _confirmable(self) -> set[Granted]:
        busy = {granted.election: granted.number for granted in sorted(self._working, reverse=True)}
        return {each for each in self._revoked if busy.get(each.election, each.number + 1) > each.number}

    def _renew(self, now: float) -> Renew:
        self._renewal += 1
        self._sent[self._renewal] = now
        self._renew_at = self._next_renewal(now)
        stepped_down = self._confirmable()
        self._confirmed |= stepped_down
        return Renew(self._renewal, tuple(sorted(stepped_down)))

    def _next_renewal(self, sent: float) -> float:
        """A little before the interval has passed, each client at a time of its own."""
        if self.timing is None:
            return math.inf
        return sent + self.timing.renew_interval_s * (1 - self._jitter / 4)
