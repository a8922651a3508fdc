"""Virtual time on Trio; a test that asks for asyncio says so."""

from typing import Any

import pytest
import trio.testing


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio with virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
