"""Keeps a client's session alive, and carries out what its campaign decides."""

import logging
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

import anyio

from atomix_election.clock import Clock
from atomix_election.core.campaign import (
    Abandon,
    Action,
    Answer,
    Campaign,
    GiveBack,
    Granted,
    Reconnect,
    Renew,
    StartLeading,
    StepDown,
)
from atomix_election.errors import (
    ElectionError,
    InvalidRequest,
    LossReason,
    OutcomeUnknown,
    SessionEnded,
    Unavailable,
)
from atomix_election.model import Term, session_digest
from atomix_election.service import Call, ElectionService, KeepAlive, Renewal
from atomix_election.tasks import FIRST_PAUSE_S, Background, Pauses, background_tasks, shielded

LEAVE_TIMEOUT_S = 5.0
"""How long withdrawing may take when a block ends; after it, the end of the session does it."""
OPEN_TIMEOUT_S = 5.0
"""How long ``enter`` waits for the session to be opened, and at most for the answer to its first renewal."""
SHORTEST_OPEN_TIMEOUT_S = 1.0
"""How long that answer is waited for at least, however short the time-to-live."""

log = logging.getLogger(__name__)

Place = tuple[str, str]
"""An election and a candidate in it."""


class Stand:
    """A candidate that waits to lead. There is one for each place and client at a time."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.leaving = False
        self.stopped = False
        """Set when its user has withdrawn the candidate."""
        self.over = anyio.Event()
        """Set when its block has ended and it has left the queue."""
        self._news = anyio.Event()

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
        self.scope = anyio.CancelScope()
        self.loss: LossReason | None = None
        self.lost = anyio.Event()

    def lose(self, reason: LossReason) -> None:
        """Stop: the leadership is over."""
        if self.loss is None:
            self.loss = reason
            self.lost.set()
            self.scope.cancel()


class SessionKeeper:
    """One client's session: opened when it is first needed, kept alive, and replaced when it ended.

    Args:
        service: where the session lives.
        namespace: of its elections.
        clock: the client's own.
        ttl_s: the time-to-live to ask for, in seconds.
        new_session_id: returns ids that were never used.
        chance: returns numbers from 0 to 1.
        release_on_disconnect: the session is to end, and the client steps down, as soon as its connection closes.
    """

    def __init__(
        self,
        service: ElectionService,
        namespace: str,
        *,
        clock: Clock,
        ttl_s: float,
        new_session_id: Callable[[], str],
        chance: Callable[[], float],
        release_on_disconnect: bool = False,
    ) -> None:
        self.service = service
        self.namespace = namespace
        self.clock = clock
        self.pauses = Pauses(max(ttl_s / 10, FIRST_PAUSE_S), chance)
        self._ttl_s = ttl_s
        self._new_session_id = new_session_id
        self._chance = chance
        self._release_on_disconnect = release_on_disconnect
        self._session_id = ""
        self._campaign = Campaign()
        self._opened = anyio.Event()
        self._failure: ElectionError | None = None
        self._wanted: set[Place] = set()
        self._stands: dict[Place, Stand] = {}
        self._works: dict[Granted, Work] = {}
        self._leaving: set[Place] = set()
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._operations = count(1)
        self._outbox: list[Renew] = []
        self._to_send = anyio.Event()
        self._stream: KeepAlive | None = None
        self._stalled: KeepAlive | None = None
        self._stream_scope = anyio.CancelScope()
        self._nap = anyio.CancelScope()
        self._idle = anyio.Event()
        self._was_sent = False
        self._finished = anyio.Event()
        self._closing = False
        self._process = os.getpid()
        self._attempt = 0
        self._tasks: Background | None = None

    @property
    def session_id(self) -> str:
        """The id of the open session, or "" when there is none."""
        return self._session_id if self._opened.is_set() else ""

    @property
    def started(self) -> bool:
        """Whether anybody has needed a session."""
        return self._tasks is not None

    @property
    def longest_failover_s(self) -> float:
        """How long a takeover takes at most, as the server says, or the time-to-live as long as it has not."""
        return self._campaign.longest_failover_s or self._ttl_s

    def start(self, tasks: Background) -> None:
        """Open a session and keep it, in these tasks. Nothing happens if that was done before."""
        if self._tasks is None:
            self._tasks = tasks
            tasks.start_soon(self._run)
            tasks.start_soon(self._tick)

    async def end(self) -> None:
        """End the session, if there is one: its candidates leave everywhere at once. Bounded in time."""
        self._closing = True
        if self._tasks is not None and not self.is_forked:
            ended = anyio.Event()
            self._tasks.start_soon(self._end, ended)  # a native cancellation of this task does not reach it
            await shielded(ended.wait())

    async def _end(self, ended: anyio.Event) -> None:
        session_id, was_over = self._session_id, self._campaign.over is not None
        self._do(self._campaign.ended(LossReason.SESSION_ENDED))
        for stand in list(self._stands.values()):
            stand.stopped = True
            stand.wake()
        try:
            with anyio.fail_after(LEAVE_TIMEOUT_S, shield=True):
                await self._finished.wait()  # the work has ended, and no renewal opens the session any more
                if self._was_sent and not was_over:
                    await self.service.end_session(self.namespace, session_id)
        except (ElectionError, TimeoutError) as error:
            digest = session_digest(self.namespace, session_id)
            log.warning("session %s could not be ended, it ends with its time-to-live: %s", digest, error)
        finally:
            ended.set()

    async def opened(self) -> str:
        """Wait until there is an open session, and return its id."""
        while not self._opened.is_set():
            await self._opened.wait()
        return self._session_id

    async def enter(self, place: Place) -> Term:
        """Enter a candidate, and keep it in the queue until ``withdraw``.

        Raises:
            CandidateTaken: the id belongs to another live session.
            Unavailable: no session could be opened in time, or the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        with anyio.move_on_after(OPEN_TIMEOUT_S):
            await self.opened()
        if not self._opened.is_set():
            raise Unavailable(f"no session could be opened within {OPEN_TIMEOUT_S:g} s: {self._failure or 'no answer'}")
        was_wanted = place in self._wanted
        self._wanted.add(place)  # before it is sent: an entry of unknown outcome is left like any other
        try:
            return await self.send_enter(place)
        except OutcomeUnknown:
            raise
        except ElectionError:
            if not was_wanted:
                self._wanted.discard(place)
            raise

    async def send_enter(self, place: Place) -> Term:
        """Enter a candidate with the open session; with the next one if it turns out that this one has ended."""
        name, candidate_id = place
        while True:
            try:
                return await self.write(name, lambda call: self.service.enter(call, candidate_id))
            except SessionEnded:
                await self.opened()

    async def withdraw(self, place: Place) -> Term:
        """Take a candidate out of the queue.

        Raises:
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        self._wanted.discard(place)
        if self.session_id:
            try:
                return await self._send_withdraw(place)
            except SessionEnded:
                pass  # and its candidates with it
        return await self.service.get_term(Call(place[0], self.namespace))

    async def _send_withdraw(self, place: Place) -> Term:
        """Withdraw a candidate that leads no more from the moment when that is sent."""
        campaign = self._campaign
        self._do(campaign.leaving(*place))
        try:
            return await self.write(place[0], lambda call: self.service.withdraw(call, place[1]))
        finally:
            campaign.left(*place)

    def is_wanted(self, place: Place) -> bool:
        """Return whether a candidate was entered by ``enter`` and not withdrawn."""
        return place in self._wanted

    async def leave(self, place: Place) -> None:
        """Take a candidate out of the queue, bounded in time; if it fails, that is logged and made good later."""
        if not self.session_id:
            self._wanted.discard(place)
            return
        try:
            with anyio.fail_after(LEAVE_TIMEOUT_S, shield=True):
                await self.withdraw(place)
        except (ElectionError, TimeoutError) as error:
            log.warning("%s could not leave election %s yet: %s", place[1], place[0], error)

    async def write(self, name: str, send: Callable[[Call], Awaitable[Term]]) -> Term:
        """Send a write of this session under a number of its own, one at a time for each election."""
        async with self._locks[name]:
            session_id = await self.opened()
            call = Call(name, self.namespace, session_id, next(self._operations))
            try:
                term = await send(call)
            except SessionEnded:
                if session_id == self._session_id:
                    self._end_campaign(LossReason.SESSION_ENDED)
                raise
        self.see(name, term)
        return term

    def see(self, name: str, term: Term) -> None:
        """Take note of a term that the service told."""
        self._do(self._campaign.term_seen(name, term))

    def stand(self, place: Place) -> Stand:
        """Begin to wait for the lead.

        Raises:
            InvalidRequest: somebody does so already for this candidate.
        """
        if place in self._stands:
            raise InvalidRequest(f"{place[1]!r} leads or waits to lead {place[0]!r} already: one at a time")
        stand = self._stands[place] = Stand(place)
        return stand

    def standing(self, place: Place) -> Stand | None:
        """Return who leads or waits to lead for a candidate."""
        return self._stands.get(place)

    async def stop(self, place: Place) -> None:
        """Cancel the block that leads or waits to lead for a candidate, and wait until it has ended."""
        stand = self._stands.get(place)
        if stand is None:
            return
        stand.stopped = True
        stand.wake()
        for work in self._works.values():
            if (work.granted.election, work.granted.candidate_id) == place:
                work.lose(LossReason.WITHDRAWN)
        await stand.over.wait()

    def leads(self, place: Place) -> Granted | None:
        """Return the leadership under which a candidate may act at this moment. Without I/O, by the clock."""
        return None if self.is_forked else self._campaign.leads(*place, self.clock.now())

    @property
    def is_forked(self) -> bool:
        """Whether this is a forked child of the process that the session belongs to."""
        return os.getpid() != self._process

    def remaining_s(self, granted: Granted) -> float:
        """Return for how long a leadership lasts if nothing is heard any more."""
        return 0.0 if self.is_forked else self._campaign.remaining_s(granted, self.clock.now())

    def begin_work(self, granted: Granted) -> Work:
        """Work begins under a leadership."""
        work = self._works[granted] = Work(granted)
        self._idle = anyio.Event()
        self._campaign.work_began(granted)
        return work

    def end_work(self, work: Work) -> bool:
        """The work has ended, and the leadership with it; return whether its candidate may be withdrawn."""
        self._do(self._campaign.tick(self.clock.now()))  # the block may have kept the clock from being looked at
        del self._works[work.granted]
        may_withdraw = not self._campaign.over and not self.is_forked
        self._do(self._campaign.work_ended(work.granted, self.clock.now()))
        if not self._campaign.working:
            self._idle.set()
        return may_withdraw

    def end_stand(self, stand: Stand, *, withdraw: bool) -> None:
        """A stand is over; its candidate is taken out of the queue by a task that no cancellation reaches."""
        stand.leaving = True
        self._wanted.discard(stand.place)
        if self._tasks is None or self._closing or not withdraw:
            self._remove_stand(stand)
        else:
            self._tasks.start_soon(self._leave_stand, stand)

    async def _leave_stand(self, stand: Stand) -> None:
        try:
            await shielded(self.leave(stand.place))
        finally:
            self._remove_stand(stand)

    def _remove_stand(self, stand: Stand) -> None:
        del self._stands[stand.place]
        stand.over.set()

    async def _run(self) -> None:
        try:
            await self._keep_sessions()
        finally:
            self._finished.set()

    async def _keep_sessions(self) -> None:
        while not self._closing:
            self._was_sent = False
            self._session_id = self._new_session_id()
            self._campaign = Campaign(jitter=self._chance())
            await self._keep_session()
            self._opened = anyio.Event()
            while self._campaign.working:
                await self._idle.wait()
            if self._stalled is not None:
                self._stalled.give_up()
                self._stalled = None
            if not self._closing and self._campaign.over is not None:
                digest = session_digest(self.namespace, self._session_id)
                log.warning("session %s is over: %s; opening another", digest, self._campaign.over.value)

    async def _keep_session(self) -> None:
        self._attempt = 0
        while not self._campaign.over:
            try:
                with anyio.CancelScope() as self._stream_scope:
                    await self._keep_stream()
            except ElectionError as error:
                if not self._attempt or type(error) is not type(self._failure):
                    log.warning("the session cannot be kept alive, trying again: %s", error)
                self._failure = error
            finally:
                self._stream = None
                self._campaign.disconnected()
                if self._release_on_disconnect and self._opened.is_set():
                    self._end_campaign(LossReason.SESSION_ENDED)
            if not self._campaign.over:
                with anyio.CancelScope() as self._stream_scope:
                    await anyio.sleep(self.pauses.after(self._attempt))
                self._attempt += 1

    async def _keep_stream(self) -> None:
        async with self.service.keep_alive(self.namespace, self._session_id) as stream:
            self._stream = stream
            self._outbox.clear()
            self._do(self._campaign.connected(self.clock.now()))
            async with background_tasks() as tasks:
                tasks.start_soon(self._send_renewals, stream, tasks)
                while not self._campaign.over:
                    answer = await self._receive(stream)
                    self._do(self._campaign.renewed(answer, self.clock.now()))
                    if not self._campaign.over:
                        self._session_is_open()

    async def _receive(self, stream: KeepAlive) -> Answer:
        """Return the next answer. Before the first one of a session there is no time-to-live to count by."""
        if self._campaign.timing is not None:
            return await stream.receive()
        limit_s = min(OPEN_TIMEOUT_S, max(self._ttl_s / 2, SHORTEST_OPEN_TIMEOUT_S))
        with anyio.move_on_after(limit_s):
            return await stream.receive()
        stream.give_up()
        raise Unavailable(f"no answer to the first renewal within {limit_s:g} s")

    async def _send_renewals(self, stream: KeepAlive, tasks: Background) -> None:
        try:
            while True:
                await self._to_send.wait()
                self._to_send = anyio.Event()
                outbox, self._outbox = self._outbox, []
                for renew in outbox:
                    is_open = self._opened.is_set()
                    ttl_s = None if is_open else self._ttl_s
                    self._was_sent = True
                    release = self._release_on_disconnect
                    await stream.send(Renewal(renew.renewal, not is_open, ttl_s, renew.stepped_down, release))
        except ElectionError as error:
            log.info("a renewal could not be sent: %s", error)
            tasks.cancel_block()

    def _session_is_open(self) -> None:
        """The first answer has come: whoever wants to be in a queue is entered with the new session."""
        self._failure = None
        self._attempt = 0
        if self._opened.is_set():
            return
        self._opened.set()
        for place in self._wanted:
            if place not in self._stands:
                self._spawn(self._enter_again, place)
        for stand in self._stands.values():
            stand.wake()

    async def _enter_again(self, place: Place) -> None:
        """Enter a candidate that ``enter`` has entered with a former session, until it is done or not wanted."""
        session_id = self._session_id
        for attempt in count():
            if place not in self._wanted or session_id != self._session_id:
                return
            try:
                await self.send_enter(place)
                return
            except ElectionError as error:
                log.info("%s could not enter election %s again yet: %s", place[1], place[0], error)
            await anyio.sleep(self.pauses.after(attempt))

    async def _tick(self) -> None:
        while True:
            self._do(self._campaign.tick(self.clock.now()))
            with anyio.CancelScope() as self._nap:
                await self.clock.sleep_until(self._campaign.wake_at(self.clock.now()))

    def _end_campaign(self, reason: LossReason) -> None:
        self._do(self._campaign.ended(reason))

    def _spawn(self, job: Callable[[Place], Coroutine[Any, Any, None]], place: Place) -> None:
        if self._tasks is not None and not self._closing:
            self._tasks.start_soon(job, place)

    def _do(self, actions: list[Action]) -> None:
        """Carry out what the campaign has decided."""
        for action in actions:
            match action:
                case Renew():
                    self._outbox.append(action)
                    self._to_send.set()
                case Reconnect():
                    self._reconnect()
                case StartLeading(granted):
                    self._start_leading(granted)
                case StepDown(granted, reason):
                    self._works[granted].lose(reason)
                case GiveBack(granted):
                    self._give_back(granted)
                case Abandon(granted):
                    log.error(
                        "the work of %s under token %d of election %s did not stop by its deadline: "
                        "the session is left to end by itself, and takes all its elections with it",
                        granted.candidate_id,
                        granted.number,
                        granted.election,
                    )
        if self._campaign.over:
            self._stream_scope.cancel()
        self._nap.cancel()  # what comes next may come sooner than it looked

    def _reconnect(self) -> None:
        if self._stream is None:
            return
        log.info("no answer to a renewal in time: using another connection")
        if self._release_on_disconnect:
            self._stalled = self._stream  # its connection is closed when the work has ended, as that lets the next lead
            self._end_campaign(LossReason.SESSION_ENDED)
        else:
            self._stream.give_up()
            self._stream_scope.cancel()

    def _start_leading(self, granted: Granted) -> None:
        place = (granted.election, granted.candidate_id)
        stand = self._stands.get(place)
        if stand is not None:
            stand.wake()
        elif place not in self._wanted:  # an entry of unknown outcome, or a withdrawal that failed
            self._do(self._campaign.work_ended(granted, self.clock.now()))
            self._give_back(granted)

    def _give_back(self, granted: Granted) -> None:
        place = (granted.election, granted.candidate_id)
        stand = self._stands.get(place)
        if place not in self._leaving and not (stand is not None and stand.leaving):
            self._leaving.add(place)
            self._spawn(self._withdraw_and_enter_again, place)

    async def _withdraw_and_enter_again(self, place: Place) -> None:
        try:
            await self._send_withdraw(place)
            if place in self._wanted or place in self._stands:
                await self.send_enter(place)
        except ElectionError as error:
            log.info("%s could not give the lead of election %s back yet: %s", place[1], place[0], error)
        finally:
            self._leaving.discard(place)
