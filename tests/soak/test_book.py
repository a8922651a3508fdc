"""What was done is written down so that the checker knows it, and counted."""

from pathlib import Path

import pytest

from atomix_election.testing.history import Fault, Recorder, Up, read_history
from tests.soak import book as module
from tests.soak.book import Book


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    times = [0.0]
    monkeypatch.setattr(module, "now", lambda: times[0])
    return times


def test_servers_have_to_serve_between_outages(tmp_path: Path, clock: list[float]) -> None:
    """Also where outages overlap, or one lies within the other."""
    path = tmp_path / "records"
    with Recorder(path) as record:
        book = Book(record)
        for begun, ended in ((5, 9), (2, 3), (6, 7), (8, 10)):
            book.outage(begun, ended)
        clock[0] = 12.0
        book.close()
    assert read_history([path]) == [Up(0, 2), Up(3, 5), Up(10, 12)]


def test_a_fault_is_written_down_when_it_is_over(tmp_path: Path, clock: list[float]) -> None:
    """One of clients is no outage; one that breaks off was never over."""
    path = tmp_path / "records"
    with Recorder(path) as record:
        book = Book(record)
        with book.fault("cut off", who="p"):
            clock[0] = 1.0
        with book.fault("stopped", outage=True):
            clock[0] = 2.0
        with pytest.raises(ZeroDivisionError), book.fault("stopped"):
            raise ZeroDivisionError
        book.close()
    assert read_history([path]) == [Fault("cut off", 0, 1, "p"), Fault("stopped", 1, 2), Up(0, 1)]
    assert book.counts == {"cut off": 1, "stopped": 2}
