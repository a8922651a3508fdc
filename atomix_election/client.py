"""What applications use: ``connect`` gives a ``Client``, and a ``LeaderElection`` is one candidate's view of one."""

import logging
import os
import random
import secrets
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from atomix_election.addresses import check_target
from atomix_election.clock import Clock, SystemClock
from atomix_election.core.campaign import Granted, Timing
from atomix_election.core.candidacy import Place
from atomix_election.errors import InvalidRequest, LeadershipLost, LossReason, OutcomeUnknown, SessionEnded
from atomix_election.leadership import Candidates, Leadership, SessionKeeper, closed, is_loss_of, lead
from atomix_election.model import (
    DEFAULT_NAMESPACE,
    DEFAULT_SESSION_TTL_S,
    ElectionDescription,
    ElectionId,
    ElectionSummary,
    Event,
    Term,
    check_candidate_id,
    check_metadata_id,
)
from atomix_election.service import PAGE_SIZE, WATCH_BUFFER, Call, ElectionService, InspectionService
from atomix_election.signals import cancelled_by_sigterm
from atomix_election.targets import open_service
from atomix_election.tasks import Background, background_tasks
from atomix_election.tls import ClientTls
from atomix_election.tokens import Token

if TYPE_CHECKING:
    from atomix_election.stores.base import Store

_ResultT = TypeVar("_ResultT")

log: logging.Logger = logging.getLogger(__name__)


@asynccontextmanager
async def connect(
    target: "str | Store" = "memory://",
    *,
    namespace: str = DEFAULT_NAMESPACE,
    session_ttl: float = DEFAULT_SESSION_TTL_S,
    release_on_disconnect: bool = False,
    tls: ClientTls | None = None,
    token: Token | None = None,
    clock: Clock | None = None,
) -> AsyncGenerator["Client"]:
    """Connect to a service of elections: one session and one connection for any number of elections.

    Nothing is sent before it is needed, and no session is opened before somebody enters an election.

    Args:
        target: where the elections are: ``memory://`` (of this client alone), ``memory://name`` (shared within the
            process), ``grpc://host:port[,host:port]`` for servers, of which the first one is used that answers, and
            ``etcd://host:port[,host:port]`` for etcd itself; with TLS ``grpcs://`` and ``etcds://``. Or a store of
            one's own (``atomix_election.stores.Store``) that is open for longer than the block: all in this process
            who are given it share one engine on it, but for a ``SharedStore``, which each opens for itself.
        namespace: where the names of the elections live.
        session_ttl: seconds that the session is to last after its last renewal; a server has limits for it.
        release_on_disconnect: end the session as soon as the connection closes, so that the next one leads at once when
            this process is killed. This client then stops leading when its connection closes. Where something between
            the two can cut a connection, two may lead for a moment: it is meant for loopback.
        tls: certificates for a target with TLS; by default servers are trusted as the system trusts them.
        token: what proves to the server who calls. A ``str`` is the token itself; a ``Path`` is a file that it is in,
            and that is read again when it changes. It is not sent in plain text to another machine.
        clock: what time it is for this client; by default the machine's clock.

    Raises:
        InvalidRequest: the target, the namespace or the time-to-live is malformed, or certificates or token do not go
            with the target or cannot be used.
    """
    async with _connect(
        target, None, namespace, session_ttl, release_on_disconnect, tls=tls, token=token, clock=clock
    ) as client:
        yield client


@asynccontextmanager
async def _connect(
    target: "str | Store",
    election: str | None,
    namespace: str,
    session_ttl: float,
    release_on_disconnect: bool,
    *,
    tls: ClientTls | None,
    token: Token | None,
    clock: Clock | None = None,
) -> AsyncGenerator["Client"]:
    """Connect, see ``connect``; the election that it is for decides which of several servers is tried first."""
    check_metadata_id("namespace", namespace)
    Timing(session_ttl)
    clock = clock or SystemClock()
    async with open_service(
        target,
        session_ttl_s=session_ttl,
        clock=clock,
        tls=tls,
        token=token,
        release_on_disconnect=release_on_disconnect,
        election=None if election is None else ElectionId(namespace, election),
    ) as service:
        keeper = SessionKeeper(
            service,
            namespace,
            clock=clock,
            ttl_s=session_ttl,
            new_session_id=lambda: secrets.token_hex(16),
            chance=random.random,
            release_on_disconnect=release_on_disconnect,
        )
        async with client_of(keeper, inspection=service) as client:
            yield client


