"""Who a client stands for: one at a time, entered again when need be, given back when nobody wants it."""

import pytest

from atomix_election import InvalidRequest, Term
from atomix_election.core.candidacy import Candidacies, Candidacy

A, B, ELSEWHERE = ("x", "a"), ("x", "b"), ("y", "a")


def test_one_at_a_time_leads_or_waits_for_a_candidate() -> None:
    """Until it has left, also while it is leaving; others are no matter."""
    candidacies = Candidacies()
    candidacies.stand(A)
    for place in (B, ELSEWHERE):
        candidacies.stand(place)
    for step in (lambda: None, lambda: candidacies.leave(A)):
        step()
        with pytest.raises(InvalidRequest, match="'a' leads or waits to lead 'x' already: one at a time"):
            candidacies.stand(A)
    candidacies.left(A)
    candidacies.stand(A)


def test_a_new_session_enters_what_was_entered() -> None:
    """But not what waits to lead, which enters by itself, and not what was withdrawn."""
    candidacies = Candidacies()
    assert [candidacies.enter(place) for place in (ELSEWHERE, A, B, B)] == [True, True, True, False]
    candidacies.stand(A)
    assert candidacies.to_enter_again() == [B, ELSEWHERE]
    candidacies.withdraw(B)
    assert candidacies.to_enter_again() == [ELSEWHERE]
    assert not candidacies.is_entered(B)
    assert candidacies.is_entered(A)


def test_a_block_that_ends_takes_the_candidate_along() -> None:
    """Also one that ``enter`` has entered before."""
    candidacies = Candidacies()
    candidacies.enter(A)
    candidacies.stand(A)
    candidacies.leave(A)
    candidacies.left(A)
    assert not candidacies.is_entered(A)
    assert not candidacies.is_claimed(A)


def test_what_nobody_wants_is_not_claimed() -> None:
    """It is claimed while it is entered, or somebody leads, waits or is leaving."""
    candidacies = Candidacies()
    assert not candidacies.is_claimed(A)
    candidacies.enter(A)
    assert candidacies.is_claimed(A)
    candidacies.withdraw(A)
    candidacies.stand(A)
    assert candidacies.is_claimed(A)
    candidacies.leave(A)
    assert candidacies.is_claimed(A)
    candidacies.left(A)
    assert not candidacies.is_claimed(A)


def test_a_leadership_is_given_back_once_at_a_time() -> None:
    """And not at all by who is leaving, as that withdraws the candidate anyway."""
    candidacies = Candidacies()
    assert candidacies.give_back(A)
    assert not candidacies.give_back(A)
    assert candidacies.give_back(B)
    candidacies.given_back(A)
    assert candidacies.give_back(A)
    candidacies.given_back(A)
    candidacies.stand(A)
    assert candidacies.give_back(A), "who waits for the lead may have it under a number that was given up"
    candidacies.given_back(A)
    candidacies.leave(A)
    assert not candidacies.give_back(A)


def test_it_enters_at_first_with_a_new_session_and_after_an_eviction() -> None:
    """And not otherwise: an older term that does not name it is no eviction."""
    candidacy = Candidacy("a")
    assert candidacy.must_enter("s")
    candidacy.entered("s", Term(("b", "a"), 1, 5))
    assert not candidacy.must_enter("s")
    candidacy.seen(Term(("b",), 1, 4))
    assert not candidacy.must_enter("s")
    candidacy.seen(Term(("b", "a", "c"), 1, 6))
    assert not candidacy.must_enter("s")
    candidacy.seen(Term(("b", "c"), 1, 7))
    assert candidacy.must_enter("s")
    candidacy.entered("s", Term(("b", "c", "a"), 1, 8))
    assert not candidacy.must_enter("s")
    assert candidacy.must_enter("t")


def test_a_new_session_may_mean_a_store_whose_revisions_start_anew() -> None:
    """What was seen before says nothing then."""
    candidacy = Candidacy("a")
    candidacy.entered("s", Term(("a",), 1, 8))
    candidacy.seen(Term(("b",), 2, 90))
    assert candidacy.must_enter("t")
    candidacy.entered("t", Term(("a",), 1, 1))
    assert not candidacy.must_enter("t")
    assert candidacy.newest == Term(("a",), 1, 1)


def test_the_newest_term_is_that_of_the_highest_revision() -> None:
    """Whether it came as a reply or as an event."""
    candidacy = Candidacy("a")
    assert candidacy.newest == Term()
    candidacy.entered("s", Term(("a",), 1, 2))
    assert candidacy.newest == Term(("a",), 1, 2)
    candidacy.seen(Term(("a", "b"), 1, 3))
    assert candidacy.newest == Term(("a", "b"), 1, 3)


def test_a_taken_id_is_tried_for_the_longest_failover() -> None:
    """Counted from the first refusal, anew after each entry that succeeded."""
    candidacy = Candidacy("a")
    assert candidacy.taken(100.0, 10.1)
    assert candidacy.taken(110.1, 10.1)
    assert not candidacy.taken(110.2, 10.1)
    candidacy.entered("s", Term(("a",), 1, 1))
    assert candidacy.taken(200.0, 10.1)
    assert candidacy.taken(210.1, 10.1)


def test_a_candidate_is_wanted_until_it_is_about_to_leave() -> None:
    """By whoever entered it, or waits to lead, or leads; not any more while it is being withdrawn."""
    candidacies = Candidacies()
    assert not candidacies.is_wanted(A)
    candidacies.stand(A)
    assert candidacies.is_wanted(A)
    candidacies.leave(A)
    assert not candidacies.is_wanted(A)
    candidacies.left(A)
    candidacies.enter(A)
    assert candidacies.is_wanted(A)
    candidacies.withdraw(A)
    assert not candidacies.is_wanted(A)
