"""The engine on Trio, with time that passes at once."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio.testing

from atomix_election.engine import Engine
from tests.engine.fakes import PromptStore, RecordingStore, running
from tests.timed import limit

LONGEST_TEST_S = 1000.0
"""Of virtual time; a test that waits for what never comes fails at once."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put every asynchronous test of this suite under a time-out."""
    limit(item, LONGEST_TEST_S)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio with virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(params=[RecordingStore, PromptStore], ids=["awaited", "handed over"])
def store(request: pytest.FixtureRequest) -> RecordingStore:
    """A store that does what it is told, in both ways in which a lane can write to it."""
    return request.param()


@pytest.fixture
async def engine(store: RecordingStore, anyio_backend: object) -> AsyncGenerator[Engine]:
    """A running engine on the store."""
    async with running(store) as engine:
        yield engine
