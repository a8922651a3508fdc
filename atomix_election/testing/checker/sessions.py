"""What is known of sessions: until when each has certainly lasted, and since when it has certainly ended.

The end of a session removes its candidates, which nobody has to ask for. It comes no sooner than one time-to-live after
the server received the last renewal, and so not before one time-to-live after it was sent.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.history import DONE, Answered, Called, Entry, Renewed

CLOCK_RATE = 0.01
"""How much faster than the recorder's the clock of a server may run."""


@dataclass(slots=True)
class _Known:
    """What is known of a session."""

    who: str = ""
    lasts_until: float = -inf
    renewed: Renewed | None = None
    first: Renewed | None = None
    last_sent: float = -inf
    ttl_s: float = 0.0
    superseded: Renewed | None = None
    """The first sign of life of the next session of its client."""
    releases: bool = False
    asked_to_end: float = inf
    over_since: float = inf
    over: Entry | None = None
    opened: float = -inf
    opened_anew: bool = False
    overs: list[Renewed | Answered] = field(default_factory=list[Renewed | Answered])
    """What says that it has ended."""
    acts: list[Renewed | Answered] = field(default_factory=list[Renewed | Answered])
    """What only an open session can do."""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """What says that a session has ended, or will within one time-to-live, as nobody renews it any more.

    Args:
        at: since when.
        ttl_s: its time-to-live.
        entry: the record that says so.
    """

    at: float
    ttl_s: float
    entry: Entry


class Sessions:
    """All sessions of a history.

    Args:
        history: the records.
        early_ends: see ``Promises``.
    """

    def __init__(self, history: Iterable[Entry], *, early_ends: bool = False) -> None:
        self._early_ends = early_ends
        self._known: defaultdict[str, _Known] = defaultdict(_Known)
        for each in history:
            if isinstance(each, Renewed):
                self._renewed(each)
            elif isinstance(each, Called | Answered) and each.session:
                self._called(each)
        for known in self._known.values():
            self._find_over(known)
        self._find_superseded()

    def _renewed(self, entry: Renewed) -> None:
        known = self._known[entry.session]
        known.who = entry.who
        known.releases |= entry.releases
        if not entry.open:
            known.overs.append(entry)
            return
        if entry.opens:
            known.opened = max(known.opened, entry.ended)
        known.acts.append(entry)
        known.ttl_s = max(known.ttl_s, entry.ttl_s)
        known.last_sent = max(known.last_sent, entry.begun)
        if known.first is None or entry.begun < known.first.begun:
            known.first = entry
        lasts_until = entry.begun + entry.ttl_s * (1 - CLOCK_RATE)
        if lasts_until > known.lasts_until:
            known.lasts_until, known.renewed = lasts_until, entry

    def _called(self, entry: Called | Answered) -> None:
        known = self._known[entry.session]
        known.who = known.who or entry.who
        if entry.what == "end_session":
            known.asked_to_end = min(known.asked_to_end, entry.begun)
        elif entry.what == "create":
            known.opened_anew = True
        if not isinstance(entry, Answered):
            return
        if entry.outcome == "SessionEnded" or (entry.what, entry.outcome) == ("end_session", DONE):
            known.overs.append(entry)
        elif entry.what == "enter" and entry.outcome == DONE:
            known.acts.append(entry)

    def _find_over(self, known: _Known) -> None:
        """Find out since when it is over for good: one that its client had not been told of may be opened again."""
        for entry in known.overs:
            if known.opened <= entry.ended < known.over_since:
                known.over_since, known.over = entry.ended, entry

    def _find_superseded(self) -> None:
        """Find out which sessions were given up for another one: a client keeps one at a time."""
        by_client: defaultdict[str, list[tuple[_Known, Renewed]]] = defaultdict(list)
        for known in self._known.values():
            if known.first is not None:
                by_client[known.who].append((known, known.first))
        for sessions in by_client.values():
            sessions.sort(key=lambda each: each[1].begun)
            for (known, _), (_, first) in pairwise(sessions):
                if first.begun > known.last_sent:
                    known.superseded = first

    def end_of(self, session: str) -> SessionEnd | None:
        """Return what says that a session has ended or does so soon, the earlier if there are two; None if nothing.

        Of one that was given up, a renewal may still be on its way, and arrive as late as the session lasts without it.
        """
        known = self._known.get(session)
        if known is None or known.renewed is None or known.opened_anew:
            return None
        ends: list[SessionEnd] = []
        if known.over is not None:
            ends.append(SessionEnd(known.over_since, known.ttl_s, known.over))
        if known.superseded is not None:
            ends.append(SessionEnd(known.superseded.begun + known.ttl_s, known.ttl_s, known.superseded))
        return min(ends, key=lambda each: each.at, default=None)

    def client_of(self, session: str) -> str:
        """Return whose session it is; "" if that is not known."""
        return self._known[session].who if session in self._known else ""

    def may_end(self, session: str, by: float) -> bool:
        """Return whether a session can have ended by a time."""
        known = self._known.get(session)
        if self._early_ends or known is None or known.renewed is None or known.releases:
            return True
        return by >= min(known.lasts_until, known.asked_to_end)

    def is_over(self, session: str, at: float) -> bool:
        """Return whether a session had certainly ended at a time."""
        known = self._known.get(session)
        return known is not None and not known.opened_anew and known.over_since < at

    def proof(self, session: str) -> list[Entry]:
        """Return the renewal that a session lasts the longest by, and what says that it has ended."""
        known = self._known.get(session, _Known())
        return [each for each in (known.renewed, known.over) if each is not None]

    def check(self) -> Iterator[Finding]:
        """A session that has ended is not renewed any more, and nobody enters with it."""
        for known in self._known.values():
            if known.over is None or known.renewed is None or known.opened_anew:
                continue  # who kept no session by renewals may open one of the same id again
            for act in known.acts:
                if act.begun > known.over_since:
                    election = act.election if isinstance(act, Answered) else ""
                    what = "something was done with a session that had ended"
                    yield found(Rule.SESSIONS_END, election, what, [known.renewed, known.over, act])
