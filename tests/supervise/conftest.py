"""A server for all who run commands here; each test has a new one, as an election is to be new."""

from collections.abc import Generator

import pytest

from tests.cli.processes import Running


@pytest.fixture
def target() -> Generator[str]:
    """The target of a running server."""
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", "--log-level", "error") as server:
        yield server.target()
