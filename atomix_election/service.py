"""The one seam: what a connection to an election service can do.

The engine implements it in this process, the RPC client over a network, the RPC server calls it, and
``LeaderElection`` uses it without knowing which one it has. An implementation stands for one connection: the sessions
that it was used with stay open as long as it does.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from atomix_election.core.campaign import Answer, Granted
from atomix_election.errors import ElectionError
from atomix_election.model import (
    DEFAULT_NAMESPACE,
    ElectionDescription,
    ElectionId,
    ElectionPage,
    Event,
    Term,
    check_metadata_id,
)

if TYPE_CHECKING:  # a client that only calls a server has no use for it
    from atomix_election.core.commands import CandidateCommand

WATCH_BUFFER = 64
"""Events that a watcher may fall behind before those between are skipped."""
PAGE_SIZE = 100
"""Elections in one page of a list, unless asked otherwise."""
MAX_PAGE_SIZE = 1000
"""The most elections in one page."""


@dataclass(frozen=True, slots=True)
class Call:
    """What every call says of itself, beside its arguments.

    Args:
        election: the name of the election.
        namespace: where that name lives.
        session: id of the caller's session; "" for a caller that has none.
        operation: the session's number for this write, which makes repeats of it safe.

    Raises:
        InvalidRequest: one of them is malformed.
    """

    election: str
    namespace: str = DEFAULT_NAMESPACE
    session: str = ""
    operation: int | None = None

    def __post_init__(self) -> None:
        check_metadata_id("election name", self.election)
        check_metadata_id("namespace", self.namespace)
        if self.session:
            check_metadata_id("session id", self.session)

    @property
    def election_id(self) -> ElectionId:
        """The full name of the election."""
        return ElectionId(self.namespace, self.election)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A client's sign of life.

    Args:
        renewal: its number, rising within a stream.
        open: the session may be opened; else it must be open already.
        ttl_s: the time-to-live that the client would like, where the session is opened; None: the server's default.
        stepped_down: leaderships that were taken from the client and under which it does nothing any more.
        release_on_disconnect: the session is to end as soon as the client closes the connection of this stream.
    """

    renewal: int
    open: bool = False
    ttl_s: float | None = None
    stepped_down: tuple[Granted, ...] = ()
    release_on_disconnect: bool = False


class KeepAlive(Protocol):
    """A stream of renewals and answers."""

    @property
    def target(self) -> str:
        """Which of several targets is at the other end; "" where there is only one."""
        ...

    async def send(self, renewal: Renewal) -> None:
        """Send a renewal."""
        ...

    async def receive(self) -> Answer:
        """Wait for the next answer. None follows one that says that the session has ended."""
        ...

    def give_up(self) -> None:
        """The other end does not answer: use another connection next time."""
        ...

    def prefer_another(self) -> None:
        """The other end cannot use its store: use another target next time, if there is one."""
        ...


