"""What becomes of calls when members die, hang, or are cut off: deadlines hold, and no outcome is made up."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel
import pytest

from atomix_election.etcd import (
    EtcdClient,
    EtcdError,
    EtcdOutcomeUnknown,
    EtcdUnavailable,
    Get,
    Lease,
    Put,
    absent,
    connection,
)
from tests.etcd.cluster import Cluster, Member
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.anyio

ATTEMPT_S = 0.5
SLACK_S = 1.0
"""What a busy machine may add."""
FOREVER_S = 1000.0
SOON_S = 10.0
_ItemT = TypeVar("_ItemT")


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncGenerator[Proxy]:
    """Stands before the shared member."""
    async with Proxy(cluster.members[0].port) as proxy:
        yield proxy


@pytest.fixture
async def cut_off(proxy: Proxy) -> AsyncGenerator[EtcdClient]:
    """A client that goes through it, and is connected."""
    endpoints = [("127.0.0.1", proxy.port)]
    async with EtcdClient(endpoints, attempt_timeout_s=ATTEMPT_S, longest_pause_s=0.1) as client:
        await client.get(Get(b"a"))
        yield client


class Tally(Generic[_ItemT]):
    """What has happened, and waiting for more of it."""

    def __init__(self) -> None:
        self.items: list[_ItemT] = []
        self._news = anyio.Event()

    def add(self, item: _ItemT) -> None:
        """Take note."""
        self.items.append(item)
        self._news.set()
        self._news = anyio.Event()

    async def more(self, number: int) -> None:
        """Wait until there are so many more."""
        enough = len(self.items) + number
        with anyio.fail_after(SOON_S):
            while len(self.items) < enough:
                await self._news.wait()


async def followers(cluster: Cluster) -> list[Member]:
    """Return the members that do not lead."""
    leader = await cluster.leader()
    return [each for each in cluster.members if each is not leader]


async def arrived(proxy: Proxy, before: int) -> None:
    """Wait until something has come from the client."""
    with anyio.fail_after(SOON_S):
        while proxy.up.bytes == before:  # nobody tells, so it is looked at again
            await anyio.lowlevel.checkpoint()


async def test_a_write_whose_answer_is_cut_off_has_an_unknown_outcome(
    client: EtcdClient, cut_off: EtcdClient, proxy: Proxy, prefix: bytes
) -> None:
    """It was carried out, and is not repeated."""
    for key in (prefix + b"put", prefix + b"txn"):
        proxy.resume()
        await cut_off.get(Get(key))
        proxy.stall(down=True, up=False)
        call = cut_off.put(Put(key, b"1")) if key.endswith(b"put") else cut_off.txn([absent(key)], [Put(key, b"1")], [])
        with pytest.raises(EtcdOutcomeUnknown, match="read what it would have changed") as raised:
            await call
        assert f"127.0.0.1:{proxy.port}" in str(raised.value)
        (item,) = (await client.get(Get(key))).items
        assert item.version == 1
    proxy.resume()
    await cut_off.get(Get(prefix))
    proxy.stall(down=True, up=False)
    with pytest.raises(EtcdOutcomeUnknown):
        await cut_off.put(Put(prefix, b""), timeout_s=ATTEMPT_S / 5)
    proxy.resume()
    leases = set(await cut_off.leases())
    proxy.stall(down=True, up=False)
    with pytest.raises(EtcdOutcomeUnknown, match="LeaseGrant"):
        await cut_off.grant(60)
    assert len(set(await client.leases()) - leases) == 1


async def test_a_write_whose_connection_is_cut_has_an_unknown_outcome(
    client: EtcdClient, cut_off: EtcdClient, proxy: Proxy, prefix: bytes
) -> None:
    """Also where it has not been carried out."""
    proxy.stall()
    before = proxy.up.bytes

    async def cut() -> None:
        await arrived(proxy, before)
        proxy.cut()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut)
        with pytest.raises(EtcdOutcomeUnknown, match="Connection lost"):
            await cut_off.put(Put(prefix, b"1"))
    assert (await client.get(Get(prefix))).count == 0


async def test_a_read_is_repeated_until_it_is_answered(cut_off: EtcdClient, proxy: Proxy, prefix: bytes) -> None:
    proxy.stall()
    before = proxy.up.bytes

    async def mend() -> None:
        await arrived(proxy, before)
        proxy.part()
        proxy.resume()
        await proxy.accept()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mend)
        assert (await cut_off.get(Get(prefix))).count == 0
        assert (await cut_off.txn([], [Get(prefix)])).succeeded


async def test_a_connection_that_leads_nowhere_is_made_anew(cut_off: EtcdClient, proxy: Proxy, prefix: bytes) -> None:
    """Also to the only endpoint, which may be a name of several members; but not one over which something comes."""
    lease = await cut_off.grant(60)
    await cut_off.keep_alive(lease.id)
    calls = cut_off._calls
    protocol = await calls.connection.get()
    calls.move_on(protocol)
    assert await calls.connection.get() is protocol
    proxy.stall()
    with pytest.raises(EtcdUnavailable):
        await cut_off.get(Get(prefix), timeout_s=2 * ATTEMPT_S)
    assert proxy.accepted > 1
    proxy.resume()
    assert (await cut_off.keep_alive(lease.id)).ttl_s == 60


async def test_nothing_is_changed_where_nobody_could_be_reached(prefix: bytes) -> None:
    """A write that could not be sent is tried until its time is over; the error names every member and what it said."""
    async with EtcdClient([("127.0.0.1", 1), ("::1", 2), ("no-such-host.invalid", 3)]) as client:
        for call in (client.put(Put(prefix, b""), timeout_s=0.3), client.get(Get(prefix), timeout_s=0.3)):
            with anyio.fail_after(0.3 + SLACK_S), pytest.raises(EtcdUnavailable) as raised:
                await call
            assert ("nothing was changed" in str(raised.value)) is ("Put" in str(raised.value))
            for endpoint in ("127.0.0.1:1: ", "[::1]:2: ", "no-such-host.invalid:3: "):
                assert endpoint in str(raised.value)
        with anyio.fail_after(0.3 + SLACK_S), pytest.raises(EtcdUnavailable, match="LeaseKeepAlive"):
            await client.keep_alive(1, timeout_s=0.3)


async def test_deadlines_hold_against_a_paused_member(start_cluster: Callable[..., Cluster], prefix: bytes) -> None:
    cluster = start_cluster()
    (member,) = cluster.members
    await cluster.ready()
    async with cluster.client(attempt_timeout_s=ATTEMPT_S) as client:
        lease = await client.grant(60)
        await client.keep_alive(lease.id)
        member.pause()
        calls: list[tuple[type[EtcdError], Callable[[], Awaitable[object]]]] = [
            (EtcdOutcomeUnknown, lambda: client.put(Put(prefix, b""), timeout_s=0.8)),
            (EtcdUnavailable, lambda: client.get(Get(prefix), timeout_s=0.8)),
            (EtcdUnavailable, lambda: client.put(Put(prefix, b""), timeout_s=0.8)),
            (EtcdUnavailable, lambda: client.keep_alive(lease.id, timeout_s=0.8)),
            (EtcdUnavailable, lambda: client.status(timeout_s=0.1)),
        ]
        for error, call in calls:
            with anyio.fail_after(0.8 + SLACK_S), pytest.raises(error):
                await call()
        member.resume()
        assert (await client.keep_alive(lease.id)).ttl_s == 60
        await client.get(Get(prefix))


async def test_a_paused_member_is_left_for_another(three: Cluster, prefix: bytes) -> None:
    """By calls, by renewals and by watches, all of which go on; also by calls that have less time than one try."""
    paused, other = await followers(three)
    async with three.client(paused, other, attempt_timeout_s=ATTEMPT_S) as client:
        lease = await client.grant(60)
        start = (await client.put(Put(prefix, b"0", lease=lease.id))).header.revision
        async with client.watch(prefix, start_revision=start) as watch:
            await anext(watch)
            assert client.endpoint == paused.endpoint
            paused.pause()
            with anyio.fail_after(2 * ATTEMPT_S + SLACK_S):
                assert (await client.keep_alive(lease.id)).ttl_s == 60
                await client.put(Put(prefix, b"1"))
                assert [each.item.value for each in (await anext(watch)).events] == [b"1"]
            assert client.endpoint == other.endpoint
    async with three.client(paused, other, attempt_timeout_s=FOREVER_S) as client:
        with anyio.fail_after(SLACK_S):
            await client.get(Get(prefix), timeout_s=0.8)
        assert client.endpoint == other.endpoint


async def test_a_watch_that_hears_nothing_is_left_for_another_member(
    three: Cluster, prefix: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no calls are made, pings show it. More of them than one in 5 s would be an attack, as etcd sees it."""
    assert connection.PING_INTERVAL_S > 5
    monkeypatch.setattr(connection, "PING_INTERVAL_S", 0.6)
    monkeypatch.setattr(connection, "PING_TIMEOUT_S", 0.3)
    paused, other = await followers(three)
    async with three.client(other) as writer, three.client(paused, other) as watcher:
        start = (await writer.put(Put(prefix, b"0"))).header.revision
        async with watcher.watch(prefix, start_revision=start) as watch:
            await anext(watch)
            paused.pause()
            await writer.put(Put(prefix, b"1"))
            with anyio.fail_after(2.0 + SLACK_S):
                assert [each.item.value for each in (await anext(watch)).events] == [b"1"]


