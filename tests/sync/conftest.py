"""What the tests of the blocking face share: servers, interruptions, and that nothing is left behind."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from atomix_election.sync import Client, ElectionServer, LeaderElection, connect
from tests.sync.waiting import eventually

TTL_S = 1.0


def own_threads() -> list[str]:
    """Return the threads of this package."""
    return [each.name for each in threading.enumerate() if each.name.startswith("atomix_election")]


@pytest.fixture(autouse=True)
def nothing_left() -> Generator[None]:
    """See that no thread is left, nor anything in one, when a test has left all its blocks."""
    yield
    assert own_threads() == []


@pytest.fixture
def server() -> Generator[ElectionServer]:
    """A server in this process."""
    with ElectionServer(session_ttl=TTL_S) as server:
        yield server


@pytest.fixture
def operator(server: ElectionServer) -> Generator[Client]:
    """Somebody else on that server."""
    with connect(server.target) as client:
        yield client


@pytest.fixture
def election(operator: Client) -> LeaderElection:
    """Election "e", as that one sees it."""
    return operator.election("e")


Interrupt = Callable[[Callable[[], object]], None]


@pytest.fixture
def interrupt_when() -> Generator[Interrupt]:
    """Press Ctrl-C, in a thread of its own, as soon as something is so: call it where an interruption is expected."""
    with _ctrl_c() as begin:
        yield begin


@contextmanager
def _ctrl_c() -> Generator[Interrupt]:
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    threads: list[threading.Thread] = []

    def interrupt(is_so: Callable[[], object]) -> None:
        eventually(is_so)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def begin(is_so: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=interrupt, args=(is_so,)))
        threads[-1].start()

    try:
        yield begin
    finally:
        for each in threads:
            each.join()
        signal.signal(signal.SIGINT, former)
