"""What can be asked of an election. Each command is applied by ``core.election.apply``, and nowhere else."""

from dataclasses import dataclass
from typing import NamedTuple

from atomix_election.model import SessionId


@dataclass(frozen=True, slots=True)
class Create:
    """Register the election with a session."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Close:
    """Remove all candidates that the session entered in this election, and unregister it."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Enter:
    """Append a candidate to the queue."""

    candidate_id: str
    session: SessionId


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Remove the session's own candidate from the queue."""

    candidate_id: str
    session: SessionId


@dataclass(frozen=True, slots=True)
class Anoint:
    """Move a candidate to the front."""

    candidate_id: str


@dataclass(frozen=True, slots=True)
class Promote:
    """Move a candidate one place forward."""

    candidate_id: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Remove a candidate, whoever entered it."""

    candidate_id: str


@dataclass(frozen=True, slots=True)
class ExpireSession:
    """Forget everything of a session that has ended."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class SteppedDown:
    """A displaced leader does nothing any more under that number or a lower one, or its time is over."""

    session: SessionId
    number: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove all that is kept of an election that is no longer used."""


CandidateCommand = Enter | Withdraw | Anoint | Promote | Evict
"""What is asked of an election about one candidate."""

Command = Create | Close | Enter | Withdraw | Anoint | Promote | Evict | ExpireSession | SteppedDown | Forget


class Operation(NamedTuple):
    """The number that a session gave to one of its writes, so that a repeat is recognised."""

    session: SessionId
    number: int
