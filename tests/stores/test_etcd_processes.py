"""A store in real etcd processes: killed leaders, cut connections, compaction, and data from the past."""

import shutil
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import anyio
import pytest

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.etcd import EtcdClient
from atomix_election.model import ElectionId
from atomix_election.stores.base import Change, ElectionChanged, SessionGone, SessionOpened
from atomix_election.stores.etcd import EtcdStore, open_etcd_store
from atomix_election.stores.etcd_restore import known_floors, recover
from tests.etcd.cluster import Cluster
from tests.etcd.panics import Panics
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("etcd")]

E1 = ElectionId("default", "e1")
_numbers = count(1)


@pytest.fixture
def anyio_backend() -> str:
    """The client of etcd needs asyncio."""
    return "asyncio"


@pytest.fixture
def start_cluster(tmp_path: Path) -> Generator[Callable[[int], Cluster]]:
    """Starts clusters for one test."""
    with ExitStack() as started:
        yield lambda size: started.enter_context(Cluster(tmp_path / f"etcd-{next(_numbers)}", size=size))


class Counter:
    """Increments one record through stores, and counts what it was told."""

    def __init__(self) -> None:
        self.done = 0
        self.unknown = 0
        self.failed = 0

    async def run(self, store: EtcdStore, times: int) -> None:
        """Increment so many times, whatever happens; what failed is tried again."""
        for _ in range(times):
            while not await self._increment(store):
                pass

    async def _increment(self, store: EtcdStore) -> bool:
        try:
            record = await store.read(E1)
            number = record.election.number + 1
            if not await store.write(E1, Election(number=number, revision=number), expected=record.version):
                return False
        except OutcomeUnknown:
            self.unknown += 1
        except StoreError:
            self.failed += 1
            return False
        else:
            self.done += 1
        return True

    async def check(self, store: EtcdStore) -> None:
        """Nothing was lost and nothing done twice."""
        number = (await store.read(E1)).election.number
        assert self.done <= number <= self.done + self.unknown, f"{self.done} done, {self.unknown} unknown"


@asynccontextmanager
async def _follow(store: EtcdStore) -> AsyncGenerator[list[Change]]:
    taken: list[Change] = []

    async def take() -> None:
        async for batch in store.changes():
            taken.extend(batch)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        yield taken
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _started_again_if_it_panics(cluster: Cluster) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Panics(cluster).watch, lambda begun, ended: None)
        yield
        tasks.cancel_scope.cancel()


async def test_a_killed_leader_loses_nothing_and_doubles_nothing(start_cluster: Callable[[int], Cluster]) -> None:
    """While two stores increment one record; and who watches hears of each increment once, in order."""
    cluster, counter = start_cluster(3), Counter()
    await cluster.ready()
    leader = await cluster.leader()
    others = [each for each in cluster.members if each is not leader]
    async with (
        cluster.client(leader, *others) as client,
        cluster.client(*others, leader) as other_client,
        open_etcd_store(client) as one,
        open_etcd_store(other_client) as other,
        _follow(other) as taken,
    ):
        async with anyio.create_task_group() as tasks:
            for store in (one, one, other, other):
                tasks.start_soon(counter.run, store, 60)
            while counter.done < 80:  # noqa: ASYNC110 - what is waited for is progress
                await anyio.sleep(0.005)
            leader.kill()
        await counter.check(one)
        await other.catch_up()
        numbers = [each.after.election.number for each in taken if isinstance(each, ElectionChanged)]
        assert numbers == list(range(1, (await one.read(E1)).election.number + 1))


