"""For the tests of those who use this package: virtual time, clocks that drift, a bad network, and histories.

``testing.simulation``, which needs Trio, runs whole simulations.
"""

from atomix_election.testing.checker import Promises as Promises
from atomix_election.testing.checker import Rule as Rule
from atomix_election.testing.checker import Verdict as Verdict
from atomix_election.testing.checker import Violation as Violation
from atomix_election.testing.checker import check_history as check_history
from atomix_election.testing.clock import VirtualClock as VirtualClock
from atomix_election.testing.clocks import DriftingClock as DriftingClock
from atomix_election.testing.clocks import SleepingClock as SleepingClock
from atomix_election.testing.history import History as History
from atomix_election.testing.history import Recorder as Recorder
from atomix_election.testing.history import read_history as read_history
from atomix_election.testing.network import Faults as Faults
from atomix_election.testing.network import FaultyService as FaultyService
from atomix_election.testing.recording import RecordingService as RecordingService
from atomix_election.testing.recording import recorded as recorded

__all__ = [
    "DriftingClock",
    "Faults",
    "FaultyService",
    "History",
    "Promises",
    "Recorder",
    "RecordingService",
    "Rule",
    "SleepingClock",
    "Verdict",
    "Violation",
    "VirtualClock",
    "check_history",
    "read_history",
    "recorded",
]
