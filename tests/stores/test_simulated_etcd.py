"""The simulated etcd answers what a real one answers, to the same calls in the same order."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random

import anyio
import pytest

from atomix_election.etcd import (
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    EtcdClient,
    EtcdOutcomeUnknown,
    EtcdRefused,
    Get,
    GetResult,
    KeyValue,
    Operation,
    Put,
    PutResult,
    Relation,
    Target,
    WatchEvent,
    absent,
    prefix_end,
)
from atomix_election.etcd.interface import Etcd
from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd import SimulatedClient, SimulatedEtcd
from tests.etcd.cluster import Cluster

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("etcd")]

_numbers = count(1)
CALLS = 60
TTL_S = 60
SMALL_BYTES = 64 * 1024
READS_WHEN_FULL = {(3, 4): 22, (3, 5): 7}
"""The first releases that answer transactions which only read when there is no space."""


@pytest.fixture
def anyio_backend() -> str:
    """The client of etcd needs asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def undisturbed_etcd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """A real one in which nobody else changes anything, nor lets leases expire."""
    with Cluster(tmp_path_factory.mktemp("etcd") / "undisturbed") as cluster:
        yield cluster


@pytest.fixture
def start_cluster(tmp_path: Path) -> Generator[Callable[..., Cluster]]:
    """Starts a cluster for one test, with more arguments of etcd."""
    with ExitStack() as started:
        yield lambda *arguments: started.enter_context(Cluster(tmp_path / "etcd", arguments=arguments))


class Script:
    """Calls by chance, and what is answered, with revisions counted from the beginning.

    Args:
        etcd: who is called.
        seed: of the calls.
        prefix: of all keys.
    """

    def __init__(self, etcd: Etcd, seed: int, prefix: bytes) -> None:
        self._etcd = etcd
        self._random = Random(seed)
        self._prefix = prefix
        self._start = 0
        self._now = 0
        self._last = 0
        self._leases: list[int] = []

    async def run(self) -> list[object]:
        """Make all calls, and return what was answered, and in the end all changes."""
        self._start = (await self._etcd.get(Get(b"x"))).header.revision
        answers: list[object] = []
        for number in range(CALLS):
            try:
                answers.append(await self._call(number))
            except EtcdRefused as error:
                answers.append(type(error).__name__)
        end = prefix_end(self._prefix)
        async with self._etcd.watch(self._prefix, end, start_revision=self._start + 1) as batches:
            while self._now < self._last:
                batch = await anext(batches)
                self._now = batch.revision
                answers += [self._event(each) for each in batch.events]
        return answers

    async def _call(self, number: int) -> object:
        chance = self._random.random()
        if chance < 0.1:
            self._leases.append(0x7000_0000_0000 + next(_numbers))
            return (await self._etcd.grant(60, self._leases[-1])).ttl_s
        if chance < 0.15 and self._leases:
            lease = self._leases.pop(self._random.randrange(len(self._leases)))
            header = await self._etcd.revoke(lease)
            self._last = header.revision
            return self._counted(header.revision)
        success, failure = self._operations(number), self._operations(-number)
        answer = await self._etcd.txn(self._compares(), success, failure)
        self._last = max(self._start, answer.revision)
        return answer.succeeded, self._counted(answer.revision), [self._result(each) for each in answer.responses]

    def _key(self) -> bytes:
        return self._prefix + self._random.choice([b"a", b"ab", b"b", b"c\0"])

    def _compares(self) -> list[Compare]:
        compares: list[Compare] = []
        for _ in range(self._random.randrange(3)):
            target, relation = self._random.choice(list(Target)), self._random.choice(list(Relation))
            operand: int | bytes = self._random.randrange(3)
            if target in (Target.CREATE_REVISION, Target.MOD_REVISION):
                operand = self._random.choice([0, self._start + self._random.randrange(1, CALLS)])
            if target is Target.VALUE:
                operand = b"%d" % self._random.randrange(CALLS)
            end = self._random.choice([b"", b"", prefix_end(self._prefix), self._prefix + b"b"])
            compares.append(Compare(self._key(), target, relation, operand, end))
        return compares

    def _operations(self, number: int) -> Sequence[Operation]:
        operations: list[Operation] = []
        written: set[bytes] = set()
        for _ in range(self._random.randrange(4)):
            key, chance = self._key(), self._random.random()
            if chance < 0.5:
                limit, keys_only = self._random.randrange(3), self._random.random() < 0.3
                everything = Get(self._prefix, prefix_end(self._prefix), limit=limit, keys_only=keys_only)
                operations.append(self._random.choice([Get(key, keys_only=keys_only), everything]))
            elif key not in written and not written:
                written.add(key)
                lease = self._random.choice([0, *self._leases, 5])
                put = Put(key, b"%d" % number, lease, previous=self._random.random() < 0.3)
                operations.append(put if chance < 0.8 else Delete(key, previous=self._random.random() < 0.3))
        return operations

    def _counted(self, revision: int) -> int:
        return revision - self._start if revision else 0

    def _item(self, item: KeyValue | None) -> object:
        if item is None:
            return None
        created, modified = self._counted(item.create_revision), self._counted(item.mod_revision)
        return item.key.removeprefix(self._prefix), item.value, created, modified, item.version, bool(item.lease)

    def _result(self, result: GetResult | PutResult | DeleteResult) -> object:
        match result:
            case GetResult():
                return [self._item(each) for each in result.items], result.more, result.count
            case PutResult():
                return self._item(result.previous)
            case DeleteResult():
                return result.deleted, [self._item(each) for each in result.previous]

    def _event(self, event: WatchEvent) -> object:
        return event.change, self._item(event.item)


