"""One connection to an engine of this process: checks what comes in, and knows which sessions it keeps open."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from atomix_election.broadcast import Subscription
from atomix_election.core.commands import Anoint, Command, Enter, Evict, Operation, Promote, Withdraw
from atomix_election.engine.engine import Engine
from atomix_election.engine.keepalive import EngineKeepAlive
from atomix_election.engine.sessions import Holder, Session, not_open
from atomix_election.errors import InvalidRequest, Unavailable
from atomix_election.model import ElectionDescription, ElectionPage, Event, Term, check_candidate_id, check_metadata_id
from atomix_election.service import PAGE_SIZE, WATCH_BUFFER, Call


class Connection:
    """The service as one connection sees it. Sessions that it used stay open until ``disconnect``.

    Args:
        engine: where the elections are.
        owner: name of the principal whose calls these are. It gets at no other's sessions.
        peer: the address at the other end, for people; "" when that is not known.
    """

    def __init__(self, engine: Engine, owner: str = "", *, peer: str = "") -> None:
        self._engine = engine
        self._owner = owner
        self._peer = peer
        self._holder = Holder(peer)
        self._connected = True
        self._may_hold: Callable[[str], bool] = _anywhere
        self._streams: set[EngineKeepAlive] = set()
        self._watches: set[Subscription] = set()

    @property
    def store_id(self) -> str:
        """Identity of the store."""
        return self._engine.store_id

    def hold_only(self, may: Callable[[str], bool]) -> None:
        """Keep sessions open in some namespaces only; those in others have one time-to-live left from now on.

        Args:
            may: whether in this namespace.
        """
        self._may_hold = may
        self._engine.sessions.let_go(self._holder, unless=may)

    def disconnect(self, *, by_peer: bool = False) -> None:
        """Let go of the sessions; each that no other connection uses has one time-to-live left.

        Args:
            by_peer: whether the other end closed the connection.
        """
        self._connected = False
        for watch in self._watches:
            watch.fail(_closed())
        if by_peer:
            for stream in self._streams:
                stream.disconnected_by_peer()
        self._engine.sessions.let_go(self._holder)

    @asynccontextmanager
    async def keep_alive(self, namespace: str, session: str) -> AsyncGenerator[EngineKeepAlive]:
        """See ``ElectionService.keep_alive``."""
        self._check_connected()
        check_metadata_id("namespace", namespace)
        check_metadata_id("session id", session)
        stream = EngineKeepAlive(self._engine, namespace, session, owner=self._owner, peer=self._peer)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            stream.close()

    def session_granted(self, ttl_s: float) -> None:
        """See ``ElectionService.session_granted``. Nothing hangs inside a process."""

    async def end_session(self, namespace: str, session: str) -> None:
        """See ``ElectionService.end_session``."""
        self._check_connected()
        found = await self._engine.sessions.look_up(namespace, session)
        if found is not None:
            found.check_owner(self._owner)
            await self._engine.end_session(found)

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        self._check_connected()
        _require_session(call)
        self._engine.check_admits()
        session = await self._engine.sessions.open(call.namespace, call.session, owner=self._owner)
        self._hold(session)
        session.elections[call.election_id] = None
        await self._engine.create(session, call.election_id, _operation(session, call))

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        self._check_connected()
        session = await self._session(call)
        await self._engine.close(session, call.election_id, _operation(session, call))

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        self._engine.check_admits()
        session = await self._session(call)
        candidate_id = check_candidate_id(candidate_id or call.session)
        return await self._submit(call, Enter(candidate_id, session.id), session)

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        session = await self._session(call)
        candidate_id = check_candidate_id(candidate_id or call.session)
        return await self._submit(call, Withdraw(candidate_id, session.id), session)

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        return await self._submit(call, Anoint(check_candidate_id(candidate_id)), await self._session_if_open(call))

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        return await self._submit(call, Promote(check_candidate_id(candidate_id)), await self._session_if_open(call))

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        return await self._submit(call, Evict(check_candidate_id(candidate_id)), await self._session_if_open(call))

    async def forget(self, call: Call) -> Term:
        """See ``ElectionService.forget``."""
        self._check_connected()
        await self._session_if_open(call)
        return await self._engine.forget(call.election_id)

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        self._check_connected()
        await self._session_if_open(call)
        return await self._engine.read(call.election_id)

    @asynccontextmanager
    async def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator[AsyncIterator[Event]]:
        """See ``ElectionService.events``."""
        await self._session_if_open(call)
        self._check_connected()
        async with self._engine.watch(call.election_id, buffer) as events:
            self._watches.add(events)
            try:
                yield events
            finally:
                self._watches.discard(events)

    async def list_elections(self, namespace: str, *, page_size: int = PAGE_SIZE, page_token: str = "") -> ElectionPage:
        """See ``InspectionService.list_elections``."""
        self._check_connected()
        return await self._engine.list_elections(namespace, page_size, page_token)

    async def describe(self, call: Call) -> ElectionDescription:
        """See ``InspectionService.describe``."""
        self._check_connected()
        return await self._engine.describe(call.election_id)

    async def _submit(self, call: Call, command: Command, session: Session | None) -> Term:
        self._check_connected()
        if session is None:
            return await self._engine.submit(call.election_id, command)
        session.elections[call.election_id] = None
        return await self._engine.submit(call.election_id, command, _operation(session, call))

    async def _session(self, call: Call) -> Session:
        _require_session(call)
        session = await self._engine.sessions.look_up(call.namespace, call.session)
        if session is None:
            raise not_open(call.namespace, call.session)
        session.check_owner(self._owner)
        self._hold(session)
        return session

    async def _session_if_open(self, call: Call) -> Session | None:
        """Return the session of a call that needs none; a numbered write cannot do without."""
        if call.operation is not None:
            return await self._session(call)
        if not call.session:
            return None
        session = await self._engine.sessions.look_up(call.namespace, call.session)
        if session is not None:
            session.check_owner(self._owner)
            self._hold(session)
        return session

    def _check_connected(self) -> None:
        if not self._connected:
            raise _closed()

    def _hold(self, session: Session) -> None:
        if self._connected and self._may_hold(session.id.namespace):
            self._engine.sessions.hold(session, self._holder)


def _anywhere(_: str) -> bool:
    return True


def _closed() -> Unavailable:
    return Unavailable("the connection to the engine is closed")


def _require_session(call: Call) -> None:
    if not call.session:
        raise InvalidRequest("the call names no session: it needs metadata session-id")


def _operation(session: Session, call: Call) -> Operation | None:
    return None if call.operation is None else Operation(session.id, call.operation)