async def test_all_goes_on_when_the_leader_dies(three: Cluster, prefix: bytes) -> None:
    """Leases are kept, writes are told apart: each that was acknowledged is there, none was carried out twice."""
    leader = await three.leader()
    members = [leader, *[each for each in three.members if each is not leader]]
    acknowledged, renewed = Tally[bytes](), Tally[Lease]()
    unknown: list[bytes] = []
    async with three.client(*members) as client:
        lease = await client.grant(10)

        async def write() -> None:
            for number in count():
                key = prefix + b"%d" % number
                try:
                    await client.put(Put(key, b"", lease=lease.id))
                    acknowledged.add(key)
                except EtcdOutcomeUnknown:
                    unknown.append(key)

        async def renew() -> None:
            while True:
                renewed.add(await client.keep_alive(lease.id))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            tasks.start_soon(renew)
            await acknowledged.more(50)
            leader.kill()
            await acknowledged.more(50)
            await renewed.more(50)
            tasks.cancel_scope.cancel()
        assert all(each.ttl_s for each in renewed.items)
        left = {each.key: each for each in (await client.get(Get(prefix, prefix + b"\xff"))).items}
        assert set(acknowledged.items) <= left.keys()
        assert all(each.version == 1 for each in left.values())
        assert len(unknown) <= 5


