"""What happened in a run, in figures, and which promises were broken."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter

from atomix_election.testing.history import DONE, Answered, Emptied, Entry, Fault, Gone, Led, Restored, Seen
from tests.crash.load import PASSING, SHORT
from tests.soak.faked_clocks import ABSENT, library
from tests.soak.site import Plan

MOST_VIOLATIONS = 20
"""That are shown."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run.

    Args:
        plan: what it was to be.
        what: whom it was about.
        counts: how often each thing was done.
        history: all records.
        longest_failover_s: as the servers announced it.
        lines: more to be shown.
        violations: each broken promise.
    """

    plan: Plan
    what: str
    counts: Counter[str]
    history: list[Entry]
    longest_failover_s: float
    lines: list[str] = field(default_factory=list[str])
    violations: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        """Return it in figures."""
        lines = [
            f"seed {self.plan.seed}: {self.what}",
            *(self._line(kind) for kind in sorted(self.counts)),
            *([] if library() else [f"  no clocks were set: {ABSENT}"]),
            *self.lines,
            *self._calls(),
            *self._leaderships(),
            *self.violations[:MOST_VIOLATIONS],
            f"{len(self.violations)} promises broken",
        ]
        return "\n".join(lines)

    def _calls(self) -> Iterator[str]:
        calls = [each for each in self.history if isinstance(each, Answered)]
        outcomes = Counter(each.outcome for each in calls)
        acknowledged = sum(each.outcome == DONE and each.what != "get_term" for each in calls)
        forgotten = Counter(each.outcome for each in calls if each.what == "forget")
        seen = [each for each in self.history if isinstance(each, Seen)]
        yield f"{len(self.history)} records; {acknowledged} commands acknowledged"
        unknown = f"{outcomes['OutcomeUnknown']} calls of unknown outcome, {outcomes['Unavailable']} unavailable"
        yield f"{unknown}, {outcomes['StoreError']} that the store could not take"
        yield f"{forgotten[DONE]} times forgotten, {forgotten['InvalidRequest']} times refused as in use"
        watches = len({each.watch for each in seen})
        yield f"{len(seen)} events in {watches} watches, {self.skips()} of them after some that were skipped"

    def _leaderships(self) -> Iterator[str]:
        led = [each for each in self.history if isinstance(each, Led)]
        lost = Counter(each.lost for each in led)
        gone = sum(isinstance(each, Gone) for each in self.history)
        yield f"{len(led)} leaderships of {len({each.who for each in led})} clients in {gone} processes"
        yield f"{lost['EXPIRED']} of them expired, {self.lost_with_store()} were lost with their store"
        yield f"longest takeover {self.longest_takeover_s():.2f} s, outages of everything included"
        yield f"announced without them: {self.longest_failover_s:.2f} s"

    def _line(self, kind: str) -> str:
        outlived = f"; {self.kept(kind)} leaderships outlived it" if self._times(kind) else ""
        return f"  {self.counts[kind]} x {kind}{outlived}"

    def kept(self, kind: str) -> int:
        """Return how many leaderships outlived faults of a kind, from before them until after them."""
        led = [each for each in self.history if isinstance(each, Led) and each.until is not None]
        return sum(
            each.begun < fault.begun and (each.until or 0.0) > fault.ended
            for fault in self._times(kind)
            for each in led
        )

    def lost_with_store(self) -> int:
        """Return how many leaderships ended as their store did."""
        ends = [each for each in self.history if isinstance(each, Emptied | Restored)]
        led = [each for each in self.history if isinstance(each, Led) and each.lost and each.until is not None]
        return sum(each.begun < end.ended < (each.until or 0.0) for end in ends for each in led)

    def _times(self, kind: str) -> list[Fault]:
        """Return the faults of a kind, but for those with which a store was lost."""
        ends = [each.ended for each in self.history if isinstance(each, Emptied)]
        faults = [each for each in self.history if isinstance(each, Fault) and each.kind == kind]
        return [each for each in faults if not any(each.begun <= end <= each.ended for end in ends)]

    def skips(self) -> int:
        """Return how many events follow skipped ones, where revisions do not jump because something was forgotten."""
        seen = [each for each in self.history if isinstance(each, Seen)]
        return sum(each.skipped and each.election not in PASSING for each in seen)

    def longest_takeover_s(self) -> float:
        """Return the longest time without a leader where somebody always waits to lead."""
        led = sorted(
            (each for each in self.history if isinstance(each, Led) and each.election == SHORT),
            key=attrgetter("begun"),
        )
        return max((latter.begun - former.until for former, latter in pairwise(led) if former.until), default=0.0)
