"""Elections in this process: loads, applies, commits, answers, publishes, and ends sessions."""

from atomix_election.engine.connection import Connection as Connection
from atomix_election.engine.engine import Engine as Engine
from atomix_election.engine.limits import ElectionLimits as ElectionLimits
from atomix_election.engine.limits import SessionLimits as SessionLimits
from atomix_election.engine.shared import SharedEngine as SharedEngine

__all__ = ["Connection", "ElectionLimits", "Engine", "SessionLimits", "SharedEngine"]