@asynccontextmanager
async def client_of(keeper: SessionKeeper, *, inspection: InspectionService) -> AsyncGenerator["Client"]:
    """Run a client on a session that was made for it, of whatever service; the session ends with the block.

    Args:
        keeper: keeps the session.
        inspection: what the client looks at elections with.
    """
    async with background_tasks() as tasks:
        client = Client(keeper, tasks, inspection)
        try:
            yield client
        finally:
            client.close()
            await keeper.end()


class Client:
    """One session and one connection, for any number of elections. Made by ``connect``."""

    def __init__(self, keeper: SessionKeeper, tasks: Background, inspection: InspectionService) -> None:
        self._keeper = keeper
        self._candidates = Candidates(keeper)
        self._inspection = inspection
        self._tasks = tasks
        self._closed = False

    def close(self) -> None:
        """The ``connect`` block is over: no more calls. Called by ``connect``."""
        self._closed = True

    @property
    def namespace(self) -> str:
        """Where the names of the elections live."""
        return self._keeper.namespace

    @property
    def keeper(self) -> SessionKeeper:
        """What keeps its session: for those who look at a client from the inside, as ``testing.recorded`` does."""
        return self._keeper

    @property
    def service(self) -> ElectionService:
        """What the calls go to."""
        self._check()
        return self._keeper.service

    @property
    def inspection(self) -> InspectionService:
        """What one looks at elections with."""
        self._check()
        return self._inspection

    async def list_elections(self, *, page_size: int = PAGE_SIZE) -> AsyncIterator[ElectionSummary]:
        """Iterate over the elections of the namespace that were ever entered, in order of their names.

        They are fetched a page at a time while one iterates, each page as it is then: an election that is made
        meanwhile is found if its name is still to come.

        Args:
            page_size: the most elections that are asked for at a time, up to MAX_PAGE_SIZE.

        Raises:
            InvalidRequest: a page has no room.
            Unavailable: the service could not be reached.
        """
        page_token = ""
        while True:
            page = await self.inspection.list_elections(self.namespace, page_size=page_size, page_token=page_token)
            for each in page.elections:
                yield each
            page_token = page.next_page_token
            if not page_token:
                return

    def election(self, name: str, *, candidate_id: str | None = None) -> "LeaderElection":
        """Return an election of this client's namespace.

        It can be used at once; as an async context manager it leaves the queue at the end of the block, and else when
        the client is closed.

        Args:
            name: the election.
            candidate_id: who stands in it; by default an id that no other process has.

        Raises:
            InvalidRequest: one of them is malformed.
        """
        return LeaderElection(name, candidate_id=candidate_id, namespace=self.namespace, client=self)

    def candidates(self) -> Candidates:
        """Return what stands for candidates; the session is opened if it was not yet.

        Raises:
            InvalidRequest: this is a forked child of the process that connected.
            Unavailable: the client is closed.
        """
        self._check()
        self._keeper.start(self._tasks)
        return self._candidates

    def candidates_if_any(self) -> Candidates | None:
        """Return the same, or None as long as nobody has needed a session."""
        self._check()
        return self._candidates if self._keeper.started else None

    def call(self, name: str) -> Call:
        """Return what a call that needs no session says of itself. It names none: nothing about one can refuse it."""
        return Call(name, self.namespace)

    async def write(self, name: str, send: Callable[[Call], Awaitable[Term]]) -> Term:
        """Send a write, numbered by the session where there is one, so that it can be repeated."""
        self._check()
        if self._keeper.session_id:
            try:
                return await self._keeper.write(name, send)
            except SessionEnded as error:  # it was refused, and the command itself needs no session
                if error.tried_before:
                    raise OutcomeUnknown.after(error) from error
        return await send(self.call(name))

    def leads(self, place: Place) -> Granted | None:
        """Return the leadership under which a candidate may act at this moment, in this process."""
        return self._keeper.leads(place)

    @property
    def is_forked(self) -> bool:
        """Whether this is a forked child of the process that connected."""
        return self._keeper.is_forked

    def _check(self) -> None:
        if self._closed:
            raise closed()
        if self.is_forked:
            raise InvalidRequest("this client was connected by a parent process: connect anew in the child")


