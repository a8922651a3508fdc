"""The commands that wait for one election: applied in order, committed together."""

from collections.abc import Callable
from dataclasses import replace

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from atomix_election.broadcast import Broadcast
from atomix_election.core.commands import Command, Operation
from atomix_election.core.election import Election, Transition, apply
from atomix_election.core.granting import ended_meanwhile
from atomix_election.engine.sessions import Sessions
from atomix_election.errors import ElectionError, LimitExceeded, OutcomeUnknown, StoreError, Unavailable
from atomix_election.model import ElectionId, Event, EventType, Term
from atomix_election.stores.base import Store

MAX_WAITING_COMMANDS = 10_000
"""Commands that may wait for one election; the next one is refused."""
LOOK_AGAIN_S = 0.5
"""Pause before the store is asked again what became of a write whose outcome it did not know."""


class _Waiting:
    """A command and, once it is known, what became of it."""

    def __init__(self, command: Command, operation: Operation | None) -> None:
        self.command = command
        self.operation = operation
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


class Lane:
    """One election at work. It exists as long as somebody waits for it or watches it."""

    def __init__(
        self,
        election_id: ElectionId,
        store: Store,
        sessions: Sessions,
        on_committed: Callable[[ElectionId, Election, Election], None],
    ) -> None:
        self.watchers = Broadcast()
        self._election_id = election_id
        self._store = store
        self._sessions = sessions
        self._on_committed = on_committed
        self._waiting: list[_Waiting] = []
        self._working = False
        self._last_known: Election | None = None
        """The state before a write whose outcome is not known: watchers and sessions have seen this one."""

    @property
    def idle(self) -> bool:
        """True when nobody waits and nobody watches, so that the lane can be dropped."""
        return not self._working and not self._waiting and not len(self.watchers) and self._last_known is None

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

    def claim(self) -> bool:
        """Return whether the caller has to see to it that ``work`` runs."""
        claimed = bool(self._waiting or self._last_known is not None) and not self._working
        self._working = self._working or claimed
        return claimed

    async def work(self) -> None:
        """Apply and commit what waits, until nothing waits any more. It can be cancelled between two commits."""
        try:
            while self._waiting or self._last_known is not None:
                batch, self._waiting = self._waiting, []
                with anyio.CancelScope(shield=True):  # whoever waits gets an answer
                    await self._commit(batch)
                await checkpoint_if_cancelled()
                if self._last_known is not None:
                    await anyio.sleep(LOOK_AGAIN_S)
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
        except (StoreError, OutcomeUnknown) as error:
            for waiting in batch:
                waiting.answer(type(error)(str(error)))
            return
        except BaseException:
            for waiting in batch:
                waiting.answer(OutcomeUnknown("the engine ended while the command was being committed"))
            raise
        if transitions and transitions[-1].election is not before:
            self._on_committed(self._election_id, before, transitions[-1].election)
        revision = before.revision
        for waiting, transition in zip(batch, transitions, strict=True):
            term = transition.election.term
            if term.revision != revision:
                revision = term.revision
                self.watchers.publish(Event(EventType.CHANGED, term))
            waiting.answer(transition.refusal or ended_meanwhile(waiting.command, self._sessions.is_open) or term)

    async def _store_all(self, batch: list[_Waiting]) -> tuple[Election, list[Transition]]:
        """Return the state before the batch, and the transition of each command; they are committed by then."""
        while True:
            record = await self._store.read(self._election_id)
            self._catch_up(record.election)
            transitions: list[Transition] = []
            election, forgotten = record.election, False
            for waiting in batch:
                transition = apply(
                    election,
                    waiting.command,
                    is_open=self._sessions.is_open,
                    confirms=self._sessions.is_kept_alive,
                    floor=record.floor,
                    operation=waiting.operation,
                )
                forgotten = transition.forgotten or (forgotten and transition.election is election)
                election = transition.election
                transitions.append(transition)
            if election is record.election and not forgotten:
                return record.election, transitions
            try:
                if not forgotten:
                    if await self._store.write(self._election_id, election, expected=record.version):
                        return record.election, transitions
                elif left := await self._store.forget(self._election_id, expected=record.version):
                    return record.election, _ending_with(left.election, transitions)
            except OutcomeUnknown:
                self._last_known = record.election
                raise

    def _catch_up(self, election: Election) -> None:
        """Announce what a write did whose outcome was not known."""
        before, self._last_known = self._last_known, None
        if before is None or election == before:
            return
        self._on_committed(self._election_id, before, election)
        if election.revision != before.revision:
            self.watchers.publish(Event(EventType.CHANGED, election.term))


def _ending_with(left: Election, transitions: list[Transition]) -> list[Transition]:
    """Return the transitions of a batch that ends with a forgotten election: what is read of it comes from the store.

    Other elections of its namespace may have left higher floors, which watchers are then told of.
    """
    last = transitions[-1].election
    return [replace(each, election=left) if each.election is last else each for each in transitions]
