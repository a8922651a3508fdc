"""The simulated etcd answers what a real one answers, to the same calls in the same order."""

from collections.abc import Generator, Sequence
from itertools import count
from random import Random

import pytest

from atomix_election.etcd import (
    Compare,
    Delete,
    DeleteResult,
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
    prefix_end,
)
from atomix_election.etcd.interface import Etcd
from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd import SimulatedEtcd
from tests.etcd.cluster import Cluster

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("processes")]

_numbers = count(1)
CALLS = 60


@pytest.fixture
def anyio_backend() -> str:
    """The client of etcd needs asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def undisturbed_etcd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """A real one in which nobody else changes anything, nor lets leases expire."""
    with Cluster(tmp_path_factory.mktemp("etcd") / "undisturbed") as cluster:
        yield cluster


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
            compares.append(Compare(self._key(), target, relation, operand))
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
