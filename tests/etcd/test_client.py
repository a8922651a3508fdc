"""What the client does on a healthy etcd."""

import asyncio
from dataclasses import replace

import anyio
import pytest

from atomix_election.etcd import (
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    EtcdClient,
    EtcdRefused,
    EtcdUnavailable,
    FutureRevision,
    Get,
    GetResult,
    LeaseExists,
    LeaseNotFound,
    Operation,
    Put,
    PutResult,
    Relation,
    Target,
    absent,
    exists,
    prefix_end,
    unchanged,
)
from tests.etcd.cluster import Cluster

pytestmark = pytest.mark.anyio


async def test_what_was_written_is_read(client: EtcdClient, prefix: bytes) -> None:
    key = prefix + b"a"
    first = await client.put(Put(key, b"1"))
    second = await client.put(Put(key, b"2", previous=True))
    assert second.previous is not None
    assert (second.previous.value, second.previous.version) == (b"1", 1)
    read = await client.get(Get(key))
    (item,) = read.items
    assert (item.key, item.value, item.version, item.lease) == (key, b"2", 2, 0)
    assert (item.create_revision, item.mod_revision) == (first.header.revision, second.header.revision)
    assert read.header == replace(second.header, revision=read.header.revision)
    assert (read.count, read.more) == (1, False)


async def test_ranges(client: EtcdClient, prefix: bytes) -> None:
    for name in (b"a", b"b", b"c"):
        await client.put(Put(prefix + name, name))
    everything = Get(prefix, prefix_end(prefix))
    assert [each.value for each in (await client.get(everything)).items] == [b"a", b"b", b"c"]
    assert [each.value for each in (await client.get(Get(prefix + b"a", prefix + b"c"))).items] == [b"a", b"b"]
    limited = await client.get(replace(everything, limit=2))
    assert (len(limited.items), limited.more, limited.count) == (2, True, 3)
    keys = await client.get(replace(everything, keys_only=True))
    assert [(each.key, each.value) for each in keys.items] == [(prefix + name, b"") for name in (b"a", b"b", b"c")]
    counted = await client.get(replace(everything, count_only=True))
    assert (counted.items, counted.count) == ((), 3)
    assert (await client.get(replace(everything, serializable=True))).count == 3
    before = (await client.get(Get(prefix + b"c"))).items[0].mod_revision - 1
    assert (await client.get(replace(everything, revision=before))).count == 2


async def test_deletions(client: EtcdClient, prefix: bytes) -> None:
    for name in (b"a", b"b"):
        await client.put(Put(prefix + name, name))
    deleted = await client.delete(Delete(prefix, prefix_end(prefix), previous=True))
    assert (deleted.deleted, [each.value for each in deleted.previous]) == (2, [b"a", b"b"])
    assert (await client.delete(Delete(prefix + b"a"))).deleted == 0


async def test_a_transaction_carries_out_one_branch(client: EtcdClient, prefix: bytes) -> None:
    a, b = prefix + b"a", prefix + b"b"
    took = await client.txn([absent(a)], [Put(a, b"1"), Get(a), Delete(b)], [Get(a)])
    put, get, delete = took.responses
    assert took.succeeded
    assert isinstance(put, PutResult)
    assert isinstance(get, GetResult)
    assert [(each.value, each.mod_revision) for each in get.items] == [(b"1", took.revision)]
    assert isinstance(delete, DeleteResult)
    assert delete.deleted == 0
    refused = await client.txn([absent(a)], [Put(a, b"2")], [Get(a)])
    (get,) = refused.responses
    assert not refused.succeeded
    assert isinstance(get, GetResult)
    assert get.items[0].value == b"1"
    assert refused.revision == took.revision


@pytest.mark.parametrize(
    ("target", "operand", "other"),
    [
        (Target.VERSION, 2, 1),
        (Target.VALUE, b"2", b"3"),
        (Target.LEASE, 0, 1),
    ],
)
async def test_what_of_a_key_can_be_compared(
    client: EtcdClient, prefix: bytes, target: Target, operand: int | bytes, other: int | bytes
) -> None:
    await client.put(Put(prefix, b"1"))
    await client.put(Put(prefix, b"2"))
    for value, equal in ((operand, True), (other, False)):
        assert (await client.txn([Compare(prefix, target, Relation.EQUAL, value)], [])).succeeded is equal
        assert (await client.txn([Compare(prefix, target, Relation.NOT_EQUAL, value)], [])).succeeded is not equal


async def test_revisions_can_be_compared(client: EtcdClient, prefix: bytes) -> None:
    created = (await client.put(Put(prefix, b"1"))).header.revision
    modified = (await client.put(Put(prefix, b"2"))).header.revision
    for target, revision in ((Target.CREATE_REVISION, created), (Target.MOD_REVISION, modified)):
        for relation, holds in (
            (Relation.EQUAL, {0}),
            (Relation.GREATER, {-1}),
            (Relation.LESS, {1}),
            (Relation.NOT_EQUAL, {-1, 1}),
        ):
            for difference in (-1, 0, 1):
                compare = Compare(prefix, target, relation, revision + difference)
                assert (await client.txn([compare], [])).succeeded is (difference in holds), compare
    assert (await client.txn([unchanged(prefix, modified), exists(prefix)], [])).succeeded
    assert not (await client.txn([unchanged(prefix, modified), absent(prefix)], [])).succeeded


