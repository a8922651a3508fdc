"""What goes with a command (floor, operation number, who confirms) in every state of up to two candidates.

Each result is compared with that of the bare command, which ``test_every_state`` holds against the design.
"""

from collections.abc import Iterator
from itertools import combinations, permutations, product
from types import MappingProxyType

import pytest

from atomix_election import errors
from atomix_election.core import commands
from atomix_election.core.commands import Command, Operation
from atomix_election.core.election import Displaced, Election, Transition, apply
from atomix_election.model import Candidate, SessionId

SESSIONS = (SessionId("default", "1", 1), SessionId("default", "1", 2), SessionId("default", "2", 1))
KNOWN_COUNTER, NO_COUNTER = SESSIONS[0], SESSIONS[1]
NUMBER, REVISION, NEWEST = 5, 12, 4
COMMANDS: list[Command] = [
    *(kind(each) for kind in (commands.Anoint, commands.Promote, commands.Evict) for each in "abz"),
    *(kind(each, session) for kind in (commands.Enter, commands.Withdraw) for each in "abz" for session in SESSIONS),
    *(kind(session) for kind in (commands.Create, commands.Close, commands.ExpireSession) for session in SESSIONS),
]
SUBSETS = [frozenset(each) for size in range(4) for each in combinations(SESSIONS, size)]
QUEUES = [
    tuple(map(Candidate, ids, owners))
    for length in range(3)
    for ids in permutations("ab", length)
    for owners in product(SESSIONS, repeat=length)
]
CASES = 25 * 8 * 36
DISPLACING = (commands.Anoint, commands.Promote, commands.Evict)


class Case:
    """An election, the sessions that have ended, and a command."""

    def __init__(self, queue: tuple[Candidate, ...], ended: frozenset[SessionId], command: Command) -> None:
        operations = MappingProxyType({KNOWN_COUNTER: NEWEST, SESSIONS[2]: 1})
        self.election = Election(queue, NUMBER, REVISION, frozenset(SESSIONS[:2]), operations)
        self.ended = ended
        self.command = command
        self.bare = self.apply()

    def apply(
        self, *, floor: int = 0, operation: Operation | None = None, confirming: frozenset[SessionId] = frozenset()
    ) -> Transition:
        return apply(
            self.election,
            self.command,
            is_open=lambda session: session not in self.ended,
            confirms=lambda session: session in confirming,
            floor=floor,
            operation=operation,
        )

    @property
    def takes_the_lead(self) -> bool:
        """Whether the bare command makes somebody else lead, or nobody."""
        return self.bare.election.candidates[:1] != self.election.candidates[:1]


def cases() -> Iterator[Case]:
    return (Case(queue, ended, command) for queue in QUEUES for ended in SUBSETS for command in COMMANDS)


@pytest.mark.parametrize("floor", [0, NUMBER, NUMBER + 1, NUMBER + 2, 1000])
def test_a_term_that_begins_has_the_floor_or_the_next_number(floor: int) -> None:
    """The number is the higher of both when a term begins, and nothing else depends on the floor."""
    tried = 0
    for case in cases():
        floored, bare = case.apply(floor=floor).election, case.bare.election
        begins = bare.candidates and case.takes_the_lead
        assert floored.number == (max(NUMBER + 1, floor) if begins else NUMBER)
        assert floored.candidates == bare.candidates
        assert floored.revision == bare.revision
        assert floored.registered == bare.registered
        tried += 1
    assert tried == CASES


@pytest.mark.parametrize("floor", [0, 1, 2, 1000])
def test_the_first_term_has_the_floor_or_one(floor: int) -> None:
    """The first leader of all has term 1 where there is no floor; before it the number is 0."""
    assert Election().term.number == 0
    first = apply(Election(), commands.Enter("a", SESSIONS[0]), floor=floor).election
    assert first.term.number == max(1, floor)
    assert first.term.revision == 1


