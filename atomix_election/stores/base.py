"""What a store must do, whatever it is made of."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from atomix_election.core.election import Election
from atomix_election.model import ElectionId, SessionId


@dataclass(frozen=True, slots=True)
class Record:
    """An election as it is stored.

    Args:
        election: its state.
        version: of this stored state; 0 for an election that was never written, or was forgotten. That one has the
            number and the revision which it goes on from, should it have been there before.
        floor: the least number that a term beginning from here may have.
    """

    election: Election
    version: int
    floor: int = 0


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as it is stored.

    Args:
        session: its identity.
        ttl_s: its time-to-live in seconds.
        kept_alive: whether its client keeps it alive by renewals; else open connections do.
        owner: name of the principal that opened it; "" where none was asked for.
    """

    session: SessionId
    ttl_s: float
    kept_alive: bool
    owner: str = ""


class Store(Protocol):
    """Elections and sessions, kept.

    A write that returned is there for good, as far as this kind of store promises it. Every method may raise
    StoreError, which says that nothing was changed, and those that write OutcomeUnknown, when that could not be found
    out in time: a read that returns later tells. A write whose caller is cancelled is done or not, never half.
    """

    @property
    def id(self) -> str:
        """Identity of this store, made with it: another one means that nothing known of it holds any more."""
        ...

    @property
    def hold_s(self) -> float | None:
        """None, unless the store was restored and has not been served for one maximum time-to-live since.

        Then it is the longest time-to-live that it had granted: leaders whom it knows nothing of may act as long.
        """
        ...

    async def end_hold(self) -> None:
        """Remember that this time has passed."""
        ...

    async def read(self, election_id: ElectionId) -> Record:
        """Return the newest state of an election, read after the call was made."""
        ...

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """Replace the state of an election, if it still has the expected version.

        Returns:
            What is stored now, or None if somebody else has changed the election: read again.
        """
        ...

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        """Remove an election, if it still has the expected version.

        From now on no election of its namespace that has no record begins below its number and revision.

        Returns:
            What is read of it now, or None if somebody else has changed it: read again.
        """
        ...

    def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        """Iterate over all elections that were ever written and not forgotten."""
        ...

    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        """Return the next elections of one namespace that were ever written, with their names.

        They come in order of their names by code point, which for these (ASCII) is the order of bytes, so that a name
        is where to go on, also after some were added. The cost should not depend on how many elections there are.

        Args:
            namespace: where the names live.
            after: only names beyond this one; "" for all.
            limit: the most that are returned; fewer come only when there are no more.
        """
        ...

    async def open_session(
        self, namespace: str, session_id: str, *, ttl_s: float, kept_alive: bool, owner: str = ""
    ) -> SessionId:
        """Add a session, with an incarnation that this store has never given before."""
        ...

    async def end_session(self, session: SessionId) -> None:
        """Forget a session; one that is not there is no error."""
        ...

    async def sessions(self) -> list[StoredSession]:
        """Return all sessions that were opened and not ended."""
        ...
