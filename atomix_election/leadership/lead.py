"""Leading as a block: wait for one's turn, work, step down in time, leave the queue on every exit."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import cast

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from atomix_election.core.campaign import Granted
from atomix_election.core.candidacy import Candidacy, Place
from atomix_election.errors import (
    CandidateTaken,
    ElectionError,
    LeadershipLost,
    LimitExceeded,
    LossReason,
    OutcomeUnknown,
    StoreError,
    Unavailable,
)
from atomix_election.leadership.candidates import Candidates, Stand, Work
from atomix_election.leadership.session import SessionKeeper
from atomix_election.leadership.waiting import pause
from atomix_election.model import Term
from atomix_election.service import Call
from atomix_election.tasks import (
    Background,
    background_tasks,
    native_cancellations,
    raise_native_cancellation,
    shielded,
)

EVENT_TIMEOUT_S = 0.005
"""How long a new leader waits for the event with its term, which mostly comes together with the leadership; after it
the term is read."""

log: logging.Logger = logging.getLogger(__name__)


class Leadership:
    """What a leader has: the token to write with, and whether it still leads."""

    def __init__(self, keeper: SessionKeeper, work: Work, term: Term) -> None:
        self._keeper = keeper
        self._work = work
        self._term = term

    @property
    def token(self) -> int:
        """The fencing token: the number of the term. The resource that is written to refuses a lower one."""
        return self._work.granted.number

    @property
    def term(self) -> Term:
        """The term as it was when this leadership began."""
        return self._term

    @property
    def remaining(self) -> float:
        """Seconds for which this leadership lasts if nothing is heard of the service any more; 0 when it is over."""
        over = self._work.ended or self._work.loss is not None
        return 0.0 if over else self._keeper.remaining_s(self._work.granted)

    @property
    def reason(self) -> LossReason | None:
        """Why it was lost; None as long as it was not, and when it was given up by leaving the block."""
        return self._work.loss

    @property
    def lost(self) -> anyio.Event:
        """Set when the leadership was lost, and not when it was given up."""
        return self._work.lost

    def ensure(self) -> None:
        """Return if this process may act as the leader now. It reads the clock, and does no I/O.

        Raises:
            LeadershipLost: it may not.
        """
        loss = self._loss()
        if loss is not None:
            raise self._error(loss)

    def _loss(self) -> LossReason | None:
        if self._work.loss is not None:
            return self._work.loss
        if self._work.ended:
            return LossReason.WITHDRAWN
        granted = self._work.granted
        leads = self._keeper.leads((granted.election, granted.candidate_id)) == granted
        return None if leads else LossReason.EXPIRED

    def _error(self, reason: LossReason) -> LeadershipLost:
        granted = self._work.granted
        what = f"{granted.candidate_id!r} no longer leads {granted.election!r} under token {granted.number}"
        return LeadershipLost(f"{what}: {reason.value}", reason=reason, leadership=self)


@asynccontextmanager
async def lead(candidates: Candidates, place: Place) -> AsyncGenerator[Leadership]:
    """Wait for one's turn, and lead for as long as the block lasts.

    Raises:
        LeadershipLost: the leadership ended before the block did, which was cancelled.
        CandidateTaken: the id belonged to another live session for longer than a takeover takes.
        InvalidRequest: somebody leads or waits to lead for this candidate already.
    """
    keeper, stand = candidates.keeper, candidates.stand(place)
    withdraw = True
    try:
        granted, term = await _elected(candidates, stand)
        while keeper.leads(place) != granted:  # it was lost while the wait was wound up
            granted, term = await _elected(candidates, stand)
        if stand.stopped:
            raise _withdrawn(stand)
        work = candidates.begin_work(granted)
        leadership = Leadership(keeper, work, term)
        native = native_cancellations()
        lost: LeadershipLost | None = None
        try:
            with work.scope:
                yield leadership
        except Exception as error:
            lost = _loss_of(leadership)
            if lost is not None:
                put_behind(error, lost)
            raise
        finally:
            lost = lost or _loss_of(leadership)
            withdraw = candidates.end_work(work)
    except CandidateTaken:
        withdraw = False  # there is nothing of its own in the queue
        raise
    finally:
        candidates.end_stand(stand, withdraw=withdraw)
        await shielded(stand.over.wait())
    await checkpoint_if_cancelled()
    raise_native_cancellation(native)
    if lost is not None:
        raise lost


def _loss_of(leadership: Leadership) -> LeadershipLost | None:
    try:
        leadership.ensure()
    except LeadershipLost as lost:
        return lost
    return None


def put_behind(error: BaseException, cause: BaseException) -> None:
    """Keep what made the body fail, behind all that it failed with."""
    seen: set[BaseException] = set()
    while error.__context__ is not None and error not in seen:
        seen.add(error)
        error = error.__context__
    if error is not cause and error not in seen:
        error.__context__ = cause


def is_loss_of(error: BaseException, leadership: object) -> bool:
    """Return whether an error says that this leadership was lost, and nothing else."""
    if isinstance(error, BaseExceptionGroup):
        errors = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return all(is_loss_of(each, leadership) for each in errors)
    return isinstance(error, LeadershipLost) and error.leadership is leadership


async def _elected(candidates: Candidates, stand: Stand) -> tuple[Granted, Term]:
    """Enter, and wait until the session is told that it leads and may act.

    Raises:
        LeadershipLost: it was withdrawn meanwhile.
    """
    if stand.stopped:
        raise _withdrawn(stand)
    with anyio.CancelScope() as stand.waiting:
        wait = _Wait(candidates, stand)
        async with background_tasks() as tasks:
            tasks.start_soon(wait.watch)
            return await wait.elected(tasks)
    raise _withdrawn(stand)


def _withdrawn(stand: Stand) -> LeadershipLost:
    return LeadershipLost(f"{stand.place[1]!r} was withdrawn while it waited", reason=LossReason.WITHDRAWN)


class _Wait:
    """Waiting for the lead: in the queue at any time, and aware of the newest term."""

    def __init__(self, candidates: Candidates, stand: Stand) -> None:
        self._candidates = candidates
        self._keeper = candidates.keeper
        self._stand = stand
        self._name, self._candidate_id = stand.place
        self._candidacy = Candidacy(self._candidate_id)
        self._read = Term()
        self._read_for: Granted | None = None
        """Of which leadership the term is read."""
        self._failure: ElectionError | None = None

    async def elected(self, tasks: Background) -> tuple[Granted, Term]:
        """Wait for the leadership, and return it and its term.

        Args:
            tasks: end with the wait.
        """
        asked_for: Granted | None = None
        while True:
            await self.enter()
            granted = self._keeper.leads(self._stand.place)
            if granted is not None:
                term = self._term_of(granted)
                if term is not None:
                    return granted, term
                if granted != asked_for:
                    asked_for = granted
                    tasks.start_soon(self._read_term, granted)
            await self._stand.wait_news()
            if self._failure is not None:
                raise self._failure

    async def watch(self) -> None:
        """Follow the election, whatever happens to the connection."""
        for attempt in count():
            call = Call(self._name, self._keeper.namespace)
            try:
                async with self._keeper.service.events(call) as events:
                    async for event in events:
                        self._candidacy.seen(event.term)
                        self._keeper.see(self._name, event.term)
                        self._stand.wake()
            except ElectionError:
                await self._keeper.pause(attempt)

    async def enter(self) -> None:
        """Enter the queue, if the candidate has to.

        Raises:
            CandidateTaken: the id belongs to another live session, for longer than a takeover takes.
        """
        for attempt in count():
            session_id = await self._keeper.opened()
            if not self._candidacy.must_enter(session_id):
                return
            try:
                self._candidacy.entered(session_id, await self._candidates.send_enter(self._stand.place))
                return
            except CandidateTaken:
                if not self._candidacy.taken(self._keeper.clock.now(), self._keeper.longest_failover_s):
                    raise
            except (Unavailable, OutcomeUnknown, StoreError, LimitExceeded) as error:
                log.info("%s could not enter election %s yet: %s", self._candidate_id, self._name, error)
            await self._keeper.pause(attempt)

    def _term_of(self, granted: Granted) -> Term | None:
        """Return the term of a leadership, or None as long as it is not known.

        Where it is read, only the answer counts: the events are late, and there may be others behind this one.
        """
        term = self._read if self._read_for == granted else self._candidacy.newest
        return term if term.number == granted.number else None

    async def _read_term(self, granted: Granted) -> None:
        """Read the term of a leadership, unless its event comes first."""
        await pause(self._keeper.clock, EVENT_TIMEOUT_S)
        self._read, self._read_for = Term(), granted
        while self._keeper.leads(self._stand.place) == granted:
            try:
                self._read = await self._keeper.service.get_term(Call(self._name, self._keeper.namespace))
                self._keeper.see(self._name, self._read)
            except (Unavailable, StoreError, LimitExceeded):
                pass
            except ElectionError as error:
                self._failure = error
            self._stand.wake()
            await self._keeper.pause(0)
