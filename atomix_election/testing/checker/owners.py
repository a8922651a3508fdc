"""Which sessions may have entered the candidates of each term."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from atomix_election.testing.checker.asked import UNKNOWN_SESSION, Asked, Pools
from atomix_election.testing.checker.jumps import Jumps
from atomix_election.testing.checker.promises import Promises
from atomix_election.testing.checker.sessions import Sessions
from atomix_election.testing.checker.spec import END, ENTER, Change
from atomix_election.testing.checker.timeline import Timeline
from atomix_election.testing.history import Entry

Owners = frozenset[str]
_UNKNOWN: Owners = frozenset({UNKNOWN_SESSION})


@dataclass(slots=True)
class _Changes:
    """The owners that a candidate has from some places of the timeline on."""

    places: list[int]
    owners: list[Owners]


class Ownership:
    """The sessions that may own each candidate: never too few of them, so that nothing right is found wrong.

    Args:
        timeline: the terms.
        changes: what may have made each of them of the one before it, where that one is known.
        asked: the calls.
        pools: the same.
        sessions: when they may have ended.
        promises: whether there may be others.
        jumps: where it was restored.
    """

    def __init__(
        self,
        timeline: Timeline,
        changes: list[list[Change]],
        asked: list[Asked],
        pools: Pools,
        sessions: Sessions,
        promises: Promises,
        jumps: Jumps,
    ) -> None:
        self._timeline = timeline
        self._jumps = jumps
        self._pools = pools
        self._sessions = sessions
        self._others: Owners = _UNKNOWN if promises.others else frozenset()
        self._of: defaultdict[str, _Changes] = defaultdict(lambda: _Changes([], []))
        answered: defaultdict[float, list[Asked]] = defaultdict(list)
        for each in asked:
            if each.done and each.what == ENTER:
                answered[each.last].append(each)
        for place in range(len(timeline)):
            if place == 0:
                self._begin()
            elif not timeline.follows(place):
                self._go_on_after_a_gap(place)
            else:
                self._follow(place, changes[place])
            for each in answered[timeline.revisions[place]]:
                self._learn(each, place)

    def of(self, candidate: str, place: int) -> Owners:
        """Return the sessions that may own a candidate of the term at a place; UNKNOWN_SESSION among them for any."""
        changes = self._of[candidate]
        index = bisect_right(changes.places, place) - 1
        return changes.owners[index] if index >= 0 else _UNKNOWN

    def may_own(self, session: str, candidate: str, place: int) -> bool:
        """Return whether a session may own a candidate."""
        owners = self.of(candidate, place)
        return session == UNKNOWN_SESSION or session in owners or UNKNOWN_SESSION in owners

    def must_own(self, session: str, candidate: str, place: int) -> bool:
        """Return whether it is certain that it does."""
        return session != UNKNOWN_SESSION and self.of(candidate, place) == frozenset({session})

    def may_displace(self, asked: Asked, place: int) -> bool:
        """Return whether an enter may take the place of a candidate that has the same id, as its session has ended."""
        until = self._timeline.latest[place + 1] if place + 1 < len(self._timeline) else asked.ended
        return any(
            owner == UNKNOWN_SESSION or (owner != asked.session and self._sessions.may_end(owner, until))
            for owner in self.of(asked.candidate, place)
        )

    def all_of(self, session: str, candidates: Iterable[str], place: int) -> bool:
        """Return whether these may be all candidates of a session, before the term at a place."""
        after = self._timeline.terms[place].candidates
        return all(self.may_own(session, each, place - 1) for each in candidates) and not any(
            self.must_own(session, each, place - 1) for each in after
        )

    def may_end(self, change: Change, place: int) -> bool:
        """Return whether the end of a session may have made the term at a place."""
        return change.what == END and any(
            session == UNKNOWN_SESSION or self._sessions.may_end(session, self._timeline.latest[place])
            for session in self.ends(change, place)
        )

    def ends(self, change: Change, place: int) -> Iterator[str]:
        """Return the sessions whose end would make the term at a place, whether they can have ended or not."""
        owners = [self.of(each, place - 1) for each in change.candidates]
        if all(UNKNOWN_SESSION in each for each in owners):
            yield UNKNOWN_SESSION
        for session in sorted(frozenset[str]().union(*owners) - _UNKNOWN):
            if self.all_of(session, change.candidates, place):
                yield session

    def evidence(self, candidate: str, place: int) -> Iterator[Entry]:
        """Return records that show whose a candidate is, and that those sessions last."""
        for session in self.of(candidate, place) - _UNKNOWN:
            entered = self._pools.within(-inf, self._timeline.latest[place], -inf, inf, (ENTER, candidate))
            own = sorted((each for each in entered if each.session == session), key=lambda each: not each.done)
            yield from [each.entry for each in own[:1]]
            yield from self._sessions.proof(session)

    def _set(self, candidate: str, place: int, owners: Owners) -> None:
        changes = self._of[candidate]
        if changes.places and changes.places[-1] == place:
            changes.owners[-1] = owners
        elif not changes.owners or changes.owners[-1] != owners:
            changes.places.append(place)
            changes.owners.append(owners)

    def _begin(self) -> None:
        """Who was there when it began may have been there before anything was recorded."""
        for each in self._timeline.terms[0].candidates:
            self._set(each, 0, self._entering(each, 0) | _UNKNOWN)

    def _follow(self, place: int, changes: list[Change]) -> None:
        for change in changes:
            if change.what == ENTER:
                (candidate,) = change.candidates
                again = candidate in self._timeline.terms[place - 1].candidates
                owners = frozenset(
                    asked.session
                    for asked in self._enters(candidate, place)
                    if not again or self.may_displace(asked, place - 1)
                )
                if len(changes) > 1:  # it may have been moved instead
                    owners |= self.of(candidate, place - 1)
                self._set(candidate, place, (owners | self._others) or _UNKNOWN)

    def _go_on_after_a_gap(self, place: int) -> None:
        before = set(self._timeline.terms[place - 1].candidates)
        others = self._others | (_UNKNOWN if self._jumps.is_restored(place) else frozenset[str]())
        for each in self._timeline.terms[place].candidates:
            former = self.of(each, place - 1) if each in before else frozenset[str]()
            self._set(each, place, (former | self._entering(each, place) | others) or _UNKNOWN)

    def _learn(self, asked: Asked, place: int) -> None:
        """Who is told that its candidate is there owns it, unless it is the repeat of a write from before."""
        if asked.session and asked.candidate in self._timeline.terms[place].candidates:
            others = self._pools.within(asked.begun, self._timeline.latest[place], -inf, inf, asked.key)
            sessions = frozenset(other.session for other in others)
            self._set(asked.candidate, place, sessions | {asked.session} | self._others)

    def _entering(self, candidate: str, place: int) -> Owners:
        return frozenset(each.session for each in self._enters(candidate, place))

    def _enters(self, candidate: str, place: int) -> Iterator[Asked]:
        timeline = self._timeline
        since, until, last = timeline.earliest[place], timeline.latest[place], timeline.revisions[place]
        first = timeline.revisions[place - 1] + 1 if place else -inf
        return self._pools.within(since, until, first, last, (ENTER, candidate))
