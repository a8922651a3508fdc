"""Virtual time on Trio; a test that asks for asyncio says so."""

import logging
from typing import Any

import pytest
import trio.testing


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio with virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have tools in this process that switch off the loggers that there are."""
    for module in ("candidates", "session"):
        monkeypatch.setattr(logging.getLogger(f"atomix_election.leadership.{module}"), "disabled", False)