async def test_a_lease_takes_its_keys_with_it(client: EtcdClient, prefix: bytes) -> None:
    lease = await client.grant(60)
    await client.put(Put(prefix, b"", lease=lease.id))
    assert (await client.get(Get(prefix))).items[0].lease == lease.id
    state = await client.time_to_live(lease.id, keys=True)
    assert (state.granted_ttl_s, state.keys, state.is_gone) == (60, (prefix,), False)
    assert 55 <= state.ttl_s <= 60
    assert lease.id in await client.leases()
    await client.revoke(lease.id)
    assert (await client.get(Get(prefix))).count == 0
    assert (await client.time_to_live(lease.id)).is_gone
    assert lease.id not in await client.leases()


async def test_a_lease_of_a_chosen_id_that_runs_out(client: EtcdClient, prefix: bytes) -> None:
    lease = await client.grant(1, lease_id=4711)
    assert lease.id == 4711
    revision = (await client.put(Put(prefix, b"", lease=4711))).header.revision
    with pytest.raises(LeaseExists):
        await client.grant(1, lease_id=4711)
    async with client.watch(prefix, start_revision=revision + 1) as batches:
        gone = await anext(batches)
    assert [each.item.key for each in gone.events] == [prefix]
    assert (await client.keep_alive(4711)).ttl_s == 0


@pytest.mark.parametrize(
    ("operation", "error", "words"),
    [
        (Put(b"a", b"", lease=4712), LeaseNotFound, "lease not found"),
        (Get(b"a", revision=1 << 40), FutureRevision, "future revision"),
        (Get(b""), EtcdRefused, "key is not provided"),
    ],
)
async def test_refusals_say_who_refused_what(
    client: EtcdClient, operation: Operation, error: type[EtcdRefused], words: str
) -> None:
    for refused in (client.txn([], [operation]), client.get(operation) if isinstance(operation, Get) else None):
        if refused is not None:
            with pytest.raises(error, match=words) as raised:
                await refused
            assert type(raised.value) is error
            assert str(client.endpoint) in str(raised.value)


async def test_a_lease_that_is_not_there_cannot_be_revoked(client: EtcdClient) -> None:
    with pytest.raises(LeaseNotFound, match="LeaseRevoke"):
        await client.revoke(4713)


async def test_compacted_revisions_are_gone(client: EtcdClient, prefix: bytes) -> None:
    old = (await client.put(Put(prefix, b"1"))).header.revision
    new = (await client.put(Put(prefix, b"2"))).header.revision
    await client.compact(new)
    with pytest.raises(Compacted):
        await client.get(Get(prefix, revision=old))
    with pytest.raises(Compacted):
        await client.compact(old)
    assert (await client.get(Get(prefix, revision=new))).items[0].value == b"2"


async def test_status(client: EtcdClient) -> None:
    status = await client.status()
    assert status.version_numbers >= (3, 4)
    assert status.leader == status.header.member_id
    assert status.db_size_bytes > 0
    assert status.errors == ()


async def test_large_records_and_many_calls_at_once(client: EtcdClient, prefix: bytes) -> None:
    """Larger than a frame and than the window of a stream; more calls than are made at a time."""
    large = bytes(range(256)) * 4 * 1024
    await client.put(Put(prefix, large))
    answers: list[GetResult] = []

    async def read() -> None:
        answers.append(await client.get(Get(prefix)))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(read)
    assert all(each.items[0].value == large for each in answers)
    assert len(answers) == 100


async def test_a_client_is_used_inside_its_block(cluster: Cluster) -> None:
    client = cluster.client()
    with pytest.raises(EtcdUnavailable, match="async with"):
        await client.get(Get(b"a"))
    async with client:
        pass
    for call in (client.get(Get(b"a")), client.put(Put(b"a", b"")), client.keep_alive(1), client.status()):
        with pytest.raises(EtcdUnavailable, match="async with"):
            await call


async def test_nothing_is_left_behind(cluster: Cluster, prefix: bytes) -> None:
    """No task and no socket, also of a watch and a renewal that were under way."""
    before = asyncio.all_tasks()
    ended: list[str] = []
    watching = anyio.Event()
    client = cluster.client()

    async def watch(start_revision: int) -> None:
        try:
            async with client.watch(prefix, start_revision=start_revision) as batches:
                await anext(batches)
                watching.set()
                await anext(batches)
        except EtcdUnavailable as error:
            ended.append(str(error))

    async with anyio.create_task_group() as tasks:
        async with client:
            protocol = await client._calls.connection.get()
            lease = await client.grant(60)
            await client.keep_alive(lease.id)
            tasks.start_soon(watch, (await client.put(Put(prefix, b""))).header.revision)
            await watching.wait()
        assert protocol.is_lost
        await client.__aexit__(None, None, None)  # nothing happens
    assert len(ended) == 1
    assert "closed" in ended[0]
    assert asyncio.all_tasks() == before


async def test_a_member_that_is_not_there_is_passed_over(cluster: Cluster, prefix: bytes) -> None:
    (alive,) = cluster.members
    with anyio.fail_after(1):
        async with EtcdClient([("127.0.0.1", 1), alive.endpoint], chance=lambda: 0.0) as client:
            await client.put(Put(prefix, b"1"))
            assert client.endpoint == alive.endpoint
