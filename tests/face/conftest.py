"""One suite for elections in memory, in a file, in etcd, and on servers over gRPC: see ``faces``."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import anyio
import pytest

from atomix_election import ElectionServer, engines
from atomix_election.engine import SessionLimits
from atomix_election.stores import etcd as etcd_store
from atomix_election.stores.etcd_mirror import Mirror
from tests.etcd.cluster import Cluster
from tests.face import blocking
from tests.face import party as parties
from tests.face.faces import BLOCKING, FACES, ON_ETCD, params
from tests.face.party import TTL_S, Party
from tests.timed import limit

LONGEST_TEST_S = 10.0
_names = iter(range(1 << 30))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put every asynchronous test of this suite under a time-out."""
    limit(item, LONGEST_TEST_S)


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """One member for all tests; its smallest time-to-live is that of this suite."""
    with Cluster(tmp_path_factory.mktemp("etcd") / "face") as cluster:
        yield cluster


@pytest.fixture(params=params())
def face(request: pytest.FixtureRequest) -> str:
    """Which of the faces is meant."""
    if request.param in ON_ETCD:
        request.getfixturevalue("etcd")
    return request.param


@pytest.fixture
def anyio_backend(face: str) -> str:
    """What the face runs on."""
    return FACES[face]


@pytest.fixture(autouse=True)
def short_time_to_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sessions that connections keep open be as short as this suite needs them, in memory too."""
    monkeypatch.setattr(engines, "SessionLimits", lambda least_s: SessionLimits(min(least_s, TTL_S), TTL_S))


@pytest.fixture(autouse=True)
def etcd_as_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let numbers in etcd be as elsewhere, as they begin at its revision, and let no release of it be warned of."""
    monkeypatch.setattr(Mirror, "floor", lambda _mirror, _revision: 0)
    monkeypatch.setattr(etcd_store, "SOUND_VERSIONS", {(3, 0): 0})


@pytest.fixture(autouse=True)
def blocking_face(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests use the blocking face by the names of the asynchronous one, where they are to."""
    if "face" in request.fixturenames and request.getfixturevalue("face") in BLOCKING:
        for module in (request.module, parties):
            for name in ("Client", "LeaderElection", "connect", "open_bare"):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, getattr(blocking, name))


@pytest.fixture
def store_name() -> str:
    """A name for elections that nobody used before."""
    return f"face-{next(_names)}"


@pytest.fixture
async def target(
    face: str, anyio_backend: str, store_name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncGenerator[str]:
    """A target of elections that nobody used before."""
    if face in ON_ETCD:
        etcd: Cluster = request.getfixturevalue("etcd")
        await etcd.ready()
        store = f"etcd://{etcd.endpoints[0]}/{store_name}"
        if face == "etcd":
            yield store
            return
        async with ElectionServer(store, session_ttl=TTL_S) as one, ElectionServer(store, session_ttl=TTL_S) as other:
            yield f"{one.target},{other.target.removeprefix('grpc://')}"
    elif face.startswith("grpc"):
        async with ElectionServer(f"memory://{store_name}", session_ttl=TTL_S) as server:
            yield server.target
    elif face.startswith("sqlite"):
        yield f"sqlite:///{tmp_path}/{store_name}.db"
    else:
        yield f"memory://{store_name}"


@pytest.fixture
async def party(target: str) -> AsyncGenerator[Party]:
    """Clients of the target that come and go in any order."""
    async with anyio.create_task_group() as tasks:
        guests = Party(target, tasks)
        yield guests
        await guests.all_leave()