async def test_cut_connections_lose_nothing_and_double_nothing(start_cluster: Callable[[int], Cluster]) -> None:
    """Answers and requests are lost at any moment."""
    cluster, counter = start_cluster(1), Counter()
    await cluster.ready()
    async with (
        Proxy(cluster.members[0].port) as proxy,
        EtcdClient([("127.0.0.1", proxy.port)], attempt_timeout_s=0.3, longest_pause_s=0.05) as client,
        cluster.client() as other_client,
        open_etcd_store(client) as one,
        open_etcd_store(other_client) as other,
        _follow(one) as taken,
        _started_again_if_it_panics(cluster),
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(counter.run, one, 150)
            tasks.start_soon(counter.run, other, 50)
            for moment in range(12):
                before = counter.done
                while counter.done < before + 5:  # noqa: ASYNC110 - what is waited for is progress
                    await anyio.sleep(0.001)
                if moment % 2:
                    proxy.down.flowing.clear()
                    await anyio.sleep(0.02)
                    proxy.cut()
                    proxy.down.flowing.set()
                else:
                    proxy.cut()
        await counter.check(other)
        await one.catch_up()
        numbers = [each.after.election.number for each in taken if isinstance(each, ElectionChanged)]
        assert numbers == list(range(1, (await one.read(E1)).election.number + 1))


async def test_compaction_while_cut_off_hides_nothing(start_cluster: Callable[[int], Cluster]) -> None:
    """What changed meanwhile is told as differences, and then all goes on."""
    cluster = start_cluster(1)
    await cluster.ready()
    async with (
        Proxy(cluster.members[0].port) as proxy,
        EtcdClient([("127.0.0.1", proxy.port)], attempt_timeout_s=0.3, longest_pause_s=0.05) as client,
        cluster.client() as other_client,
        open_etcd_store(client) as one,
        open_etcd_store(other_client) as other,
        _follow(one) as taken,
    ):
        ended = await other.open_session("default", "ended", ttl_s=60, kept_alive=True)
        await one.catch_up()
        before = len(taken)
        proxy.part()
        counter = Counter()
        await counter.run(other, 30)
        await other.end_session(ended)
        new = await other.open_session("default", "new", ttl_s=60, kept_alive=True)
        last = await other.read(E1)
        await other_client.compact(last.floor)
        await proxy.accept()
        with anyio.fail_after(10):
            while True:
                try:
                    await one.catch_up()
                    break
                except StoreError:
                    continue
        missed = taken[before:]
        assert {each.stored.session for each in missed if isinstance(each, SessionOpened)} == {new}
        assert {each.session for each in missed if isinstance(each, SessionGone)} == {ended}
        (changed,) = [each for each in missed if isinstance(each, ElectionChanged)]
        assert changed.after == last
        await counter.run(other, 1)
        await one.catch_up()
        assert one.latest(E1) == await other.read(E1) != last


async def test_data_from_the_past_stops_everything_until_it_is_confirmed(
    start_cluster: Callable[[int], Cluster], tmp_path: Path
) -> None:
    """Etcd itself shows nothing: the cluster is the same, its revisions come again."""
    cluster, counter = start_cluster(1), Counter()
    (member,) = cluster.members
    await cluster.ready()
    async with cluster.client(longest_pause_s=0.05) as client, open_etcd_store(client) as store:
        await counter.run(store, 3)
        await member.stop()
        shutil.copytree(member.data, tmp_path / "copy")
        member.start()
        await cluster.ready()
        await counter.run(store, 3)
        session = await store.open_session("default", "s", ttl_s=60, kept_alive=True)
        changes = store.changes()
        await anext(changes)
        member.kill()
        shutil.rmtree(member.data)
        shutil.copytree(tmp_path / "copy", member.data)
        member.start()
        await cluster.ready()
        for call in (
            lambda: anext(changes),
            lambda: store.read(E1),
            lambda: store.write(E1, Election(number=9), expected=1),
            lambda: store.renew(session),
            store.catch_up,
        ):
            with pytest.raises(StoreError, match="confirm the restore"):
                await call()
        await recover(client, (await known_floors(client)).over(Floors(1000, 2000)), hold_s=1.0)
        async with open_etcd_store(client) as again:
            assert again.id != store.id
            assert (await again.read(E1)).election == Election(number=1000, revision=2000)
            assert again.hold_s == 1.0
