"""What applications use: ``connect`` gives a ``Client``, and a ``LeaderElection`` is one candidate's view of one."""

import logging
import os
import secrets
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

import anyio

from atomix_election.errors import ElectionError, InvalidRequest, SessionEnded
from atomix_election.model import (
    DEFAULT_NAMESPACE,
    DEFAULT_SESSION_TTL_S,
    Event,
    Term,
    check_candidate_id,
    check_metadata_id,
)
from atomix_election.service import WATCH_BUFFER, Call, ElectionService
from atomix_election.targets import open_service

LEAVE_TIMEOUT_S = 5.0
"""How long leaving the queue may take when a block ends; after it, the end of the session does it."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def connect(
    target: str = "memory://", *, namespace: str = DEFAULT_NAMESPACE, session_ttl: float = DEFAULT_SESSION_TTL_S
) -> AsyncGenerator["Client"]:
    """Connect to a service of elections: one session and one connection for any number of elections.

    Args:
        target: where the elections are: ``memory://`` (of this client alone), ``memory://name`` (shared within the
            process) or ``grpc://host:port[,host:port]``.
        namespace: where the names of the elections live.
        session_ttl: seconds that the session outlives this client's connection, where the target is in-process; a
            server has a setting of its own.

    Raises:
        InvalidRequest: the target or the namespace is malformed.
    """
    check_metadata_id("namespace", namespace)
    if not session_ttl > 0:
        raise InvalidRequest(f"session_ttl is {session_ttl} s: it must be more than 0")
    async with open_service(target, session_ttl_s=session_ttl) as service:
        client = Client(service, namespace)
        try:
            yield client
        finally:
            await client.leave_all()


class Client:
    """One session and one connection, for any number of elections. Made by ``connect``."""

    def __init__(self, service: ElectionService, namespace: str) -> None:
        self.service = service
        self.namespace = namespace
        self._session = _Session()

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

    async def enter(self, name: str, candidate_id: str) -> Term:
        """Enter a candidate with this client's session, which is opened if need be, and replaced if it ended."""
        session = self._session
        try:
            return await self._enter(session, name, candidate_id)
        except SessionEnded:
            if session is self._session:
                self._session = _Session()
            return await self._enter(self._session, name, candidate_id)

    async def leave(self, name: str, candidate_id: str) -> None:
        """Withdraw a candidate, and take the session out of the election with its last one. Bounded in time."""
        session = self._session
        candidates = session.candidates.get(name, set())
        if candidate_id not in candidates:
            return
        candidates.discard(candidate_id)
        call = self.call(name)
        try:
            with anyio.fail_after(LEAVE_TIMEOUT_S, shield=True):
                if candidates:
                    await self.service.withdraw(call, candidate_id)
                else:
                    del session.candidates[name]
                    await self.service.close(call)
        except SessionEnded:
            return  # and its candidates with it
        except (ElectionError, TimeoutError) as error:
            log.warning(
                "%s did not leave election %s, the end of its session will do it: %s", candidate_id, name, error
            )

    async def leave_all(self) -> None:
        """Take the session out of all its elections, which ends it."""
        for name, candidates in list(self._session.candidates.items()):
            for candidate_id in list(candidates):
                await self.leave(name, candidate_id)

    def stands(self, name: str, candidate_id: str) -> bool:
        """Return whether this client's session has entered a candidate and not withdrawn it."""
        return candidate_id in self._session.candidates.get(name, ())

    def call(self, name: str) -> Call:
        """Return what a call on an election says of itself; it names the session once there is one."""
        return Call(name, self.namespace, self._session.id if self._session.candidates else "")

    async def _enter(self, session: "_Session", name: str, candidate_id: str) -> Term:
        call = Call(name, self.namespace, session.id)
        candidates = session.candidates.setdefault(name, set())
        candidates.add(candidate_id)  # before it is sent: an entry of unknown outcome is left like any other
        await self.service.create(call)
        return await self.service.enter(call, candidate_id)


