"""One server process for all who only look at elections."""

import logging
import os
import signal
from collections.abc import Generator

import pytest

from tests.cli.processes import Running


@pytest.fixture(scope="module")
def target() -> Generator[str]:
    """The target of a running server, whose sessions outlive the tests."""
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", "--session-ttl", "100") as server:
        yield server.target()
        status, out, _ = server.end(signal.SIGTERM)
        assert (status, out) == (0, "")


@pytest.fixture(autouse=True)
def no_trace_in_logging() -> Generator[None]:
    """A command that is run in this process sets up its log; other tests are not to notice."""
    logger = logging.getLogger("atomix_election")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's own settings are not part of a test."""
    for name in [each for each in os.environ if each.startswith("ATOMIX_ELECTION_")]:
        monkeypatch.delenv(name, raising=False)
