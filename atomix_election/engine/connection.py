"""One connection to an engine of this process: checks what comes in, and knows which sessions it keeps open."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from anyio.lowlevel import checkpoint_if_cancelled

from atomix_election.broadcast import Subscription
from atomix_election.core.commands import Anoint, CandidateCommand, Enter, Evict, Operation, Promote, Withdraw
from atomix_election.engine.engine import Engine
from atomix_election.engine.keepalive import EngineKeepAlive
from atomix_election.engine.lanes import Waiting
from atomix_election.engine.sessions import Holder, Session, not_open
from atomix_election.errors import InvalidRequest, Unavailable
from atomix_election.model import ElectionDescription, ElectionPage, Term, check_candidate_id, check_metadata_id
from atomix_election.service import PAGE_SIZE, WATCH_BUFFER, Call

_OWN = (Enter, Withdraw)


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
        found = await self._engine.look_up(namespace, session)
        if found is not None:
            found.check_owner(self._owner)
            await self._engine.end_session(found)

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        self._check_connected()
        _require_session(call)
        self._engine.check_admits()
        session = await self._engine.open_session(call.namespace, call.session, owner=self._owner)
        self._hold(session)
        session.elections[call.election_id] = None
        await self._engine.create(session, call.election_id, _operation(session, call))

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        self._check_connected()
        session = self._use(call, await self._look_up(call))
        await self._engine.close(session, call.election_id, _operation(session, call))

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        return await self._submit(call, Enter, candidate_id)

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        return await self._submit(call, Withdraw, candidate_id)

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        return await self._submit(call, Anoint, candidate_id)

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        return await self._submit(call, Promote, candidate_id)

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        return await self._submit(call, Evict, candidate_id)

    def submit_now(self, call: Call, command: type[CandidateCommand], candidate_id: str) -> Waiting | None:
        """See ``ImmediateService.submit_now``."""
        if command is Enter:
            self._engine.check_admits()
        session = self._find(call)
        if session is None and self._may_be_open(call):
            return None
        return self._hand_over(call, command, candidate_id, session)

    def read_now(self, call: Call) -> Term | None:
        """See ``ImmediateService.read_now``."""
        self._check_connected()
        session = self._find(call)
        if session is None and self._may_be_open(call):
            return None
        self._use_if_open(call, session)
        return self._engine.read_now(call.election_id)

    async def forget(self, call: Call) -> Term:
        """See ``ElectionService.forget``."""
        self._check_connected()
        self._use_if_open(call, await self._look_up(call))
        return await self._engine.forget(call.election_id)

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        await checkpoint_if_cancelled()
        self._check_connected()
        self._use_if_open(call, await self._look_up(call))
        return await self._engine.read(call.election_id)

    @asynccontextmanager
    async def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator[Subscription]:
        """See ``ElectionService.events``."""
        self._use_if_open(call, await self._look_up(call))
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

    async def _submit(self, call: Call, command: type[CandidateCommand], candidate_id: str) -> Term:
        await checkpoint_if_cancelled()
        waiting = self.submit_now(call, command, candidate_id)
        if waiting is None:
            waiting = self._hand_over(call, command, candidate_id, await self._look_up(call))
        return await self._engine.answered(waiting)

    def _hand_over(
        self, call: Call, command: type[CandidateCommand], candidate_id: str, session: Session | None
    ) -> Waiting:
        election_id = call.election_id
        if issubclass(command, _OWN):
            session = self._use(call, session)
            wanted = command(check_candidate_id(candidate_id or call.session), session.id)
        else:
            wanted = command(check_candidate_id(candidate_id))
            session = self._use_if_open(call, session)
        self._check_connected()
        if session is not None:
            session.elections[election_id] = None
        return self._engine.submit_now(election_id, wanted, _operation(session, call))

    def _find(self, call: Call) -> Session | None:
        return self._engine.sessions.find(call.namespace, call.session)

    def _may_be_open(self, call: Call) -> bool:
        """Return whether a session that is not known here may be open all the same."""
        return bool(call.session) and not self._engine.sessions.all_known

    async def _look_up(self, call: Call) -> Session | None:
        return await self._engine.look_up(call.namespace, call.session) if call.session else None

    def _use(self, call: Call, session: Session | None) -> Session:
        """Return the session of a call that needs one, if this connection may use it, which keeps it open."""
        _require_session(call)
        if session is None:
            raise not_open(call.namespace, call.session)
        session.check_owner(self._owner)
        self._hold(session)
        return session

    def _use_if_open(self, call: Call, session: Session | None) -> Session | None:
        """Do the same for a call that needs none; a numbered write cannot do without."""
        return None if session is None and call.operation is None else self._use(call, session)

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


def _operation(session: Session | None, call: Call) -> Operation | None:
    return None if session is None or call.operation is None else Operation(session.id, call.operation)
