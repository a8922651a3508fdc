"""What every store does, as rules that the tests of a store can check: see ``atomix_election.stores.Store``.

    @pytest.mark.parametrize("rule", STORE_RULES, ids=lambda rule: rule.name)
    async def test_my_store(rule: StoreRule) -> None:
        await rule.check(open_my_store, reopen=open_my_store_again)

``check_store`` checks all of them. Rules are added in later releases when stores are found that break the elections on
them without breaking a rule.
"""

from atomix_election.testing.contract.checks import SHARED_STORE_RULES as SHARED_STORE_RULES
from atomix_election.testing.contract.checks import STORE_RULES as STORE_RULES
from atomix_election.testing.contract.checks import BrokenContract as BrokenContract
from atomix_election.testing.contract.checks import CheckedRules as CheckedRules
from atomix_election.testing.contract.checks import check_shared_store as check_shared_store
from atomix_election.testing.contract.checks import check_store as check_store
from atomix_election.testing.contract.rules import SharedStoreRule as SharedStoreRule
from atomix_election.testing.contract.rules import StoreRule as StoreRule
from atomix_election.testing.contract.stages import BrokenRule as BrokenRule
from atomix_election.testing.contract.stages import RuleLeftOut as RuleLeftOut

__all__ = [
    "SHARED_STORE_RULES",
    "STORE_RULES",
    "BrokenContract",
    "BrokenRule",
    "CheckedRules",
    "RuleLeftOut",
    "SharedStoreRule",
    "StoreRule",
    "check_shared_store",
    "check_store",
]
