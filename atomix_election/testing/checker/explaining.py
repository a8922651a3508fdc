"""Whether there is one order of all calls of an election that explains all that was told of it.

The revisions order the terms. So what is left to find is which call made each of them of the one before it, and at
which of them each other call found nothing to do, or was refused. A call can have made a term if it does that
(``spec``), and if there is a time at which both can have been: after the call began and before it ended, not before the
term can have begun and not after it must have. Each call makes at most one term.

These pairs do not get in each other's way. A term that is made by a call begins no sooner than both bounds say, and the
bounds by which terms must have begun are in the order of the terms; a call that was answered ended no sooner than the
term that it was answered with must have begun, which is that which it made or a later one. So if each term has a call,
each can be given a time, in their order: a matching of terms and calls is an order of the calls that respects real
time, and without a matching there is none.

What is not decided: terms that nobody saw. For a short gap, some order of calls is looked for that may have filled it,
without asking whether another gap needs the same ones; a long one is counted (``Explanation.undecided``). What was
acknowledged or refused may have met a term in a gap, or one before or after all that are known. A term that the end of
a session may have made needs no call. Where several calls may have made a term, a refusal is judged as if it had been
the earliest of them. Who owns a candidate is not followed by cases, but by sets of sessions that it may be.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import inf

from atomix_election.testing.checker.asked import Asked, Pools, asked_in
from atomix_election.testing.checker.findings import Finding, Rule, found, term_text
from atomix_election.testing.checker.gaps import Gaps
from atomix_election.testing.checker.jumps import Jumps
from atomix_election.testing.checker.matching import Matching
from atomix_election.testing.checker.owners import Ownership
from atomix_election.testing.checker.owning import Stays, check_owning
from atomix_election.testing.checker.promises import Promises
from atomix_election.testing.checker.sessions import Sessions
from atomix_election.testing.checker.spec import (
    CLOSE,
    END,
    ENTER,
    FORGET,
    WITHDRAW,
    Change,
    changes,
    changes_nothing,
    may_leave,
    number_fits,
)
from atomix_election.testing.checker.timeline import Timeline
from atomix_election.testing.history import Entry


class Explanation:
    """The search for it in one election.

    Args:
        election: its name.
        entries: its records.
        timeline: its terms.
        sessions: of all elections.
        promises: what is to hold.
        jumps: where it may go on from a floor.
    """

    def __init__(
        self,
        election: str,
        entries: Sequence[Entry],
        timeline: Timeline,
        sessions: Sessions,
        promises: Promises,
        jumps: Jumps,
    ) -> None:
        self._election = election
        self._timeline = timeline
        self._sessions = sessions
        self._promises = promises
        self._jumps = jumps
        self._changes = [self._changes_at(place) for place in range(len(timeline))]
        self.asked: list[Asked] = asked_in(entries, timeline, promises)
        self._pools = Pools(self.asked)
        self.owners: Ownership = Ownership(timeline, self._changes, self.asked, self._pools, sessions, promises, jumps)
        self._gaps = Gaps(election, timeline, self._pools, self.owners, sessions, promises, jumps)
        self._free = [self._is_free(place) for place in range(len(timeline))]
        self._places: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, made in enumerate(self._changes):
            for key in _keys(made):
                self._places[key].append(place)
        self._idle: dict[Asked, bool] = {}
        self._matching = Matching(self.asked_for, self._places_of, self._free.__getitem__, self._needs_no_place)

    @property
    def undecided(self) -> int:
        """How many gaps were too long to be searched, once it has been checked."""
        return self._gaps.undecided

    def check(self) -> Iterator[Finding]:
        """Return what cannot be explained."""
        yield from self._check_steps()
        yield from self._gaps.check()
        yield from self._check_asked()
        yield from self._check_acknowledged()
        stays = Stays(self._timeline, self._changes)
        yield from check_owning(self._election, self._timeline, stays, self.asked, self._range)

    def earliest(self) -> list[float]:
        """Return before when each term has not begun, also as nobody had asked yet for what made it."""
        found: list[float] = []
        for place in range(len(self._timeline)):
            since = [self._timeline.earliest[place], *found[-1:]]
            if self._changes[place] and not self._free[place]:
                since.append(min((each.begun for each in self.asked_for(place)), default=-inf))
            found.append(max(since))
        return found

    def _changes_at(self, place: int) -> list[Change]:
        """Return what may have made the term at a place of the one before it; nothing where that is not known."""
        if not self._timeline.follows(place):
            return []
        before, after = self._timeline.terms[place - 1], self._timeline.terms[place]
        if not before.candidates and not after.candidates:
            may_rise = self._jumps.may_go_on_from_a_floor(place) and after.number >= before.number
            return [Change(FORGET, (), False)] if may_rise else []
        jumps = self._promises.numbers_jump
        return [
            each
            for each in changes(before.candidates, after.candidates)
            if number_fits(before.number, after.number, anew=each.anew, jumps=jumps)
        ]

    def _is_free(self, place: int) -> bool:
        """Return whether nobody has to have asked for the term at a place."""
        made = self._changes[place]
        return (
            not made  # unknown, or wrong in itself
            or self._promises.others
            or any(each.what == FORGET or self.owners.may_end(each, place) for each in made)
        )

    def _check_steps(self) -> Iterator[Finding]:
        for place in range(len(self._timeline)):
            if self._timeline.follows(place) and not self._changes[place]:
                what = f"no command leads from {self._text(place - 1)} to {self._text(place)}"
                yield found(Rule.STEPS, self._election, what, self._timeline.evidence(place - 1, place))

    def _check_asked(self) -> Iterator[Finding]:
        """Each term has a call of its own that made it."""
        for place, made in enumerate(self._changes):
            if made and not self._free[place]:
                self._match_own(place)
        for place, made in enumerate(self._changes):
            if not made or self._free[place] or place in self._matching.call_of:
                continue
            places, asked = self._matching.cover_step(place)
            if places:
                self._free[place] = True  # once is enough
                yield self._unasked(place, places, asked)

    def _match_own(self, place: int) -> None:
        """Begin with the call that was answered with just this term, if there is one."""
        revision = self._timeline.revisions[place]
        for each in self.asked_for(place):
            if each.done and each.last == revision and each not in self._matching.step_of:
                self._matching.match(place, each)
                return

    def _unasked(self, place: int, places: list[int], asked: list[Asked]) -> Finding:
        evidence = [entry for each in places for entry in self._timeline.evidence(each - 1, each)]
        for change in self._changes[place]:
            for candidate in change.candidates:
                evidence += self.owners.evidence(candidate, place - 1)
            if not asked and change.what == END and any(self.owners.ends(change, place)):
                what = f"a session ended too soon between {self._text(place - 1)} and {self._text(place)}"
                return found(Rule.SESSIONS_LAST, self._election, what, evidence)
        what = f"nobody asked for what leads from {self._text(place - 1)} to {self._text(place)}"
        if asked:
            what = f"{len(places)} changes were made, and {len(asked)} may have been asked for"
        return found(Rule.ASKED, self._election, what, evidence, fixed=[each.entry for each in asked])

    def _check_acknowledged(self) -> Iterator[Finding]:
        """What was acknowledged has made a term, or has found that there was nothing to do."""
        for each in self.asked:
            if not each.done or each in self._matching.step_of or self._needs_no_place(each):
                continue
            asked, places = self._matching.cover_call(each)
            if asked:
                self._idle[each] = True
                first, last = self._range(each)
                shown = [*range(first, last + 2), *places, *(place - 1 for place in places)]
                evidence = [*self._timeline.evidence(*shown), *self._about_owners(each, first, last)]
                what = f"no term shows what was acknowledged: {each.what} {each.candidate}".rstrip()
                if places:
                    what = f"{len(asked)} were acknowledged, and {len(places)} may have been done"
                calls = [call.entry for call in asked]
                yield found(Rule.ACKNOWLEDGED, self._election, what, [*evidence, *calls], fixed=calls)

    def _about_owners(self, asked: Asked, first: int, last: int) -> Iterator[Entry]:
        for place in range(max(first, 0), last + 1):
            for candidate in self._timeline.terms[place].candidates if asked.what == CLOSE else (asked.candidate,):
                yield from self.owners.evidence(candidate, place)

    def asked_for(self, place: int) -> Iterator[Asked]:
        """Return the calls that may have made the term at a place."""
        timeline = self._timeline
        since, until, revision = timeline.earliest[place], timeline.latest[place], timeline.revisions[place]
        for key in _keys(self._changes[place]):
            for each in self._pools.within(since, until, revision, revision, key):
                if self._fits(each, place):
                    yield each

    def _places_of(self, asked: Asked) -> Iterator[int]:
        """Return the places of the terms that a call may have made."""
        timeline = self._timeline
        key = (asked.what, asked.candidate)
        places = self._places.get(key, [])
        for place in places[bisect_left(places, asked.begun, key=timeline.latest.__getitem__) :]:
            if timeline.earliest[place] > asked.ended or timeline.revisions[place] > asked.last:
                return
            if timeline.revisions[place] >= asked.first and self._fits(asked, place):
                yield place

    def _fits(self, asked: Asked, place: int) -> bool:
        """Return whether a call may have made the term at a place, as far as sessions are concerned."""
        match asked.what:
            case "enter" if asked.candidate in self._timeline.terms[place - 1].candidates:
                return self.owners.may_displace(asked, place - 1)
            case "withdraw":
                return self.owners.may_own(asked.session, asked.candidate, place - 1)
            case "close":
                gone = next(each.candidates for each in self._changes[place] if each.what == END)
                return self.owners.all_of(asked.session, gone, place)
            case _:
                return True

    def _needs_no_place(self, asked: Asked) -> bool:
        """Return whether a call was not acknowledged, or may have found nothing to do."""
        if asked not in self._idle:
            self._idle[asked] = not asked.done or self._may_be_idle(asked)
        return self._idle[asked]

    def _may_be_idle(self, asked: Asked) -> bool:
        first, last = self._range(asked)
        if last < 0 or not self._timeline.whole(max(first, 0), last):
            return True
        if any(self._is_idle_at(asked, place) for place in range(last, max(first, 0) - 1, -1)):
            return True
        if asked.first == asked.last and not self._timeline.follows(last):  # nobody saw what it made this term of
            return may_leave(asked.what, asked.candidate, self._timeline.terms[last].candidates)
        return first < 0 or (asked.last == inf and asked.ended > self._timeline.certain_until)

    def _range(self, asked: Asked) -> tuple[int, int]:
        """Return the first and the last place at which a call may have been carried out; -1 for before all of them."""
        timeline = self._timeline
        first = timeline.first_at(asked.begun) if asked.first == -inf else timeline.newest(asked.first)
        return first, min(timeline.last_at(asked.ended), timeline.newest(asked.last))

    def _is_idle_at(self, asked: Asked, place: int) -> bool:
        queue = self._timeline.terms[place].candidates
        if asked.what == CLOSE:
            own = any(self.owners.must_own(asked.session, each, place) for each in queue)
        elif asked.what in (ENTER, WITHDRAW) and asked.candidate in queue:
            own = self.owners.may_own(asked.session, asked.candidate, place)
        else:
            own = False
        return changes_nothing(asked.what, asked.candidate, queue, own=own)

    def _text(self, place: int) -> str:
        return term_text(self._timeline.terms[place])


def _keys(made: Iterable[Change]) -> list[tuple[str, str]]:
    """Return what is asked for when somebody asks for a change."""
    wanted = [each for each in made if each.what != FORGET]
    return [(CLOSE, "") if each.what == END else (each.what, each.candidates[0]) for each in wanted]
