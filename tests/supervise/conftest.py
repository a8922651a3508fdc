"""One server for all who run commands here; each test has an election of its own."""

from collections.abc import Generator
from itertools import count

import pytest

from tests.cli.processes import Running
from tests.supervise.processes import Place

_numbers = count(1)


@pytest.fixture(scope="module")
def target() -> Generator[str]:
    """The target of a running server."""
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", "--log-level", "error") as server:
        yield server.target()


@pytest.fixture
def place(target: str) -> Place:
    """An election that nobody has entered."""
    return Place(target, f"e{next(_numbers)}")
