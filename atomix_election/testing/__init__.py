"""For the tests of those who use this package: a server and clients on a bad network, and time that passes at once.

``Network`` is where to begin, and docs/testing.md tells how. ``run_virtually`` runs a test in virtual time;
``VirtualClock``, ``DriftingClock`` and ``SleepingClock`` are what a client or a server may be given to tell the time;
``depose`` takes the lead from whoever has it, on a real server too. ``testing.simulation``, which needs Trio, runs
whole simulations of this package.
"""

from atomix_election.testing.clock import VirtualClock as VirtualClock
from atomix_election.testing.clocks import DriftingClock as DriftingClock
from atomix_election.testing.clocks import SleepingClock as SleepingClock
from atomix_election.testing.deposing import depose as depose
from atomix_election.testing.network import Faults as Faults
from atomix_election.testing.network import FaultyService as FaultyService
from atomix_election.testing.rehearsal import Network as Network
from atomix_election.testing.streams import Direction as Direction
from atomix_election.testing.streams import Link as Link
from atomix_election.testing.virtual_time import VirtualEventLoop as VirtualEventLoop
from atomix_election.testing.virtual_time import run_virtually as run_virtually

__all__ = [
    "Direction",
    "DriftingClock",
    "Faults",
    "FaultyService",
    "Link",
    "Network",
    "SleepingClock",
    "VirtualClock",
    "VirtualEventLoop",
    "depose",
    "run_virtually",
]