async def test_without_a_quorum_only_what_needs_none_is_answered(three: Cluster, prefix: bytes) -> None:
    async with three.client() as client:
        await client.put(Put(prefix, b"1"))
        await three.ready()
        survivor, *_ = await followers(three)
        lost = [each for each in three.members if each is not survivor]
        for member in lost:
            member.kill()
        async with three.client(survivor, attempt_timeout_s=ATTEMPT_S) as alone:
            with pytest.raises(EtcdUnavailable, match="did not answer within 2 s"):
                await alone.get(Get(prefix), timeout_s=2.0)
            assert (await alone.status()).leader == 0
            assert (await alone.get(Get(prefix, serializable=True))).items[0].value == b"1"
            with pytest.raises(EtcdUnavailable, match="no leader"):
                await alone.put(Put(prefix, b"2"), timeout_s=0.5)
        for member in lost:
            member.start()
        await three.ready()
        (item,) = (await client.get(Get(prefix))).items
        assert (item.value, item.version) == (b"1", 1)


async def test_cancelling_ends_every_kind_of_retry(prefix: bytes) -> None:
    """anyio's cancellation and asyncio's own."""
    async with EtcdClient([("127.0.0.1", 1)], longest_pause_s=0.01) as client:

        async def watch() -> None:
            async with client.watch(prefix, start_revision=1) as batches:
                await anext(batches)

        for make in _kinds(client, prefix, watch):
            with anyio.fail_after(SOON_S):
                with anyio.move_on_after(0.05) as scope:
                    await make()
                assert scope.cancelled_caught
                task = asyncio.ensure_future(make())
                await anyio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task


@pytest.mark.parametrize("first", ["cancelled", "lost"])
async def test_cancelling_is_not_lost_when_it_meets_a_lost_connection(
    cut_off: EtcdClient, proxy: Proxy, prefix: bytes, first: str
) -> None:
    """Both within one turn of the event loop, in either order, while the call waits for its answer."""
    lease = await cut_off.grant(60)

    async def watch() -> None:
        async with cut_off.watch(prefix, start_revision=lease.header.revision + 1) as batches:
            await anext(batches)

    for make in _kinds(cut_off, prefix, watch):
        await cut_off.keep_alive(lease.id)
        proxy.stall(down=True, up=False)
        before = proxy.up.bytes
        task = asyncio.ensure_future(make())
        await arrived(proxy, before)
        protocol = await cut_off._calls.connection.get()
        steps: list[Callable[[], object]] = [task.cancel, lambda p=protocol: p.processor.close("lost by the test")]
        for step in steps if first == "cancelled" else reversed(steps):
            step()
        with anyio.fail_after(SOON_S), pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        proxy.cut()
        proxy.resume()


def _kinds(
    client: EtcdClient, prefix: bytes, watch: Callable[[], Awaitable[object]]
) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: client.get(Get(prefix), timeout_s=FOREVER_S),
        lambda: client.put(Put(prefix, b""), timeout_s=FOREVER_S),
        lambda: client.keep_alive(1, timeout_s=FOREVER_S),
        watch,
    ]


async def test_a_lost_connection_is_not_taken_for_a_cancellation(cut_off: EtcdClient, proxy: Proxy) -> None:
    """grpclib would count every loss as a cancellation of the task, which asyncio's own scopes go by."""
    task = asyncio.current_task()
    assert task is not None
    for _ in range(3):
        proxy.cut()
        await cut_off.get(Get(b"a"))
        with suppress(EtcdOutcomeUnknown):
            await cut_off.put(Put(b"a", b""))
    assert task.cancelling() == 0
