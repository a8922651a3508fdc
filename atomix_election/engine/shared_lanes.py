"""The commands that wait here for one election of a shared store, which other engines change at the same time.

What is decided here may rest on a view that is out of date. So each write says what it assumed: the state of the
election, and whether the sessions that were asked about are open. Where that was not so, nothing is written, all is
read anew, and the commands are applied again. Commands without effect, refusals too, are answered only when what they
rest on has been confirmed.
"""

from collections.abc import Awaitable, Callable, Mapping

from atomix_election.core.commands import ExpireSession
from atomix_election.core.election import Transition
from atomix_election.engine.lanes import Lane, LaneParts, Waiting, terms_of, without_effect
from atomix_election.engine.shared_sessions import SharedSessions
from atomix_election.errors import LimitExceeded, StoreError
from atomix_election.model import ElectionId, Event, EventType, SessionId, Term
from atomix_election.stores.base import NOTHING_ASSUMED, Record, SharedStore
from atomix_election.tasks import Pauses

MAX_LOST_WRITES = 100
"""How often a write may be lost to others before its commands are refused."""
LONGEST_PAUSE_S = 0.1
"""The most between two tries after a lost write."""
MAX_SESSIONS_ASKED = 90
"""Sessions after which no more commands join a write, as a store can check only so many in one go."""


class Facts:
    """What is known of sessions while commands are applied, and which of it was asked for.

    Args:
        sessions: what this engine knows, which may be out of date.
        open_: what was just read in the store.
    """

    def __init__(self, sessions: SharedSessions, open_: Mapping[SessionId, bool]) -> None:
        self._sessions = sessions
        self._open = open_
        self.assumed: dict[SessionId, bool] = {}
        self.is_incomplete: bool = False
        """Whether something was asked of a session that is open, and not known here yet."""

    def is_open(self, session: SessionId) -> bool:
        """Return whether a session is open. Whose end was decided here is not, whatever the store says."""
        if self._sessions.is_ending(session):
            return False
        known = self._open.get(session)
        self.assumed[session] = self._sessions.is_open(session) if known is None else known
        return self.assumed[session]

    def is_kept_alive(self, session: SessionId) -> bool:
        """Return whether an open session's client steps down by itself and says so."""
        self.is_incomplete = self.is_incomplete or not self._sessions.is_open(session)
        return self._sessions.is_kept_alive(session)


class SharedLane(Lane):
    """One election at work that other engines may work on as well.

    What it commits is announced when it comes back from the store, in order with what others commit.

    Args:
        election_id: which.
        parts: what all lanes have in common.
        store: where elections are kept.
        sessions: those that are known to be open.
        chance: returns numbers from 0 to 1.
    """

    def __init__(
        self,
        election_id: ElectionId,
        parts: LaneParts,
        store: SharedStore,
        sessions: SharedSessions,
        chance: Callable[[], float],
    ) -> None:
        super().__init__(election_id, parts)
        self._shared = store
        self._shared_sessions = sessions
        self._pauses = Pauses(LONGEST_PAUSE_S, chance)

    def show(self, terms: tuple[Term, ...]) -> None:
        """Announce terms that have come back from the store."""
        for term in terms:
            self.watchers.publish(Event(EventType.CHANGED, self.share(term)))

    def _announce(self, record: Record, transitions: list[Transition]) -> None:
        """See ``show``."""

    async def _store_all(self, batch: list[Waiting]) -> tuple[Record, list[Transition]]:
        record, open_ = self._shared.latest(self.election_id), NOTHING_ASSUMED
        for lost in range(MAX_LOST_WRITES):
            facts = Facts(self._shared_sessions, open_)
            transitions = self._apply(record, batch, facts)
            if facts.is_incomplete:
                await self._shared.catch_up()
            elif (taken := await self._take(record, transitions, facts.assumed)) is not None:
                return record, taken
            if lost:
                await self._clock.sleep_until(self._clock.now() + self._pauses.after(lost - 1))
            view = await self._shared.look(self.election_id, list(facts.assumed))
            record, open_ = view.record, view.open
        raise StoreError(
            f"{self.election_id} was changed by other servers each of {MAX_LOST_WRITES} times that this one tried to: "
            "try again later"
        )

    def _apply(self, record: Record, batch: list[Waiting], facts: Facts) -> list[Transition]:
        """Return the transitions of as many commands as one write can carry."""
        transitions: list[Transition] = []
        election, at = record.election, self._parts.wall_clock_s()
        for waiting in batch:
            if len(facts.assumed) >= MAX_SESSIONS_ASKED:
                break
            command = waiting.command
            if isinstance(command, ExpireSession) and facts.is_open(command.session):
                transition = Transition(election)  # it lives, whatever made us think that it does not
            else:
                transition = self._apply_one(election, waiting, facts, record.floor, at)
            election = transition.election
            transitions.append(transition)
        return transitions

    async def _take(
        self, record: Record, transitions: list[Transition], assumed: Mapping[SessionId, bool]
    ) -> list[Transition] | None:
        """Commit what the transitions lead to, and return them, or None if what they rest on was not so."""
        after = transitions[-1]
        if after.forgotten and record.version:
            left = await self._timed(
                lambda: self._shared.forget(self.election_id, expected=record.version, assuming=assumed)
            )
            return None if left is None else [after._replace(election=left.election)]
        if not record.version and not after.forgotten and after.election is not record.election:
            transitions = self._within_limits(record, transitions)
            after = transitions[-1]
        if after.forgotten or after.election is record.election:
            confirmed = await self._shared.confirm(self.election_id, expected=record.version, assuming=assumed)
            return transitions if confirmed else None
        terms = terms_of(record, transitions)
        written = await self._timed(
            lambda: self._shared.write(
                self.election_id, after.election, expected=record.version, assuming=assumed, terms=terms
            )
        )
        return None if written is None else transitions

    def _within_limits(self, record: Record, transitions: list[Transition]) -> list[Transition]:
        """Refuse what would be the first state of one election too many."""
        try:
            self._parts.count.check(self.election_id.namespace)
        except LimitExceeded as error:
            return without_effect(record, transitions, error)
        return transitions

    async def _timed(self, write: Callable[[], Awaitable[Record | None]]) -> Record | None:
        """Report how long a write took that was done."""
        began = self._clock.now()
        record = await write()
        if record is not None:
            self._committed(began)
        return record
