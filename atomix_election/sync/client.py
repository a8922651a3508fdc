"""What blocking applications use: ``connect`` gives a ``Client``, a ``LeaderElection`` is what a candidate sees."""

import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from atomix_election import client as asynchronous
from atomix_election.clock import Clock
from atomix_election.errors import InvalidRequest, LeadershipLost, LossReason
from atomix_election.leadership import is_loss_of
from atomix_election.model import (
    DEFAULT_NAMESPACE,
    DEFAULT_SESSION_TTL_S,
    ElectionDescription,
    ElectionSummary,
    Term,
)
from atomix_election.service import PAGE_SIZE, WATCH_BUFFER
from atomix_election.signals import RaisedBySigterm
from atomix_election.sync.event_loop import EventLoop
from atomix_election.sync.events import Events
from atomix_election.sync.held import Held
from atomix_election.sync.leading import Lead, Leadership
from atomix_election.tls import ClientTls
from atomix_election.tokens import Token

if TYPE_CHECKING:
    from atomix_election.stores.base import Store

_ResultT = TypeVar("_ResultT")

log: logging.Logger = logging.getLogger(__name__)


def connect(
    target: "str | Store" = "memory://",
    *,
    namespace: str = DEFAULT_NAMESPACE,
    session_ttl: float = DEFAULT_SESSION_TTL_S,
    release_on_disconnect: bool = False,
    tls: ClientTls | None = None,
    token: Token | None = None,
    clock: Clock | None = None,
) -> AbstractContextManager["Client"]:
    """Connect to a service of elections: one session and one connection for any number of elections and threads.

    ``with connect("grpc://localhost:5678") as client:``. For the arguments and errors see ``atomix_election.connect``;
    ``memory://name`` and files are shared by all blocking objects of the process, whatever their threads.
    """
    make = partial(
        asynchronous.connect,
        target,
        namespace=namespace,
        session_ttl=session_ttl,
        release_on_disconnect=release_on_disconnect,
        tls=tls,
        token=token,
        clock=clock,
    )
    return _Connecting(Held(make))


class _Connecting:
    """The block of ``connect``."""

    def __init__(self, held: Held[asynchronous.Client]) -> None:
        self._held = held

    def __enter__(self) -> "Client":
        self._held.use()
        try:
            return Client(self._held.enter(), self._held.event_loop)
        except BaseException:
            self._held.drop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.leave()


class Client:
    """One session and one connection, for any number of elections. Made by ``connect``. Threads may share it."""

    def __init__(self, client: asynchronous.Client, event_loop: EventLoop) -> None:
        self._client = client
        self._event_loop = event_loop
        self._leads: dict[tuple[str, str], Lead] = {}

    @property
    def namespace(self) -> str:
        """Where the names of the elections live."""
        return self._client.namespace

    @property
    def asynchronous(self) -> asynchronous.Client:
        """What does the work, in the event loop's thread: for those who look at a client from the inside."""
        return self._client

    @property
    def event_loop(self) -> EventLoop:
        """Where it does so."""
        return self._event_loop

    @property
    def leads(self) -> dict[tuple[str, str], Lead]:
        """The blocks in which threads lead, by election and candidate."""
        return self._leads

    def election(self, name: str, *, candidate_id: str | None = None) -> "LeaderElection":
        """Return an election of this client's namespace.

        It can be used at once; as a context manager it leaves the queue at the end of the block, and else when the
        client is closed.

        Args:
            name: the election.
            candidate_id: who stands in it; by default an id that no other process has.

        Raises:
            InvalidRequest: one of them is malformed.
        """
        return LeaderElection(name, candidate_id=candidate_id, namespace=self.namespace, client=self)

    def list_elections(self, *, page_size: int = PAGE_SIZE) -> Iterator[ElectionSummary]:
        """Iterate over the elections of the namespace, see ``atomix_election.Client.list_elections``."""
        page_token = ""
        while True:
            ask = partial(self._client.inspection.list_elections, page_size=page_size, page_token=page_token)
            page = self._event_loop.run(partial(ask, self.namespace))
            yield from page.elections
            page_token = page.next_page_token
            if not page_token:
                return


