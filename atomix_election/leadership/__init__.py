"""Leading, and no longer: what acts on the decisions of ``core.campaign`` and ``core.candidacy``."""

from atomix_election.leadership.candidates import Candidates as Candidates
from atomix_election.leadership.lead import Leadership as Leadership
from atomix_election.leadership.lead import is_loss_of as is_loss_of
from atomix_election.leadership.lead import lead as lead
from atomix_election.leadership.lead import put_behind as put_behind
from atomix_election.leadership.observer import LeadershipObserver as LeadershipObserver
from atomix_election.leadership.session import SessionKeeper as SessionKeeper
from atomix_election.leadership.session import closed as closed

__all__ = [
    "Candidates",
    "Leadership",
    "LeadershipObserver",
    "SessionKeeper",
    "closed",
    "is_loss_of",
    "lead",
    "put_behind",
]
