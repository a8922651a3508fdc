"""One client's session: opened when it is first needed, kept alive by renewals, replaced when it ended."""

import logging
import math
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from itertools import count
from typing import Any, Protocol, TypeVarTuple

import anyio

from atomix_election.clock import Clock
from atomix_election.core.campaign import (
    Abandon,
    Action,
    Answer,
    Campaign,
    GiveBack,
    Granted,
    HangUp,
    Reconnect,
    Renew,
    StartLeading,
    StepDown,
    Timing,
)
from atomix_election.core.candidacy import Place
from atomix_election.core.identity import StoreIdentities
from atomix_election.errors import (
    ElectionError,
    InvalidRequest,
    LossReason,
    NotSessionOwner,
    PermissionDenied,
    SessionEnded,
    StoreError,
    Unauthenticated,
    Unavailable,
)
from atomix_election.leadership.observer import LeadershipObserver, NoLeadershipObserver
from atomix_election.leadership.waiting import pause, within
from atomix_election.model import Term, session_digest
from atomix_election.service import Call, ElectionService, KeepAlive, Renewal
from atomix_election.tasks import Background, Pauses, background_tasks, shielded

LEAVE_TIMEOUT_S = 5.0
"""How long withdrawing may take when a block ends; after it, the end of the session does it."""
OPEN_TIMEOUT_S = 5.0
"""How long ``enter`` waits for the session to be opened, and at most for the answer to its first renewal."""
SHORTEST_OPEN_TIMEOUT_S = 1.0
"""How long that answer is waited for at least, however short the time-to-live."""

_REFUSALS = (Unauthenticated, PermissionDenied)
_PERMANENT = (*_REFUSALS, InvalidRequest)
"""What is told at once to those who wait for a session; but for NotSessionOwner, as the next session is one's own."""

log: logging.Logger = logging.getLogger(__name__)

_Args = TypeVarTuple("_Args")


class SessionUser(Protocol):
    """Who acts on what becomes of the leaderships of a session."""

    def session_opened(self) -> None:
        """There is a new session, and nothing is entered with it yet."""
        ...

    def session_tried(self) -> None:
        """There is a session, or it could not be kept: who waits looks again."""
        ...

    def session_ends(self) -> None:
        """The client is closing: nobody waits to lead any more."""
        ...

    def start_leading(self, granted: Granted) -> None:
        """Work may begin."""
        ...

    def step_down(self, granted: Granted, reason: LossReason) -> None:
        """The work has to stop."""
        ...

    def give_back(self, granted: Granted) -> None:
        """Withdraw the candidate."""
        ...


