"""Every store keeps every rule of the contract, on asyncio and on Trio. A new store is added to ``kinds.KINDS``."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from atomix_election.testing import STORE_RULES, RuleLeftOut, StoreRule
from atomix_election.testing.contract.at_once import AT_ONCE_RULES
from tests.stores.kinds import KINDS

pytestmark = pytest.mark.anyio

GIVEN = {"memory": set[str]()} | {kind: {"reopen", "open_restored"} for kind in KINDS if kind != "memory"}
"""What there is of each kind beside new stores; a rule that needs more is about what that kind does not do."""
KNOWING_NOTHING_AT_ONCE = {"etcd-simulated", "etcd"}
"""Kinds of stores that others may have changed."""
ABOUT_WRITES_AT_ONCE = {each.name for each in AT_ONCE_RULES} - {"what_is_known_at_once_is_the_newest"}


def _rules() -> Iterator[object]:
    """Return each rule for each kind that it is about, on each backend; the client of etcd needs asyncio."""
    for kind in KINDS:
        marks = [pytest.mark.xdist_group("etcd")] if kind == "etcd" else []
        for backend in ("asyncio",) if kind == "etcd" else ("asyncio", "trio"):
            for rule in STORE_RULES:
                if GIVEN[kind] >= {*rule.needs}:
                    yield pytest.param(kind, backend, rule, id=f"{rule.name}-{kind}-{backend}", marks=marks)


@pytest.fixture
def anyio_backend(backend: str) -> str:
    """What the test runs on."""
    return backend


@pytest.fixture
async def stores(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: object
) -> AsyncGenerator[Any]:
    """What opens stores of a kind."""
    if kind == "etcd":
        request.getfixturevalue("real_etcd")
    async with KINDS[kind](tmp_path) as stores:
        yield stores


@pytest.mark.parametrize(("kind", "backend", "rule"), list(_rules()))
async def test_the_rule_is_kept(rule: StoreRule, kind: str, stores: Any) -> None:
    """By new stores, by those that were closed and opened again, and by those that were restored."""
    checking = rule.check(stores.open_store, reopen=stores.reopen, open_restored=stores.open_restored)
    if kind in KNOWING_NOTHING_AT_ONCE and rule.name in ABOUT_WRITES_AT_ONCE:
        with pytest.raises(RuleLeftOut, match="`read_now` of this store returns None"):
            await checking
    else:
        await checking


def test_each_rule_is_about_some_store() -> None:
    """Here at least none is left out for all."""
    assert {*GIVEN} == {*KINDS}
    for rule in STORE_RULES:
        kinds = {kind for kind, given in GIVEN.items() if given >= {*rule.needs}}
        assert kinds - KNOWING_NOTHING_AT_ONCE if rule.name in ABOUT_WRITES_AT_ONCE else kinds
