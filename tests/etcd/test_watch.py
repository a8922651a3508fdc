"""A watch tells each change once, in order, whatever happens to connections, and says when it cannot."""

import re
import shutil
import urllib.request
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import anyio
import pytest

from atomix_election.etcd import (
    MAX_WATCHES,
    Change,
    Compacted,
    Delete,
    EtcdClient,
    Get,
    Put,
    Watch,
    WatchEvent,
    WentBack,
    prefix_end,
)
from tests.etcd.cluster import Cluster, Member
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.anyio

WRITERS = 48
BACKLOG = 2_500
GONE_S = 5.0


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncGenerator[Proxy]:
    """Stands before the shared member."""
    async with Proxy(cluster.members[0].port) as proxy:
        yield proxy


def through(proxy: Proxy) -> EtcdClient:
    """Return a client that goes through a proxy."""
    return EtcdClient([("127.0.0.1", proxy.port)], longest_pause_s=0.1)


async def write(client: EtcdClient, prefix: bytes, number: int, value: bytes = b"") -> list[int]:
    """Write so many keys, each at a revision of its own, and return those in order."""
    revisions: list[int] = []
    left = iter(range(number))

    async def work() -> None:
        for each in left:
            written = await client.put(Put(prefix + b"%d" % each, value))
            revisions.append(written.header.revision)

    async with anyio.create_task_group() as tasks:
        for _ in range(WRITERS):
            tasks.start_soon(work)
    return sorted(revisions)


async def read(watch: Watch, number: int) -> list[WatchEvent]:
    """Wait for so many changes."""
    events: list[WatchEvent] = []
    while len(events) < number:
        events += (await anext(watch)).events
    return events


def revisions_of(events: list[WatchEvent]) -> list[int]:
    """Return when they happened."""
    return [each.item.mod_revision for each in events]


async def test_changes_are_told_from_a_revision_on(client: EtcdClient, prefix: bytes) -> None:
    a, end = prefix + b"a", prefix_end(prefix)
    await client.put(Put(a, b"0"))
    first = (await client.put(Put(a, b"1"))).header.revision
    async with client.watch(prefix, end, start_revision=first, previous=True) as watch:
        assert watch.next_revision == first
        (put,) = (await anext(watch)).events
        assert (put.change, put.item.value, put.item.version) == (Change.PUT, b"1", 2)
        assert put.previous is not None
        assert put.previous.value == b"0"
        await client.put(Put(prefix[:-1], b"of another prefix"))
        last = (await client.delete(Delete(a))).header.revision
        batch = await anext(watch)
        (deleted,) = batch.events
        assert (deleted.change, deleted.item.key, deleted.item.mod_revision) == (Change.DELETE, a, last)
        assert deleted.previous == put.item
        assert (batch.revision, batch.header.revision >= last) == (last, True)
        assert watch.next_revision == last + 1


async def test_what_one_transaction_did_comes_together(client: EtcdClient, prefix: bytes) -> None:
    done = await client.txn([], [Put(prefix + b"a", b""), Put(prefix + b"b", b""), Delete(prefix + b"c")])
    async with client.watch(prefix, prefix_end(prefix), start_revision=done.revision) as watch:
        events = (await anext(watch)).events
    assert [each.item.key for each in events] == [prefix + b"a", prefix + b"b"]
    assert set(revisions_of([*events])) == {done.revision}


async def test_parts_of_a_large_answer_are_put_together(client: EtcdClient, prefix: bytes) -> None:
    """Etcd sends what is larger than 2 MiB in parts."""
    revisions = [(await client.put(Put(prefix + b"%d" % n, bytes(700_000)))).header.revision for n in range(5)]
    async with client.watch(prefix, prefix_end(prefix), start_revision=revisions[0]) as watch:
        assert revisions_of([*(await anext(watch)).events]) == revisions


