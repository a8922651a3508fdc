"""Terms that nobody saw: whether calls and ends of sessions can have led from a known term to the next one."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations

from atomix_election.testing.checker.asked import UNKNOWN_SESSION, Asked, Pools
from atomix_election.testing.checker.findings import Finding, Rule, found, term_text
from atomix_election.testing.checker.jumps import Jumps
from atomix_election.testing.checker.owners import Owners, Ownership
from atomix_election.testing.checker.promises import Promises
from atomix_election.testing.checker.sessions import Sessions
from atomix_election.testing.checker.spec import ANOINT, CLOSE, ENTER, PROMOTE, Queue, queue_after
from atomix_election.testing.checker.timeline import Timeline

MAX_STEPS = 5
"""The longest gap that is searched: so many changes from one known term to the next."""
MAX_CALLS = 40
"""The most calls that are tried in one gap."""
MAX_DOUBTFUL = 3
"""The most candidates that may belong to a session, or to another one, when it ends in a gap."""
MAX_LOOKS = 5000
"""The most queues that are looked at in one gap."""


@dataclass(frozen=True, slots=True)
class _State:
    """A queue on the way.

    Args:
        queue: the candidates.
        owners: of each of them.
        anew: how often somebody led anew so far.
        used: the calls so far.
    """

    queue: Queue
    owners: tuple[Owners, ...]
    anew: int = 0
    used: frozenset[int] = frozenset()

    def owners_of(self, candidate: str) -> Owners:
        return self.owners[self.queue.index(candidate)]


class _TooFar(Exception):
    """There is too much to be looked at."""


class Gaps:
    """The search in one election.

    Args:
        election: its name.
        timeline: its terms.
        pools: its calls.
        owners: of its candidates.
        sessions: of all elections.
        promises: what is to hold.
        jumps: where it may go on from a floor.
    """

    def __init__(
        self,
        election: str,
        timeline: Timeline,
        pools: Pools,
        owners: Ownership,
        sessions: Sessions,
        promises: Promises,
        jumps: Jumps,
    ) -> None:
        self.undecided: int = 0
        """How many were too long to be searched."""
        self._election = election
        self._jumps = jumps
        self._timeline = timeline
        self._pools = pools
        self._owners = owners
        self._sessions = sessions
        self._promises = promises
        self._looks = 0
        self._seen: set[tuple[_State, int]] = set()

    def check(self) -> Iterator[Finding]:
        """Return the gaps that cannot be filled."""
        for place in range(1, len(self._timeline)):
            if self._timeline.follows(place) or self._jumps.is_restored(place):
                continue
            is_open = self._promises.others or self._jumps.may_go_on_from_a_floor(place)
            filled = None if is_open else self._can_be_filled(place)
            self.undecided += filled is None
            before, after = (term_text(term) for term in self._timeline.terms[place - 1 : place + 1])
            evidence = self._timeline.evidence(place - 1, place)
            if filled is False:
                what = f"nothing that was asked for leads from {before} to {after}"
                yield found(Rule.ASKED, self._election, what, evidence)
            elif filled is None and not is_open and not self._keeps_order(place):
                yield found(Rule.ORDER, self._election, f"somebody got ahead between {before} and {after}", evidence)

    def _can_be_filled(self, place: int) -> bool | None:
        """Return whether something leads to the term at a place from the one before it; None if that is too far."""
        timeline = self._timeline
        steps = timeline.revisions[place] - timeline.revisions[place - 1]
        pool = list(self._pool(place))
        if steps > MAX_STEPS or len(pool) > MAX_CALLS:
            return None
        queue = timeline.terms[place - 1].candidates
        self._looks = 0
        self._seen.clear()
        try:
            owners = tuple(self._owners.of(each, place - 1) for each in queue)
            return self._leads_on(_State(queue, owners), steps, place, pool)
        except _TooFar:
            return None

    def _keeps_order(self, place: int) -> bool:
        """Return whether those who cannot have moved or entered again are in order, and who came stands behind them."""
        before, after = self._timeline.terms[place - 1].candidates, self._timeline.terms[place].candidates
        moved = {each.candidate for each in self._pool(place) if each.what in (ANOINT, PROMOTE, ENTER)}
        lifted = {each.candidate for each in self._pool(place) if each.what in (ANOINT, PROMOTE)}
        stayed = [each for each in before if each in after and each not in moved]
        came = [each for each in after if each not in before and each not in lifted]
        expected = stayed + came
        return [each for each in after if each in stayed or each in came] == expected

    def _pool(self, place: int) -> Iterator[Asked]:
        timeline = self._timeline
        before, after = timeline.revisions[place - 1 : place + 1]
        return self._pools.within(timeline.earliest[place], timeline.latest[place], before + 1, after)

    def _leads_on(self, state: _State, steps: int, place: int, pool: list[Asked]) -> bool:
        after = self._timeline.terms[place]
        if not steps:
            return state.queue == after.candidates and self._number_fits(state.anew, place)
        if (state, steps) in self._seen or len(set(after.candidates).difference(state.queue)) > steps:
            return False
        self._seen.add((state, steps))
        self._looks += 1
        if self._looks > MAX_LOOKS:
            raise _TooFar
        revision = after.revision - steps + 1
        return any(self._leads_on(each, steps - 1, place, pool) for each in self._next(state, revision, place, pool))

    def _number_fits(self, anew: int, place: int) -> bool:
        risen = self._timeline.terms[place].number - self._timeline.terms[place - 1].number
        return risen == anew or (self._promises.numbers_jump and 0 < anew < risen)

    def _next(self, state: _State, revision: int, place: int, pool: list[Asked]) -> Iterator[_State]:
        """Return what one step may make of it, which has this revision then."""
        until = self._timeline.latest[place]
        for number, each in enumerate(pool):
            if number not in state.used and each.first <= revision <= each.last:
                for found in self._after(each, state, until):
                    yield _State(found.queue, found.owners, found.anew, state.used | {number})
        sessions = frozenset[str]().union(*state.owners)
        for session in sorted(sessions - {UNKNOWN_SESSION}):
            if self._sessions.may_end(session, until):
                yield from self._without(state, session)
        if UNKNOWN_SESSION in sessions:
            target = self._timeline.terms[place].candidates
            unknown = [each for each in state.queue if UNKNOWN_SESSION in state.owners_of(each)]
            yield from (_left(state, (each,)) for each in unknown)
            leaving = tuple(each for each in unknown if each not in target)
            if len(leaving) > 1:
                yield _left(state, leaving)

    def _after(self, asked: Asked, state: _State, until: float) -> Iterator[_State]:
        candidate = asked.candidate
        if asked.what == CLOSE:
            yield from self._without(state, asked.session)
            return
        owners = state.owners_of(candidate) if candidate in state.queue else frozenset[str]()
        own = not self._may_displace(asked, owners, until) if asked.what == ENTER else _may_own(asked.session, owners)
        queue = queue_after(asked.what, candidate, state.queue, own=own)
        if queue is None or (queue == state.queue and (asked.what != ENTER or own)):
            return
        of = dict(zip(state.queue, state.owners, strict=True))
        if asked.what == ENTER:
            of[candidate] = frozenset({asked.session})
        again = asked.what == ENTER and state.queue[:1] == (candidate,)
        anew = bool(queue) and (again or queue[:1] != state.queue[:1])
        yield _State(queue, tuple(of[each] for each in queue), state.anew + anew)

    def _may_displace(self, asked: Asked, owners: Owners, until: float) -> bool:
        return any(
            each == UNKNOWN_SESSION or (each != asked.session and self._sessions.may_end(each, until))
            for each in owners
        )

    def _without(self, state: _State, session: str) -> Iterator[_State]:
        """Return what is left when all candidates of a session leave: those that must be its own, and any that may."""
        must = tuple(each for each in state.queue if state.owners_of(each) == frozenset({session}))
        may = tuple(each for each in state.queue if each not in must and _may_own(session, state.owners_of(each)))
        if len(may) > MAX_DOUBTFUL:
            raise _TooFar
        for size in range(len(may) + 1):
            for some in combinations(may, size):
                if must or some:
                    yield _left(state, must + some)


def _may_own(session: str, owners: Owners) -> bool:
    return session == UNKNOWN_SESSION or session in owners or UNKNOWN_SESSION in owners


def _left(state: _State, gone: Collection[str]) -> _State:
    """Return the state without some candidates."""
    kept = [(each, owners) for each, owners in zip(state.queue, state.owners, strict=True) if each not in gone]
    queue = tuple(each for each, _ in kept)
    anew = bool(queue) and queue[:1] != state.queue[:1]
    return _State(queue, tuple(owners for _, owners in kept), state.anew + anew, state.used)
