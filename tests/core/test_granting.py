"""What a session is told of an election, and how long others wait for it."""

import pytest

from atomix_election import SessionEnded
from atomix_election.core.campaign import Granted, Revoked
from atomix_election.core.commands import Anoint, Close, Create, Enter, Evict, SteppedDown, Withdraw
from atomix_election.core.election import Election, apply
from atomix_election.core.granting import (
    ended_meanwhile,
    leadership_of,
    newly_confirmed,
    revoked_from,
    waits_until,
)
from atomix_election.model import SessionId

ONE, TWO, THREE = (SessionId("n", str(number), number) for number in (1, 2, 3))


def after(*commands: object) -> Election:
    """Return an election after these commands, all of whose clients confirm step-downs."""
    election = Election()
    for command in commands:
        election = apply(election, command, confirms=lambda _: True).election  # type: ignore[arg-type]
    return election


ENTERED = (Enter("a", ONE), Enter("b", TWO))


def test_only_the_leader_is_granted_the_lead() -> None:
    """Who waits is told nothing, and so is a stranger, or another incarnation of the leader's session."""
    election = after(*ENTERED)
    assert leadership_of(ONE, "x", election) == Granted("x", 1, "a")
    for session in (TWO, THREE, ONE._replace(incarnation=9)):
        assert leadership_of(session, "x", election) is None
    assert leadership_of(ONE, "x", Election()) is None


def test_the_next_leader_is_granted_nothing_before_the_displaced_one_confirmed() -> None:
    """And the displaced one is told what was taken from it, and whether it is still in the queue."""
    displaced = after(*ENTERED, Anoint("b"))
    assert leadership_of(TWO, "x", displaced) is None
    assert leadership_of(ONE, "x", displaced) is None
    assert revoked_from(ONE, "x", displaced) == (Revoked(Granted("x", 1, "a"), evicted=False),)
    assert revoked_from(TWO, "x", displaced) == ()
    evicted = after(*ENTERED, Evict("a"))
    assert revoked_from(ONE, "x", evicted) == (Revoked(Granted("x", 1, "a"), evicted=True),)
    confirmed = after(*ENTERED, Anoint("b"), SteppedDown(ONE, 1))
    assert leadership_of(TWO, "x", confirmed) == Granted("x", 2, "b")
    assert revoked_from(ONE, "x", confirmed) == ()


def test_a_confirmation_stands_for_those_before_it() -> None:
    """One of an older number ends nothing; the newest of several counts."""
    revoked = [Revoked(Granted("x", 3, "a"), evicted=False)]
    assert newly_confirmed(revoked, []) is None
    assert newly_confirmed(revoked, [Granted("x", 2, "a")]) is None
    assert newly_confirmed(revoked, [Granted("x", 3, "a")]) == 3
    assert newly_confirmed(revoked, [Granted("x", 5, "a"), Granted("x", 2, "a")]) == 5
    assert newly_confirmed([], [Granted("x", 5, "a")]) is None


def test_a_displaced_leader_is_waited_for_one_time_to_live() -> None:
    """From the change on, or from the start of the server."""
    assert waits_until(100.0, 10.0) == 110.0


@pytest.mark.parametrize("command", [Create(ONE), Enter("a", ONE)])
def test_an_entry_of_a_session_that_ended_meanwhile_is_not_answered_well(command: Create | Enter) -> None:
    """Whatever the store says of it."""
    assert isinstance(ended_meanwhile(command, lambda _: False), SessionEnded)
    assert ended_meanwhile(command, lambda session: session == ONE) is None


@pytest.mark.parametrize("command", [Withdraw("a", ONE), Close(ONE), Anoint("a"), Evict("a")])
def test_what_takes_nothing_is_answered_as_it_was_committed(command: Withdraw | Close | Anoint | Evict) -> None:
    """Its session has what it wanted."""
    assert ended_meanwhile(command, lambda _: False) is None
