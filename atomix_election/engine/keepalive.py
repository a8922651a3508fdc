"""The engine's end of a keep-alive stream."""

from collections.abc import Callable

import anyio

from atomix_election.core.campaign import Answer
from atomix_election.core.commands import SteppedDown
from atomix_election.core.granting import newly_confirmed
from atomix_election.engine.engine import Engine
from atomix_election.engine.sessions import Session
from atomix_election.errors import InvalidRequest
from atomix_election.model import check_metadata_id
from atomix_election.service import Renewal


class EngineKeepAlive:
    """Takes renewals of one session, and has an answer whenever there is something to say."""

    target = ""

    def __init__(self, engine: Engine, namespace: str, session_id: str, *, owner: str, peer: str) -> None:
        self._engine = engine
        self._owner = owner
        self._namespace = namespace
        self._session_id = session_id
        self._peer = peer
        self._session: Session | None = None
        self._renewal = 0
        self._ended = False
        self._release_on_disconnect = False
        self._news = anyio.Event()
        self._tell: Callable[[], None] | None = None

    def close(self) -> None:
        """The stream is gone; the session goes on until its deadline."""
        if self._session is not None:
            self._session.watchers.pop(self, None)

    def disconnected_by_peer(self) -> None:
        """The client has closed the connection. Where it asked for that, its session ends, if this is its stream."""
        session = self._session
        if session is not None and self._release_on_disconnect and session.stream is self:
            self._engine.release(session)

    def on_news(self, tell: Callable[[], None]) -> None:
        """See ``ImmediateKeepAlive.on_news``."""
        self._tell = tell

    def let_receive(self) -> None:
        """See ``ImmediateKeepAlive.let_receive``."""
        self._news.set()

    def wake(self) -> None:
        """What an answer would say has changed."""
        session = self._session
        if self._tell is None or self._news.is_set() or self._ended or session is None or session.ended:
            self.let_receive()
        else:
            self._tell()

    def give_up(self) -> None:
        """See ``KeepAlive.give_up``. There is no other connection inside a process."""

    def prefer_another(self) -> None:
        """See ``KeepAlive.prefer_another``. There is no other target inside a process."""

    async def send(self, renewal: Renewal) -> None:
        """See ``KeepAlive.send``. Until the session is renewed, answers name the renewal before this one."""
        self._engine.check_running()
        session = await self._take_up(renewal)
        if session is not None and not await self._engine.sessions.keep(session):
            session = None
        self._renewal = renewal.renewal
        self._release_on_disconnect = renewal.release_on_disconnect
        if session is None:
            self._ended = True
        else:
            self._attach(session)
            self._engine.report.observer.renewed()
            self._confirm(session, renewal)
        self.wake()

    def renew_now(self, renewal: Renewal) -> Answer | None:
        """See ``ImmediateKeepAlive.renew_now``. What clients confirm, and stores that have to be asked, take longer."""
        session = self._session
        if session is None or session.ended or renewal.stepped_down or not self._engine.sessions.all_known:
            return None
        self._engine.check_running()
        self._engine.sessions.renew(session)
        self._renewal = renewal.renewal
        self._release_on_disconnect = renewal.release_on_disconnect
        self._engine.report.observer.renewed()
        return self.newest()

    def _attach(self, session: Session) -> None:
        if session is not self._session:
            session.watchers[self] = None
            session.stream = self
            session.peer = self._peer
            self._session = session

    def _confirm(self, session: Session, renewal: Renewal) -> None:
        """Pass on what was asked for."""
        for granted in renewal.stepped_down:
            check_metadata_id("election name", granted.election)
        for election_id, revoked in list(session.revoked.items()):
            here = [granted for granted in renewal.stepped_down if granted.election == election_id.name]
            number = newly_confirmed(revoked, here)
            if number is not None:
                self._engine.insist(election_id, SteppedDown(session.id, number))

    async def receive(self) -> Answer:
        """See ``KeepAlive.receive``."""
        await self._news.wait()
        self._news = anyio.Event()
        return self.newest()

    def newest(self) -> Answer:
        """See ``ImmediateKeepAlive.newest``."""
        session = self._session
        if self._ended or session is None or session.ended:
            return Answer(self._renewal, self._engine.store_id, ended=True)
        return Answer(
            self._renewal,
            self._engine.store_id,
            ttl_s=session.ttl_s,
            longest_failover_s=self._engine.longest_failover_s,
            leaderships=tuple(session.leads.values()),
            revoked=tuple(revoked for each in session.revoked.values() for revoked in each),
        )

    async def _take_up(self, renewal: Renewal) -> Session | None:
        """Return the session, after opening it where that is asked for."""
        if self._session is not None:
            return None if self._session.ended else self._session
        session = await self._engine.look_up(self._namespace, self._session_id)
        if renewal.open:
            if session is None:
                self._engine.check_admits()
            ttl_s = self._engine.ttl_s(renewal.ttl_s)
            session = await self._engine.open_session(
                self._namespace, self._session_id, owner=self._owner, kept_alive_ttl_s=ttl_s
            )
        if session is not None:
            session.check_owner(self._owner)
            if not session.kept_alive:
                raise InvalidRequest(f"session {session.id.digest} was opened by Create, and is kept by connections")
        return session