@pytest.mark.parametrize("seed", range(8))
async def test_it_answers_as_a_real_one_does(undisturbed_etcd: Cluster, seed: int) -> None:
    """Transactions with any conditions, leases and what lives as long, and then all changes."""
    await undisturbed_etcd.ready()
    prefix = b"script-%d/" % next(_numbers)
    async with undisturbed_etcd.client() as client, SimulatedEtcd(VirtualClock()) as etcd:
        real = await Script(client, seed, prefix).run()
        simulated = await Script(etcd.client(), seed, prefix).run()
    assert simulated == real
    assert len(real) > CALLS


async def _outcome(call: Awaitable[object]) -> str:
    """Return what becomes of a call."""
    try:
        await call
    except EtcdRefused as error:
        return type(error).__name__
    return "done"


@asynccontextmanager
async def _both(cluster: Cluster) -> AsyncGenerator[tuple[EtcdClient, SimulatedClient]]:
    await cluster.ready()
    async with cluster.client() as client, SimulatedEtcd(VirtualClock()) as etcd:
        yield client, etcd.client()


async def test_it_forgets_as_a_real_one_does(undisturbed_etcd: Cluster) -> None:
    """What is compacted away is gone for reads and watches; from the oldest revision on, all goes on."""

    async def play(client: EtcdClient | SimulatedClient, prefix: bytes) -> list[object]:
        first = (await client.txn([], [Put(prefix + b"a", b"1")])).revision
        await client.txn([], [Put(prefix + b"a", b"2"), Put(prefix + b"b", b"2")])
        gone = (await client.txn([], [Delete(prefix + b"b")])).revision
        last = (await client.txn([], [Put(prefix + b"a", b"3")])).revision
        everything = Get(prefix, prefix_end(prefix), keys_only=True)
        found: list[object] = [await _outcome(client.compact(last + 10**6)), await _outcome(client.compact(gone))]
        found += [await _outcome(client.compact(each)) for each in (first, gone)]
        for revision in range(first, last + 1):
            try:
                read = await client.get(Get(everything.key, everything.end, revision=revision))
                found.append([(each.key[-1:], each.mod_revision - first) for each in read.items])
            except Compacted:
                found.append("gone")
        async with client.watch(prefix, prefix_end(prefix), start_revision=gone - 1) as watch:
            with pytest.raises(Compacted) as raised:
                await anext(watch)
        found.append(raised.value.compact_revision - first)
        async with client.watch(prefix, prefix_end(prefix), start_revision=last) as watch:
            found.append((await anext(watch)).revision - first)
        return found

    async with _both(undisturbed_etcd) as (real, simulated):
        prefix = b"forgets-%d/" % next(_numbers)
        answers = await play(real, prefix)
        assert answers == await play(simulated, prefix)
    assert answers[:4] == ["FutureRevision", "done", "Compacted", "Compacted"]


