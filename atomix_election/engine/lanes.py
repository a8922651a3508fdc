"""The commands that wait for one election: applied in order, committed together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from atomix_election.broadcast import Broadcast
from atomix_election.clock import Clock
from atomix_election.core.commands import Close, Command, Create, Enter, Forget, Operation, Withdraw
from atomix_election.core.election import Election, Transition, apply
from atomix_election.core.granting import ended_meanwhile
from atomix_election.engine.limits import ElectionCount
from atomix_election.engine.report import Report
from atomix_election.engine.sessions import Sessions
from atomix_election.errors import ElectionError, LimitExceeded, OutcomeUnknown, StoreError, Unavailable
from atomix_election.model import ElectionId, Event, EventType, SessionId, Term
from atomix_election.stores.base import Record, Store, Written

MAX_WAITING_COMMANDS = 10_000
"""Commands that may wait for one election; the next one is refused."""
LOOK_AGAIN_S = 0.5
"""Pause before the store is asked again what became of a write whose outcome it did not know."""

_OF_A_SESSION = (Create, Close, Enter, Withdraw)
_LEAVING_TRACES = (Create, Enter)


class Waiting:
    """A command and, once it is known, what became of it: see ``service.Pending``."""

    __slots__ = ("_tell", "command", "operation", "outcome", "session")

    def __init__(self, command: Command, operation: Operation | None) -> None:
        self.command: Command = command
        self.operation: Operation | None = operation
        self.session: SessionId | None = _session_of(command, operation)
        self.outcome: Term | ElectionError | None = None
        self._tell: list[Callable[[], None]] = []

    def answer(self, outcome: Term | ElectionError) -> None:
        self.outcome = outcome
        for tell in self._tell:
            tell()

    def on_answer(self, tell: Callable[[], None]) -> None:
        """See ``Pending.on_answer``."""
        if self.outcome is None:
            self._tell.append(tell)
        else:
            tell()

    async def answered(self) -> Term:
        """See ``Pending.answered``."""
        if self.outcome is None:
            known = anyio.Event()
            self._tell.append(known.set)
            await known.wait()
        if isinstance(self.outcome, ElectionError):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome


def _session_of(command: Command, operation: Operation | None) -> SessionId | None:
    """Return the session that asks for a command, where it is one's."""
    if operation is not None:
        return operation.session
    return command.session if isinstance(command, _OF_A_SESSION) else None