class _Session:
    """The session of a client: its id, which is never used again, and the candidates that it has entered."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(16)
        self.candidates: dict[str, set[str]] = {}


class LeaderElection:
    """One election, in-process or on a server, as one candidate sees it. An async context manager.

    Args:
        name: the election; the same for all who compete.
        target: where it is, see ``connect``. Its default is an election of this object alone.
        candidate_id: who stands in it; by default an id that no other process has.
        namespace: where the name lives.
        session_ttl: see ``connect``.
        client: use this client, instead of connecting to a target. ``Client.election`` is the way to say it.

    Raises:
        InvalidRequest: one of them is malformed.
    """

    def __init__(
        self,
        name: str,
        *,
        target: str = "memory://",
        candidate_id: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        session_ttl: float = DEFAULT_SESSION_TTL_S,
        client: Client | None = None,
    ) -> None:
        self._name = check_metadata_id("election name", name)
        self._namespace = check_metadata_id("namespace", namespace)
        self._candidate_id = check_candidate_id(_unique_id() if candidate_id is None else candidate_id)
        self._target = target
        self._session_ttl = session_ttl
        self._client = client
        self._entered = AsyncExitStack()

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

    async def __aenter__(self) -> Self:
        await self._entered.__aenter__()
        if self._client is None:
            connecting = connect(self._target, namespace=self._namespace, session_ttl=self._session_ttl)
            self._client = await self._entered.enter_async_context(connecting)
            self._entered.callback(self._forget_client)
        self._entered.push_async_callback(self._client.leave, self._name, self._candidate_id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._entered.__aexit__(kind, error, trace)

    async def enter(self) -> Term:
        """Enter the election, at the back of the queue, and return the term after it. It does not wait to lead.

        Entering again changes nothing.

        Raises:
            CandidateTaken: the candidate id belongs to another live session.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        return await self._connected.enter(self._name, self._candidate_id)

    async def withdraw(self) -> Term:
        """Leave the queue, and return the term after it. Who is not in it changes nothing.

        Raises:
            NotOwner: the candidate of this id belongs to another session.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        client = self._connected
        if not client.stands(self._name, self._candidate_id):
            return await self.get_term()
        try:
            return await client.service.withdraw(client.call(self._name), self._candidate_id)
        except SessionEnded:
            return await self.get_term()

    async def get_term(self) -> Term:
        """Ask for the current term.

        Raises:
            Unavailable: the service could not be reached.
        """
        client = self._connected
        return await client.service.get_term(client.call(self._name))

    async def anoint(self, candidate_id: str) -> Term:
        """Make a candidate the leader, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        client = self._connected
        return await client.service.anoint(client.call(self._name), candidate_id)

    async def promote(self, candidate_id: str) -> Term:
        """Move a candidate one place forward, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        client = self._connected
        return await client.service.promote(client.call(self._name), candidate_id)

    async def evict(self, candidate_id: str) -> Term:
        """Remove a candidate, whoever entered it, and return the term after it.

        Raises:
            NotACandidate: there is none of that id.
            Unavailable: the service could not be reached.
            OutcomeUnknown: it may or may not have been done.
        """
        client = self._connected
        return await client.service.evict(client.call(self._name), candidate_id)

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
        client = self._connected
        async with client.service.events(client.call(self._name), buffer=buffer) as events:
            yield events

    @property
    def _connected(self) -> Client:
        if self._client is None:
            raise InvalidRequest("this LeaderElection is not connected: use it inside its `async with` block")
        return self._client

    def _forget_client(self) -> None:
        self._client = None


def _unique_id() -> str:
    host = "".join(letter for letter in socket.gethostname() if letter.isalnum() or letter in "-.")[:64]
    return f"{host or 'host'}-{os.getpid()}-{secrets.token_hex(4)}"
