"""Steps lead from term to term, and are short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomix_election.core.commands import Anoint, Close, Command, Enter, Evict, ExpireSession, Promote, Withdraw
from atomix_election.core.election import Election, apply
from atomix_election.core.steps import Step, replay, step_between, steps_through, take_step
from atomix_election.model import SessionId, Term

_ids = st.sampled_from("abcdefgh")
_sessions = st.integers(1, 3).map(lambda number: SessionId("default", "s", number))
_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Enter, _ids, _sessions),
    st.builds(Withdraw, _ids, _sessions),
    st.builds(Anoint, _ids),
    st.builds(Promote, _ids),
    st.builds(Evict, _ids),
    st.builds(Close, _sessions),
    st.builds(ExpireSession, _sessions),
)
_terms = st.builds(Term, st.lists(_ids, unique=True).map(tuple), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(_commands, max_size=30), st.integers(0, 30), st.integers(0, 50))
def test_steps_lead_through_all_terms_of_any_commands(commands: list[Command], start: int, floor: int) -> None:
    """From wherever they begin."""
    election, terms = Election(), [Term()]
    for command in commands:
        election = apply(election, command, floor=floor).election
        if election.term != terms[-1]:
            terms.append(election.term)
    before, *after = terms[min(start, len(terms) - 1) :]
    assert replay(before, steps_through(before, after)) == tuple(after)


@given(_terms, _terms)
def test_a_step_leads_from_any_term_to_any_other(before: Term, after: Term) -> None:
    """And names each candidate once at most."""
    step = step_between(before, after)
    assert take_step(before, step) == after
    assert len({each for _, each in step.inserted}) == len(step.inserted)


@pytest.mark.parametrize(
    ("before", "after", "removed", "inserted"),
    [
        ("abcd", "abcde", (), ((4, "e"),)),
        ("abcd", "acd", (1,), ()),
        ("abcd", "dabc", (3,), ((0, "d"),)),
        ("abcd", "ac", (1, 3), ()),
        ("abcd", "abcd", (), ()),
        ("", "a", (), ((0, "a"),)),
        ("a", "", (0,), ()),
    ],
)
def test_a_step_names_only_who_moves(
    before: str, after: str, removed: tuple[int, ...], inserted: tuple[tuple[int, str], ...]
) -> None:
    """However long the queue is that the others stand in."""
    queue = tuple(f"waiting {number}" for number in range(1000))
    assert step_between(Term((*before, *queue)), Term((*after, *queue), 5, 6)).inserted == inserted
    assert step_between(Term(tuple(before)), Term(tuple(after), 5, 6)) == Step(5, 6, removed, inserted)


@pytest.mark.parametrize(
    "step",
    [Step(1, 1, (3,)), Step(1, 1, (), ((4, "x"),)), Step(1, 1, (), ((0, "a"),)), Step(1, 1, (0, 1), ((2, "x"),))],
)
def test_a_step_from_elsewhere_is_refused(step: Step) -> None:
    """Where that can be seen."""
    with pytest.raises(ValueError, match="queue"):
        take_step(Term(("a", "b", "c")), step)
