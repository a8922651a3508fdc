"""What a server tells a session of an election: where it acts, what was taken from it, and how long others wait for it.

Leadership is granted by these functions alone; to be the first in the queue does not make a session act.
"""

from collections.abc import Callable, Iterable

from atomix_election.core.campaign import Granted, Revoked
from atomix_election.core.commands import Command, Create, Enter
from atomix_election.core.election import Election
from atomix_election.errors import SessionEnded
from atomix_election.model import SessionId

_ENTRIES = (Create, Enter)


def leadership_of(session: SessionId, name: str, election: Election) -> Granted | None:
    """Return the leadership under which a session may act in the election of that name, or None."""
    leader = election.acting
    return None if leader is None or leader.session != session else Granted(name, election.number, leader.id)


def revoked_from(session: SessionId, name: str, election: Election) -> tuple[Revoked, ...]:
    """Return what was taken from a session and is waited for, until it confirms that it has stepped down."""
    return tuple(
        Revoked(Granted(name, each.number, each.candidate.id), evicted=each.candidate not in election.candidates)
        for each in election.displaced
        if each.candidate.session == session
    )


def newly_confirmed(revoked: Iterable[Revoked], stepped_down: Iterable[Granted]) -> int | None:
    """Return the number up to which a session has stepped down in an election, if that ends any waiting.

    Args:
        revoked: what is waited for in this election.
        stepped_down: what the session has confirmed, in this election; the newest stands for those before it.
    """
    newest = max((granted.number for granted in stepped_down), default=0)
    return newest if any(each.granted.number <= newest for each in revoked) else None


def waits_until(since: float, ttl_s: float) -> float:
    """Return until when a displaced leader is waited for that confirms nothing: one of its time-to-lives.

    Args:
        since: when the lead was taken from it, or the server has started anew.
        ttl_s: its time-to-live in seconds.
    """
    return since + ttl_s


def ended_meanwhile(command: Command, is_open: Callable[[SessionId], bool]) -> SessionEnded | None:
    """Return what a committed command is answered if its session ended while it was committed.

    The end of a session is decided once, and no entry is answered well after it: the candidate is removed again.
    """
    if isinstance(command, _ENTRIES) and not is_open(command.session):
        return SessionEnded(f"session {command.session.digest} ended while the command was being committed")
    return None
