"""The commands that wait for one election: applied in order, committed together."""

from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from atomix_election.broadcast import Broadcast
from atomix_election.core.commands import Close, Command, Create, Enter, Operation, Withdraw
from atomix_election.core.election import Election, Transition, apply
from atomix_election.engine.limits import ElectionCount
from atomix_election.engine.sessions import Sessions
from atomix_election.errors import ElectionError, LimitExceeded, OutcomeUnknown, SessionEnded, StoreError, Unavailable
from atomix_election.model import ElectionId, Event, EventType, SessionId, Term
from atomix_election.stores.base import Record, Store

MAX_WAITING_COMMANDS = 10_000
"""Commands that may wait for one election; the next one is refused."""


class _Waiting:
    """A command and, once it is known, what became of it."""

    def __init__(self, command: Command, operation: Operation | None) -> None:
        self.command = command
        self.operation = operation
        self.session = _session_of(command, operation)
        self._answered = anyio.Event()
        self._outcome: Term | ElectionError = OutcomeUnknown("the command was not answered")

    def answer(self, outcome: Term | ElectionError) -> None:
        self._outcome = outcome
        self._answered.set()

    async def outcome(self) -> Term:
        await self._answered.wait()
        if isinstance(self._outcome, ElectionError):
            raise self._outcome
        return self._outcome


def _session_of(command: Command, operation: Operation | None) -> SessionId | None:
    """Return the session that asks for a command, where it is one's."""
    if operation is not None:
        return operation.session
    return command.session if isinstance(command, Create | Close | Enter | Withdraw) else None


class Lane:
    """One election at work. It exists as long as somebody waits for it or watches it."""

    def __init__(
        self,
        election_id: ElectionId,
        store: Store,
        sessions: Sessions,
        on_committed: Callable[[ElectionId, Election, Election], None],
        *,
        count: ElectionCount,
        max_candidates: int | None,
    ) -> None:
        self.watchers = Broadcast()
        self._election_id = election_id
        self._store = store
        self._sessions = sessions
        self._on_committed = on_committed
        self._count = count
        self._max_candidates = max_candidates
        self._waiting: list[_Waiting] = []
        self._working = False
        self._shown: Term | None = None

    @property
    def idle(self) -> bool:
        """True when nobody waits and nobody watches, so that the lane can be dropped."""
        return not self._working and not self._waiting and not len(self.watchers)

    def add(self, command: Command, operation: Operation | None) -> "_Waiting":
        """Queue a command.

        Raises:
            LimitExceeded: MAX_WAITING_COMMANDS are waiting already.
        """
        if len(self._waiting) >= MAX_WAITING_COMMANDS:
            raise LimitExceeded(f"{MAX_WAITING_COMMANDS} commands are waiting for {self._election_id}: try again later")
        waiting = _Waiting(command, operation)
        self._waiting.append(waiting)
        return waiting

    def share(self, term: Term) -> Term:
        """Return the same object for equal terms, of which many watchers who do not read may hold one each."""
        if self._shown is None or term != self._shown:
            self._shown = term
        return self._shown

    def claim(self) -> bool:
        """Return whether the caller has to see to it that ``work`` runs."""
        claimed = bool(self._waiting) and not self._working
        self._working = self._working or claimed
        return claimed

    async def work(self) -> None:
        """Apply and commit what waits, until nothing waits any more. It can be cancelled between two commits."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                with anyio.CancelScope(shield=True):  # whoever waits gets an answer
                    await self._commit(batch)
                await checkpoint_if_cancelled()
        finally:
            self._working = False

    def fail(self, error: Unavailable) -> None:
        """Refuse what still waits, and end the watchers."""
        batch, self._waiting = self._waiting, []
        for waiting in batch:
            waiting.answer(Unavailable(str(error)))
        self.watchers.fail(error)

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            before, transitions = await self._store_all(batch)
        except StoreError as error:
            for waiting in batch:
                waiting.answer(StoreError(str(error)))
            return
        except BaseException:
            for waiting in batch:
                waiting.answer(OutcomeUnknown("the engine ended while the command was being committed"))
            raise
        if transitions[-1].election is not before:
            self._on_committed(self._election_id, before, transitions[-1].election)
        self._forget_who_left_nothing(batch, transitions)
        revision = before.revision
        for waiting, transition in zip(batch, transitions, strict=True):
            term = transition.election.term
            if term.revision != revision:
                revision = term.revision
                self.watchers.publish(Event(EventType.CHANGED, term))
            waiting.answer(transition.refusal or self._ended_meanwhile(waiting.command) or term)

    async def _store_all(self, batch: list[_Waiting]) -> tuple[Election, list[Transition]]:
        """Return the state before the batch, and the transition of each command; they are committed by then."""
        while True:
            record = await self._store.read(self._election_id)
            transitions: list[Transition] = []
            election = record.election
            for waiting in batch:
                transition = apply(
                    election,
                    waiting.command,
                    is_open=self._sessions.is_open,
                    confirms=self._sessions.is_kept_alive,
                    floor=record.floor,
                    operation=waiting.operation,
                    max_candidates=self._max_candidates,
                )
                election = transition.election
                transitions.append(transition)
            if election is record.election:
                return record.election, transitions
            try:
                if await self._write(record, election):
                    return record.election, transitions
            except LimitExceeded as error:
                return record.election, [
                    each if each.election is record.election else Transition(record.election, LimitExceeded(str(error)))
                    for each in transitions
                ]

    async def _write(self, record: Record, election: Election) -> bool:
        """Write the new state, and return whether it was still the newest.

        Raises:
            LimitExceeded: it would be the first one of one election too many.
        """
        if record.version == 0:
            self._count.add(self._election_id.namespace)
        try:
            return await self._store.write(self._election_id, election, expected=record.version) is not None
        except StoreError:
            if record.version == 0:
                self._count.remove(self._election_id.namespace)
            raise

    def _forget_who_left_nothing(self, batch: list[_Waiting], transitions: list[Transition]) -> None:
        """Sessions whose commands had no effect are not kept in mind with this election: such have no limit."""
        outcomes = zip(batch, transitions, strict=True)
        doubtful = {
            waiting.session
            for waiting, transition in outcomes
            if waiting.session is not None and (transition.refusal or not isinstance(waiting.command, Create | Enter))
        }
        if doubtful:
            present = transitions[-1].election.sessions() | {waiting.session for waiting in self._waiting}
            for session in doubtful - present:
                self._sessions.left_nothing(session, self._election_id)

    def _ended_meanwhile(self, command: Command) -> SessionEnded | None:
        """A session that ended while its entry was committed must not hear that it is in the queue."""
        if isinstance(command, Create | Enter) and not self._sessions.is_open(command.session):
            return SessionEnded(f"session {command.session.id!r} ended while the command was being committed")
        return None
