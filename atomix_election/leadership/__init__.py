"""Leading, and no longer: what acts on the decisions of ``core.campaign``."""

from atomix_election.leadership.keeper import Place as Place
from atomix_election.leadership.keeper import SessionKeeper as SessionKeeper
from atomix_election.leadership.lead import Leadership as Leadership
from atomix_election.leadership.lead import is_loss_of as is_loss_of
from atomix_election.leadership.lead import lead as lead

__all__ = ["Leadership", "Place", "SessionKeeper", "is_loss_of", "lead"]
