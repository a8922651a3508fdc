"""The contract finds what is wrong with a store that several engines use: each rule has one that breaks it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio.testing

from atomix_election.stores import SharedStore
from atomix_election.stores.etcd import open_etcd_store
from atomix_election.testing import (
    SHARED_STORE_RULES,
    BrokenContract,
    BrokenRule,
    VirtualClock,
    check_shared_store,
)
from atomix_election.testing.etcd import SimulatedEtcd
from tests.testing.broken_shared_stores import BROKEN_HANDLES, BrokenHandle, ComesFirstAlways, Handle

pytestmark = pytest.mark.anyio

RULES = {rule.name: rule for rule in SHARED_STORE_RULES}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time passes at once."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def opener(handle: Callable[[SharedStore], Handle]) -> Callable[[], AbstractAsyncContextManager[tuple[Handle, Handle]]]:
    """Return what opens stores in a simulated etcd, each twice."""

    @asynccontextmanager
    async def open_stores() -> AsyncGenerator[tuple[Handle, Handle]]:
        async with (
            SimulatedEtcd(VirtualClock()) as etcd,
            open_etcd_store(etcd.client()) as one,
            open_etcd_store(etcd.client()) as other,
        ):
            yield handle(one), handle(other)

    return open_stores


@pytest.mark.parametrize("broken", BROKEN_HANDLES, ids=lambda each: f"{each.rule}-{each.handle.__name__}")
async def test_a_broken_store_is_found(broken: BrokenHandle) -> None:
    """By the rule that it breaks, with words that say what is wrong."""
    rule = RULES[broken.rule]
    with pytest.raises(BrokenRule) as found:
        await rule.check(opener(broken.handle), clock=VirtualClock())
    assert found.value.rule == rule.name
    assert broken.words in str(found.value)


def test_each_rule_finds_something() -> None:
    """A rule that no store breaks says nothing."""
    assert {each.rule for each in BROKEN_HANDLES} == RULES.keys()
    assert len(RULES) == len(SHARED_STORE_RULES)


async def test_a_store_that_is_right_breaks_no_rule() -> None:
    """All are checked."""
    checked = await check_shared_store(opener(Handle), clock=VirtualClock())
    assert (checked.kept, checked.left_out) == (tuple(RULES), {})


async def test_what_is_broken_is_told_and_what_is_not() -> None:
    """In the end."""
    with pytest.raises(BrokenContract) as found:
        await check_shared_store(opener(ComesFirstAlways), clock=VirtualClock())
    assert [each.rule for each in found.value.broken] == ["each_comes_first_for_some"]
    assert {*found.value.checked.kept, "each_comes_first_for_some"} == {*RULES}


async def test_a_store_that_is_not_new_is_told_from_a_broken_one() -> None:
    """What opens it is wrong, and not the store."""
    async with opener(Handle)() as stores:
        await stores[1].open_session("default", "s", ttl_s=10.0, kept_alive=True)

        @asynccontextmanager
        async def open_stores() -> AsyncGenerator[tuple[Handle, Handle]]:
            yield stores

        with pytest.raises(BrokenRule, match=r"expected: a store that is new(?s:.*)`open_stores` was called"):
            await RULES["two_are_one_store"].check(open_stores, clock=VirtualClock())
