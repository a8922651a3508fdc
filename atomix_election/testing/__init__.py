"""For the tests of those who use this package: time that passes at once, clocks that drift, and a bad network.

``testing.simulation``, which needs Trio, runs whole simulations.
"""

from atomix_election.testing.clock import VirtualClock as VirtualClock
from atomix_election.testing.clocks import DriftingClock as DriftingClock
from atomix_election.testing.clocks import SleepingClock as SleepingClock
from atomix_election.testing.network import Faults as Faults
from atomix_election.testing.network import FaultyService as FaultyService

__all__ = ["DriftingClock", "Faults", "FaultyService", "SleepingClock", "VirtualClock"]