async def test_a_lease_whose_time_is_over_is_not_renewed(undisturbed_etcd: Cluster) -> None:
    """Also before its keys are deleted, which takes up to half a second: the answer waits for that."""

    async def play(client: EtcdClient | SimulatedClient, key: bytes) -> tuple[int, int]:
        lease = await client.grant(1)
        await client.txn([], [Put(key, b"", lease.id)])
        await anyio.sleep(lease.ttl_s + 0.01)
        renewed = await client.keep_alive(lease.id)
        return renewed.ttl_s, len((await client.get(Get(key))).items)

    key = b"late-%d" % next(_numbers)
    async with _both(undisturbed_etcd) as clients:
        assert [await play(each, key) for each in clients] == [(0, 0), (0, 0)]


async def test_a_new_leader_lets_leases_begin_anew(start_cluster: Callable[..., Cluster]) -> None:
    """With their whole time-to-live, and one of its own election time-outs more."""
    cluster = start_cluster("--heartbeat-interval=300", "--election-timeout=3000")
    await cluster.ready()
    async with cluster.client() as client:
        least_ttl_s = (await client.grant(1)).ttl_s
        lease = await client.grant(TTL_S)
        cluster.members[0].kill()
        cluster.members[0].start()
        await cluster.ready()
        real_s = (await client.time_to_live(lease.id)).ttl_s
        assert (await client.keep_alive(lease.id)).ttl_s == TTL_S
        assert (await client.time_to_live(lease.id)).ttl_s < TTL_S
    async with SimulatedEtcd(VirtualClock(), least_ttl_s=least_ttl_s) as etcd:
        simulated = etcd.client()
        lease = await simulated.grant(TTL_S)
        etcd.change_leader()
        simulated_s = (await simulated.time_to_live(lease.id)).ttl_s
    assert TTL_S + 1 <= real_s <= simulated_s <= TTL_S + 3


async def test_when_it_is_full_leases_go_on_and_end_all_the_same(start_cluster: Callable[..., Cluster]) -> None:
    """What could write is refused, also where it would not; what is sure to read only, or to make room, is not."""

    async def play(client: EtcdClient | SimulatedClient, lease: int, *, reads: bool) -> dict[str, str]:
        calls: dict[str, Awaitable[object]] = {
            "get": client.get(Get(b"a")),
            "write": client.txn([], [Put(b"a", b"")]),
            "write, not carried out": client.txn([absent(b"there")], [Put(b"a", b"")], [Get(b"a")]),
            "grant": client.grant(TTL_S),
            "renew": client.keep_alive(lease),
            "look": client.time_to_live(lease),
            "revoke": client.revoke(lease),
        }
        if reads:
            calls |= {"read": client.txn([], [Get(b"a")]), "delete": client.txn([], [Delete(b"a")])}
        return {name: await _outcome(call) for name, call in calls.items()}

    cluster = start_cluster(f"--quota-backend-bytes={SMALL_BYTES}")
    await cluster.ready()
    async with cluster.client() as client, SimulatedEtcd(VirtualClock()) as etcd:
        simulated = etcd.client()
        leases = [(await each.grant(TTL_S)).id for each in (client, simulated)]
        for each in (client, simulated):
            await each.txn([], [Put(b"there", b"")])
        etcd.fill()
        while await _outcome(_put(client, SMALL_BYTES)) == "done":
            pass
        major, minor, patch = (await client.status()).version_numbers[:3]
        reads = patch >= READS_WHEN_FULL.get((major, minor), 0)
        real = await play(client, leases[0], reads=reads)
        assert await play(simulated, leases[1], reads=reads) == real
        assert [each for each in real if real[each] != "done"] == ["write", "write, not carried out", "grant"]


async def _put(client: EtcdClient, size: int) -> None:
    try:
        await client.put(Put(b"large", bytes(size)))
    except EtcdOutcomeUnknown:
        await anyio.lowlevel.checkpoint()  # the alarm is raised while it is under way