class SessionFacts(Protocol):
    """What is known of sessions while commands are applied."""

    def is_open(self, session: SessionId) -> bool:
        """Return whether a session has not ended."""
        ...

    def is_kept_alive(self, session: SessionId) -> bool:
        """Return whether an open session's client steps down by itself and says so."""
        ...


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What all lanes of an engine have in common.

    Args:
        store: where elections are kept.
        sessions: those that are open.
        on_committed: is told of each change, with the state before and after it.
        go_on: is told when a lane that was written without a task can go on: see ``Lane.advance``.
        report: is told what was answered.
        clock: what time it is.
        wall_clock_s: what time it is for people.
        count: of elections.
        max_candidates: how many an election may have; None for any number.
    """

    store: Store
    sessions: Sessions
    on_committed: Callable[[ElectionId, Election, Election], None]
    go_on: Callable[["Lane"], None]
    report: Report
    clock: Clock
    wall_clock_s: Callable[[], float]
    count: ElectionCount
    max_candidates: int | None


class Lane:
    """One election at work. It exists as long as somebody waits for it or watches it.

    What waits is committed in one of two ways: by ``advance``, without a task, where the store knows the newest state
    and takes writes at once; else by ``work``, in a task. One of them is at it at a time.
    """

    def __init__(self, election_id: ElectionId, parts: LaneParts) -> None:
        self.election_id = election_id
        self.watchers: Broadcast = Broadcast()
        self._parts = parts
        self._store = parts.store
        self._sessions = parts.sessions
        self._report = parts.report
        self._clock = parts.clock
        self._waiting: list[Waiting] = []
        self._working = False
        self._is_writing = False
        """Whether a write is under way that ``advance`` has begun."""
        self._last_known: Record | None = None
        """What was stored before a write whose outcome is not known: watchers and sessions have seen this one."""
        self._shown: Term | None = None

    @property
    def idle(self) -> bool:
        """True when nobody waits and nobody watches, so that the lane can be dropped."""
        return not self._working and not self._waiting and not len(self.watchers) and self._last_known is None

    def add(self, command: Command, operation: Operation | None) -> Waiting:
        """Queue a command.

        Raises:
            LimitExceeded: MAX_WAITING_COMMANDS are waiting already.
        """
        if len(self._waiting) >= MAX_WAITING_COMMANDS:
            error = LimitExceeded(
                f"{MAX_WAITING_COMMANDS} commands are waiting for {self.election_id}: try again later",
                limit="max_waiting_commands",
            )
            self._report.refused(command, error)
            raise error
        waiting = Waiting(command, operation)
        self._waiting.append(waiting)
        return waiting

    def share(self, term: Term) -> Term:
        """Return the same object for equal terms, of which many watchers who do not read may hold one each."""
        if self._shown is None or term != self._shown:
            self._shown = term
        return self._shown

    def claim(self) -> bool:
        """Return whether the caller has to see to it that ``advance`` or ``work`` runs."""
        claimed = bool(self._waiting or self._last_known is not None) and not self._working
        self._working = self._working or claimed
        return claimed

    def advance(self) -> bool:
        """Apply and commit what waits as far as that goes without a task.

        Returns:
            Whether that is all: nothing waits any more, or a write is under way, after whose end ``go_on`` is told.
            Else ``work`` has to be run.
        """
        try:
            while not self._is_writing and (self._waiting or self._last_known is not None):
                record = self._store.read_now(self.election_id) if self._last_known is None else None
                if record is None or isinstance(self._waiting[0].command, Forget):
                    return False
                self._begin(record, self._next_batch())
        except BaseException:
            self._working = False
            raise
        self._working = self._is_writing
        return True

    async def work(self) -> None:
        """Do the same in a task, until nothing waits any more. It can be cancelled between two commits."""
        try:
            while self._waiting or self._last_known is not None:
                batch = self._next_batch()
                with anyio.CancelScope(shield=True):  # whoever waits gets an answer
                    await self._commit(batch)
                await checkpoint_if_cancelled()
                if self._last_known is not None:
                    await anyio.sleep(LOOK_AGAIN_S)
        finally:
            self._working = False

    def _next_batch(self) -> list[Waiting]:
        """Take what is committed together: all that wait, up to a Forget, which is committed alone.

        A Forget removes what is stored and keeps its number; what came before it has to be stored by then.
        """
        batch, self._waiting = self._waiting, []
        for place, each in enumerate(batch):
            if isinstance(each.command, Forget):
                size = max(place, 1)
                batch, self._waiting = batch[:size], batch[size:]
                break
        return batch

    def fail(self, error: Unavailable) -> None:
        """Refuse what still waits, and end the watchers."""
        batch, self._waiting = self._waiting, []
        for waiting in batch:
            waiting.answer(Unavailable(str(error)))
        self.watchers.fail(error)

    def _begin(self, record: Record, batch: list[Waiting]) -> None:
        """Apply a batch to the newest state, and begin to write what comes of it."""
        transitions = self._apply_all(record, batch, self._sessions)
        election = transitions[-1].election
        try:
            if election is record.election:
                self._answer_all(batch, record, transitions)
                return
            self._count_new(record)
        except LimitExceeded as error:
            self._answer_all(batch, record, without_effect(record, transitions, error))
            return
        began, is_here = self._clock.now(), True

        def done(written: Written) -> None:
            self._is_writing = False
            if written is True:
                self._committed(began)
                self._answer_all(batch, record, transitions)
            elif written is False:
                self._waiting[:0] = batch
            else:
                self._not_written(record, written)
                self._refuse_all(batch, written)
            if not is_here:
                self._parts.go_on(self)

        self._is_writing = True
        self._store.write_now(self.election_id, election, expected=record.version, done=done)
        is_here = False

    async def _commit(self, batch: list[Waiting]) -> None:
        try:
            record, transitions = await self._store_all(batch)
        except (StoreError, OutcomeUnknown) as error:
            self._refuse_all(batch, error)
            return
        except BaseException:
            _give_up(batch)
            raise
        self._waiting[:0] = batch[len(transitions) :]
        self._answer_all(batch[: len(transitions)], record, transitions)

    def _refuse_all(self, batch: list[Waiting], error: StoreError | OutcomeUnknown) -> None:
        for waiting in batch:
            self._report.refused(waiting.command, error)
            waiting.answer(type(error)(str(error)))

    def _answer_all(self, batch: list[Waiting], record: Record, transitions: list[Transition]) -> None:
        """Show what was committed, and tell each caller what became of its command."""
        try:
            self._announce(record, transitions)
            self._forget_who_left_nothing(batch, transitions)
            before = record.election
            for waiting, transition in zip(batch, transitions, strict=True):
                after = transition.election
                outcome = transition.refusal or ended_meanwhile(waiting.command, self._sessions.is_open) or after.term
                waiting.answer(outcome)
                self._report.answered(self.election_id, waiting.command, before, after, outcome)
                before = after
        except BaseException:
            _give_up(batch)
            raise

    def _announce(self, record: Record, transitions: list[Transition]) -> None:
        """Show what was committed to the sessions that it concerns, and to those who watch.

        In this order, as what is written to a new leader first is sent first, however many watch.
        """
        before = record.election
        if not transitions or transitions[-1].election is before:
            return
        self._parts.on_committed(self.election_id, before, transitions[-1].election)
        if not record.version:
            self._report.created()
        if len(self.watchers):
            for term in terms_of(record, transitions):
                self.watchers.publish(Event(EventType.CHANGED, term))

    async def _store_all(self, batch: list[Waiting]) -> tuple[Record, list[Transition]]:
        """Return what was stored before the batch, and the transition of each command; they are committed by then."""
        while True:
            record = await self._store.read(self.election_id)
            self._catch_up(record)
            transitions = self._apply_all(record, batch, self._sessions)
            election = transitions[-1].election if transitions else record.election
            try:
                if transitions and transitions[-1].forgotten:  # it is alone, see _next_batch
                    left = await self._forget(record)
                    if left is not None:
                        return record, [transitions[-1]._replace(election=left.election)]
                elif election is record.election or await self._write(record, election):
                    return record, transitions
            except LimitExceeded as error:
                return record, without_effect(record, transitions, error)

    def _apply_all(self, record: Record, batch: list[Waiting], facts: SessionFacts) -> list[Transition]:
        """Return what becomes of commands one after the other."""
        transitions: list[Transition] = []
        election, at = record.election, self._parts.wall_clock_s()
        for waiting in batch:
            transition = self._apply_one(election, waiting, facts, record.floor, at)
            election = transition.election
            transitions.append(transition)
        return transitions

    def _apply_one(
        self, election: Election, waiting: Waiting, facts: SessionFacts, floor: int, at: float
    ) -> Transition:
        """Return what becomes of a command by what is known of sessions."""
        return apply(
            election,
            waiting.command,
            is_open=facts.is_open,
            confirms=facts.is_kept_alive,
            floor=floor,
            operation=waiting.operation,
            at=at,
            max_candidates=self._parts.max_candidates,
        )

    async def _write(self, record: Record, election: Election) -> bool:
        """Write the new state, and return whether it was still the newest.

        Raises:
            LimitExceeded: it would be the first one of one election too many.
        """
        self._count_new(record)
        began = self._clock.now()
        try:
            written = await self._store.write(self.election_id, election, expected=record.version)
        except (StoreError, OutcomeUnknown) as error:
            self._not_written(record, error)
            raise
        if written is not None:
            self._committed(began)
        return written is not None

    def _count_new(self, record: Record) -> None:
        """Count an election that is about to be written for the first time."""
        if not record.version:
            self._parts.count.add(self.election_id.namespace)

    def _not_written(self, record: Record, error: StoreError | OutcomeUnknown) -> None:
        """A write has failed, or may have: then it has to be found out."""
        if isinstance(error, OutcomeUnknown):
            self._last_known = record
        elif not record.version:
            self._parts.count.remove(self.election_id.namespace)

    def _committed(self, began: float) -> None:
        self._report.observer.committed("election", self._clock.now() - began)

    async def _forget(self, record: Record) -> Record | None:
        """Remove the election, and return what is read of it from then on, or None if it was not the newest.

        Other elections of its namespace may have left higher floors, which watchers are then told of.
        """
        if not record.version:
            return record
        began = self._clock.now()
        try:
            left = await self._store.forget(self.election_id, expected=record.version)
        except OutcomeUnknown:
            self._last_known = record
            raise
        if left is not None:
            self._committed(began)
            self._gone()
        return left

    def _gone(self) -> None:
        """There is one election less."""
        self._parts.count.remove(self.election_id.namespace)
        self._report.forgotten()

    def _forget_who_left_nothing(self, batch: list[Waiting], transitions: list[Transition]) -> None:
        """Sessions whose commands had no effect are not kept in mind with this election: such have no limit."""
        outcomes = zip(batch, transitions, strict=True)
        doubtful = {
            waiting.session
            for waiting, transition in outcomes
            if waiting.session is not None and (transition.refusal or not isinstance(waiting.command, _LEAVING_TRACES))
        }
        if doubtful:
            newest, waiting_too = transitions[-1].election, {waiting.session for waiting in self._waiting}
            for session in doubtful:
                if session not in waiting_too and not newest.has_of(session):
                    self._sessions.left_nothing(session, self.election_id)

    def _catch_up(self, record: Record) -> None:
        """Announce what a write did whose outcome was not known."""
        last_known, self._last_known = self._last_known, None
        if last_known is None:
            return
        if record.version == last_known.version:
            if not record.version:
                self._parts.count.remove(self.election_id.namespace)
            return
        before, after = last_known.election, record.election
        self._parts.on_committed(self.election_id, before, after)
        if not last_known.version:
            self._report.created()
        if not record.version:
            self._gone()
        self._report.found_out(self.election_id, before, after)
        if after.revision != before.revision:
            self.watchers.publish(Event(EventType.CHANGED, after.term))


def _give_up(batch: list[Waiting]) -> None:
    for waiting in batch:
        if waiting.outcome is None:
            waiting.answer(OutcomeUnknown("the engine ended while the command was being committed"))


def terms_of(record: Record, transitions: list[Transition]) -> list[Term]:
    """Return the terms that transitions lead through from what was stored before them."""
    terms: list[Term] = []
    revision = record.election.revision
    for each in transitions:
        if each.election.revision != revision:
            terms.append(each.election.term)
            revision = each.election.revision
    return terms


def without_effect(record: Record, transitions: list[Transition], error: LimitExceeded) -> list[Transition]:
    """Return what becomes of commands when nothing may be written: each that would change something is refused."""
    return [
        each
        if each.election is record.election
        else Transition(record.election, LimitExceeded(str(error), limit=error.limit))
        for each in transitions
    ]