def test_a_repeat_is_accepted_without_effect() -> None:
    """The number of the newest write again: no refusal and no change, whatever the command says."""
    for case in cases():
        if KNOWN_COUNTER not in case.ended:
            repeat = case.apply(operation=Operation(KNOWN_COUNTER, NEWEST))
            assert repeat.refusal is None
            assert repeat.election == case.election


@pytest.mark.parametrize("number", [0, 1, NEWEST - 1])
def test_an_older_write_is_refused(number: int) -> None:
    """A late duplicate changes nothing, and is told so."""
    for case in cases():
        if KNOWN_COUNTER not in case.ended:
            late = case.apply(operation=Operation(KNOWN_COUNTER, number))
            assert type(late.refusal) is errors.OutcomeUnknown
            assert late.election == case.election


@pytest.mark.parametrize(
    ("session", "number"),
    [(KNOWN_COUNTER, NEWEST + 1), (KNOWN_COUNTER, NEWEST + 7), (NO_COUNTER, 0), (NO_COUNTER, 1), (NO_COUNTER, 9)],
)
def test_a_newer_write_is_applied_and_remembered(session: SessionId, number: int) -> None:
    """The counter is kept with the change, and also when there is none; a refused write is not kept."""
    tried = 0
    for case in cases():
        if session in case.ended:
            continue
        newer, bare = case.apply(operation=Operation(session, number)), case.bare
        assert type(newer.refusal) is type(bare.refusal)
        if bare.refusal is None:
            assert newer.election.operations == {**bare.election.operations, session: number}
            assert newer.election.term == bare.election.term
            assert newer.election.candidates == bare.election.candidates
            assert newer.election.registered == bare.election.registered
        else:
            assert newer.election == case.election
        tried += 1
    assert tried == CASES // 2


@pytest.mark.parametrize("number", [0, 1, NEWEST, NEWEST + 1])
def test_no_write_of_an_ended_session_is_answered_with_a_term(number: int) -> None:
    """Also a repeat is refused: the session has ended, and what it did may be gone."""
    for case in cases():
        if KNOWN_COUNTER in case.ended:
            late = case.apply(operation=Operation(KNOWN_COUNTER, number))
            assert type(late.refusal) is errors.SessionEnded
            assert late.election == case.election


@pytest.mark.parametrize("confirming", SUBSETS, ids=lambda each: f"{len(each)} confirm")
def test_who_was_displaced_is_waited_for(confirming: frozenset[SessionId]) -> None:
    """When a command on another's candidate takes the lead from an open session whose client confirms its step-down.

    The term changes at once all the same. Who leaves by its own command, or has ended, is not waited for.
    """
    waits = 0
    for case in cases():
        after, bare = case.apply(confirming=confirming).election, case.bare.election
        expected: list[Displaced] = []
        if isinstance(case.command, DISPLACING) and case.election.candidates and case.takes_the_lead:
            former = case.election.candidates[0]
            if former.session in confirming - case.ended:
                expected = [Displaced(former, NUMBER)]
        assert list(after.displaced) == expected
        assert after.term == bare.term
        assert after.candidates == bare.candidates
        assert after.acting == (None if expected else next(iter(after.candidates), None))
        waits += len(expected)
    assert (waits > 0) == bool(confirming)


def test_a_newer_displacement_of_a_session_replaces_the_older_one() -> None:
    """One entry for each session, the newest last: who confirms a number does nothing under a lower one either."""
    earlier = tuple(Displaced(Candidate("e", session), 1 + place) for place, session in enumerate(SESSIONS))
    replaced = 0
    for case in cases():
        case.election = case.election._replace(displaced=earlier)
        after = case.apply(confirming=frozenset(SESSIONS)).election
        expected = list(earlier)
        if isinstance(case.command, commands.ExpireSession):
            expected = [each for each in expected if each.candidate.session != case.command.session]
        if isinstance(case.command, DISPLACING) and case.election.candidates and case.takes_the_lead:
            former = case.election.candidates[0]
            if former.session not in case.ended:
                expected = [each for each in expected if each.candidate.session != former.session]
                expected.append(Displaced(former, NUMBER))
                replaced += 1
        assert list(after.displaced) == expected
    assert replaced > 0
