"""One suite, four faces: elections in memory on asyncio and on Trio, in a file, and on a server over gRPC."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from atomix_election import ElectionServer, targets
from atomix_election.engine import SessionLimits
from tests.face.party import TTL_S, Party
from tests.timed import limit

LONGEST_TEST_S = 10.0
FACES = {"memory-asyncio": "asyncio", "memory-trio": "trio", "sqlite": "asyncio", "grpc": "asyncio"}
_names = iter(range(1 << 30))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put every asynchronous test of this suite under a time-out."""
    limit(item, LONGEST_TEST_S)


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    """Which of the faces is meant."""
    return request.param


@pytest.fixture
def anyio_backend(face: str) -> str:
    """What the face runs on."""
    return FACES[face]


@pytest.fixture(autouse=True)
def short_time_to_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sessions that connections keep open be as short as this suite needs them, in memory too."""
    monkeypatch.setattr(targets, "SessionLimits", lambda least_s: SessionLimits(min(least_s, TTL_S), TTL_S))


@pytest.fixture
def store_name() -> str:
    """A named memory that nobody used before."""
    return f"face-{next(_names)}"


@pytest.fixture
async def target(face: str, anyio_backend: str, store_name: str, tmp_path: Path) -> AsyncGenerator[str]:
    """A target of elections in that memory, or in a file that nobody used before."""
    if face == "grpc":
        async with ElectionServer(f"memory://{store_name}", session_ttl=TTL_S) as server:
            yield server.target
    elif face == "sqlite":
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
