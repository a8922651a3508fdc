"""One suite, three faces: elections in memory on asyncio and on Trio, and on a server over gRPC."""

from collections.abc import AsyncGenerator, Callable

import anyio
import pytest

from atomix_election import ElectionServer, targets
from atomix_election.engine import Engine, SessionLimits
from tests.face.party import TTL_S, Party
from tests.timed import limit

LONGEST_TEST_S = 10.0
FACES = {"memory-asyncio": "asyncio", "memory-trio": "trio", "grpc": "asyncio"}
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
async def target(face: str, anyio_backend: str, store_name: str) -> AsyncGenerator[str]:
    """A target of elections in that memory."""
    if face == "grpc":
        async with ElectionServer(f"memory://{store_name}", session_ttl=TTL_S) as server:
            yield server.target
    else:
        yield f"memory://{store_name}"


@pytest.fixture
async def party(target: str) -> AsyncGenerator[Party]:
    """Clients of the target that come and go in any order."""
    async with anyio.create_task_group() as tasks:
        guests = Party(target, tasks)
        yield guests
        await guests.all_leave()


@pytest.fixture
def engine_now(store_name: str) -> Callable[[], Engine]:
    """Gives the engine that runs behind the target at that time: what a user cannot see."""

    def engine() -> Engine:
        found = targets._shared[store_name].engine
        assert found is not None
        return found

    return engine
