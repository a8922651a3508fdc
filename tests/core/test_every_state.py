"""Every state of up to four candidates and three sessions, against every command.

Queues are all ordered selections of the ids a to d with every assignment to the sessions. Where a command asks which
sessions have ended, every subset is tried; assignments that only rename sessions are then left out. What must come out
is written down here once more, from the design and not from the code.
"""

from collections.abc import Iterator
from itertools import combinations, permutations, product
from types import MappingProxyType

import pytest

from atomix_election.core.commands import (
    Anoint,
    Close,
    Command,
    Create,
    Enter,
    Evict,
    ExpireSession,
    Forget,
    Promote,
    SteppedDown,
    Withdraw,
)
from atomix_election.core.election import Displaced, Election, Transition, apply
from atomix_election.model import Candidate, SessionId

IDS = "abcd"
SESSIONS = (SessionId("default", "1", 1), SessionId("default", "1", 2), SessionId("default", "2", 1))
UNKNOWN = SessionId("default", "1", 9)
NAMED, ASKING = (*IDS, "z"), (*SESSIONS, UNKNOWN)
COMMANDS: dict[type[Command], list[Command]] = {
    **{kind: [kind(each) for each in NAMED] for kind in (Anoint, Promote, Evict)},
    **{kind: [kind(each, session) for each in NAMED for session in ASKING] for kind in (Enter, Withdraw)},
    **{kind: [kind(session) for session in ASKING] for kind in (Create, Close, ExpireSession)},
    Forget: [Forget()],
    SteppedDown: [SteppedDown(session, number) for session in ASKING for number in (2, 3, 4, 5)],
}
ASK_FOR_THE_END = (Enter, Withdraw, Create, Close, Forget)
SOME_ENDED = [frozenset(each) for size in range(4) for each in combinations(SESSIONS, size)]
QUEUES, CANONICAL_QUEUES, SUBSETS = 2713, 485, 8

Sessions = frozenset[SessionId]
Queue = tuple[Candidate, ...]


def queues(*, canonical: bool) -> Iterator[Queue]:
    """All queues; canonical ones name the sessions in order of first appearance."""
    for length in range(len(IDS) + 1):
        for owners in product(SESSIONS, repeat=length):
            firsts = list(dict.fromkeys(owners))
            if not canonical or firsts == list(SESSIONS[: len(firsts)]):
                for ids in permutations(IDS, length):
                    yield tuple(map(Candidate, ids, owners))


def state(queue: Queue) -> Election:
    """An election some way into its life: sessions are registered, have counted their writes, are waited for."""
    operations = MappingProxyType({SESSIONS[0]: 4, SESSIONS[2]: 2})
    displaced = (Displaced(Candidate("a", SESSIONS[0]), 3), Displaced(Candidate("e", SESSIONS[1]), 4))
    return Election(queue, 5, 12, frozenset(SESSIONS[:2]), operations, displaced)


def states_for(kind: type[Command]) -> Iterator[tuple[Election, Sessions]]:
    """The states that matter to a kind of command, with the sessions that have ended."""
    for queue in queues(canonical=False):
        yield state(queue), frozenset()
    if kind in ASK_FOR_THE_END:
        for size in range(1, len(SESSIONS) + 1):
            for ended in combinations(SESSIONS, size):
                for queue in queues(canonical=True):
                    yield state(queue), frozenset(ended)


def number_of_cases(kind: type[Command]) -> int:
    states = QUEUES + (SUBSETS - 1) * CANONICAL_QUEUES * (kind in ASK_FOR_THE_END)
    return states * len(COMMANDS[kind])


def expected_refusal(queue: Queue, ended: Sessions, command: Command) -> str:
    """The name of the refusal that the design asks for, or "NoneType"."""
    owner = dict(queue)
    match command:
        case Enter(_, session) | Withdraw(_, session) | Create(session) | Close(session) if session in ended:
            return "SessionEnded"
        case Enter(id, session) if owner.get(id, session) not in {session, *ended}:
            return "CandidateTaken"
        case Withdraw(id, session) if owner.get(id, session) != session:
            return "NotOwner"
        case Anoint(id) | Promote(id) | Evict(id) if id not in owner:
            return "NotACandidate"
        case Forget():
            return "InvalidRequest"
        case _:
            return "NoneType"


