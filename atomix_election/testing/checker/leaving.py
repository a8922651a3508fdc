"""Whether the candidates of sessions that have ended, and of clients that have gone, leave in time."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from atomix_election.testing.checker.asked import UNKNOWN_SESSION
from atomix_election.testing.checker.ends import Ends
from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.owners import Owners, Ownership
from atomix_election.testing.checker.promises import Promises
from atomix_election.testing.checker.sessions import Sessions
from atomix_election.testing.checker.timeline import Timeline, told_in
from atomix_election.testing.history import Entry, Fault, Gone, Restored, Up


@dataclass(frozen=True, slots=True)
class _Left:
    """When somebody has left: so long after a moment, or after the last restart or fault before that.

    Args:
        at: since when nobody holds its place any more.
        within_s: how long its session may last from then on.
        shown: what says so.
    """

    at: float
    within_s: float
    shown: tuple[Entry, ...]


class Departures:
    """When those leave whose session has ended, or whose client has gone.

    That is one time-to-live later, or after the last restart or fault before that.
    """

    def __init__(self, history: Sequence[Entry], sessions: Sessions, ends: Ends, promises: Promises) -> None:
        self._disturbed = [(each.begun, each.ended) for each in history if isinstance(each, Fault) and not each.who]
        self._disturbed += [(each.ended, each.begun + each.hold_s) for each in history if isinstance(each, Restored)]
        starts = [each.begun for each in history if isinstance(each, Up)]
        self._starts = sorted(starts + [ended for _, ended in self._disturbed])
        self._sessions = sessions
        self._ends = ends
        self._slack_s = promises.expiry_slack_s
        self._longest_failover_s = promises.longest_failover_s or 0.0
        self._known: dict[Owners, _Left | None] = {}

    def check(
        self, election: str, entries: Sequence[Entry], timeline: Timeline, owners: Ownership
    ) -> Iterator[Finding]:
        """Return the candidates that somebody was told of after that."""
        reported: set[str] = set()
        for at, place, candidates, shown in _there(entries, timeline):
            for candidate in candidates:
                left = self._left(candidate, owners.of(candidate, place))
                if left is None or candidate in reported or at <= left.at + left.within_s + self._slack_s:
                    continue
                if self._is_late(at, left):
                    reported.add(candidate)
                    evidence = [*left.shown, *shown, *owners.evidence(candidate, place)]
                    yield found(Rule.LEFT_BEHIND, election, f"{candidate} is still there", evidence)

    def _is_late(self, at: float, left: _Left) -> bool:
        """Return whether who is there at a time has had the time to leave, whatever was done to servers."""
        if any(begun < at <= ended for begun, ended in self._disturbed):
            return False  # a lease may be beginning anew at this moment
        index = bisect_left(self._starts, at) - 1
        started = self._starts[index] if index >= 0 else -inf
        return at > max(left.at, started) + left.within_s + self._slack_s

    def _left(self, candidate: str, owners: Owners) -> _Left | None:
        """Return when a candidate leaves, whosever of these it is; who is not known by a session is by its name."""
        if any(each == UNKNOWN_SESSION or not self._sessions.client_of(each) for each in owners):
            return _gone(self._ends.gone(candidate))
        if owners not in self._known:
            self._known[owners] = self._all_left(owners)
        return self._known[owners]

    def _all_left(self, owners: Owners) -> _Left | None:
        lefts = [left for each in owners if (left := self._left_by(each))]
        if len(lefts) < len(owners):
            return None
        shown = tuple(entry for each in lefts for entry in each.shown)
        return _Left(max(each.at for each in lefts), max(each.within_s for each in lefts), shown)

    def _left_by(self, session: str) -> _Left | None:
        """Return when the candidates of a session leave."""
        lefts = [_gone(self._ends.gone(self._sessions.client_of(session)))]
        end = self._sessions.end_of(session)
        if end is not None:
            lefts.append(_Left(end.at, max(end.ttl_s, self._longest_failover_s), (end.entry,)))
        return min((each for each in lefts if each), key=lambda each: each.at + each.within_s, default=None)


def _gone(gone: Gone | None) -> _Left | None:
    return None if gone is None else _Left(gone.at, gone.ttl_s, (gone,))


def _there(entries: Sequence[Entry], timeline: Timeline) -> Iterator[tuple[float, int, Sequence[str], list[Entry]]]:
    """Return who was there at a time or after it, at which place, and what says so."""
    for each in told_in(entries):
        if each.begun > -inf:
            yield each.begun, timeline.newest(each.term.revision), each.term.candidates, [each.entry]
    for place, term in enumerate(timeline.terms):
        begun, lower = timeline.not_before(place)
        if lower is not None:
            yield begun, place, term.candidates, [timeline.shown(place), lower]
