"""Whether a candidate is of one session alone, as those were told who entered it."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from atomix_election.testing.checker.asked import UNKNOWN_SESSION, Asked
from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.spec import ENTER, Change
from atomix_election.testing.checker.timeline import Timeline


class Stays:
    """From when to when each candidate is there: until it leaves, or is entered anew, it belongs to one session.

    Args:
        timeline: the terms.
        changes: what may have made each of them of the one before it.
    """

    def __init__(self, timeline: Timeline, changes: Sequence[Sequence[Change]]) -> None:
        self._timeline = timeline
        self._begun: defaultdict[str, list[int]] = defaultdict(list)
        """The places at which the stays of each candidate begin."""
        before = frozenset[str]()
        for place, term in enumerate(timeline.terms):
            anew = {each for made in changes[place] if made.what == ENTER for each in made.candidates}
            goes_on = before - anew if timeline.follows(place) else frozenset[str]()
            for each in term.candidates:
                if each not in goes_on:
                    self._begun[each].append(place)
            before = frozenset(term.candidates)

    def entered(self, candidate: str, first: int, last: int) -> int | None:
        """Return the beginning of the stay in which an enter was carried out; None if that is not known.

        Args:
            candidate: whom it named.
            first: the first place at which it can have been carried out; -1 for before all of them.
            last: the last one.
        """
        terms = self._timeline.terms
        if not self._timeline.whole(first, last) or candidate not in terms[last].candidates:
            return None
        begun = self._begun[candidate][bisect_right(self._begun[candidate], last) - 1]
        was_there = any(candidate in terms[place].candidates for place in range(first, begun))
        return None if was_there else begun


def check_owning(
    election: str,
    timeline: Timeline,
    stays: Stays,
    asked: Sequence[Asked],
    range_of: Callable[[Asked], tuple[int, int]],
) -> Iterator[Finding]:
    """Return the stays of candidates that were acknowledged to two sessions.

    Args:
        election: where.
        timeline: its terms.
        stays: of its candidates.
        asked: the calls.
        range_of: returns the first and the last place at which a call may have been carried out.
    """
    entered: dict[tuple[str, int], Asked] = {}
    reported: set[tuple[str, int]] = set()
    for each in asked:
        begun = stays.entered(each.candidate, *range_of(each)) if each.what == ENTER and each.done else None
        if begun is None or each.session == UNKNOWN_SESSION:
            continue
        stay = each.candidate, begun
        other = entered.setdefault(stay, each)
        if other.session != each.session and stay not in reported:
            reported.add(stay)
            places = [begun, *range_of(other), *range_of(each)]
            shown = timeline.evidence(*range(min(places), max(places) + 1))
            what = f"two sessions were told that {each.candidate} is their own"
            yield found(Rule.ACKNOWLEDGED, election, what, [*shown, other.entry, each.entry])
