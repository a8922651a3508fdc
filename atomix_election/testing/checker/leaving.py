"""Whether the candidates of clients that have gone leave in time."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import inf

from atomix_election.testing.checker.ends import Ends
from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.owners import Ownership
from atomix_election.testing.checker.promises import Promises
from atomix_election.testing.checker.sessions import Sessions
from atomix_election.testing.checker.timeline import Timeline
from atomix_election.testing.history import DONE, WITHOUT_TERM, Answered, Entry, Fault, Gone, Up


class Departures:
    """When those who have gone leave: one time-to-live later, or after the last restart or fault before that."""

    def __init__(self, history: Sequence[Entry], sessions: Sessions, ends: Ends, promises: Promises) -> None:
        self._faults = [each for each in history if isinstance(each, Fault) and not each.who]
        starts = [each.begun for each in history if isinstance(each, Up)]
        self._starts = sorted(starts + [each.ended for each in self._faults])
        self._sessions = sessions
        self._ends = ends
        self._slack_s = promises.expiry_slack_s

    def check(
        self, election: str, entries: Sequence[Entry], timeline: Timeline, owners: Ownership
    ) -> Iterator[Finding]:
        """Return the candidates that somebody was told of after that."""
        if not self._ends:
            return
        reported: set[str] = set()
        for each in entries:
            if not isinstance(each, Answered) or each.outcome != DONE or each.what in WITHOUT_TERM:
                continue
            if any(fault.begun < each.begun <= fault.ended for fault in self._faults):
                continue  # a lease may be beginning anew at this moment
            index = bisect_left(self._starts, each.begun) - 1
            started = self._starts[index] if index >= 0 else -inf
            place = timeline.newest(each.term.revision)
            for candidate in each.term.candidates:
                left = self._gone_with(candidate, owners, place)
                if (
                    left is not None
                    and candidate not in reported
                    and each.begun > max(left.at, started) + left.ttl_s + self._slack_s
                ):
                    reported.add(candidate)
                    shown = [left, each, *owners.evidence(candidate, place)]
                    yield found(Rule.LEFT_BEHIND, election, f"{candidate} is still there", shown)

    def _gone_with(self, candidate: str, owners: Ownership, place: int) -> Gone | None:
        """Return the end of the client that a candidate belongs to; who is not known by a session is by its name."""
        clients = {self._sessions.client_of(each) for each in owners.of(candidate, place)}
        if len(clients) > 1 and "" not in clients:
            return None
        return self._ends.gone(candidate if "" in clients else clients.pop())
