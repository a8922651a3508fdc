"""What a client and its elections say when they are not used as they are meant to be."""

import pytest

from atomix_election.sync import Client, InvalidRequest, LeaderElection, Term, connect


def test_outside_its_block_an_election_is_refused() -> None:
    """Before and after, each call says what to do; inside it works."""
    election = LeaderElection("e", candidate_id="a")
    for _ in range(2):
        for call in (election.enter, election.withdraw, election.get_term, election.describe, election.forget):
            with pytest.raises(InvalidRequest, match="inside its `with` block"):
                call()
        with pytest.raises(InvalidRequest, match="inside its `with` block"), election.lead():
            pass
        with pytest.raises(InvalidRequest, match="inside its `with` block"), election.events():
            pass
        assert not election.is_leader
        with election:
            assert election.enter() == Term(("a",), 1, 1)


def test_one_block_at_a_time() -> None:
    """The same object cannot be entered twice, and can be after a failure."""
    with LeaderElection("e") as election:
        with pytest.raises(InvalidRequest, match="entered already"), election:
            pass
        assert election.get_term() == Term()
    broken = LeaderElection("e", target="sqlite:////nowhere/at/all.db")
    for _ in range(2):
        with pytest.raises(Exception, match="nowhere"), broken:
            pass
    block = connect()
    with block, pytest.raises(InvalidRequest, match="entered before"), block:
        pass


def test_settings_are_checked_when_it_is_made() -> None:
    """As in the asynchronous face."""
    with pytest.raises(InvalidRequest, match="election name"):
        LeaderElection("")
    with pytest.raises(InvalidRequest, match="time-to-live"):
        LeaderElection("e", session_ttl=0)


def test_leaving_an_election_of_a_client_leaves_the_queue(operator: Client, election: LeaderElection) -> None:
    """And the client goes on."""
    with operator.election("e", candidate_id="a") as mine:
        assert mine.enter().candidates == ("a",)
        assert mine.client is operator
    assert election.get_term().candidates == ()


def test_elections_are_listed(operator: Client) -> None:
    """Page by page."""
    for name in "cab":
        operator.election(name, candidate_id="x").enter()
    assert [each.name for each in operator.list_elections(page_size=2)] == ["a", "b", "c"]