async def test_no_change_is_lost_or_repeated_over_cut_connections(
    client: EtcdClient, proxy: Proxy, prefix: bytes
) -> None:
    start = (await client.get(Get(prefix))).header.revision + 1
    told: list[WatchEvent] = []
    async with through(proxy) as watcher, watcher.watch(prefix, prefix_end(prefix), start_revision=start) as watch:
        written: list[int] = []
        for _ in range(10):
            written += await write(client, prefix, 30)
            told += (await anext(watch)).events
            proxy.cut()
        told += await read(watch, len(written) - len(told))
    assert revisions_of(told) == written
    assert proxy.accepted > 5


async def test_no_change_is_lost_when_waiting_is_cancelled(client: EtcdClient, prefix: bytes) -> None:
    """At any time, also in the middle of a message that is larger than what comes at once."""
    start = (await client.get(Get(prefix))).header.revision + 1
    written = await write(client, prefix, 60, bytes(50_000))
    told: list[WatchEvent] = []
    cancelled = 0
    async with client.watch(prefix, prefix_end(prefix), start_revision=start) as watch:
        while len(told) < len(written):
            with anyio.move_on_after(0.001 * 1.3**cancelled) as scope:
                told += (await anext(watch)).events
            cancelled += scope.cancelled_caught
    assert revisions_of(told) == written
    assert cancelled > 3


