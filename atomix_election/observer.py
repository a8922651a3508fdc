"""What an engine and a server tell whoever counts: the seam to metrics. Every default does nothing, at next to no cost.

Labels are bounded: none of them is the name of an election, a candidate, a session or a peer.
"""

from typing import Protocol


class Observer(Protocol):
    """Called where it happens, in the event loop: an implementation must not wait, and must not raise."""

    def elections(self, known: int, led: int) -> None:
        """So many elections were ever written, and so many have a leader."""

    def sessions(self, renewals: int, connections: int) -> None:
        """So many sessions are open: those that renewals keep, and those that connections keep."""

    def watchers(self, count: int) -> None:
        """So many watches are open."""

    def leader_changed(self, cause: str) -> None:
        """An election has another leader, or none any more."""

    def command(self, kind: str, outcome: str) -> None:
        """A command was answered: changed, unchanged, forgotten, or the name of the error."""

    def committed(self, what: str, duration_s: float) -> None:
        """The store took a write of an election or a session, which is what."""

    def renewed(self) -> None:
        """A renewal of a session came."""

    def connections(self, count: int) -> None:
        """So many connections of clients are open."""

    def answered(self, method: str, status: str, duration_s: float) -> None:
        """A call that is not a stream has ended with a gRPC status."""

    def rejected(self, reason: str) -> None:
        """A call was refused, or failed: the name of the limit that it reached, or else of the error."""

    def closed(self, reason: str) -> None:
        """The server closed a connection, or did not let it begin: the name of the limit, or another reason."""


class NoObserver(Observer):
    """Counts nothing: what it does not override does nothing."""
