"""For the tests of those who use this package: time that passes at once, clocks that drift, and a bad network.

``testing.simulation``, which needs Trio, runs whole simulations. For who writes a store, ``check_store`` checks that it
does what every store does; ``testing.contract`` has its rules.
"""

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
from atomix_election.testing.network import Faults as Faults
from atomix_election.testing.network import FaultyService as FaultyService

__all__ = [
    "SHARED_STORE_RULES",
    "STORE_RULES",
    "BrokenContract",
    "BrokenRule",
    "CheckedRules",
    "DriftingClock",
    "Faults",
    "FaultyService",
    "RuleLeftOut",
    "SharedStoreRule",
    "SleepingClock",
    "StoreRule",
    "VirtualClock",
    "check_shared_store",
    "check_store",
]