async def test_no_change_is_lost_when_waiting_is_cancelled_between_parts(
    client: EtcdClient, prefix: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    revisions = [(await client.put(Put(prefix + b"%d" % n, bytes(700_000)))).header.revision for n in range(5)]
    async with client.watch(prefix, prefix_end(prefix), start_revision=revisions[0]) as watch:
        scope = anyio.CancelScope()
        receive, answers = watch._receive, count(1)

        async def receive_and_cancel(*args: Any) -> Any:
            if next(answers) == 3:  # the first is that the watch is there, the second a part
                scope.cancel()
            return await receive(*args)

        monkeypatch.setattr(watch, "_receive", receive_and_cancel)
        with scope:
            await anext(watch)
        assert scope.cancelled_caught
        assert revisions_of([*(await anext(watch)).events]) == revisions


async def test_a_killed_member_leaves_no_gap_in_a_backlog(three: Cluster, prefix: bytes) -> None:
    """It is larger than a stream's window and than what etcd sends at a time."""
    async with three.client() as writer, three.client(*reversed(three.members)) as watcher:
        written = await write(writer, prefix, BACKLOG, bytes(1_000))
        assert len(written) == BACKLOG
        async with watcher.watch(prefix, prefix_end(prefix), start_revision=written[0]) as watch:
            told = await read(watch, 1)
            serving = watcher.endpoint
            assert 0 < len(told) < len(written)
            next(each for each in three.members if each.endpoint == serving).kill()
            told += await read(watch, len(written) - len(told))
        assert revisions_of(told) == written
        assert watcher.endpoint != serving


async def test_changes_that_are_compacted_away_are_said_to_be(client: EtcdClient, proxy: Proxy, prefix: bytes) -> None:
    start = (await client.put(Put(prefix, b"0"))).header.revision
    async with through(proxy) as watcher, watcher.watch(prefix, start_revision=start) as watch:
        await anext(watch)
        proxy.part()
        revisions = [(await client.put(Put(prefix, b"%d" % number))).header.revision for number in range(3)]
        await client.compact(revisions[-1])
        await proxy.accept()
        with pytest.raises(Compacted, match="read all") as raised:
            await anext(watch)
        assert raised.value.compact_revision == revisions[-1]
        async with watcher.watch(prefix, start_revision=revisions[-1]) as again:
            assert revisions_of([*(await anext(again)).events]) == revisions[-1:]


async def test_a_store_that_went_back_is_noticed(start_cluster: Callable[..., Cluster], prefix: bytes) -> None:
    """As after a restore: the cluster has the same id, and revisions come again."""
    cluster = start_cluster()
    (member,) = cluster.members
    await cluster.ready()
    async with cluster.client() as client:
        await client.put(Put(prefix, b"before the copy"))
        await member.stop()
        copy = member.data.with_suffix(".copy")
        shutil.copytree(member.data, copy)
        member.start()
        await cluster.ready()
        last = (await write(client, prefix, 5))[-1]
        async with client.watch(prefix, prefix_end(prefix), start_revision=last) as watch:
            await anext(watch)
            member.kill()
            shutil.rmtree(member.data)
            copy.rename(member.data)
            member.start()
            with pytest.raises(WentBack, match="restored") as raised:
                await anext(watch)
    assert (raised.value.seen_revision, raised.value.found_revision) == (last, last - 5)


async def test_another_store_is_noticed(
    cluster: Cluster, start_cluster: Callable[..., Cluster], client: EtcdClient, prefix: bytes
) -> None:
    other = start_cluster()
    await other.ready()
    await write(client, prefix, 5)
    async with Proxy(other.members[0].port) as proxy, through(proxy) as watcher:
        start = (await watcher.put(Put(prefix, b""))).header.revision
        async with watcher.watch(prefix, start_revision=start) as watch:
            await anext(watch)
            proxy._server_port = cluster.members[0].port
            proxy.cut()
            with pytest.raises(WentBack, match="different ones"):
                await anext(watch)


async def test_a_member_that_lags_is_not_taken_for_an_older_store(
    cluster: Cluster, client: EtcdClient, prefix: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own header is behind, the store is not."""
    last = (await write(client, prefix, 3))[-1]
    async with client.watch(prefix, prefix_end(prefix), start_revision=last) as watch:
        await anext(watch)
        header = (await client.get(Get(prefix))).header
        with monkeypatch.context() as patch:
            patch.setattr(watch, "_next_revision", header.revision + 1)
            await watch._check_store(type(header)(header.cluster_id, header.member_id, 1, header.raft_term))


async def test_etcd_forgets_a_watch_that_was_left(cluster: Cluster, client: EtcdClient, prefix: bytes) -> None:
    before = await _watchers(cluster.members[0])
    revision = (await client.put(Put(prefix, b""))).header.revision
    async with client.watch(prefix, start_revision=revision) as watch:
        await anext(watch)
        assert await _watchers(cluster.members[0]) == before + 1
    with anyio.fail_after(GONE_S):
        while await _watchers(cluster.members[0]) > before:  # nobody tells, so it is asked again
            pass


async def test_watches_that_nobody_reads_hold_up_no_call(cluster: Cluster, client: EtcdClient, prefix: bytes) -> None:
    """However much there is to be told."""
    start = (await client.put(Put(prefix, b""))).header.revision
    async with AsyncExitStack() as watches:
        for _ in range(MAX_WATCHES):
            watch = await watches.enter_async_context(client.watch(prefix, prefix_end(prefix), start_revision=start))
            await anext(watch)
        with pytest.raises(ValueError, match="MAX_WATCHES"):
            await watches.enter_async_context(client.watch(prefix, start_revision=start))
        async with cluster.client() as writer:
            for number in range(4):
                await writer.put(Put(prefix + b"%d" % number, bytes(1_000_000)))
        for _ in range(3):
            large = await client.get(Get(prefix + b"0"), timeout_s=1)
            assert len(large.items[0].value) == 1_000_000
    async with client.watch(prefix, start_revision=start):
        pass


async def test_a_watch_needs_a_revision(client: EtcdClient, prefix: bytes) -> None:
    with pytest.raises(ValueError, match="read first"):
        await client.watch(prefix, start_revision=0).__aenter__()


async def _watchers(member: Member) -> int:
    def fetch() -> str:
        with urllib.request.urlopen(f"http://{member.endpoint}/metrics", timeout=5) as answer:
            return answer.read().decode()

    found = re.search(r"^etcd_debugging_mvcc_watcher_total (\d+)", await anyio.to_thread.run_sync(fetch), re.MULTILINE)
    assert found is not None
    return int(found[1])
