"""What an operator does to a store in etcd, after which tokens keep growing."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio.testing

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.errors import InvalidRequest, OutcomeUnknown, StoreError
from atomix_election.etcd import Delete, Put
from atomix_election.model import ElectionId
from atomix_election.stores.base import Record
from atomix_election.stores.etcd import open_etcd_store
from atomix_election.stores.etcd_keys import Layout
from atomix_election.stores.etcd_restore import known_floors, migrate_in, raise_floor, recover, wait_until_unused
from atomix_election.stores.etcd_servers import SERVER_TTL_S
from atomix_election.testing.etcd import Outcome, SimulatedClient, SimulatedEtcd

pytestmark = pytest.mark.anyio

E1, E2, NEW = (ElectionId("default", name) for name in ("e1", "e2", "new"))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time passes at once."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@asynccontextmanager
async def _filled(client: SimulatedClient) -> AsyncGenerator[None]:
    """A store that is in use: two elections, one that was forgotten, a session."""
    async with open_etcd_store(client) as store:
        written = await store.write(E1, Election(number=70, revision=80), expected=0)
        assert written
        assert await store.forget(E1, expected=written.version)
        await store.write(E1, Election(number=71, revision=81), expected=0)
        await store.write(E2, Election(number=5, revision=500), expected=0)
        await store.open_session("default", "s", ttl_s=300, kept_alive=True)
        yield


async def test_a_floor_holds_for_all_that_is_read(etcd: SimulatedEtcd) -> None:
    """At once, for those who are there and those who come; and it never falls."""
    client = etcd.client()
    async with _filled(client), open_etcd_store(etcd.client()) as store:
        assert (await store.read(E1)).floor < 1000
        assert await raise_floor(client, 1000) == 1000
        assert await raise_floor(client, 10) == 1000
        record = await store.read(E1)
        assert (record.floor, record.election.number) == (1000, 71)
        written = await store.write(NEW, Election(number=1000, revision=900), expected=0)
        assert written is not None
        assert written.floor == 1000
        assert store.latest(NEW).floor == 1000
        assert (await store.look(E2, [])).record.floor == 1000
    async with open_etcd_store(etcd.client()) as store:
        assert store.latest(E1).floor == 1000
    with pytest.raises(InvalidRequest, match="floor of 0"):
        await raise_floor(client, 0)
    with pytest.raises(StoreError, match="no store under 'other/'"):
        await raise_floor(client, 5, prefix="other/")


async def test_a_recovered_store_is_another_one_in_which_nobody_stands(etcd: SimulatedEtcd) -> None:
    """Its elections are listed, and all that begins in it is above all that was given."""
    client = etcd.client()
    async with _filled(client):
        pass
    async with open_etcd_store(client) as former:
        former_id = former.id
    known = await known_floors(client)
    assert known == Floors(max(71, etcd.state.revision), 501), "one revision is one term"
    store_id = await recover(client, Floors(10_000, 0), hold_s=30.0)
    async with open_etcd_store(client) as store:
        assert (store.id, store_id != former_id) == (store_id, True)
        begin = Election(number=10_000, revision=502)
        assert [each async for each in store.elections()] == [(E1, begin), (E2, begin)]
        assert (await store.read(NEW)).election == begin
        assert store.latest(NEW) == Record(begin, 0)
        assert await store.sessions() == []
        assert store.hold_s == 30.0
        await store.end_hold()
        assert store.hold_s is None
    async with open_etcd_store(client) as store:
        assert (store.id, store.hold_s) == (store_id, None)


async def test_what_comes_late_of_a_recovery_lowers_nothing(etcd: SimulatedEtcd) -> None:
    """It broke off, and was repeated; or an election that it writes back was entered and forgotten since."""
    client = etcd.client()
    async with _filled(client):
        pass
    client.next_writes.extend([Outcome.ANSWERED, Outcome.LATE])
    with pytest.raises(OutcomeUnknown):
        await recover(client, Floors(10_000, 0), hold_s=1.0)
    await recover(client, Floors(20_000, 0), hold_s=1.0)
    await anyio.sleep(etcd.faults.longest_late_s)
    async with open_etcd_store(client) as store:
        assert (await store.read(E1)).election.number == 20_000
        await store.write(E1, Election(number=20_001, revision=20_001), expected=0)
    client.next_writes.extend([Outcome.ANSWERED, Outcome.LATE])
    with pytest.raises(OutcomeUnknown):
        await recover(client, Floors(30_000, 0), hold_s=1.0)
    async with open_etcd_store(client) as store:
        written = await store.write(E1, Election(number=30_001, revision=30_001), expected=0)
        assert written
        assert await store.forget(E1, expected=written.version)
        await anyio.sleep(etcd.faults.longest_late_s)
        assert (await store.read(E1)).election.number == 30_001


@pytest.mark.parametrize("bump_revision", [0, 1000])
async def test_servers_from_before_a_restore_never_go_on(etcd: SimulatedEtcd, bump_revision: int) -> None:
    """Also where etcd itself shows nothing, as revisions were bumped: the store has another identity."""
    client = etcd.client()
    async with _filled(client), open_etcd_store(etcd.client()) as before, open_etcd_store(etcd.client()) as watching:
        record = await before.read(E1)
        changes = watching.changes()
        await anext(changes)
        snapshot = etcd.snapshot()
        assert await before.write(E1, Election(number=99, revision=99), expected=record.version)
        etcd.restore(snapshot, bump_revision=bump_revision)
        await recover(client, Floors(), hold_s=1.0)
        for _ in range(10):  # more than was lost: by its revision etcd looks as if it had never gone back
            await client.txn([], [Put(b"elsewhere", b"")])
        with pytest.raises(StoreError, match="confirm the restore"):
            await before.write(ElectionId("unheard", "of"), Election(number=10**9, revision=10**9), expected=0)
        assert (await known_floors(client)).number < 10**9
        with pytest.raises(StoreError, match="confirm the restore"):
            await before.write(E1, Election(number=100), expected=record.version)
        with pytest.raises(StoreError, match="confirm the restore"):
            await before.open_session("default", "s", ttl_s=1, kept_alive=True)
        with pytest.raises(StoreError, match="confirm the restore"):
            await anext(changes)
        with pytest.raises(StoreError, match="confirm the restore"):
            await watching.catch_up()


async def test_a_hold_that_was_set_since_is_not_ended(etcd: SimulatedEtcd) -> None:
    """Another server may have waited for the one before."""
    client = etcd.client()
    async with _filled(client):
        pass
    await recover(client, Floors(), hold_s=30.0)
    async with open_etcd_store(client) as store:
        await client.txn([], [Put(b"atomix_election/hold", b'{"version":1,"hold_s":60.0}')])
        await store.end_hold()
        assert store.hold_s == 60.0
        await client.txn([], [Delete(b"atomix_election/hold")])
        await store.end_hold()
        assert store.hold_s is None


async def test_a_store_in_use_is_not_recovered(etcd: SimulatedEtcd) -> None:
    """Somebody who changes it meanwhile may not have stopped."""
    client, meddler = etcd.client(), etcd.client()
    async with _filled(client), open_etcd_store(meddler) as store:
        ask = client.txn

        async def txn(compares: Any, success: Any, failure: Any = (), *, timeout_s: float | None = None) -> Any:
            if any(isinstance(each, Delete) for each in success):
                await store.open_session("default", "t", ttl_s=1, kept_alive=True)
            return await ask(compares, success, failure, timeout_s=timeout_s)

        client.txn = txn
        with pytest.raises(StoreError, match="stop all servers"):
            await recover(client, Floors(), hold_s=1.0)
        assert len(await store.sessions()) == 2


async def test_a_store_is_unused_when_all_servers_have_ended(etcd: SimulatedEtcd) -> None:
    """Those that say so at once, others after a while; one that runs counts for ever."""
    client = etcd.client()
    async with open_etcd_store(client):
        for within_s in (0.0, 60.0):
            with pytest.raises(StoreError, match=r"1 server.* are registered in this store: stop all"):
                await wait_until_unused(client, within_s=within_s)
    await wait_until_unused(client, within_s=0.0)
    killed = await client.grant(SERVER_TTL_S)
    await client.txn([], [Put(Layout().server("killed"), b"", killed.id)])
    with pytest.raises(StoreError, match="1 server"):
        await wait_until_unused(client, within_s=SERVER_TTL_S - 2)
    await wait_until_unused(client, within_s=4.0)


async def test_elections_move_in_and_their_tokens_go_on(etcd: SimulatedEtcd) -> None:
    """More than one transaction can write; floors of namespaces and of all others too."""
    client = etcd.client()
    elections = [(ElectionId("default", f"e{number:03}"), Floors(number, 2 * number)) for number in range(1, 251)]
    namespaces = {"default": Floors(300, 700), "third": Floors(9, 9)}
    store_id = await migrate_in(client, elections, hold_s=5.0, everywhere=Floors(4, 5), namespaces=namespaces)
    async with open_etcd_store(client) as store:
        assert (store.id, store.hold_s) == (store_id, 5.0)
        found = [(election_id, Floors(each.number, each.revision)) async for election_id, each in store.elections()]
        assert found == elections
        for namespace, floors in (("default", (300, 700)), ("third", (9, 9)), ("fourth", (4, 5))):
            election = (await store.read(ElectionId(namespace, "new"))).election
            assert (election.number, election.revision) == floors
    with pytest.raises(StoreError, match="name another prefix"):
        await migrate_in(client, elections, hold_s=5.0)


async def test_moving_in_that_broke_off_is_no_store(etcd: SimulatedEtcd) -> None:
    """Opening says so, and what to do."""
    client = etcd.client()
    elections = [(ElectionId("default", f"e{number}"), Floors(number, number)) for number in range(150)]
    client.next_writes.extend([Outcome.ANSWERED, Outcome.LOST])
    with pytest.raises(OutcomeUnknown, match="repeat"):
        await migrate_in(client, elections, hold_s=5.0)
    with pytest.raises(StoreError, match="moving elections here broke off"):
        async with open_etcd_store(client):
            pass
