"""The cleaner on nothing, in virtual time, over gRPC, and as a process of its own."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest
from cleaner import ELECTION, Cleaner, create_tables, remove_expired

from atomix_election import Client, LossReason
from atomix_election.fencing import StaleToken
from atomix_election.pytest_plugin import BackgroundClient, BackgroundServer, VirtualElection
from atomix_election.testing import Network

APPLICATION = Path(__file__).with_name("cleaner.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def database(path: Path) -> Generator[sqlite3.Connection]:
    """A shop with two carts, one of which expires after 90 s of virtual time, or did long ago by any real clock."""
    with closing(sqlite3.connect(path)) as database:
        create_tables(database)
        with database:
            database.executemany("INSERT INTO carts VALUES (?, ?)", [("old", 90.0), ("new", 1e12)])
        yield database


def carts(database: sqlite3.Connection) -> list[str]:
    return [name for (name,) in database.execute("SELECT name FROM carts ORDER BY name")]


def tokens(database: sqlite3.Connection) -> list[int]:
    return [token for (token,) in database.execute("SELECT token FROM cleanings ORDER BY rowid")]


# What the work does takes a token, and no election.


def test_a_former_leader_removes_nothing(database: sqlite3.Connection) -> None:
    remove_expired(database, token=2, now=10.0)
    with pytest.raises(StaleToken):
        remove_expired(database, token=1, now=100.0)
    assert carts(database) == ["new", "old"]


# When it is done: in virtual time, where minutes cost nothing, on a network that can do anything.


@asynccontextmanager
async def two_replicas(network: Network, database: sqlite3.Connection) -> AsyncGenerator[tuple[Cleaner, Cleaner]]:
    """Run the job twice: a leads, and b waits behind it."""
    async with network.client("a") as a, network.client("b") as b, anyio.create_task_group() as tasks:
        replicas = [
            Cleaner(client.election(ELECTION, candidate_id=name), database, now=anyio.current_time)
            for name, client in (("a", a), ("b", b))
        ]
        for replica in replicas:
            tasks.start_soon(replica.run)
            await anyio.sleep(1)
        yield replicas[0], replicas[1]
        tasks.cancel_scope.cancel()


def test_it_cleans_every_minute(virtual_election: VirtualElection, database: sqlite3.Connection) -> None:
    async def scenario(network: Network) -> None:
        async with two_replicas(network, database):
            await anyio.sleep(70)
            assert carts(database) == ["new", "old"]
            await anyio.sleep(60)
            assert carts(database) == ["new"]
        assert tokens(database) == [1, 1, 1]

    virtual_election(scenario)


@pytest.mark.parametrize("reason", [each for each in LossReason if each is not LossReason.WITHDRAWN])
def test_another_one_takes_over(
    reason: LossReason, virtual_election: VirtualElection, database: sqlite3.Connection
) -> None:
    """Except where the server has lost everything, queue and all: there whoever comes first is the first."""

    async def scenario(network: Network) -> None:
        async with two_replicas(network, database) as (first, second):
            await network.depose(ELECTION, reason)
            await anyio.sleep(30)
            assert [first.leads, second.leads].count(True) == 1
            assert second.leads or reason is LossReason.STORE_CHANGED

    virtual_election(scenario)


# That it works over gRPC, on a real event loop: one test, as the rest is seen above.


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def until_cleaned(database: sqlite3.Connection, token: int) -> None:
    with anyio.fail_after(10):
        while token not in tokens(database):  # noqa: ASYNC110  a table tells nobody
            await anyio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.election_client(session_ttl=1.0)
async def test_it_leads_again(
    election_server: BackgroundServer, election_client: Client, database: sqlite3.Connection
) -> None:
    job = Cleaner(election_client.election(ELECTION), database, every_s=0.01)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(job.run)
        await until_cleaned(database, 1)
        election_server.depose(ELECTION, LossReason.SESSION_ENDED)
        await until_cleaned(database, 2)
        tasks.cancel_scope.cancel()


# What happens around a process is for tests that are not async.


async def until_led(client: Client, number: int) -> None:
    with anyio.fail_after(10):
        async with client.election(ELECTION).events() as events:
            async for event in events:
                if event.term.leader is not None and event.term.number >= number:
                    return


def test_as_a_process(
    election_server: BackgroundServer, election_client: BackgroundClient, database: sqlite3.Connection, path: Path
) -> None:
    with subprocess.Popen([sys.executable, APPLICATION, election_server.target, path]) as process:
        try:
            election_client.run(until_led, 1)
            election_server.depose(ELECTION)
            election_client.run(until_led, 2)
            assert process.poll() is None
        finally:
            process.kill()