class LeaderElection:
    """One election, in-process or on a server, as one candidate sees it.

    An async context manager, to be entered once at a time, and left by the task that entered it.

    Args:
        name: the election; the same for all who compete.
        target: where it is, see ``connect``. Its default is an election of this object alone. Of several servers that
            one is tried first which all clients with the same target try first for this election, as it is fastest
            where its commands meet in one server; then the others in the order given.
        candidate_id: who stands in it; by default an id that no other process has.
        namespace: where the name lives.
        session_ttl: see ``connect``.
        release_on_disconnect: see ``connect``.
        tls: see ``connect``.
        token: see ``connect``.
        handle_signals: SIGTERM cancels the ``async with`` block; after the leadership was given up and the queue was
            left, the signal is raised again. Only in the main thread, and only where SIGTERM has its default action.
        client: use this client, instead of connecting to a target. ``Client.election`` is the way to say it.

    Raises:
        InvalidRequest: one of them is malformed.
    """

    def __init__(
        self,
        name: str,
        *,
        target: "str | Store" = "memory://",
        candidate_id: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        session_ttl: float = DEFAULT_SESSION_TTL_S,
        release_on_disconnect: bool = False,
        tls: ClientTls | None = None,
        token: Token | None = None,
        handle_signals: bool = False,
        client: Client | None = None,
    ) -> None:
        self._name = check_metadata_id("election name", name)
        self._namespace = check_metadata_id("namespace", namespace)
        self._candidate_id = check_candidate_id(_unique_id() if candidate_id is None else candidate_id)
        check_target(target, tls, token)
        Timing(session_ttl)
        self._target = target
        self._session_ttl = session_ttl
        self._release_on_disconnect = release_on_disconnect
        self._tls = tls
        self._token = token
        self._handle_signals = handle_signals
        self._client = client
        self._entered = AsyncExitStack()
        self._is_entered = False

    @property
    def name(self) -> str:
        """The election."""
        return self._name

    @property
    def namespace(self) -> str:
        """Where the name lives."""
        return self._namespace

    @property
    def candidate_id(self) -> str:
        """Who stands in it here."""
        return self._candidate_id

    @property
    def client(self) -> Client:
        """What it is connected with.

        Raises:
            InvalidRequest: it is not connected, as its block has not begun, or has ended.
        """
        if self._client is None:
            raise InvalidRequest("this LeaderElection is not connected: use it inside its `async with` block")
        return self._client

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise InvalidRequest("this LeaderElection is entered already: use another object, or one `async with`")
        async with AsyncExitStack() as entering:
            self._is_entered = True
            entering.callback(self._forget_entered)
            if self._handle_signals:
                entering.enter_context(cancelled_by_sigterm())
            if self._client is None:
                connecting = _connect(
                    self._target,
                    self._name,
                    self._namespace,
                    self._session_ttl,
                    self._release_on_disconnect,
                    tls=self._tls,
                    token=self._token,
                )
                self._client = await entering.enter_async_context(connecting)
                entering.callback(self._forget_client)
            else:
                entering.push_async_callback(self._leave)
            self._entered = entering.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._entered.__aexit__(kind, error, trace)

    async def enter(self) -> Term:
        """Enter the election, at the back of the queue, and return the term after it. It does not wait to lead.

        Entering again changes nothing. If the session ends and is replaced, the candidate is entered again. Where the
        term shows this candidate as the leader, ``is_leader`` follows a moment later, when the session has been told
        that it may act; ``lead()`` waits for that.

        Raises:
            CandidateTaken: the candidate id belongs to another live session.
            Unauthenticated: the server does not accept the credentials.
            PermissionDenied: they do not allow it.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        return await self.client.candidates().enter(self._place)

    async def withdraw(self) -> Term:
        """Leave the queue, and return the term after it. Who is not in it changes nothing.

        A ``lead()`` of this candidate is cancelled, and the withdrawal is sent after it has ended.

        Raises:
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        candidates = self.client.candidates_if_any()
        return await self.get_term() if candidates is None else await candidates.withdraw(self._place)

    @asynccontextmanager
    async def lead(self) -> AsyncGenerator[Leadership]:
        """Enter the election, wait for the lead, and lead for as long as the block lasts.

        When the leadership is lost the block is cancelled, before the lease can end, and LeadershipLost is raised; an
        exception of the block's own, and an outer cancellation, win over that. The queue is left on every exit, after
        the block has ended; an ``await`` in a ``finally`` of the block needs a shield. Enter and leave it in one task.

        While it waits it stays in the queue: after the end of its session or an eviction it enters again at the back.

        Raises:
            LeadershipLost: the leadership ended before the block did, see ``reason``.
            CandidateTaken: the id has belonged to another live session for longer than a takeover takes.
            Unauthenticated: the server does not accept the credentials, and there is no session open.
            PermissionDenied: they do not allow it.
            InvalidRequest: this client leads or waits to lead for this candidate already.
        """
        async with lead(self.client.candidates(), self._place) as leadership:
            yield leadership

    async def run(self, work: Callable[[Leadership], Awaitable[_ResultT]]) -> _ResultT:
        """Call ``await work(leadership)`` each time this candidate leads, until the work is done.

        Returns:
            What the work returned. After a loss of leadership, which cancels the work, it enters again instead.

        Raises:
            CandidateTaken: as for ``lead``.
            LeadershipLost: the candidate was withdrawn by ``withdraw``.
        """
        candidates = self.client.candidates()
        for attempt in count():
            leadership = None
            try:
                async with lead(candidates, self._place) as leadership:
                    return await work(leadership)
            except (LeadershipLost, BaseExceptionGroup) as error:
                if leadership is None or not is_loss_of(error, leadership):
                    raise
                if leadership.reason is LossReason.WITHDRAWN:
                    raise
                log.info("%s, entering again", error)
            await candidates.keeper.pause(attempt)
        raise AssertionError("it goes on for ever")

    @property
    def is_leader(self) -> bool:
        """Whether this process may act as the leader now, by its own clock and without I/O."""
        client = self._client  # another thread may ask while the block ends
        return client is not None and client.leads(self._place) is not None

    async def get_term(self) -> Term:
        """Ask for the current term.

        Raises:
            Unavailable: the service could not be reached.
        """
        client = self.client
        return await client.service.get_term(client.call(self._name))

    async def describe(self) -> ElectionDescription:
        """Ask for all that may be known of the election: candidates with their sessions, and who is waited for.

        Raises:
            Unavailable: the service could not be reached.
        """
        client = self.client
        return await client.inspection.describe(client.call(self._name))

    async def anoint(self, candidate_id: str) -> Term:
        """Make a candidate the leader, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        client = self.client
        return await client.write(self._name, lambda call: client.service.anoint(call, candidate_id))

    async def promote(self, candidate_id: str) -> Term:
        """Move a candidate one place forward, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        client = self.client
        return await client.write(self._name, lambda call: client.service.promote(call, candidate_id))

    async def evict(self, candidate_id: str) -> Term:
        """Remove a candidate, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        client = self.client
        return await client.write(self._name, lambda call: client.service.evict(call, candidate_id))

    async def forget(self) -> Term:
        """Remove what is kept of the election, which is no longer used, and return the term that it goes on from.

        Should it be entered again, its tokens and revisions go on above that, as do those of all elections of its
        namespace that are new or forgotten. Watchers may stay, and see that nobody leads.

        Raises:
            InvalidRequest: it is in use: it has candidates, open sessions have created it or written to it (the one of
                this client too), or a leader from whom the lead was taken is waited for.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done; to do it again does no harm.
        """
        client = self.client
        return await client.service.forget(client.call(self._name))

    @asynccontextmanager
    async def events(self, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator[AsyncIterator[Event]]:
        """Watch the election: ``async with election.events() as events: async for event in events:``.

        The first event is a snapshot of the term (``EventType.NONE``), every later one a change of it.

        Args:
            buffer: changes that may wait for the reader; one that falls behind by more gets the newest term and skips
                those between, which shows in the revisions.

        Raises:
            InvalidRequest: the buffer has no room.
            Unavailable: the service could not be reached, also later, when the connection is lost.
        """
        if buffer < 1:
            raise InvalidRequest(f"buffer is {buffer}: it must be at least 1")
        client = self.client
        async with client.service.events(client.call(self._name), buffer=buffer) as events:
            yield events

    @property
    def _place(self) -> Place:
        return self._name, self._candidate_id

    async def _leave(self) -> None:
        client = self.client
        candidates = None if client.is_forked else client.candidates_if_any()
        if candidates is not None and candidates.is_entered(self._place):
            await candidates.leave(self._place)

    def _forget_entered(self) -> None:
        self._is_entered = False

    def _forget_client(self) -> None:
        self._client = None


def _unique_id() -> str:
    host = "".join(letter for letter in socket.gethostname() if letter.isalnum() or letter in "-.")[:64]
    return f"{host or 'host'}-{os.getpid()}-{secrets.token_hex(4)}"
