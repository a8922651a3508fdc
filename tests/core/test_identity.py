"""All targets of a client serve one store, or the odd one is refused."""

import pytest

from atomix_election import InvalidRequest
from atomix_election.core.identity import StoreIdentities


def test_targets_of_one_store_are_all_used() -> None:
    """In any order, any number of times."""
    stores = StoreIdentities()
    for target in "abab":
        assert not stores.check(target, "x")


def test_a_target_of_another_store_is_refused() -> None:
    """Also when it is tried again, and the first one is used as before."""
    stores = StoreIdentities()
    stores.check("a:1", "x")
    for _ in range(2):
        with pytest.raises(InvalidRequest, match=r"targets a:1 and b:2 serve different stores, x and y: b:2 is not"):
            stores.check("b:2", "y")
        stores.check("a:1", "x")


def test_a_store_that_was_replaced_is_believed() -> None:
    """And from then on the others have to serve the new one."""
    stores = StoreIdentities()
    for target in "ab":
        stores.check(target, "x")
    assert stores.check("a", "y")
    with pytest.raises(InvalidRequest, match="serve different stores, y and x"):
        stores.check("b", "x")
    assert not stores.check("b", "y")
    assert not stores.check("a", "y")


def test_a_lone_target_may_change_its_store_at_any_time() -> None:
    """It is restarted on memory, for example."""
    stores = StoreIdentities()
    assert [stores.check("", store_id) for store_id in "xyxx"] == [False, True, True, False]