class ElectionService(Protocol):
    """The nine methods of ``atomix.election.v1.LeaderElection``, what keeps sessions alive, and what clears up.

    Each may also raise Unavailable and StoreError.
    """

    def keep_alive(self, namespace: str, session: str) -> AbstractAsyncContextManager[KeepAlive]:
        """Open or take up a session, and keep it alive by renewals. One stream per client.

        Raises:
            Unavailable: out of the block as well, when the stream broke.
        """
        ...

    def session_granted(self, ttl_s: float) -> None:
        """A session of this client lasts so long: no call and no attempt to connect may take long enough to lose it."""
        ...

    async def end_session(self, namespace: str, session: str) -> None:
        """End a session at once: its candidates leave all elections. One that is not open is no error."""
        ...

    async def create(self, call: Call) -> None:
        """Open the caller's session if need be, and register the election with it."""
        ...

    async def close(self, call: Call) -> None:
        """Remove the session's candidates from the election and unregister it.

        Raises:
            SessionEnded: the session is not open.
        """
        ...

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """Append a candidate, "" for one named as the session, and return the term after it.

        Raises:
            SessionEnded: the session is not open.
            CandidateTaken: the id belongs to another live session.
        """
        ...

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """Remove the session's own candidate, "" for the one named as the session, and return the term after it.

        Raises:
            SessionEnded: the session is not open.
            NotOwner: the candidate belongs to another session.
        """
        ...

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """Move a candidate to the front, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
        """
        ...

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """Move a candidate one place forward, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
        """
        ...

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """Remove a candidate, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
        """
        ...

    async def forget(self, call: Call) -> Term:
        """Remove what is kept of an election that nobody uses, and return the term that it goes on from.

        Raises:
            InvalidRequest: it has candidates, open sessions have created it or written to it, or a leader from whom the
                lead was taken is waited for.
        """
        ...

    async def get_term(self, call: Call) -> Term:
        """Return the current term, read after the call arrived."""
        ...

    def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Watch: a snapshot first, then every change in order.

        Args:
            call: whose election.
            buffer: changes that may wait for the reader; beyond it the reader gets the newest and skips the rest.
        """
        ...


class Pending(Protocol):
    """A command that was handed over, and what became of it once that is known."""

    @property
    def outcome(self) -> Term | ElectionError | None:
        """The term after the command, or the error that it is answered with; None as long as neither is known."""
        ...

    def on_answer(self, tell: Callable[[], None]) -> None:
        """Call something once, from the event loop, as soon as the outcome is known; at once if it is known already.

        Args:
            tell: must not wait, and must not raise.
        """
        ...

    async def answered(self) -> Term:
        """Wait for the term after the command.

        Raises:
            ElectionError: the command was refused, or could not be committed.
        """
        ...


class ImmediateService(Protocol):
    """What a connection in this process can also do without a task: take a call now, in the event loop's thread.

    Calls are taken in the order in which they are made, those of the awaited methods included. Each method makes the
    same checks, and raises the same errors, as the one that is awaited. None means that something has to be waited for
    before it can be done, and that nothing was done: await the method instead.
    """

    def submit_now(self, call: Call, command: "type[CandidateCommand]", candidate_id: str) -> Pending | None:
        """Hand over a command, as enter, withdraw, anoint, promote and evict do."""
        ...

    def read_now(self, call: Call) -> Term | None:
        """Return the current term, as get_term does, where it is known without waiting."""
        ...


class ImmediateKeepAlive(KeepAlive, Protocol):
    """A stream of renewals in this process, which can also take one without a task."""

    def renew_now(self, renewal: Renewal) -> Answer | None:
        """Take a renewal of the session that this stream has taken up, and return the answer to it.

        None means that something has to be waited for, or that there is more to do, and that nothing was done: send it.
        """
        ...

    def on_news(self, tell: Callable[[], None]) -> None:
        """Tell somebody from now on when an answer would say something new, as long as the session is open.

        Args:
            tell: must not wait, and must not raise. Whoever is told asks ``newest``, or lets ``receive`` return it.
        """
        ...

    def newest(self) -> Answer:
        """Return the answer as it is now."""
        ...

    def let_receive(self) -> None:
        """Let ``receive`` return the answer as it is then."""
        ...


class InspectionService(Protocol):
    """What operators ask. No session is needed.

    Each may also raise Unavailable and StoreError.
    """

    async def list_elections(self, namespace: str, *, page_size: int = PAGE_SIZE, page_token: str = "") -> ElectionPage:
        """Return some elections of a namespace, in order of their names.

        Args:
            namespace: where the names live.
            page_size: the most that are returned; never more than MAX_PAGE_SIZE, whatever is asked for.
            page_token: the ``next_page_token`` of the page before; "" for the first one.

        Raises:
            InvalidRequest: the namespace or the token is malformed, or the page has no room.
        """
        ...

    async def describe(self, call: Call) -> ElectionDescription:
        """Describe one election; one that nobody ever entered has term 0 and no candidates."""
        ...


class Service(ElectionService, InspectionService, Protocol):
    """All that a connection can do."""
