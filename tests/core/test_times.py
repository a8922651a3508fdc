"""Times that are kept for people: when each candidate entered, and when the term began."""

from types import MappingProxyType

from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.core import commands
from atomix_election.core.commands import Command
from atomix_election.core.election import Election, apply
from atomix_election.model import Candidate, SessionId

ONE, TWO = SessionId("default", "1", 1), SessionId("default", "2", 1)
A, B = Candidate("a", ONE), Candidate("b", TWO)

candidate_ids = st.sampled_from("abcd")
sessions = st.sampled_from([ONE, TWO, SessionId("default", "1", 2)])
any_command = st.one_of(
    st.builds(commands.Enter, candidate_ids, sessions),
    st.builds(commands.Enter, candidate_ids, sessions),
    st.builds(commands.Withdraw, candidate_ids, sessions),
    *(st.builds(kind, candidate_ids) for kind in (commands.Anoint, commands.Promote, commands.Evict)),
    *(st.builds(kind, sessions) for kind in (commands.Create, commands.Close, commands.ExpireSession)),
)


def after(*steps: tuple[float, Command]) -> Election:
    """Return what becomes of an election; each command comes at its time."""
    election = Election()
    for at, command in steps:
        election = apply(election, command, at=at).election
    return election


def test_the_first_entry_begins_a_term() -> None:
    """A second candidate has a time of its own, and leaves the term's alone."""
    election = after((10, commands.Enter("a", ONE)), (20, commands.Enter("b", TWO)))
    assert election.entered_at == {A: 10, B: 20}
    assert election.began_at == 10


def test_entering_again_changes_no_time() -> None:
    """But leaving and coming back does."""
    again = after((10, commands.Enter("a", ONE)), (20, commands.Enter("a", ONE)))
    assert again.entered_at == {A: 10}
    anew = after((10, commands.Enter("a", ONE)), (20, commands.Withdraw("a", ONE)), (30, commands.Enter("a", ONE)))
    assert (anew.entered_at, anew.began_at) == ({A: 30}, 30)


def test_a_new_leader_keeps_its_time_of_entry() -> None:
    """Only the term is new."""
    both = ((10, commands.Enter("a", ONE)), (20, commands.Enter("b", TWO)))
    anointed = after(*both, (30, commands.Anoint("b")))
    assert (anointed.entered_at, anointed.began_at) == ({A: 10, B: 20}, 30)
    left = after(*both, (30, commands.ExpireSession(ONE)))
    assert (left.entered_at, left.began_at) == ({B: 20}, 30)


def test_nothing_is_left_of_the_last_one() -> None:
    """Who has gone has no time, and nobody's term goes on."""
    election = after((10, commands.Enter("a", ONE)), (20, commands.Evict("a")))
    assert (election.entered_at, election.began_at) == ({}, 0)


@settings(deadline=None, print_blob=True, max_examples=200)
@given(st.lists(st.tuples(any_command, st.sets(sessions, max_size=2)), max_size=60))
def test_times_follow_their_candidates_and_decide_nothing(history: list[tuple[Command, set[SessionId]]]) -> None:
    """Exactly the candidates have times, each that of its entry; all else is as without any time."""
    timed = timeless = Election()
    for at, (command, ended) in enumerate(history, start=1):
        before = timed
        timed = apply(before, command, at=at, is_open=lambda session, ended=ended: session not in ended).election
        timeless = apply(timeless, command, is_open=lambda session, ended=ended: session not in ended).election
        entered = [each for each in timed.candidates if each not in before.candidates]
        assert dict(timed.entered_at) == {
            each: at if each in entered else before.entered_at[each] for each in timed.candidates
        }
        began = at if timed.number != before.number else before.began_at
        assert timed.began_at == (began if timed.candidates else 0)
        without = {"entered_at": MappingProxyType({}), "began_at": 0.0}
        assert timed._replace(**without) == timeless._replace(**without)
