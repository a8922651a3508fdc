"""What a store must do, whatever it is made of. ``atomix_election.testing.check_store`` tells whether one does."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from atomix_election.core.election import Election
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.model import ElectionId, SessionId, Term

NOTHING_ASSUMED: Mapping[SessionId, bool] = MappingProxyType({})
"""For a change that does not depend on any session."""


@dataclass(frozen=True, slots=True)
class Record:
    """An election as it is stored.

    Args:
        election: its state.
        version: of this stored state, a positive number that no other state of this election has had, or will have;
            0, which alone comes back, for one that was never written, or was forgotten. That one has the number and the
            revision which it goes on from, should it have been there before.
        floor: the least number that a term beginning from here may have. It says something of the moment of the read,
            and nothing of the state.
    """

    election: Election
    version: int
    floor: int = field(default=0, compare=False)


Written = bool | StoreError | OutcomeUnknown
"""What became of a write: True; False if somebody else has changed the election; or what it failed with."""


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

    Methods are called in one event loop, by any number of tasks at the same time, and must not block it. One engine has
    the store at a time; a store that outlives its process refuses whoever opens it meanwhile, or keeps two engines from
    losing each other's writes, as a ``SharedStore`` does. Nothing is decided here: elections are kept as they are, also
    when they name sessions that were never opened here, and the end of a session changes no election.

    What is kept: names of elections and namespaces, and ids of sessions, are printable ASCII, ids of candidates and
    names of owners printable Unicode; an id is up to 256 bytes long. Numbers and revisions go up to 2**63 - 1. What is
    read equals what was written, and is made of the same classes.
    """

    @property
    def id(self) -> str:
        """Identity of this store, made with it: another one means that nothing known of it holds any more."""
        ...

    @property
    def hold_s(self) -> float | None:
        """None, unless the store was restored and has not been served for one maximum time-to-live since.

        Then it is the longest time-to-live that it had granted: leaders whom it knows nothing of may act as long. No
        candidates and no sessions are in a restored store, and its elections begin above all numbers that were given.
        """
        ...

    async def end_hold(self) -> None:
        """Remember that this time has passed."""
        ...

    def read_now(self, election_id: ElectionId) -> Record | None:
        """Return the newest state of an election where that is certainly known here without a wait, else None.

        A store that has no ``write_now`` returns None always; ``write_now`` is then never called.
        """
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

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        """Begin to do what ``write`` does, for a caller without a task. It is done, whatever becomes of the caller.

        It raises nothing: a failure goes to ``done`` too.

        Args:
            election_id: whose state.
            election: the new state.
            expected: the version that it takes the place of.
            done: called once in the event loop, maybe before this returns, when ``read_now`` knows what came of it.
                It does not raise, and may read and write at once itself.
        """
        ...

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        """Remove an election, if it still has the expected version.

        From now on no election of its namespace that has no record begins below its number and revision. They begin at
        what ``Floors.over`` makes of all that were forgotten there, for as long as the store lasts.

        Returns:
            What is read of it now, or None if somebody else has changed it: read again.
        """
        ...

    def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        """Iterate over all elections that were ever written and not forgotten, each once.

        Others may write and forget meanwhile. Whether what they do is seen does not matter, but nothing else is missed.
        """
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
        """Add a session, with an incarnation that this store has never given before, to whatever id.

        Another one of the same id may be open; which of them counts is not decided here.
        """
        ...

    async def end_session(self, session: SessionId) -> None:
        """Forget a session; one that is not there is no error."""
        ...

    async def sessions(self) -> list[StoredSession]:
        """Return all sessions that were opened and not ended."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """What was there at one moment, after it was asked for.

    Args:
        record: the state of an election.
        open: which of the sessions that were asked for were open.
    """

    record: Record
    open: Mapping[SessionId, bool]


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A session is there."""

    stored: StoredSession