class SessionKeeper:
    """Keeps the session of a client, and carries out what its campaign decides.

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
        self.observer: LeadershipObserver = NoLeadershipObserver()
        self._pauses = Pauses(Timing(ttl_s).longest_pause_s, chance)
        self._ttl_s = ttl_s
        self._new_session_id = new_session_id
        self._chance = chance
        self._release_on_disconnect = release_on_disconnect
        self._user: SessionUser
        self._stores = StoreIdentities()
        self._session_id = ""
        self._campaign = Campaign()
        self._opened = anyio.Event()
        self._tried = anyio.Event()
        self._failure: ElectionError | None = None
        # The call itself lets others run, and looks for a cancellation: not the lock, where nobody has it.
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(lambda: anyio.Lock(fast_acquire=True))
        self._operations = count(1)
        self._outbox: list[Renew] = []
        self._to_send = anyio.Event()
        self._stream: KeepAlive | None = None
        self._hangs_up = False
        self._refused: InvalidRequest | None = None
        self._stream_scope = anyio.CancelScope()
        self._nap = anyio.CancelScope()
        self._nap_ends = math.inf
        self._idle = anyio.Event()
        self._was_sent = False
        self._finished = anyio.Event()
        self._closing = False
        self._process = os.getpid()
        self._attempt = 0
        self._tasks: Background | None = None

    def used_by(self, user: SessionUser) -> None:
        """Say who acts on what becomes of leaderships. Called once, before anything else."""
        self._user = user

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

    @property
    def is_closing(self) -> bool:
        """Whether the client is closed, or about to be."""
        return self._closing

    @property
    def is_forked(self) -> bool:
        """Whether this is a forked child of the process that the session belongs to."""
        return os.getpid() != self._process

    def start(self, tasks: Background) -> None:
        """Open a session and keep it, in these tasks. Nothing happens if that was done before."""
        if self._tasks is None:
            self._tasks = tasks
            tasks.start_soon(self._run)
            tasks.start_soon(self._tick)

    def spawn(self, job: Callable[[*_Args], Coroutine[Any, Any, None]], *args: *_Args) -> bool:
        """Start a job that no cancellation of a caller reaches; return False when the client is closing."""
        if self._tasks is None or self._closing:
            return False
        self._tasks.start_soon(job, *args)
        return True

    async def end(self) -> None:
        """End the session, if there is one: its candidates leave everywhere at once. Bounded in time."""
        self._closing = True
        if self._tasks is not None and not self.is_forked:
            ended = anyio.Event()
            self._tasks.start_soon(self._end, ended)  # a native cancellation of this task does not reach it
            await shielded(ended.wait())

    async def _end(self, ended: anyio.Event) -> None:
        session_id, was_over = self._session_id, self._campaign.over is not None
        self._end_campaign(LossReason.SESSION_ENDED)
        self._user.session_ends()
        self._tell_those_who_wait()

        async def end() -> None:
            await self._finished.wait()  # the work has ended, and no renewal opens the session any more
            if self._was_sent and not was_over:
                await self.service.end_session(self.namespace, session_id)

        try:
            await shielded(within(self.clock, LEAVE_TIMEOUT_S, end))
        except (ElectionError, TimeoutError) as error:
            digest = session_digest(self.namespace, session_id)
            log.warning("session %s could not be ended, it ends with its time-to-live: %s", digest, error)
        finally:
            ended.set()

    async def opened(self) -> str:
        """Wait until there is an open session, and return its id.

        Raises:
            Unauthenticated: the service does not accept this client's credentials.
            PermissionDenied: they do not allow a session.
            InvalidRequest: the service keeps no sessions alive: it is not one of this package.
            Unavailable: the client is closing.
        """
        while not self._opened.is_set():
            if self._closing:
                raise closed()
            await self._tried.wait()
            failure = self._permanent_failure()
            if failure is not None:
                raise type(failure)(str(failure))
        return self._session_id

    def _permanent_failure(self) -> ElectionError | None:
        """Return why there is no session, if to try again is for somebody who has changed something."""
        failure = self._failure
        if not isinstance(failure, _PERMANENT) or isinstance(failure, NotSessionOwner) or failure is self._refused:
            return None
        return failure

    async def opened_in_time(self) -> None:
        """Wait until there is an open session, but not for ever.

        Raises:
            Unavailable: none could be opened within OPEN_TIMEOUT_S.
        """
        if self._opened.is_set():
            return
        try:
            await within(self.clock, OPEN_TIMEOUT_S, self.opened)
        except TimeoutError:
            why = self._failure or "no answer"
            raise Unavailable(f"no session could be opened within {OPEN_TIMEOUT_S:g} s: {why}") from None

    async def write(self, name: str, send: Callable[[Call], Awaitable[Term]]) -> Term:
        """Send a write of this session under a number of its own, one at a time for each election."""
        async with self._locks[name]:
            term = await self._write(name, send)
        self.see(name, term)
        return term

    async def _write(self, name: str, send: Callable[[Call], Awaitable[Term]]) -> Term:
        session_id = self.session_id or await self.opened()
        call = Call(name, self.namespace, session_id, next(self._operations))
        campaign = self._campaign
        try:
            term = await send(call)
        except SessionEnded:
            if session_id == self._session_id:
                self._end_campaign(LossReason.SESSION_ENDED)
            raise
        except NotSessionOwner as error:
            if session_id == self._session_id:
                log.warning("%s", error)
                self._do(self._campaign.disowned())
            raise SessionEnded(str(error)) from error
        campaign.written(name)
        return term

    async def withdraw(self, place: Place) -> Term:
        """Withdraw a candidate, which leads no more from now on, also while the withdrawal waits for its turn."""
        with self._leaving(place):
            return await self.write(place[0], lambda call: self._send_withdrawal(call, place))

    async def _send_withdrawal(self, call: Call, place: Place) -> Term:
        campaign = self._campaign
        with self._leaving(place):  # the session is another one than before, maybe
            try:
                return await self.service.withdraw(call, place[1])
            except BaseException:
                campaign.may_still_leave(*place)
                raise

    @contextmanager
    def _leaving(self, place: Place) -> Generator[None]:
        campaign = self._campaign
        self._do_if_any(campaign.leaving(*place))
        try:
            yield
        finally:
            campaign.left(*place)

    def see(self, name: str, term: Term) -> None:
        """Take note of a term that the service told."""
        self._do_if_any(self._campaign.term_seen(name, term))

    def leads(self, place: Place) -> Granted | None:
        """Return the leadership under which a candidate may act at this moment. Without I/O, by the clock."""
        return None if self.is_forked else self._campaign.leads(*place, self.clock.now())

    def remaining_s(self, granted: Granted) -> float:
        """Return for how long a leadership lasts if nothing is heard any more."""
        return 0.0 if self.is_forked else self._campaign.remaining_s(granted, self.clock.now())

    def work_began(self, granted: Granted) -> None:
        """Work goes on under a leadership, until ``work_ended``."""
        self._idle = anyio.Event()
        self._campaign.work_began(granted)

    def work_ended(self, granted: Granted) -> bool:
        """The work has ended, and the leadership with it; return whether its candidate may be withdrawn."""
        self._do(self._campaign.tick(self.clock.now()))  # the block may have kept the clock from being looked at
        may_withdraw = not self._campaign.over and not self.is_forked
        self._do(self._campaign.work_ended(granted, self.clock.now()))
        if not self._campaign.working:
            self._idle.set()
        return may_withdraw

    def decline(self, granted: Granted) -> None:
        """Do not begin any work under a leadership: it is given up."""
        self._do(self._campaign.work_ended(granted, self.clock.now()))

    async def pause(self, attempt: int) -> None:
        """Wait between two tries; the first one has number 0."""
        await pause(self.clock, self._pauses.after(attempt))

    async def _run(self) -> None:
        try:
            await self._keep_sessions()
        finally:
            self._finished.set()

    async def _keep_sessions(self) -> None:
        while not self._closing:
            self._was_sent = False
            self._session_id = self._new_session_id()
            self._campaign = Campaign(jitter=self._chance(), releases=self._release_on_disconnect)
            await self._keep_session()
            self._opened = anyio.Event()
            await self._work_over()
            if not self._closing and self._campaign.over is not None:
                digest = session_digest(self.namespace, self._session_id)
                log.warning("session %s is over: %s; opening another", digest, self._campaign.over.value)

    async def _work_over(self) -> None:
        while self._campaign.working:
            await self._idle.wait()

    async def _keep_session(self) -> None:
        self._attempt = 0
        while not self._campaign.over:
            self._refused = None
            try:
                with anyio.CancelScope() as self._stream_scope:
                    await self._keep_stream()
            except ElectionError as error:
                self._failed(self._refused or error)
            finally:
                self._stream = None
                self._do(self._campaign.disconnected())
            if not self._campaign.over:
                with anyio.CancelScope() as self._stream_scope:
                    await self.pause(self._attempt)
                self._attempt += 1

    def _failed(self, error: ElectionError) -> None:
        if not self._attempt or type(error) is not type(self._failure):
            log.warning("the session cannot be kept alive, trying again: %s", error)
        self._failure = error
        if isinstance(error, InvalidRequest) and self._stream is not None:
            self._stream.give_up()  # this target cannot be used, another one may
        if isinstance(error, StoreError) and self._stream is not None:
            self._stream.prefer_another()
        if isinstance(error, NotSessionOwner):
            self._do(self._campaign.disowned())
        elif isinstance(error, _REFUSALS):
            self._do(self._campaign.refused(self.clock.now()))
        self._tell_those_who_wait()

    async def _keep_stream(self) -> None:
        async with self.service.keep_alive(self.namespace, self._session_id) as stream:
            self._stream = stream
            self._hangs_up = False
            self._outbox.clear()
            try:
                self._do(self._campaign.connected(self.clock.now()))
                async with background_tasks() as tasks:
                    tasks.start_soon(self._send_renewals, stream, tasks)
                    while not self._campaign.over:
                        answer = await self._receive(stream)
                        self._check_store(stream, answer)
                        self._do(self._campaign.renewed(answer, self.clock.now()))
                        if not self._campaign.over:
                            self._session_is_open(answer)
            finally:
                if self._hangs_up:  # the server has to see the stream and its connection end together
                    await shielded(self._work_over())
                    stream.give_up()

    async def _receive(self, stream: KeepAlive) -> Answer:
        """Return the next answer. Before the first one of a session there is no time-to-live to count by."""
        if self._campaign.timing is not None:
            return await stream.receive()
        limit_s = min(OPEN_TIMEOUT_S, max(self._ttl_s / 2, SHORTEST_OPEN_TIMEOUT_S))
        try:
            return await within(self.clock, limit_s, stream.receive)
        except TimeoutError:
            stream.give_up()
            raise Unavailable(f"no answer to the first renewal within {limit_s:g} s") from None

    def _check_store(self, stream: KeepAlive, answer: Answer) -> None:
        try:
            replaced = self._stores.check(stream.target, answer.store_id)
        except InvalidRequest as error:
            self._refused = error  # the end of the stream may come meanwhile, and hide it
            raise
        if replaced:  # that the former session is over may have been heard otherwise, without the reason
            log.warning(
                "%s serves another store now, %s: sessions of the former one are over, and tokens may begin anew",
                stream.target or "the service",
                answer.store_id,
            )

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

    def _session_is_open(self, answer: Answer) -> None:
        """An answer has come; the first one opens the session."""
        if self._campaign.timing is None:
            raise Unavailable(f"the server answered renewal {answer.renewal}, which was not sent")
        self._failure = None
        self._attempt = 0
        self._pauses.limit(self._campaign.timing.longest_pause_s)
        self.service.session_granted(self._campaign.timing.ttl_s)
        if not self._opened.is_set():
            self._opened.set()
            self._user.session_opened()
            self._tell_those_who_wait()

    def _tell_those_who_wait(self) -> None:
        """An attempt to keep the session has come to something: wake who waits for it to be open."""
        tried, self._tried = self._tried, anyio.Event()
        tried.set()
        self._user.session_tried()

    async def _tick(self) -> None:
        while True:
            self._do(self._campaign.tick(self.clock.now()))
            self._nap_ends = self._campaign.wake_at(self.clock.now())
            with anyio.CancelScope() as self._nap:
                await self.clock.sleep_until(self._nap_ends)

    def _end_campaign(self, reason: LossReason) -> None:
        self._do(self._campaign.ended(reason))

    def _do_if_any(self, actions: list[Action]) -> None:
        """Carry out what the campaign has decided where that is mostly nothing, and no time to wake at has changed."""
        if actions:
            self._do(actions)
        else:
            self.observer.stepped(self._campaign, actions)

    def _do(self, actions: list[Action]) -> None:
        """Carry out what the campaign has decided."""
        self.observer.stepped(self._campaign, actions)
        for action in actions:
            match action:
                case Renew():
                    self._outbox.append(action)
                    self._to_send.set()
                case Reconnect():
                    self._reconnect()
                case HangUp():
                    self._hangs_up = True
                case StartLeading(granted):
                    self._user.start_leading(granted)
                case StepDown(granted, reason):
                    self._user.step_down(granted, reason)
                case GiveBack(granted):
                    self._user.give_back(granted)
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
        self._wake_in_time()

    def _wake_in_time(self) -> None:
        """Look at the clock again if what comes next comes sooner than it looked."""
        if self._campaign.wake_at(self.clock.now()) < self._nap_ends:
            self._nap.cancel()

    def _reconnect(self) -> None:
        if self._stream is not None:
            log.info("no answer to a renewal in time: using another connection")
            self._stream.give_up()
            self._stream_scope.cancel()


def closed() -> Unavailable:
    """The client is closed."""
    return Unavailable("the client is closed: its `connect` block has ended")
