"""Every store that several engines use keeps every rule about that: two of them, on one etcd, real and simulated."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from atomix_election.core.commands import Enter, Evict
from atomix_election.model import ElectionId
from atomix_election.stores import ElectionChanged, SharedStore
from atomix_election.testing import SHARED_STORE_RULES, SharedStoreRule
from atomix_election.testing.contract.following import apply_all, following, open_session
from atomix_election.testing.contract.shared_elections import E1, E2, SESSION
from tests.stores.kinds import KINDS, EtcdPrefixes

pytestmark = pytest.mark.anyio


def _kinds() -> Iterator[object]:
    """Return each store on each backend; the client of etcd needs asyncio."""
    yield pytest.param("etcd-simulated", "asyncio", id="simulated-asyncio")
    yield pytest.param("etcd-simulated", "trio", id="simulated-trio")
    yield pytest.param("etcd", "asyncio", id="real-asyncio", marks=pytest.mark.xdist_group("etcd"))


of_each_kind = pytest.mark.parametrize(("kind", "backend"), list(_kinds()))


@pytest.fixture
def anyio_backend(backend: str) -> str:
    """What the test runs on."""
    return backend


@pytest.fixture
async def prefixes(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: object
) -> AsyncGenerator[EtcdPrefixes]:
    """What opens stores of a kind."""
    if kind == "etcd":
        request.getfixturevalue("real_etcd")
    async with KINDS[kind](tmp_path) as prefixes:
        yield prefixes


@pytest.fixture
async def stores(prefixes: EtcdPrefixes, anyio_backend: object) -> AsyncGenerator[tuple[SharedStore, SharedStore]]:
    """Two stores that are one."""
    async with prefixes.open_stores() as stores:
        yield stores


@of_each_kind
@pytest.mark.parametrize("rule", SHARED_STORE_RULES, ids=lambda rule: rule.name)
async def test_the_rule_is_kept(rule: SharedStoreRule, prefixes: EtcdPrefixes) -> None:
    """By two that have opened one store."""
    await rule.check(prefixes.open_stores)


# What stores in etcd do beyond the contract.


@of_each_kind
async def test_floors_are_those_of_the_moment(stores: tuple[SharedStore, SharedStore]) -> None:
    """The revision of etcd, which grows with every change."""
    one, other = stores
    before = (await one.read(E1)).floor
    record = await apply_all(other, E2, Enter("a", SESSION))
    assert record.floor == record.version > before
    assert (await one.read(E1)).floor >= record.version
    view = await one.look(E2, [])
    assert view.record.floor >= view.record.version


@of_each_kind
async def test_times_to_live_are_whole_seconds(stores: tuple[SharedStore, SharedStore]) -> None:
    """As etcd's leases are; and a new leader of etcd gives each of them its whole time again."""
    one, _ = stores
    least = one.ttl_s(0.001)
    assert least >= 1
    for wanted in (0.1, least, least + 0.5, 10.0, 10.2):
        assert one.ttl_s(wanted) == int(one.ttl_s(wanted))
        assert one.longest_failover_s(wanted) > 2 * one.ttl_s(wanted)


@of_each_kind
async def test_the_first_changes_are_in_order_of_names(stores: tuple[SharedStore, SharedStore]) -> None:
    """Those of elections, whichever was changed last."""
    one, other = stores
    session, e3 = await open_session(one), ElectionId("default", "e3")
    for election_id in (E2, e3, E1):
        await apply_all(one, election_id, Enter("a", session), Evict("a"))
    async with following(other) as (follower,):
        await other.catch_up()
    changed = [each.election_id for each in follower.changes if isinstance(each, ElectionChanged)]
    assert changed == [E1, e3, E2]
