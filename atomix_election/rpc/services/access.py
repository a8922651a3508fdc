"""What a caller needs for each method: one table, and a method that is not in it is not served."""

from collections.abc import Mapping
from enum import Enum


class Access(Enum):
    """What credentials must allow."""

    NOTHING = "nothing"
    """Any caller, without credentials: it tells nothing of elections."""
    OBSERVE = "observe"
    """Read elections of the namespace."""
    TAKE_PART = "take part"
    """Have a session and stand in elections of the namespace."""
    ADMINISTER = "administer"
    """Decide over candidates of others."""


_ELECTION = "/atomix.election.v1.LeaderElection/"
_SESSIONS = "/atomix_election.v1.Sessions/"
_INSPECTION = "/atomix_election.v1.Inspection/"
_HEALTH = "/grpc.health.v1.Health/"

ACCESS: Mapping[str, Access] = {
    _ELECTION + "Create": Access.TAKE_PART,
    _ELECTION + "Close": Access.TAKE_PART,
    _ELECTION + "Enter": Access.TAKE_PART,
    _ELECTION + "Withdraw": Access.TAKE_PART,
    _ELECTION + "Anoint": Access.ADMINISTER,
    _ELECTION + "Promote": Access.ADMINISTER,
    _ELECTION + "Evict": Access.ADMINISTER,
    _ELECTION + "GetTerm": Access.OBSERVE,
    _ELECTION + "Events": Access.OBSERVE,
    _SESSIONS + "KeepAlive": Access.TAKE_PART,
    _SESSIONS + "End": Access.TAKE_PART,
    _INSPECTION + "List": Access.OBSERVE,
    _INSPECTION + "Describe": Access.OBSERVE,
    _HEALTH + "Check": Access.NOTHING,
    _HEALTH + "List": Access.NOTHING,
    _HEALTH + "Watch": Access.NOTHING,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Access.NOTHING,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access.NOTHING,
}
"""By the path of the method."""
