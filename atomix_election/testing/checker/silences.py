"""Whether watchers that wait are told of changes in time."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf

from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.timeline import Timeline
from atomix_election.testing.history import Entry, Fault, Restored, Seen, Up, Waited


class Silences:
    """The times in which a watch has to tell of what has changed: those in which servers are there for its client.

    Args:
        history: what happened.
        longest_s: how long it may take.
    """

    def __init__(self, history: Sequence[Entry], longest_s: float) -> None:
        self._longest_s = longest_s
        self._faults = [each for each in history if isinstance(each, Fault)]
        self._without_servers = [
            (each.ended, each.begun + each.hold_s) for each in history if isinstance(each, Restored)
        ]
        served = -inf
        for up in sorted((each for each in history if isinstance(each, Up)), key=lambda each: each.begun):
            if up.begun > served:
                self._without_servers.append((served, up.begun))
            served = max(served, up.until)
        if served > -inf:
            self._without_servers.append((served, inf))
        self._disturbed: dict[str, list[tuple[float, float]]] = {}

    def check(self, election: str, entries: Sequence[Entry], timeline: Timeline) -> Iterator[Finding]:
        """Return the waits in which nothing was told of a change, for too long."""
        watches: dict[tuple[str, float], list[Seen | Waited]] = {}
        for each in entries:
            if isinstance(each, Seen | Waited):
                watches.setdefault((each.watch, each.begun), []).append(each)
        for told in watches.values():
            for former, latter in pairwise(told):
                place = timeline.newest(former.term.revision) + 1 if isinstance(former, Seen) else len(timeline)
                if place == len(timeline):
                    continue
                since, until = (latter.since, latter.at if isinstance(latter, Seen) else latter.until)
                if self._is_too_long(max(since, timeline.latest[place]), until, latter.watch):
                    shown = [former, latter, *timeline.evidence(place)]
                    yield found(Rule.TOLD, election, "a watch was not told of a change in time", shown)
                    break

    def _is_too_long(self, since: float, until: float, watch: str) -> bool:
        """Return whether there is a time between two that is long enough, and in which nothing was done to anybody."""
        if until - since <= self._longest_s:
            return False
        for begun, ended in self._disturbed_of(watch.rpartition(" ")[0]):
            if min(begun, until) - since > self._longest_s:
                return True
            since = max(since, ended)
        return until - since > self._longest_s

    def _disturbed_of(self, who: str) -> list[tuple[float, float]]:
        """Return when a client could not be served, in order."""
        if who not in self._disturbed:
            faults = [(each.begun, each.ended) for each in self._faults if not each.who or each.is_of(who)]
            self._disturbed[who] = sorted(self._without_servers + faults)
        return self._disturbed[who]
