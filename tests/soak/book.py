"""What was done in a run: records for the checker, and counts for people."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from atomix_election.testing.history import Entry, Fault, Recorder, Up, now


class Book:
    """Takes note of what is done.

    Args:
        record: writes the records.
    """

    def __init__(self, record: Recorder) -> None:
        self.record = record
        self.counts: Counter[str] = Counter()
        """How often each thing was done."""
        self._begun = now()
        self._outages: list[tuple[float, float]] = []

    def write(self, entry: Entry) -> None:
        """Add a record."""
        self.record(entry)

    @contextmanager
    def fault(self, kind: str, *, outage: bool = False, who: str = "") -> Generator[None]:
        """Do something within the block, which ends when all is well again.

        Args:
            kind: what.
            outage: whether nobody can be served meanwhile.
            who: the process of clients that it is done to; "" for servers.
        """
        begun = now()
        self.counts[kind] += 1
        yield
        self.happened(kind, begun, now(), outage=outage, who=who)

    def happened(self, kind: str, begun: float, ended: float, *, outage: bool = False, who: str = "") -> None:
        """Take note of a fault that is over."""
        self.record(Fault(kind, begun, ended, who))
        if outage:
            self.outage(begun, ended)

    def outage(self, begun: float, ended: float) -> None:
        """Nobody could be served in this time."""
        self._outages.append((begun, ended))

    def close(self) -> None:
        """Write down when servers had to serve: always but for the outages."""
        since = self._begun
        for begun, ended in [*sorted(self._outages), (now(), now())]:
            if begun > since:
                self.record(Up(since, begun))
            since = max(since, ended)