def expected_queue(queue: Queue, command: Command) -> list[Candidate]:
    """The queue after a command that is not refused."""
    order = list(queue)
    match command:
        case Enter(id, session) if (id, session) not in order:
            return [*(each for each in order if each.id != id), Candidate(id, session)]
        case Withdraw(id) | Evict(id):
            return [each for each in order if each.id != id]
        case Anoint(id):
            return sorted(order, key=lambda each: each.id != id)
        case Promote(id) if order[0].id != id:
            place = [each.id for each in order].index(id)
            return [*order[: place - 1], order[place], order[place - 1], *order[place + 1 :]]
        case Close(session) | ExpireSession(session):
            return [each for each in order if each.session != session]
        case _:
            return order


def check_laws(before: Election, command: Command, after: Election) -> None:
    """The laws at the top of the core, and that nobody overtakes whom no command moves."""
    old, new = before.candidates, after.candidates
    ids = tuple(candidate.id for candidate in new)
    assert len(set(ids)) == len(ids)
    assert after.term.leader == (ids[0] if ids else None)
    assert after.term.candidates == ids
    begins = bool(new) and new[:1] != old[:1]
    assert after.number == before.number + begins
    assert after.revision == before.revision + (new != old)
    assert after.term == before.term or after.revision == before.revision + 1
    moved = getattr(command, "candidate_id", None)
    assert [each for each in new if each.id != moved] == [each for each in old if each.id != moved and each in new]


def check_memory(before: Election, command: Command, after: Election) -> None:
    """What Create, Close, the end of a session and a confirmed step-down change; nothing else changes it."""
    registered, operations, displaced = set(before.registered), dict(before.operations), list(before.displaced)
    match command:
        case Create(session):
            registered.add(session)
        case Close(session):
            registered.discard(session)
        case ExpireSession(session):
            registered.discard(session)
            operations.pop(session, None)
            displaced = [each for each in displaced if each.candidate.session != session]
        case SteppedDown(session, number):
            displaced = [each for each in displaced if each.candidate.session != session or each.number > number]
        case _:
            pass
    assert after.registered == registered
    assert after.operations == operations
    assert list(after.displaced) == displaced


def check(before: Election, ended: Sessions, command: Command) -> None:
    transition: Transition = apply(before, command, is_open=lambda session: session not in ended)
    refusal = expected_refusal(before.candidates, ended, command)
    assert type(transition.refusal).__name__ == refusal
    assert transition.election is before or transition.election != before, "unchanged, and not the same object"
    if transition.refusal is not None:
        assert transition.election is before
        return
    assert list(transition.election.candidates) == expected_queue(before.candidates, command)
    check_laws(before, command, transition.election)
    check_memory(before, command, transition.election)


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: f"{kind.__name__} in {number_of_cases(kind)} cases")
def test_every_command_in_every_state(kind: type[Command]) -> None:
    """A command does what the design says and keeps the laws, in every state there is."""
    cases = 0
    for election, ended in states_for(kind):
        for command in COMMANDS[kind]:
            check(election, ended, command)
            cases += 1
    assert cases == number_of_cases(kind)


def test_every_kind_of_command_is_tried() -> None:
    """A new kind of command needs its rule here."""
    assert set(COMMANDS) == set(Command.__args__)
    assert sum(map(number_of_cases, COMMANDS)) > 300_000


@pytest.mark.parametrize("displaced", [(), (Displaced(Candidate("a", SESSIONS[0]), 3),)], ids=["", "displaced"])
@pytest.mark.parametrize("operations", [{}, {SESSIONS[1]: 4}], ids=["", "wrote"])
@pytest.mark.parametrize("registered", [(), SESSIONS[:1], SESSIONS[:2]], ids=len)
@pytest.mark.parametrize("queue", [(), (Candidate("a", SESSIONS[2]),)], ids=["", "candidate"])
@pytest.mark.parametrize("ended", SOME_ENDED, ids=len)
def test_an_election_is_forgotten_when_nobody_has_anything_in_it(
    queue: Queue,
    registered: tuple[SessionId, ...],
    operations: dict[SessionId, int],
    displaced: tuple[Displaced, ...],
    ended: Sessions,
) -> None:
    """Candidates and the displaced count whatever became of their sessions; the rest counts while its session lasts."""
    before = Election(queue, 5, 12, frozenset(registered), MappingProxyType(operations), displaced)
    transition = apply(before, Forget(), is_open=lambda session: session not in ended)
    in_use = bool(queue or displaced or {*registered, *operations} - ended)
    assert (transition.refusal is not None, transition.forgotten) == (in_use, not in_use)
    if in_use:
        assert transition.election is before
        assert "in use" in str(transition.refusal)
    else:
        assert transition.election == Election(number=5, revision=12)
