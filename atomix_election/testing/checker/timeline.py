"""What was told of one election: its terms in order of their revisions, and when each of them can have begun.

A term was read at some moment between the beginning and the end of the call that it answered. So it has begun by the
end of each call that showed it or a later one, and not before the beginning of any call that showed an earlier one. An
event may be old news when it is given: only the first one of a watch was read after its beginning.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from operator import attrgetter

from atomix_election.model import Term
from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.history import DONE, WITHOUT_TERM, Answered, Entry, Seen

INITIAL = Term()
"""Of an election that nobody has entered, in a namespace where none was forgotten."""


@dataclass(frozen=True, slots=True)
class Told:
    """A term that somebody was told, read no earlier than ``begun`` and no later than ``ended``."""

    begun: float
    ended: float
    term: Term
    entry: Entry


def told_in(entries: Iterable[Entry]) -> list[Told]:
    """Return all that was told of an election."""
    told: list[Told] = []
    for each in entries:
        if isinstance(each, Answered) and each.outcome == DONE and each.what not in WITHOUT_TERM:
            told.append(Told(each.begun, each.ended, each.term, each))
        elif isinstance(each, Seen):
            told.append(Told(each.begun if each.snapshot else -inf, each.at, each.term, each))
    return told


class Timeline:
    """The terms that are known of an election. They are spoken of by their places, from 0.

    Args:
        told: what was told, without contradictions: see ``consistent``.
    """

    def __init__(self, told: list[Told]) -> None:
        told = sorted(told, key=lambda each: (each.term.revision, each.ended))
        self.terms: list[Term] = []
        self.revisions: list[int] = []
        self.earliest: list[float] = []
        """Before when each has not begun."""
        self.latest: list[float] = []
        """By when each has begun."""
        self._last_asked = max(told, key=attrgetter("begun"), default=None)
        self._shows: list[Entry] = []
        self._not_before: list[Entry | None] = []
        self._by_then: list[Entry] = []
        begun: Told | None = None
        last: Told | None = None
        for each in told:
            if not self.revisions or each.term.revision > self.revisions[-1]:
                if last is not None and (begun is None or last.begun > begun.begun):
                    begun = last
                self._append(each, begun)
                last = each
            elif last is not None and each.begun > last.begun:
                last = each
        self._find_latest(told)

    def __len__(self) -> int:
        return len(self.terms)

    def _append(self, told: Told, begun: Told | None) -> None:
        self.terms.append(told.term)
        self.revisions.append(told.term.revision)
        self._shows.append(told.entry)
        self.earliest.append(-inf if begun is None else begun.begun)
        self._not_before.append(None if begun is None else begun.entry)

    def _find_latest(self, told: list[Told]) -> None:
        self.latest = [inf] * len(self)
        place = len(self) - 1
        soonest: Told | None = None
        entries: list[Entry] = []
        for each in reversed(told):
            if each.term.revision < self.revisions[place]:
                entries.append(self._note_latest(place, soonest))
                place -= 1
            if soonest is None or each.ended <= soonest.ended:
                soonest = each
        if told:
            entries.append(self._note_latest(place, soonest))
        self._by_then = entries[::-1]

    def _note_latest(self, place: int, soonest: Told | None) -> Entry:
        assert soonest is not None
        self.latest[place] = soonest.ended
        return soonest.entry

    @property
    def certain_until(self) -> float:
        """Until when nothing comes after the last one."""
        return -inf if self._last_asked is None else self._last_asked.begun

    def shown(self, place: int) -> Entry:
        """Return a record that shows the term at a place."""
        return self._shows[place]

    def not_before(self, place: int) -> tuple[float, Entry | None]:
        """Return before when the term at a place has not begun, or what comes after the last one, and who says so."""
        if place < len(self):
            return self.earliest[place], self._not_before[place]
        return self.certain_until, None if self._last_asked is None else self._last_asked.entry

    def follows(self, place: int) -> bool:
        """Return whether the term at a place comes right after the one before it."""
        return place > 0 and self.revisions[place] == self.revisions[place - 1] + 1

    def whole(self, first: int, last: int) -> bool:
        """Return whether no term between two places is missing."""
        return 0 <= first <= last and self.revisions[last] - self.revisions[first] == last - first

    def newest(self, revision: float) -> int:
        """Return the place of the newest term up to a revision; -1 if there is none."""
        return bisect_right(self.revisions, revision) - 1

    def first_at(self, time: float) -> int:
        """Return the place of the first term that may be the current one at a time or after it.

        -1 if that may be one which comes before all that are known.
        """
        place = bisect_left(self.latest, time) - 1
        return 0 if place < 0 and self.revisions and self.terms[0] == INITIAL else place

    def last_at(self, time: float) -> int:
        """Return the place of the last known term that may have begun by a time."""
        return bisect_right(self.earliest, time) - 1

    def evidence(self, *places: int) -> Iterator[Entry]:
        """Return records that show the terms at these places and when they can have begun, or that none follows."""
        for place in places:
            if 0 <= place < len(self):
                yield self._shows[place]
                yield self._by_then[place]
            if 0 <= place <= len(self) and (bound := self.not_before(place)[1]) is not None:
                yield bound


def consistent(election: str, told: list[Told]) -> tuple[list[Told], list[Finding]]:
    """Return what was told without what contradicts the rest, and these contradictions.

    Equal revisions are equal terms; and who asks after something was told is told that, or something newer: also of
    another server on the same store.
    """
    findings: list[Finding] = []
    by_revision: dict[int, Told] = {}
    agreed: list[Told] = []
    for each in told:
        other = by_revision.setdefault(each.term.revision, each)
        if other.term == each.term:
            agreed.append(each)
        else:
            what = f"revision {each.term.revision} was two terms"
            findings.append(found(Rule.ONE_TERM, election, what, [other.entry, each.entry]))
    stale = list(_stale(agreed))
    for newer, older in stale:
        findings.append(found(Rule.FRESH, election, "what was told is gone", [newer.entry, older.entry]))
    gone = {id(older) for _, older in stale}
    return [each for each in agreed if id(each) not in gone], findings


def _stale(told: list[Told]) -> Iterator[tuple[Told, Told]]:
    """Return what was told, and then something older to who asked after it."""
    by_end = sorted(told, key=attrgetter("ended"))
    newest: Told | None = None
    place = 0
    for each in sorted(told, key=attrgetter("begun")):
        while place < len(by_end) and by_end[place].ended < each.begun:
            if newest is None or by_end[place].term.revision > newest.term.revision:
                newest = by_end[place]
            place += 1
        if newest is not None and each.term.revision < newest.term.revision:
            yield newest, each
