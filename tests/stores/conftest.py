"""One real etcd for all tests of stores that do it no harm."""

from collections.abc import AsyncGenerator, Generator

import pytest

from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd import SimulatedEtcd
from tests.etcd.cluster import Cluster
from tests.stores import kinds


@pytest.fixture(scope="session")
def real_etcd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """One member, started when the first test asks for it."""
    with Cluster(tmp_path_factory.mktemp("etcd") / "stores") as cluster:
        kinds.running.append(cluster)
        yield cluster
        kinds.running.clear()


@pytest.fixture
async def etcd(anyio_backend: object) -> AsyncGenerator[SimulatedEtcd]:
    """A simulated etcd, for tests in virtual time."""
    async with SimulatedEtcd(VirtualClock()) as etcd:
        yield etcd
