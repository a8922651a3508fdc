"""The part of etcd's schema that this package has is etcd's: a real one understands it, and is understood.

Values go in through one field and come out through another, so that a wrong number or type shows; and each field of the
schema is used, so that none is left out.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import betterproto2
import pytest

from atomix_election.etcd import (
    Change,
    Compacted,
    Compare,
    Delete,
    EtcdClient,
    EtcdPermissionDenied,
    EtcdRefused,
    Get,
    GetResult,
    Put,
    PutResult,
    Relation,
    Target,
    none_of,
    prefix_end,
)
from atomix_election.etcd._generated import etcdserverpb, mvccpb
from atomix_election.etcd.exchange import Exchange
from tests.etcd.cluster import Cluster

pytestmark = pytest.mark.anyio

Field = tuple[str, str]
SMALL_BYTES = 64 * 1024


def fields_of(kind: type[betterproto2.Message]) -> list[str]:
    """Return the names of a message's fields."""
    return [each.name for each in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]


def declared() -> set[Field]:
    """Return every field of the schema."""
    kinds = [getattr(module, name) for module in (etcdserverpb, mvccpb) for name in module.__all__]
    messages = [each for each in kinds if issubclass(each, betterproto2.Message)]
    return {(each.__name__, name) for each in messages for name in fields_of(each)}


def used(message: betterproto2.Message) -> Iterator[Field]:
    """Return the fields that have a value other than their default, in a message and in those inside it."""
    for name in fields_of(type(message)):
        value: Any = getattr(message, name)
        if value:
            yield type(message).__name__, name
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, betterproto2.Message):
                yield from used(each)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[Field]:
    """Return a set of the fields that go over the wire from now on."""
    found: set[Field] = set()
    send, parse = Exchange.send, Exchange._parse

    async def send_seen(self: Any, message: betterproto2.Message, **options: Any) -> None:
        found.update(used(message))
        await send(self, message, **options)

    def parse_seen(self: Any, data: bytes) -> Any:
        message = parse(self, data)
        found.update(used(message))
        return message

    monkeypatch.setattr(Exchange, "send", send_seen)
    monkeypatch.setattr(Exchange, "_parse", parse_seen)
    return found


async def test_every_field_is_etcds(seen: set[Field], start_cluster: Callable[..., Cluster], prefix: bytes) -> None:
    cluster = start_cluster(arguments=("--bcrypt-cost=4",))
    await cluster.ready()
    async with cluster.client() as client:
        await _check_keys(client, prefix)
        await _check_transactions(client, prefix)
        await _check_leases(client, prefix)
        await _check_watches(client, prefix)
        status = await client.status()
        assert (status.version, status.leader) == (_version(cluster), status.header.member_id)
        assert status.db_size_bytes == sum(each.stat().st_size for each in cluster.members[0].data.rglob("db"))
    await _check_users(cluster, prefix)
    await _check_alarms(start_cluster)
    assert declared() - seen == set()


async def _check_keys(client: EtcdClient, prefix: bytes) -> None:
    header = (await client.get(Get(prefix))).header
    lease = await client.grant(60)
    for number in (1, 2, 3):
        put = await client.put(Put(prefix, b"%d" % number, lease=lease.id, previous=True))
        assert put.header == dataclasses.replace(header, revision=header.revision + number)
        assert (put.previous.value if put.previous else None) == (b"%d" % (number - 1) if number > 1 else None)
    await client.put(Put(prefix + b"0", b""))
    (item,) = (await client.get(Get(prefix))).items
    assert dataclasses.astuple(item) == (prefix, b"3", header.revision + 1, header.revision + 3, 3, lease.id)
    everything = Get(prefix, prefix_end(prefix))
    for get, count, items in (
        (everything, 2, [b"3", b""]),
        (dataclasses.replace(everything, limit=1), 2, [b"3"]),
        (dataclasses.replace(everything, revision=header.revision + 1), 1, [b"1"]),
        (dataclasses.replace(everything, keys_only=True), 2, [b"", b""]),
        (dataclasses.replace(everything, count_only=True), 2, []),
        (dataclasses.replace(everything, serializable=True), 2, [b"3", b""]),
    ):
        got = await client.get(get)
        assert (got.count, [each.value for each in got.items], got.more) == (count, items, len(items) == 1 < count)
    deleted = await client.delete(Delete(prefix, prefix_end(prefix), previous=True))
    assert (deleted.deleted, [each.value for each in deleted.previous]) == (2, [b"3", b""])


