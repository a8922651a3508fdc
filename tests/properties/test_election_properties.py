"""Long random lists of commands: what order, repetition and a floor come to in the end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.core import commands
from atomix_election.core.commands import Command, Operation
from atomix_election.core.election import Election, apply
from atomix_election.errors import CandidateTaken, NotACandidate, NotOwner
from atomix_election.model import Candidate, SessionId

LONG = settings(deadline=None, print_blob=True, max_examples=150)

sessions = st.sampled_from([SessionId("default", name, 1) for name in "123"])
candidate_ids = st.sampled_from("abcd")


@st.composite
def orderly_commands(draw: st.DrawFn) -> Command:
    """What can be asked without touching another's place in the queue."""
    candidate, session = draw(candidate_ids), draw(sessions)
    enter = commands.Enter(candidate, session)
    withdraw = commands.Withdraw(candidate, session)
    rest = [commands.Create(session), commands.Close(session), commands.ExpireSession(session)]
    return draw(st.sampled_from([enter, enter, enter, enter, withdraw, *rest]))


@st.composite
def writes(draw: st.DrawFn) -> Command:
    """What clients can ask."""
    candidate, session = draw(candidate_ids), draw(sessions)
    return draw(
        st.sampled_from(
            [
                commands.Enter(candidate, session),
                commands.Enter(candidate, session),
                commands.Withdraw(candidate, session),
                commands.Anoint(candidate),
                commands.Promote(candidate),
                commands.Promote(candidate),
                commands.Evict(candidate),
                commands.Create(session),
                commands.Close(session),
            ]
        )
    )


@LONG
@given(st.lists(st.tuples(orderly_commands(), st.sets(sessions, max_size=2)), min_size=20, max_size=100))
def test_first_come_first_served(history: list[tuple[Command, set[SessionId]]]) -> None:
    """As long as nobody anoints, promotes or evicts, the queue is in order of entry, whoever has ended meanwhile."""
    election, entries = Election(), list[Candidate]()
    for command, ended in history:
        after = apply(election, command, is_open=lambda session, ended=ended: session not in ended).election
        entries = [each for each in entries if each in after.candidates]
        entries += [each for each in after.candidates if each not in election.candidates]
        assert list(after.candidates) == entries
        election = after


@LONG
@given(st.lists(st.tuples(writes(), sessions, st.integers(min_value=1, max_value=3)), min_size=20, max_size=80))
def test_a_write_sent_several_times_is_applied_once(history: list[tuple[Command, SessionId, int]]) -> None:
    """Whatever is repeated with its number, the election is the same as after sending each write once."""
    once = repeated = Election()
    for number, (command, session, times) in enumerate(history, start=1):
        operation = Operation(session, number)
        single = apply(once, command, operation=operation)
        once = single.election
        for _ in range(times):
            again = apply(repeated, command, operation=operation)
            repeated = again.election
            assert type(again.refusal) is type(single.refusal)
            assert repeated == once
        assert isinstance(single.refusal, CandidateTaken | NotACandidate | NotOwner | None)


@LONG
@given(st.lists(writes(), min_size=20, max_size=80), st.integers(min_value=0, max_value=10_000))
def test_above_the_floor_numbers_go_on_by_one(history: list[Command], floor: int) -> None:
    """A store that lost its count and states a floor goes on as one that did not, above the floor."""
    plain = restored = Election()
    for command in history:
        plain = apply(plain, command).election
        restored = apply(restored, command, floor=floor).election
        risen = max(floor - 1, 0) if plain.number else 0
        assert restored.number == plain.number + risen
        assert restored.candidates == plain.candidates
        assert restored.revision == plain.revision
