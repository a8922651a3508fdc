"""The engine on Trio, with time that passes at once."""

import functools
import inspect
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest
import trio.testing

from atomix_election.engine import Engine
from tests.engine.fakes import RecordingStore, running

LONGEST_TEST_S = 1000.0
"""Of virtual time; a test that waits for what never comes fails at once."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put every asynchronous test of this suite under a time-out."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _timed(item.obj)


def _timed(test: Any) -> Any:
    @functools.wraps(test)
    async def timed(*args: Any, **kwargs: Any) -> None:
        with anyio.fail_after(LONGEST_TEST_S):
            await test(*args, **kwargs)

    return timed


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio with virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def store() -> RecordingStore:
    """A store that does what it is told."""
    return RecordingStore()


@pytest.fixture
async def engine(store: RecordingStore, anyio_backend: object) -> AsyncGenerator[Engine]:
    """A running engine on the store."""
    async with running(store) as engine:
        yield engine