async def _check_transactions(client: EtcdClient, prefix: bytes) -> None:
    lease = await client.grant(60)
    operations = [Put(prefix, b"1", lease=lease.id, previous=True), Get(prefix), Delete(prefix + b"0")]
    took = await client.txn([], operations)
    assert [type(each).__name__ for each in took.responses] == ["PutResult", "GetResult", "DeleteResult"]
    operands = {
        Target.VERSION: 1,
        Target.CREATE_REVISION: took.revision,
        Target.MOD_REVISION: took.revision,
        Target.VALUE: b"1",
        Target.LEASE: lease.id,
    }
    for target, operand in operands.items():
        assert (await client.txn([Compare(prefix, target, Relation.EQUAL, operand)], [])).succeeded, target
        refused = await client.txn([Compare(prefix, target, Relation.NOT_EQUAL, operand)], [], [Get(prefix)])
        assert not refused.succeeded, target
        (got,) = refused.responses
        assert isinstance(got, GetResult)
        assert got.items[0].value == b"1"
    await client.put(Put(prefix + b"1", b""))
    everything = Compare(prefix, Target.VERSION, Relation.EQUAL, 1, prefix_end(prefix))
    assert (await client.txn([everything, none_of(prefix + b"2", prefix_end(prefix))], [])).succeeded
    await client.put(Put(prefix + b"1", b""))
    assert not (await client.txn([everything], [])).succeeded
    assert not (await client.txn([none_of(prefix, prefix_end(prefix))], [])).succeeded
    again, *_ = (await client.txn([], operations)).responses
    assert isinstance(again, PutResult)
    assert again.previous is not None


async def _check_leases(client: EtcdClient, prefix: bytes) -> None:
    lease = await client.grant(77, lease_id=4711)
    assert (lease.id, lease.ttl_s) == (4711, 77)
    await client.put(Put(prefix, b"", lease=4711))
    renewed = await client.keep_alive(4711)
    assert (renewed.id, renewed.ttl_s) == (4711, 77)
    state = await client.time_to_live(4711, keys=True)
    assert (state.id, state.granted_ttl_s, state.keys) == (4711, 77, (prefix,))
    assert state.ttl_s in (76, 77)
    assert 4711 in await client.leases()
    await client.revoke(4711)
    assert 4711 not in await client.leases()


async def _check_watches(client: EtcdClient, prefix: bytes) -> None:
    first = (await client.put(Put(prefix + b"0", b"1"))).header.revision
    for number in range(4):
        await client.put(Put(prefix + b"0", bytes([number]) * 700_000))
    for other in (prefix[:-1], prefix_end(prefix)):
        await client.put(Put(other, b"outside of the range"))
    last = (await client.delete(Delete(prefix + b"0"))).header.revision
    async with client.watch(prefix, prefix_end(prefix), start_revision=first, previous=True) as watch:
        batch = await anext(watch)
    assert [each.item.mod_revision for each in batch.events] == [*range(first, first + 5), last]
    assert [each.change for each in batch.events] == [Change.PUT] * 5 + [Change.DELETE]
    previous = batch.events[-1].previous
    assert previous is not None
    assert previous.value == bytes([3]) * 700_000
    await client.compact(last)
    async with client.watch(prefix, start_revision=first) as watch:
        with pytest.raises(Compacted) as raised:
            await anext(watch)
    assert raised.value.compact_revision == last


async def _check_users(cluster: Cluster, prefix: bytes) -> None:
    for command in ("user add root:root", "user grant-role root root", "user add guest:secret", "auth enable"):
        cluster.etcdctl(*command.split())
    async with cluster.client(user="root", password="root") as root:
        revision = (await root.put(Put(prefix, b""))).header.revision
    async with (
        cluster.client(user="guest", password="secret") as guest,
        guest.watch(prefix, start_revision=revision) as watch,
    ):
        with pytest.raises(EtcdPermissionDenied):
            await anext(watch)


async def _check_alarms(start_cluster: Callable[..., Cluster]) -> None:
    cluster = start_cluster(arguments=(f"--quota-backend-bytes={SMALL_BYTES}",))
    await cluster.ready()
    async with cluster.client() as client:
        with pytest.raises(EtcdRefused, match=r"space exceeded.*compact and defragment"):  # noqa: PT012
            for number in range(10):
                await client.put(Put(b"%d" % number, bytes(SMALL_BYTES)))
        (alarm,) = (await client.status()).errors
        assert "NOSPACE" in alarm


def _version(cluster: Cluster) -> str:
    return next(line for line in cluster.etcdctl("version").splitlines() if "etcdctl" in line).split()[-1]