class LeaderElection:
    """One election, in-process or on a server, as one candidate sees it, for code that is not asynchronous.

    A context manager, to be entered once at a time. Inside its block threads may share it. A thread that waits in one
    of its methods can be interrupted by Ctrl-C: what was begun is undone before KeyboardInterrupt goes on.

    Args:
        name: the election; the same for all who compete.
        target: where it is, see ``connect``. Its default is an election of this object alone.
        candidate_id: who stands in it; by default an id that no other process has.
        namespace: where the name lives.
        session_ttl: see ``connect``.
        release_on_disconnect: see ``connect``.
        tls: see ``connect``.
        token: see ``connect``.
        handle_signals: SIGTERM raises a SystemExit in the main thread, which ends the ``with`` block; after the
            leadership was given up and the queue was left, the signal is raised again. Only where the block is entered
            in the main thread, and only where SIGTERM has its default action.
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
        self._election = asynchronous.LeaderElection(
            name,
            target=target,
            candidate_id=candidate_id,
            namespace=namespace,
            session_ttl=session_ttl,
            release_on_disconnect=release_on_disconnect,
            tls=tls,
            token=token,
            client=client and client.asynchronous,
        )
        self._handle_signals = handle_signals
        self._shared = client
        self._client = client
        self._in_use = threading.Lock()
        self._sigterm: RaisedBySigterm
        self._held: Held[asynchronous.LeaderElection]

    @property
    def name(self) -> str:
        """The election."""
        return self._election.name

    @property
    def namespace(self) -> str:
        """Where the name lives."""
        return self._election.namespace

    @property
    def candidate_id(self) -> str:
        """Who stands in it here."""
        return self._election.candidate_id

    @property
    def client(self) -> Client:
        """What it is connected with.

        Raises:
            InvalidRequest: it is not connected, as its block has not begun, or has ended.
        """
        if self._client is None:
            raise InvalidRequest("this LeaderElection is not connected: use it inside its `with` block")
        return self._client

    def __enter__(self) -> Self:
        if not self._in_use.acquire(blocking=False):
            raise InvalidRequest("this LeaderElection is entered already: use another object, or one `with`")
        self._sigterm = RaisedBySigterm()
        self._held = Held(lambda: self._election, self._shared and self._shared.event_loop)
        try:
            if self._handle_signals:
                self._sigterm.begin()
            self._held.enter()
            if self._shared is None:
                self._client = Client(self._election.client, self._held.event_loop)
        except BaseException:
            self._end(self._held.drop)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(self._held.leave)

    def _end(self, leave: Callable[[], None]) -> None:
        self._sigterm.leave()
        try:
            leave()
        finally:
            self._client = self._shared
            self._in_use.release()
            self._sigterm.end()

    def enter(self) -> Term:
        """Enter the election, at the back of the queue, and return the term after it. It does not wait to lead.

        See ``atomix_election.LeaderElection.enter``.

        Raises:
            CandidateTaken: the candidate id belongs to another live session.
            Unauthenticated: the server does not accept the credentials.
            PermissionDenied: they do not allow it.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        return self._call(self._election.enter)

    def withdraw(self) -> Term:
        """Leave the queue, and return the term after it. Who is not in it changes nothing.

        The leadership of a ``lead()`` of this candidate is lost, and the withdrawal is sent after its block has ended:
        this waits for that. In the thread of the block itself LeadershipLost is raised, which is to end the block.

        Raises:
            LeadershipLost: this thread leads; the candidate is withdrawn when its block has ended.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        lead = self.client.leads.get((self.name, self.candidate_id))
        if lead is None or lead.thread_id != threading.get_ident():
            return self._call(self._election.withdraw)
        self._call(self._tell_to_stop)
        reason = LossReason.WITHDRAWN
        what = f"{self.candidate_id!r} was withdrawn from election {self.name!r} inside its own block"
        raise LeadershipLost(what, reason=reason, leadership=lead.leadership)

    def lead(
        self, *, timeout_s: float | None = None, on_lost: Callable[[Leadership], object] | None = None
    ) -> AbstractContextManager[Leadership]:
        """Enter the election, wait for the lead, and lead for as long as the block lasts.

        ``with election.lead() as leadership:``. Nothing can cancel the block when the leadership is lost: it is told by
        ``leadership.ensure()``, ``leadership.lost`` and ``on_lost``, before the lease can end, and has to end by
        itself. If it has not by then, the session ends with all its elections, and the next one leads. The queue is
        left when the block has ended, and LeadershipLost is raised then; an exception of the block's own wins over it.

        While it waits it stays in the queue: after the end of its session or an eviction it enters again at the back.
        When the wait ends otherwise, by its limit or by Ctrl-C, the queue has been left.

        Args:
            timeout_s: how long to wait for the lead at most, in seconds; by default for as long as it takes.
            on_lost: called with the leadership when it is lost, in a thread of its own. The candidate is not withdrawn
                before it has returned, so it must not wait for the block to end. What it raises goes to
                ``threading.excepthook``.

        Raises:
            LeadershipLost: the leadership ended before the block did, see ``reason``.
            TimeoutError: this candidate did not lead in time.
            CandidateTaken: the id has belonged to another live session for longer than a takeover takes.
            Unauthenticated: the server does not accept the credentials, and there is no session open.
            PermissionDenied: they do not allow it.
            InvalidRequest: this client leads or waits to lead for this candidate already.
        """
        client = self.client
        return Lead(
            self._election.lead,
            client.event_loop,
            client.leads,
            (self.name, self.candidate_id),
            timeout_s=timeout_s,
            on_lost=on_lost,
        )

    def run(
        self, work: Callable[[Leadership], _ResultT], *, on_lost: Callable[[Leadership], object] | None = None
    ) -> _ResultT:
        """Call ``work(leadership)`` in this thread each time this candidate leads, until the work is done.

        Args:
            work: what to do; it has to end when the leadership is lost, see ``lead``.
            on_lost: see ``lead``.

        Returns:
            What the work returned. If the leadership was lost by then, also when ``leadership.ensure()`` said so inside
            the work, it enters again instead.

        Raises:
            CandidateTaken: as for ``lead``.
            LeadershipLost: the candidate was withdrawn by ``withdraw``.
        """
        for attempt in count():
            leadership = None
            try:
                with self.lead(on_lost=on_lost) as leadership:
                    return work(leadership)
            except (LeadershipLost, BaseExceptionGroup) as error:
                if leadership is None or not is_loss_of(error, leadership):
                    raise
                if leadership.reason is LossReason.WITHDRAWN:
                    raise
                log.info("%s, entering again", error)
            self._call(partial(self._pause, attempt))
        raise AssertionError("it goes on for ever")

    @property
    def is_leader(self) -> bool:
        """Whether this process may act as the leader now, by its own clock and without I/O."""
        return self._election.is_leader

    def get_term(self) -> Term:
        """Ask for the current term.

        Raises:
            Unavailable: the service could not be reached.
        """
        return self._call(self._election.get_term)

    def describe(self) -> ElectionDescription:
        """Ask for all that may be known of the election: candidates with their sessions, and who is waited for.

        Raises:
            Unavailable: the service could not be reached.
        """
        return self._call(self._election.describe)

    def anoint(self, candidate_id: str) -> Term:
        """Make a candidate the leader, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        return self._call(partial(self._election.anoint, candidate_id))

    def promote(self, candidate_id: str) -> Term:
        """Move a candidate one place forward, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        return self._call(partial(self._election.promote, candidate_id))

    def evict(self, candidate_id: str) -> Term:
        """Remove a candidate, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        return self._call(partial(self._election.evict, candidate_id))

    def forget(self) -> Term:
        """Remove what is kept of the election, which is no longer used; see ``atomix_election.LeaderElection.forget``.

        Raises:
            InvalidRequest: it is in use.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done; to do it again does no harm.
        """
        return self._call(self._election.forget)

    def events(self, *, buffer: int = WATCH_BUFFER) -> Events:
        """Watch the election: ``with election.events() as events: for event in events:``.

        The first event is a snapshot of the term (``EventType.NONE``), every later one a change of it.
        ``events.next(timeout_s=...)`` waits for the next one for a limited time.

        Args:
            buffer: changes that may wait for the reader; one that falls behind by more gets the newest term and skips
                those between, which shows in the revisions.

        Raises:
            InvalidRequest: the buffer has no room.
            Unavailable: the service could not be reached, also later, when the connection is lost.
        """
        return Events(partial(self._election.events, buffer=buffer), self.client.event_loop)

    def _call(self, work: Callable[[], Awaitable[_ResultT]]) -> _ResultT:
        return self.client.event_loop.run(work)

    async def _pause(self, attempt: int) -> None:
        await self._election.client.keeper.pause(attempt)

    async def _tell_to_stop(self) -> None:
        self._election.client.candidates().tell_to_stop((self.name, self.candidate_id))
