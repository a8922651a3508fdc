"""The candidates of one client: in the queue while they are wanted there, and told when to work and when to stop."""

import logging
from itertools import count

import anyio
from anyio.lowlevel import checkpoint

from atomix_election.core.campaign import Granted
from atomix_election.core.candidacy import Candidacies, Place
from atomix_election.errors import ElectionError, InvalidRequest, LossReason, OutcomeUnknown, SessionEnded
from atomix_election.leadership.session import LEAVE_TIMEOUT_S, SessionKeeper, closed
from atomix_election.leadership.waiting import within
from atomix_election.model import Term
from atomix_election.service import Call
from atomix_election.tasks import shielded

log: logging.Logger = logging.getLogger(__name__)


class Stand:
    """A candidate that waits to lead, or leads. There is one for each place and client at a time."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.stopped: bool = False
        """Set when its user has withdrawn the candidate."""
        self.over: anyio.Event = anyio.Event()
        """Set when its block has ended and it has left the queue."""
        self.waiting: anyio.CancelScope = anyio.CancelScope()
        """What it waits in for the lead."""
        self.task: int = anyio.get_current_task().id
        """Who leads or waits."""
        self._news = anyio.Event()

    def stop(self) -> None:
        """Wait no longer."""
        self.stopped = True
        self.waiting.cancel()

    def wake(self) -> None:
        """Something has changed that it waits for."""
        self._news.set()

    async def wait_news(self) -> None:
        """Wait until something has changed since the last time."""
        await self._news.wait()
        self._news = anyio.Event()


class Work:
    """What goes on under a leadership, and how it is told to stop."""

    def __init__(self, granted: Granted) -> None:
        self.granted = granted
        self.scope: anyio.CancelScope = anyio.CancelScope()
        self.loss: LossReason | None = None
        self.lost: anyio.Event = anyio.Event()
        self.ended = False
        """Set when it is over, lost or not."""

    def lose(self, reason: LossReason) -> None:
        """Stop: the leadership is over."""
        if self.loss is None:
            self.loss = reason
            self.lost.set()
            self.scope.cancel()


class Candidates:
    """Carries out what ``core.candidacy`` decides, with the session of a client.

    Args:
        keeper: the session.
    """

    def __init__(self, keeper: SessionKeeper) -> None:
        self.keeper = keeper
        self._candidacies = Candidacies()
        self._stands: dict[Place, Stand] = {}
        self._works: dict[Granted, Work] = {}
        keeper.used_by(self)

    async def enter(self, place: Place) -> Term:
        """Enter a candidate, and keep it in the queue until ``withdraw``.

        Raises:
            CandidateTaken: the id belongs to another live session.
            Unavailable: no session could be opened in time, or the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        await self.keeper.opened_in_time()
        is_new = self._candidacies.enter(place)  # before it is sent: one of unknown outcome is left like any other
        self._tell(place)
        try:
            return await self.send_enter(place)
        except OutcomeUnknown:
            raise
        except ElectionError:
            if is_new:
                self._candidacies.withdraw(place)
                self._tell(place)
            raise

    async def send_enter(self, place: Place) -> Term:
        """Enter a candidate with the open session; with the next one if it turns out that this one has ended."""
        name, candidate_id = place
        while True:
            try:
                return await self.keeper.write(name, lambda call: self.keeper.service.enter(call, candidate_id))
            except SessionEnded:
                await self.keeper.opened()

    async def withdraw(self, place: Place) -> Term:
        """Take a candidate out of the queue; a block that leads or waits to lead for it is cancelled first.

        Raises:
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        await self.stop(place)
        return await self._withdraw(place)

    async def _withdraw(self, place: Place) -> Term:
        self._candidacies.withdraw(place)
        self._tell(place)
        if self.keeper.session_id:
            try:
                return await self.keeper.withdraw(place)
            except SessionEnded:
                pass  # and its candidates with it
        return await self.keeper.service.get_term(Call(place[0], self.keeper.namespace))

    async def leave(self, place: Place) -> None:
        """Take a candidate out of the queue, bounded in time; if it fails, that is logged and made good later."""
        if not self.keeper.session_id:
            self._candidacies.withdraw(place)
            self._tell(place)
            return
        try:
            await shielded(within(self.keeper.clock, LEAVE_TIMEOUT_S, lambda: self._withdraw(place)))
        except (ElectionError, TimeoutError) as error:
            log.warning("%s could not leave election %s yet: %s", place[1], place[0], error)

    def is_entered(self, place: Place) -> bool:
        """Return whether a candidate was entered by ``enter`` and not withdrawn."""
        return self._candidacies.is_entered(place)

    def stand(self, place: Place) -> Stand:
        """Begin to wait for the lead.

        Raises:
            InvalidRequest: somebody does so already for this candidate.
            Unavailable: the client is closing.
        """
        if self.keeper.is_closing:
            raise closed()
        self._candidacies.stand(place)
        self._tell(place)
        stand = self._stands[place] = Stand(place)
        return stand

    def standing(self, place: Place) -> Stand | None:
        """Return who leads or waits to lead for a candidate."""
        return self._stands.get(place)

    async def stop(self, place: Place) -> None:
        """Cancel the block that leads or waits to lead for a candidate, and wait until it has ended."""
        stand = self.tell_to_stop(place)
        if stand is None:
            return
        if stand.task == anyio.get_current_task().id:
            await checkpoint()  # which ends this block, unless it is shielded
            raise InvalidRequest(
                f"{place[1]!r} cannot be withdrawn from election {place[0]!r} inside a shield of its own block, which "
                "would have to end first: leave the block, or withdraw it in another task"
            )
        await stand.over.wait()

    def tell_to_stop(self, place: Place) -> Stand | None:
        """Cancel the block that leads or waits to lead for a candidate, and return who that is, if anybody."""
        stand = self._stands.get(place)
        if stand is not None:
            stand.stop()
            for work in self._works.values():
                if (work.granted.election, work.granted.candidate_id) == place:
                    work.lose(LossReason.WITHDRAWN)
        return stand

    def begin_work(self, granted: Granted) -> Work:
        """Work begins under a leadership."""
        work = self._works[granted] = Work(granted)
        self.keeper.work_began(granted)
        return work

    def end_work(self, work: Work) -> bool:
        """The work has ended, and the leadership with it; return whether its candidate may be withdrawn."""
        may_withdraw = self.keeper.work_ended(work.granted)
        work.ended = True
        del self._works[work.granted]
        return may_withdraw

    def end_stand(self, stand: Stand, *, withdraw: bool) -> None:
        """A stand is over; its candidate is taken out of the queue by a task that no cancellation reaches."""
        self._candidacies.leave(stand.place)
        self._tell(stand.place)
        if not withdraw or not self.keeper.spawn(self._leave_stand, stand):
            self._remove_stand(stand)

    async def _leave_stand(self, stand: Stand) -> None:
        try:
            await shielded(self.leave(stand.place))
        finally:
            self._remove_stand(stand)

    def _remove_stand(self, stand: Stand) -> None:
        self._candidacies.left(stand.place)
        del self._stands[stand.place]
        stand.over.set()

    def _tell(self, place: Place) -> None:
        self.keeper.observer.wants(place, self._candidacies.is_wanted(place))

    def session_opened(self) -> None:
        """See ``SessionUser``."""
        for place in self._candidacies.to_enter_again():
            self.keeper.spawn(self._enter_again, place)

    def session_tried(self) -> None:
        """See ``SessionUser``."""
        for stand in self._stands.values():
            stand.wake()

    def session_ends(self) -> None:
        """See ``SessionUser``."""
        for stand in list(self._stands.values()):
            stand.stop()

    def start_leading(self, granted: Granted) -> None:
        """See ``SessionUser``."""
        place = (granted.election, granted.candidate_id)
        stand = self._stands.get(place)
        if stand is not None:
            stand.wake()
        elif not self._candidacies.is_claimed(place):  # an entry of unknown outcome, or a withdrawal that failed
            self.keeper.decline(granted)
            self.give_back(granted)

    def step_down(self, granted: Granted, reason: LossReason) -> None:
        """See ``SessionUser``."""
        self._works[granted].lose(reason)

    def give_back(self, granted: Granted) -> None:
        """See ``SessionUser``."""
        place = (granted.election, granted.candidate_id)
        if self._candidacies.give_back(place) and not self.keeper.spawn(self._give_back, place):
            self._candidacies.given_back(place)

    async def _give_back(self, place: Place) -> None:
        try:
            await self.keeper.withdraw(place)
            if self._candidacies.is_claimed(place):
                await self.send_enter(place)
        except ElectionError as error:
            log.info("%s could not give the lead of election %s back yet: %s", place[1], place[0], error)
        finally:
            self._candidacies.given_back(place)

    async def _enter_again(self, place: Place) -> None:
        """Enter a candidate that ``enter`` has entered with a former session, until it is done or not wanted."""
        session_id = self.keeper.session_id
        for attempt in count():
            if not self._candidacies.is_entered(place) or session_id != self.keeper.session_id:
                return
            try:
                await self.send_enter(place)
                return
            except ElectionError as error:
                log.info("%s could not enter election %s again yet: %s", place[1], place[0], error)
            await self.keeper.pause(attempt)
