"""Whatever a correct election does is accepted, and what it cannot have done is not."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from atomix_election import Term
from atomix_election.core.commands import Anoint, Enter, Evict, ExpireSession, Promote, Withdraw
from atomix_election.core.election import Election, apply
from atomix_election.model import SessionId
from atomix_election.testing.checker import Promises, Rule, check_history
from atomix_election.testing.checker.spec import END, changes, number_fits
from atomix_election.testing.history import DONE, Answered, Entry, Led, Renewed, Seen
from tests.testing.oracle import Wishes, a_history

wishes = st.builds(
    Wishes,
    calls=st.integers(1, 40),
    clients=st.integers(1, 4),
    unknown=st.booleans(),
    operators=st.booleans(),
    ends=st.booleans(),
    skips=st.booleans(),
    jumps=st.booleans(),
    copies=st.booleans(),
)
chances = st.integers(0, 1 << 32).map(random.Random)
slow = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


@given(wishes, chances)
@slow
def test_every_history_of_a_correct_election_is_accepted(wanted: Wishes, chance: random.Random) -> None:
    """Calls that overlap, unknown outcomes, answers that are lost, copies that come late, sessions that end."""
    verdict = check_history(a_history(chance, wanted), Promises(numbers_jump=wanted.jumps, late_copies=wanted.copies))
    assert not verdict.violations, str(verdict)
    assert not verdict.undecided


@given(wishes, chances, st.floats(0.0, 1.0))
@slow
def test_so_is_any_part_of_what_is_known_of_it(wanted: Wishes, chance: random.Random, seen: float) -> None:
    """Without some of its watches and reads there are terms that nobody saw."""
    history = a_history(chance, wanted)
    watches = {each.watch: chance.random() < seen for each in history if isinstance(each, Seen)}
    part = [each for each in history if _is_kept(each, watches, lambda: chance.random() < seen)]
    verdict = check_history(part, Promises(numbers_jump=wanted.jumps, late_copies=wanted.copies))
    assert not verdict.violations, str(verdict)


@given(wishes, chances)
@slow
def test_so_is_it_where_others_are_not_recorded(wanted: Wishes, chance: random.Random) -> None:
    """Without one of the clients, what it did has no explanation and needs none."""
    history = [each for each in a_history(chance, wanted) if getattr(each, "who", "") != "C0"]
    verdict = check_history(history, Promises(others=True, numbers_jump=wanted.jumps, late_copies=wanted.copies))
    assert not verdict.violations, str(verdict)


def _is_kept(entry: Entry, watches: dict[str, bool], by_chance: Callable[[], bool]) -> bool:
    if isinstance(entry, Seen):
        return watches[entry.watch]
    return not isinstance(entry, Answered) or entry.what != "get_term" or by_chance()


def _told(history: list[Entry]) -> list[Answered]:
    return [each for each in history if isinstance(each, Answered) and each.outcome == DONE]


def _alone(history: list[Entry], call: Answered) -> bool:
    """Return whether no other call asks for the same."""
    same = [each for each in history if isinstance(each, Answered) and each is not call]
    return not any((each.what, each.candidate) == (call.what, call.candidate) for each in same)


def _effective(history: list[Entry]) -> list[Answered]:
    """Return calls that brought somebody forward or in, which no other one may have done instead."""
    terms = {each.term.revision: each.term.candidates for each in history if isinstance(each, Seen)}

    def is_effective(call: Answered) -> bool:
        before, after = terms[call.term.revision - 1], call.term.candidates
        if call.what == "enter":
            return call.candidate in after and call.candidate not in before
        return call.candidate in before and after.index(call.candidate) < before.index(call.candidate)

    certain = [each for each in _told(history) if each.what == "enter" or each.operation is None]
    asked = [each for each in certain if each.what in ("enter", "anoint", "promote") and _alone(history, each)]
    return [each for each in asked if is_effective(each)]


def stale_read(history: list[Entry], chance: random.Random) -> list[Entry]:
    """Somebody is told what there was before something else that had been told."""
    reads = [each for each in _told(history) if each.what == "get_term"]
    found = [
        (read, older.term)
        for read in reads
        for older in _told(history)
        for newer in _told(history)
        if newer.ended < read.begun and older.term.revision < newer.term.revision
    ]
    assume(found)
    read, term = chance.choice(found)
    return [replace(each, term=term) if each is read else each for each in history if isinstance(each, Answered)]


def lost_update(history: list[Entry], chance: random.Random) -> list[Entry]:
    """Somebody is told the term before what it did."""
    found = _effective(history)
    assume(found)
    lost = chance.choice(found)
    before = next(
        each.term for each in history if isinstance(each, Seen) and each.term.revision == lost.term.revision - 1
    )
    return [replace(each, term=before) if each is lost else each for each in history]


def unasked_change(history: list[Entry], chance: random.Random) -> list[Entry]:
    """Something happens for which there is no call."""
    found = _effective(history)
    assume(found)
    unasked = chance.choice(found)
    later = [each for each in history if isinstance(each, Answered) and each.begun > unasked.ended]
    return [*(each for each in history if isinstance(each, Seen)), *later]


def token_repeated(history: list[Entry], chance: random.Random) -> list[Entry]:
    """One token is given to two."""
    led = [each for each in history if isinstance(each, Led)]
    assume(len(led) > 1)
    other = chance.choice(led[1:])
    return [replace(each, token=led[0].token) if each is other else each for each in history]


def event_dropped(history: list[Entry], chance: random.Random) -> list[Entry]:
    """A watch leaves out one of several changes."""
    watches: dict[str, list[Seen]] = {}
    for each in history:
        if isinstance(each, Seen):
            watches.setdefault(each.watch, []).append(each)
    found = [dropped for seen in watches.values() for dropped, following in pairwise(seen[1:]) if not following.skipped]
    assume(found)
    dropped = chance.choice(found)
    return [each for each in history if each is not dropped]


def order_swapped(history: list[Entry], chance: random.Random) -> list[Entry]:
    """A queue is told in another order than it has, and to everybody."""
    found = sorted({each.term for each in history if isinstance(each, Seen) and len(each.term.candidates) > 1}, key=str)
    assume(found)
    chosen = chance.choice(found)
    first, second, *rest = chosen.candidates
    swapped = replace(chosen, candidates=(second, first, *rest))
    return [replace(each, term=swapped) if getattr(each, "term", None) == chosen else each for each in history]


def wrong_number(history: list[Entry], chance: random.Random) -> list[Entry]:
    """A term has another number than it has to have."""
    found = sorted({each.term for each in history if isinstance(each, Seen) and each.term.candidates}, key=str)
    assume(found)
    chosen = chance.choice(found)
    wrong = replace(chosen, number=chosen.number + 1)
    return [replace(each, term=wrong) if getattr(each, "term", None) == chosen else each for each in history]


def wrong_refusal(history: list[Entry], chance: random.Random) -> list[Entry]:
    """Somebody is refused who has been there all the time."""
    newest = max((each for each in history if isinstance(each, Seen)), key=lambda each: each.term.revision).term
    told = _told(history)
    last = max((each.begun for each in told), default=0.0)
    found = [
        (read, candidate)
        for candidate in newest.candidates
        for read in told
        if read.what == "get_term" and read.ended < last and read.begun > _there_since(candidate, history)
    ]
    assume(found)
    read, candidate = chance.choice(found)
    refused = replace(read, what="evict", candidate=candidate, outcome="NotACandidate", term=Term())
    return [refused if each is read else each for each in history]


def _there_since(candidate: str, history: list[Entry]) -> float:
    """Return since when a candidate is known to have been in each term to the end."""
    terms = sorted({each.term for each in history if isinstance(each, Seen)}, key=lambda each: each.revision)
    absent = max((each.revision for each in terms if candidate not in each.candidates), default=-1)
    return min(each.ended for each in _told(history) if each.term.revision > absent)


def session_ended_early(history: list[Entry], chance: random.Random) -> list[Entry]:
    """The sessions of those who left without a call are renewed once more, after they have left."""
    asked = {each.candidate for each in history if isinstance(each, Answered) and each.what in ("withdraw", "evict")}
    terms = sorted({each.term for each in history if isinstance(each, Seen)}, key=lambda each: each.revision)
    left = [set(before.candidates).difference(after.candidates) for before, after in pairwise(terms)]
    assume(any(each and not each & asked for each in left))
    late = max(each.at for each in history if isinstance(each, Seen)) + 1.0
    sessions = {each.session for each in history if isinstance(each, Answered) and each.what == "enter"}
    return [*history, *(Renewed("C", each, late, late + chance.random(), 9.0) for each in sorted(sessions))]


MUTATIONS: dict[Callable[[list[Entry], random.Random], list[Entry]], set[Rule]] = {
    stale_read: {Rule.FRESH},
    lost_update: {Rule.ACKNOWLEDGED, Rule.ASKED, Rule.FRESH},
    unasked_change: {Rule.ASKED},
    token_repeated: {Rule.TOKENS_RISE},
    event_dropped: {Rule.EVENTS},
    order_swapped: {Rule.STEPS, Rule.ASKED, Rule.ACKNOWLEDGED, Rule.NUMBERS_RISE, Rule.ONE_LEADER},
    wrong_number: {Rule.STEPS},
    wrong_refusal: {Rule.REFUSED},
    session_ended_early: {Rule.SESSIONS_LAST, Rule.ASKED},
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.__name__)
@given(seed=st.integers(0, 1 << 32), calls=st.integers(15, 40))
@settings(slow, max_examples=40)
def test_what_cannot_have_been_is_not_accepted(
    mutation: Callable[[list[Entry], random.Random], list[Entry]], seed: int, calls: int
) -> None:
    """One thing that was told is changed, left out or made up."""
    chance = random.Random(seed)
    by_name = mutation.__name__
    wanted = Wishes(
        calls=calls,
        clients=4,
        unknown=False,
        operators=by_name not in ("order_swapped", "wrong_refusal", "session_ended_early"),
        ends=by_name == "session_ended_early",
        skips=by_name == "event_dropped",
    )
    history = a_history(chance, wanted)
    found = {each.rule for each in check_history(mutation(history, chance), Promises(late_copies=False)).violations}
    assert found & MUTATIONS[mutation]


commands = st.tuples(st.sampled_from([Enter, Withdraw, Anoint, Promote, Evict]), st.sampled_from("abcd"))


@given(st.lists(st.tuples(commands, st.integers(1, 3)), max_size=30), st.integers(0, 1))
@slow
def test_the_rules_of_the_checker_are_those_of_the_core(steps: list[tuple[tuple[type, str], int]], floor: int) -> None:
    """They are written down twice, so that a mistake in one of them shows in the other."""
    election = Election()
    for (kind, candidate), number in steps:
        session = SessionId("default", f"s{number}", number)
        command = kind(candidate, session) if kind in (Enter, Withdraw) else kind(candidate)
        after = apply(election, command, floor=floor * 10).election
        _is_explained(election, after, kind.__name__.lower(), jumps=bool(floor))
        election = after
    for number in range(1, 4):
        after = apply(election, ExpireSession(SessionId("default", f"s{number}", number))).election
        _is_explained(election, after, END, jumps=False)
        election = after


def _is_explained(before: Election, after: Election, what: str, *, jumps: bool) -> None:
    if before.revision == after.revision:
        return
    queues = before.term.candidates, after.term.candidates
    found = [each for each in changes(*queues) if each.what == what]
    assert found, f"{what} does not lead from {queues[0]} to {queues[1]}"
    assert any(number_fits(before.number, after.number, anew=each.anew, jumps=jumps) for each in found)


def test_a_long_history_is_judged_in_time() -> None:
    """The time grows with the records, and not faster: see docs/histories.md."""
    history = a_history(random.Random(1), Wishes(calls=1500, clients=5))
    assert len(history) > 25_000
    assert not check_history(history).violations
