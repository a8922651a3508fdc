"""Elections move into etcd, whatever breaks off: at most one store can be served, and none without the floors."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trio.testing

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.etcd import Compare, Operation, Put, TxnResult
from atomix_election.model import ElectionId
from atomix_election.stores.codec import encode_election
from atomix_election.stores.etcd import open_etcd_store
from atomix_election.stores.etcd_restore import claim
from atomix_election.stores.sqlite_file import SqliteFile
from atomix_election.stores.sqlite_move import leaving_file
from atomix_election.stores.sqlite_rows import OpenSession, WriteElection
from atomix_election.stores.sqlite_to_etcd import move
from atomix_election.testing.etcd import Outcome, SimulatedClient, SimulatedEtcd

pytestmark = pytest.mark.anyio

TARGET = "etcd://localhost"
ELECTIONS = 150
WRITES = 4
"""The claim, two transactions with elections, and the one that makes a store of them."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time passes at once."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A store that nobody uses."""
    path = str(tmp_path / "store.db")
    file = SqliteFile(path)
    elections = [Election(number=number + 1, revision=number + 2) for number in range(ELECTIONS)]
    changes = [WriteElection(_id(number), each, encode_election(each), 0) for number, each in enumerate(elections)]
    file.change([*changes, OpenSession("default", "s", 45.0, kept_alive=True)])
    file.close()
    return path


def _id(number: int) -> ElectionId:
    return ElectionId("default", f"e{number:03}")


def _serves_file(path: str) -> bool:
    try:
        SqliteFile(path).close()
    except StoreError:
        return False
    return True


async def _serves_etcd(client: SimulatedClient) -> bool:
    try:
        async with open_etcd_store(client) as store:
            floors = [Floors(each.number, each.revision) async for _, each in store.elections()]
            assert floors == [Floors(number + 1, number + 2) for number in range(ELECTIONS)]
            assert store.hold_s == 45.0
    except StoreError:
        return False
    return True


@pytest.mark.parametrize("outcome", [Outcome.APPLIED, Outcome.LOST, Outcome.LATE])
@pytest.mark.parametrize("at", range(WRITES))
async def test_it_breaks_off_anywhere_and_goes_on(etcd: SimulatedEtcd, path: str, at: int, outcome: Outcome) -> None:
    """Each write to etcd may be carried out or not, or later, without an answer."""
    client = etcd.client()
    client.next_writes.extend([*[Outcome.ANSWERED] * at, outcome])
    with leaving_file(path) as file, pytest.raises(OutcomeUnknown):
        await move(file, client, TARGET)
    is_file = _serves_file(path)
    assert is_file == (at == 0), "the file is marked when the prefix is claimed, and not before"
    if outcome is Outcome.APPLIED or (outcome is Outcome.LOST and at):  # else nothing has happened yet
        assert await _serves_etcd(client) == (at == WRITES - 1 and outcome is Outcome.APPLIED)
    with leaving_file(path) as file:
        assert await move(file, client, TARGET)
    assert not _serves_file(path)
    assert await _serves_etcd(client)


async def test_how_far_it_is_and_that_it_is_done(etcd: SimulatedEtcd, path: str) -> None:
    """Once more it does nothing; and it goes nowhere else."""
    client, told = etcd.client(), list[tuple[int, int]]()
    with leaving_file(path) as file:
        assert await move(file, client, TARGET, progress=lambda done, total: told.append((done, total)))
        assert told == [(0, ELECTIONS), (100, ELECTIONS)]
        assert not await move(file, client, TARGET)
        with pytest.raises(StoreError, match=f"were moved to {TARGET}: name that"):
            await move(file, client, f"{TARGET}/other", prefix="other/")


async def test_a_file_whose_move_began_goes_nowhere_else(etcd: SimulatedEtcd, path: str) -> None:
    """Elsewhere it could be served, and here too."""
    client = etcd.client()
    client.next_writes.extend([Outcome.ANSWERED, Outcome.LATE])
    with leaving_file(path) as file:
        with pytest.raises(OutcomeUnknown):
            await move(file, client, TARGET)
        with pytest.raises(StoreError, match=f"began to be moved to {TARGET}: name that"):
            await move(file, client, f"{TARGET}/other", prefix="other/")


async def test_a_prefix_is_kept_for_one_store(etcd: SimulatedEtcd, path: str) -> None:
    """No server begins one there, and no other store moves in."""
    client = etcd.client()
    assert await claim(client, "elsewhere") is None
    assert await claim(client, "elsewhere") is None
    with pytest.raises(StoreError, match="moving elections here broke off"):
        async with open_etcd_store(client):
            pass
    with leaving_file(path) as file, pytest.raises(StoreError, match="are of another store that moved"):
        await move(file, client, TARGET)
    assert _serves_file(path)


async def test_a_store_that_was_made_before_the_claim_arrived_is_no_place_to_move_to(
    etcd: SimulatedEtcd, path: str
) -> None:
    """The late claim changes nothing there, and the file is served on."""
    client = etcd.client()
    client.next_writes.append(Outcome.LATE)
    with leaving_file(path) as file, pytest.raises(OutcomeUnknown):
        async with open_etcd_store(etcd.client()):
            await move(file, client, TARGET, prefix="other/")
    async with open_etcd_store(client):
        pass
    with leaving_file(path) as file, pytest.raises(StoreError, match="name another prefix, or delete them first"):
        await move(file, client, TARGET)
    assert _serves_file(path)


async def test_a_prefix_that_is_claimed_while_a_server_begins_there_is_no_store(
    etcd: SimulatedEtcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has seen an empty prefix, and is about to make a store."""
    client, other = etcd.client(), etcd.client()
    txn = client.txn

    async def claimed_just_before(
        compares: Iterable[Compare], success: Iterable[Operation], **options: Any
    ) -> TxnResult:
        operations = list(success)
        if any(isinstance(each, Put) for each in operations):
            await claim(other, "elsewhere")
        return await txn(compares, operations, **options)

    monkeypatch.setattr(client, "txn", claimed_just_before)
    with pytest.raises(StoreError, match="moving elections here broke off"):
        async with open_etcd_store(client):
            pass
    assert await claim(other, "elsewhere") is None
