"""What an engine and a server tell whoever counts: the seam to metrics. Every default does nothing, at next to no cost.

Labels are bounded: none of them is the name of an election, a candidate, a session or a peer.
"""

from typing import Protocol


class Observer(Protocol):
    """Called where it happens, in the event loop: an implementation must not wait, and must not raise."""

    def elections(self, known: int, led: int) -> None:
        """So many elections were ever written, and so many have a leader."""
        ...

    def sessions(self, renewals: int, connections: int) -> None:
        """So many sessions are open: those that renewals keep, and those that connections keep."""
        ...

    def watchers(self, count: int) -> None:
        """So many watches are open."""
        ...

    def leader_changed(self, cause: str) -> None:
        """An election has another leader, or none any more."""
        ...

    def command(self, kind: str, outcome: str) -> None:
        """A command was answered: changed, unchanged, or the name of the error."""
        ...

    def committed(self, duration_s: float) -> None:
        """The store took a write."""
        ...

    def renewed(self) -> None:
        """A renewal of a session came."""
        ...

    def connections(self, count: int) -> None:
        """So many connections of clients are open."""
        ...

    def answered(self, method: str, status: str, duration_s: float) -> None:
        """A call that is not a stream has ended with a gRPC status."""
        ...

    def rejected(self, reason: str) -> None:
        """A call was refused, or failed: the name of the error, or of the limit."""
        ...


class NoObserver:
    """Counts nothing."""

    def elections(self, known: int, led: int) -> None:
        """See ``Observer.elections``."""

    def sessions(self, renewals: int, connections: int) -> None:
        """See ``Observer.sessions``."""

    def watchers(self, count: int) -> None:
        """See ``Observer.watchers``."""

    def leader_changed(self, cause: str) -> None:
        """See ``Observer.leader_changed``."""

    def command(self, kind: str, outcome: str) -> None:
        """See ``Observer.command``."""

    def committed(self, duration_s: float) -> None:
        """See ``Observer.committed``."""

    def renewed(self) -> None:
        """See ``Observer.renewed``."""

    def connections(self, count: int) -> None:
        """See ``Observer.connections``."""

    def answered(self, method: str, status: str, duration_s: float) -> None:
        """See ``Observer.answered``."""

    def rejected(self, reason: str) -> None:
        """See ``Observer.rejected``."""
