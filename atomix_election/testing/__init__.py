"""For the tests of those who use this package: a server and clients on a bad network, and time that passes at once.

``Network`` is where to begin, and docs/testing.md tells how. ``run_virtually`` runs a test in virtual time;
``VirtualClock``, ``DriftingClock`` and ``SleepingClock`` are what a client or a server may be given to tell the time;
``depose`` takes the lead from whoever has it, on a real server too. ``testing.simulation``, which needs Trio, runs
whole simulations of this package. For who writes a store, ``check_store`` checks that it does what every store does;
``testing.contract`` has its rules.

``recorded`` records what a client does, is told and believes, and ``check_history`` judges such records: see
docs/histories.md.
"""

from atomix_election.testing.checker import Promises as Promises
from atomix_election.testing.checker import Rule as Rule
from atomix_election.testing.checker import Verdict as Verdict
from atomix_election.testing.checker import Violation as Violation
from atomix_election.testing.checker import check_history as check_history
from atomix_election.testing.clock import VirtualClock as VirtualClock
from atomix_election.testing.clocks import DriftingClock as DriftingClock
from atomix_election.testing.clocks import SleepingClock as SleepingClock
from atomix_election.testing.contract import SHARED_STORE_RULES as SHARED_STORE_RULES
from atomix_election.testing.contract import STORE_RULES as STORE_RULES
from atomix_election.testing.contract import BrokenContract as BrokenContract
from atomix_election.testing.contract import BrokenRule as BrokenRule
from atomix_election.testing.contract import CheckedRules as CheckedRules
from atomix_election.testing.contract import RuleLeftOut as RuleLeftOut
from atomix_election.testing.contract import SharedStoreRule as SharedStoreRule
from atomix_election.testing.contract import StoreRule as StoreRule
from atomix_election.testing.contract import check_shared_store as check_shared_store
from atomix_election.testing.contract import check_store as check_store
from atomix_election.testing.deposing import depose as depose
from atomix_election.testing.history import History as History
from atomix_election.testing.history import Recorder as Recorder
from atomix_election.testing.history import read_history as read_history
from atomix_election.testing.network import Faults as Faults
from atomix_election.testing.network import FaultyService as FaultyService
from atomix_election.testing.recording import RecordingService as RecordingService
from atomix_election.testing.recording import recorded as recorded
from atomix_election.testing.rehearsal import Network as Network
from atomix_election.testing.streams import Direction as Direction
from atomix_election.testing.streams import Link as Link
from atomix_election.testing.virtual_time import VirtualEventLoop as VirtualEventLoop
from atomix_election.testing.virtual_time import run_virtually as run_virtually

__all__ = [
    "SHARED_STORE_RULES",
    "STORE_RULES",
    "BrokenContract",
    "BrokenRule",
    "CheckedRules",
    "Direction",
    "DriftingClock",
    "Faults",
    "FaultyService",
    "History",
    "Link",
    "Network",
    "Promises",
    "Recorder",
    "RecordingService",
    "Rule",
    "RuleLeftOut",
    "SharedStoreRule",
    "SleepingClock",
    "StoreRule",
    "Verdict",
    "Violation",
    "VirtualClock",
    "VirtualEventLoop",
    "check_history",
    "check_shared_store",
    "check_store",
    "depose",
    "read_history",
    "recorded",
    "run_virtually",
]