@dataclass(frozen=True, slots=True)
class SessionGone:
    """A session was ended, or has expired."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class ElectionChanged:
    """An election has another state.

    Args:
        election_id: which.
        before: the state that the change before led to.
        after: the state now; version 0 when it was forgotten.
        terms: the terms between them in order of revision, the last one included; fewer where some are not known.
    """

    election_id: ElectionId
    before: Record
    after: Record
    terms: tuple[Term, ...]


Change = SessionOpened | SessionGone | ElectionChanged


class SharedStore(Store, Protocol):
    """A store that any number of engines use at the same time, from any number of machines.

    What has ``changes`` is taken for one. It keeps time: a session that nobody renews for one time-to-live is gone from
    it. What one engine changes, all others learn from ``changes``. An engine decides by what it knows, which may be out
    of date, and what it has decided takes place only if what it assumed was true at that moment.
    """

    async def open_session(
        self,
        namespace: str,
        session_id: str,
        *,
        ttl_s: float,
        kept_alive: bool,
        owner: str = "",
        alone: bool = False,
    ) -> SessionId:
        """See ``Store.open_session``, which has the other arguments.

        Args:
            alone: add nothing where a session of that id is open, however late this takes place, and return that one:
                its client may have gone from one engine to another, and have it from there.
        """
        ...

    def ttl_s(self, wanted_s: float) -> float:
        """Return the time-to-live that a session gets which is to have that one: no less, as this store can keep it."""
        ...

    def longest_failover_s(self, ttl_s: float) -> float:
        """Return how long it takes at most from the last renewal of such a session until it is gone."""
        ...

    def latest(self, election_id: ElectionId) -> Record:
        """Return the newest state that is known here. It may be out of date: nobody may be answered by it alone."""
        ...

    async def look(self, election_id: ElectionId, sessions: Sequence[SessionId]) -> View:
        """Read an election together with sessions, after the call was made."""
        ...

    async def confirm(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED
    ) -> bool:
        """Return whether, at a moment after the call was made, all was as is assumed.

        Args:
            election_id: whose state.
            expected: its version.
            assuming: for each session, whether it was open.
        """
        ...

    async def write(
        self,
        election_id: ElectionId,
        election: Election,
        *,
        expected: int,
        assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED,
        terms: Sequence[Term] | None = None,
    ) -> Record | None:
        """See ``Store.write``. Nothing is written either where an assumption is wrong.

        Args:
            election_id: whose state.
            election: the new state.
            expected: the version that it takes the place of.
            assuming: for each session that the change depends on, whether it is open; up to a hundred that are.
            terms: all that the change leads through, the last one included, which other engines announce; none where
                nothing visible changes. None for a caller that has not applied a command, and knows what it does.
        """
        ...

    async def forget(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED
    ) -> Record | None:
        """See ``Store.forget``. Nothing is removed either where an assumption is wrong."""
        ...

    async def renew(self, session: SessionId) -> bool:
        """Give a session one time-to-live from now, and return whether it was still there.

        A session lasts at least one time-to-live from when this was called, if it was there. Somebody takes the
        ``changes`` meanwhile, and all from before this call were taken when it returns, as after ``catch_up``:
        leadership is granted by what is known then.
        """
        ...

    async def lease_left_s(self, session: SessionId) -> float | None:
        """Return how long a session lasts unless it is renewed; None when it is gone."""
        ...

    def changes(self) -> AsyncIterator[Sequence[Change]]:
        """Iterate over what changes, what this engine has changed included, in the order in which it took place.

        The first ones tell of all that is there; ``before`` then is what an election is that was never written. A
        change counts as taken when the next one is asked for. There may be one such iterator at a time.

        Raises:
            StoreError: the store is another one, or has gone back in time: nothing known of it holds any more.
        """
        ...

    def known(self) -> Iterable[tuple[ElectionId, Election]]:
        """Return all elections, as the changes that were taken left them."""
        ...

    async def catch_up(self) -> None:
        """Wait until all changes of elections, and all sessions, from before this call were taken from ``changes``.

        Sessions that have expired are not waited for.
        """
        ...

    def rank(self, election_id: ElectionId) -> int:
        """Return how many other engines come before this one where any could do something for an election."""
        ...
