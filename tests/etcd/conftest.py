"""Clusters of etcd: one member for all tests that do it no harm, others for a test of their own."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from atomix_election.etcd import EtcdClient
from tests.etcd.cluster import Cluster
from tests.timed import limit

LONGEST_TEST_S = 40.0
_numbers = count(1)


def pytest_itemcollected(item: pytest.Item) -> None:
    """No test takes longer."""
    limit(item, LONGEST_TEST_S)


@pytest.fixture
def anyio_backend() -> str:
    """gRPC needs asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """One member, which tests leave as it is, but for keys of their own."""
    with Cluster(tmp_path_factory.mktemp("etcd") / "shared") as cluster:
        yield cluster


@pytest.fixture
async def cluster(shared_cluster: Cluster, anyio_backend: str) -> Cluster:
    """The same, ready."""
    await shared_cluster.ready()
    return shared_cluster


@pytest.fixture(scope="session")
def _three(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("etcd") / "three", size=3) as cluster:
        yield cluster


@pytest.fixture
async def three(_three: Cluster, anyio_backend: str) -> AsyncGenerator[Cluster]:
    """Three members, ready; those that a test killed or paused are brought back after it."""
    await _three.ready()
    yield _three
    for member in _three.members:
        if member.is_running:
            member.resume()
        else:
            member.start()


@pytest.fixture
async def client(cluster: Cluster) -> AsyncGenerator[EtcdClient]:
    """A client of it."""
    async with cluster.client() as client:
        yield client


@pytest.fixture
def prefix() -> bytes:
    """A prefix that no other test uses."""
    return b"test-%d/" % next(_numbers)


@pytest.fixture
def start_cluster(tmp_path: Path) -> Generator[Callable[..., Cluster]]:
    """Starts clusters for one test, which may do to them what it wants."""
    with ExitStack() as started:

        def start(**options: object) -> Cluster:
            directory = tmp_path / f"etcd-{next(_numbers)}"
            return started.enter_context(Cluster(directory, **options))  # pyright: ignore[reportArgumentType]

        yield start
