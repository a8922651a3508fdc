"""Whether a history keeps the promises: pure, over the records of ``testing.history``, afterwards.

Each election is judged by itself: whether one order of its calls explains all that was told of it (``timeline``,
``explaining``, ``refusals``), whether its watches missed nothing (``events``) and were told in time (``silences``), and
whether its leaders were alone, each under a token of its own (``leaderships``). Over all of them, sessions are looked
at, and those who have gone, restores, and whether somebody led in time. docs/histories.md says what each rule means,
and what is not decided.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from atomix_election.testing.checker.ends import Ends
from atomix_election.testing.checker.events import check_events
from atomix_election.testing.checker.explaining import Explanation
from atomix_election.testing.checker.findings import Finding
from atomix_election.testing.checker.findings import Rule as Rule
from atomix_election.testing.checker.findings import Violation as Violation
from atomix_election.testing.checker.jumps import Jumps
from atomix_election.testing.checker.leaderships import (
    check_alone,
    check_kept,
    check_tokens,
    check_tokens_of_terms,
    check_withdrawn,
)
from atomix_election.testing.checker.leases import check_leases
from atomix_election.testing.checker.leaving import Departures
from atomix_election.testing.checker.liveness import check_led
from atomix_election.testing.checker.numbers import check_numbers
from atomix_election.testing.checker.promises import Promises as Promises
from atomix_election.testing.checker.refusals import check_refusals
from atomix_election.testing.checker.restores import check_floor, check_hold
from atomix_election.testing.checker.sessions import Sessions
from atomix_election.testing.checker.shrinking import shrunk
from atomix_election.testing.checker.silences import Silences
from atomix_election.testing.checker.spec import FORGET
from atomix_election.testing.checker.timeline import Timeline, consistent, told_in
from atomix_election.testing.history import Answered, Called, Entry, Led, Restored, Seen, Stood, Waited
from atomix_election.testing.lives import lives

__all__ = ["Promises", "Rule", "Verdict", "Violation", "check_history"]

MAX_SHRUNK = 20
"""How many violations of one history are shown by as few records as possible; the others may have some more."""
_DEFAULT = Promises()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check has found.

    Args:
        violations: the rules that were broken, each with the records that show it.
        undecided: how many pieces of the order of terms nobody saw and are too long for it to be found out whether what
            was asked for leads from one end to the other.
    """

    violations: tuple[Violation, ...]
    undecided: int = 0

    def __str__(self) -> str:
        """Return the violations, one after the other, and how many there are."""
        decided = f", {self.undecided} gaps undecided" if self.undecided else ""
        return "\n".join([*map(str, self.violations), f"{len(self.violations)} promises broken{decided}"])


def check_history(history: Iterable[Entry], promises: Promises = _DEFAULT) -> Verdict:
    """Judge a history.

    Args:
        history: the records, those of each watch in their order.
        promises: what is to hold in it, and what was recorded.

    Returns:
        The violations; those of equal histories are equal, and in the same order.
    """
    history = list(history)
    checked = [_Check(life, promises) for life in lives(history)]
    findings = [finding for each in checked for finding in each.findings]

    def look(entries: list[Entry]) -> list[Finding]:
        return [*_Check(entries, promises).findings, *check_leases(entries)]

    violations = [
        shrunk(each, look) if number < MAX_SHRUNK else each.violation
        for number, each in enumerate([*findings, *check_leases(history)])
    ]
    return Verdict(tuple(violations), sum(each.undecided for each in checked))


class _Check:
    """One look at what happened with one store."""

    def __init__(self, history: Sequence[Entry], promises: Promises) -> None:
        self._history = history
        self._promises = promises
        self._sessions = Sessions(history, early_ends=promises.early_ends)
        self._ends = Ends(history)
        self._departures = Departures(history, self._sessions, self._ends, promises)
        self._restored = [each for each in history if isinstance(each, Restored)]
        calls = [each for each in history if isinstance(each, Called | Answered)]
        self._forgotten = promises.forgotten | {each.election for each in calls if each.what == FORGET}
        silence_s = promises.longest_silence_s
        self._silences = None if silence_s is None else Silences(history, silence_s)
        self.undecided = 0
        self.findings = list(self._all())

    def _all(self) -> Iterator[Finding]:
        elections: defaultdict[str, list[Entry]] = defaultdict(list)
        for each in self._history:
            if isinstance(each, Called | Answered | Seen | Waited | Led | Stood) and each.election:
                elections[each.election].append(each)
        for election, entries in elections.items():
            yield from self._election(election, entries)
        yield from self._sessions.check()
        yield from check_kept(self._history, self._promises)
        if self._promises.longest_failover_s is not None:
            longest_s = self._promises.longest_failover_s + self._promises.expiry_slack_s
            yield from check_led(self._history, self._promises.calm, longest_s, self._ends)
        for each in self._restored:
            yield from check_hold(self._history, each)

    def _election(self, election: str, entries: Sequence[Entry]) -> Iterator[Finding]:
        led = sorted([each for each in entries if isinstance(each, Led)], key=attrgetter("begun"))
        told, findings = consistent(election, told_in(entries))
        yield from findings
        for each in self._restored:
            yield from check_floor(election, told, led, each)
        timeline = Timeline(told)
        numbers = list(check_numbers(election, timeline))
        yield from numbers
        jumps = Jumps(
            timeline,
            forgotten=election in self._forgotten,
            raised=bool(self._forgotten),
            floors=[each.floor for each in self._restored],
        )
        explanation = Explanation(election, entries, timeline, self._sessions, self._promises, jumps)
        yield from explanation.check()
        self.undecided += explanation.undecided
        earliest, owners = explanation.earliest(), explanation.owners
        yield from check_refusals(election, entries, timeline, earliest, owners, self._sessions)
        yield from self._departures.check(election, entries, timeline, owners)
        yield from check_events(entries)
        if self._silences is not None:
            yield from self._silences.check(election, entries, timeline)
        yield from check_tokens(election, led)
        if not numbers:
            yield from check_tokens_of_terms(election, led, timeline, earliest, explanation.asked_for)
        yield from check_withdrawn(election, led, entries, self._ends)
        yield from check_alone(election, led, self._ends)
