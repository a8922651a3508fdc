"""One connection to an engine of this process: checks what comes in, and knows which sessions it keeps open."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from atomix_election.core.commands import Anoint, Command, Enter, Evict, Operation, Promote, Withdraw
from atomix_election.engine.engine import Engine
from atomix_election.engine.sessions import Holder, Session
from atomix_election.errors import InvalidRequest
from atomix_election.model import Event, Term, check_candidate_id
from atomix_election.service import WATCH_BUFFER, Call


class Connection:
    """The service as one connection sees it. Sessions that it used stay open until ``disconnect``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._holder = Holder()
        self._connected = True

    def disconnect(self) -> None:
        """Let go of the sessions; each that no other connection uses has one time-to-live left."""
        self._connected = False
        self._engine.sessions.let_go(self._holder)

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        _require_session(call)
        session = await self._engine.sessions.open(call.namespace, call.session)
        self._hold(session)
        session.elections.add(call.election_id)
        await self._engine.create(session, call.election_id, _operation(session, call))

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        session = self._session(call)
        await self._engine.close(session, call.election_id, _operation(session, call))

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        session = self._session(call)
        candidate_id = check_candidate_id(candidate_id or call.session)
        return await self._submit(call, Enter(candidate_id, session.id), session)

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        session = self._session(call)
        candidate_id = check_candidate_id(candidate_id or call.session)
        return await self._submit(call, Withdraw(candidate_id, session.id), session)

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        return await self._submit(call, Anoint(check_candidate_id(candidate_id)), self._session_if_open(call))

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        return await self._submit(call, Promote(check_candidate_id(candidate_id)), self._session_if_open(call))

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        return await self._submit(call, Evict(check_candidate_id(candidate_id)), self._session_if_open(call))

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        self._session_if_open(call)
        return await self._engine.read(call.election_id)

    @asynccontextmanager
    async def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator[AsyncIterator[Event]]:
        """See ``ElectionService.events``."""
        self._session_if_open(call)
        async with self._engine.watch(call.election_id, buffer) as events:
            yield events

    async def _submit(self, call: Call, command: Command, session: Session | None) -> Term:
        if session is None:
            return await self._engine.submit(call.election_id, command)
        session.elections.add(call.election_id)
        return await self._engine.submit(call.election_id, command, _operation(session, call))

    def _session(self, call: Call) -> Session:
        _require_session(call)
        session = self._engine.sessions.get(call.namespace, call.session)
        self._hold(session)
        return session

    def _session_if_open(self, call: Call) -> Session | None:
        """Return the session of a call that needs none; a numbered write cannot do without."""
        if call.operation is not None:
            return self._session(call)
        session = self._engine.sessions.find(call.namespace, call.session)
        if session is not None:
            self._hold(session)
        return session

    def _hold(self, session: Session) -> None:
        if self._connected:
            self._engine.sessions.hold(session, self._holder)


def _require_session(call: Call) -> None:
    if not call.session:
        raise InvalidRequest("the call names no session: it needs metadata session-id")


def _operation(session: Session, call: Call) -> Operation | None:
    return None if call.operation is None else Operation(session.id, call.operation)
