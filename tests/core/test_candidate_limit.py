"""How many candidates an election may have."""

from atomix_election.core.commands import Anoint, Enter, Evict, Promote, Withdraw
from atomix_election.core.election import Election, apply
from atomix_election.errors import LimitExceeded
from atomix_election.model import Candidate, SessionId

ONE, TWO, ENDED = (SessionId("default", name, 1) for name in ("one", "two", "ended"))


def full() -> Election:
    """Return an election of two, whose second one's session has ended."""
    election = Election()
    for candidate, session in (("a", ONE), ("b", ENDED)):
        election = apply(election, Enter(candidate, session)).election
    return election


def test_one_too_many_is_refused_and_told_what_to_do() -> None:
    """The election stays as it is."""
    before = full()
    after = apply(before, Enter("c", TWO), max_candidates=2)
    assert after.election is before
    assert isinstance(after.refusal, LimitExceeded)
    assert "has 2 candidates" in str(after.refusal)
    assert "raise max_candidates" in str(after.refusal)
    assert apply(before, Enter("c", TWO), max_candidates=3).refusal is None
    assert apply(before, Enter("c", TWO)).refusal is None


def test_entering_again_needs_no_room() -> None:
    """Nor does taking the place of a candidate whose session has ended."""
    assert apply(full(), Enter("a", ONE), max_candidates=2).refusal is None
    after = apply(full(), Enter("b", TWO), is_open=lambda session: session != ENDED, max_candidates=2)
    assert after.refusal is None
    assert after.election.candidates == (Candidate("a", ONE), Candidate("b", TWO))


def test_an_election_that_has_more_keeps_them() -> None:
    """The limit was lowered; everything but entering goes on."""
    for command in (Anoint("b"), Promote("b"), Evict("b"), Withdraw("a", ONE), Enter("a", ONE)):
        assert apply(full(), command, max_candidates=1).refusal is None
    assert isinstance(apply(full(), Enter("c", TWO), max_candidates=1).refusal, LimitExceeded)
