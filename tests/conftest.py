"""What all tests have in common: none may hang."""

import signal
from collections.abc import Generator
from pathlib import Path
from types import FrameType

import pytest

from tests.certificates import Authority

LONGEST_TEST_S = 60.0
TESTS = Path(__file__).parent
ON_ETCD = {"cluster", "crash", "etcd", "soak"}
"""Folders whose tests run etcd, or processes that are killed and started over and over, and mostly wait."""
PROCESSES = {"cli", "faults", "fuzz", "interop", "pytest_plugin", "rpc", "supervise", "sync"}
"""Folders whose tests run other real servers against the clock, and mostly wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let ``make test`` run those of each kind one after the other, so that they do not disturb each other.

    Those that have not chosen a group themselves, that is.
    """
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if item.get_closest_marker("xdist_group") is None:
            if folder in ON_ETCD:
                item.add_marker(pytest.mark.xdist_group("etcd"))
            elif folder in PROCESSES or folder == item.path.name:
                item.add_marker(pytest.mark.xdist_group("processes"))


class Hung(BaseException):
    """A test took too long; not an Exception, so that nothing handles it on its way."""


@pytest.fixture(autouse=True)
def hang_guard() -> Generator[None]:
    """Break off a test that does not end, also one that keeps an event loop too busy for its own time-outs."""

    def break_off(_number: int, _frame: FrameType | None) -> None:
        raise Hung(f"the test was not over after {LONGEST_TEST_S:g} s")

    former = signal.signal(signal.SIGALRM, break_off)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_TEST_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of servers and clients."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one, that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def postgresql() -> Generator[str]:
    """What to connect to a PostgreSQL with, whose tables are those of the test that runs."""
    from tests.postgresql import running_server

    with running_server() as database:
        yield database
