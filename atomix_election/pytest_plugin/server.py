"""A real server in a thread of its own, for tests of any kind: it does not mind which event loop a test has, if any."""

import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal

from atomix_election.addresses import split_target, sqlite_path
from atomix_election.client import connect
from atomix_election.errors import InvalidRequest, LossReason, Unavailable
from atomix_election.model import DEFAULT_NAMESPACE, Term
from atomix_election.server import ElectionServer
from atomix_election.service import Call, ElectionService, InspectionService
from atomix_election.stores.base import Store
from atomix_election.stores.memory import MemoryStore
from atomix_election.stores.sqlite import open_sqlite_store
from atomix_election.testing.deposing import displace, nobody_leads

_OTHERS = "use memory://, sqlite:///PATH or a store object that has one user, or run an ElectionServer of your own"

LONGEST_HAND_OVER_S = 10.0
"""How long a session may go on after its server was away for a time-to-live, beyond another one that it then has."""

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]


class BackgroundServer:
    """An ``ElectionServer`` in a thread of its own: what the fixture ``election_server`` gives.

    A context manager, for fixtures of your own that last longer than a test. Its methods are not async and block until
    they are done: some milliseconds, but for EXPIRED. In an async test that one is for another thread:
    ``await asyncio.to_thread(election_server.depose, "nightly", LossReason.EXPIRED)``.

    Args:
        store: ``memory://``, which here outlives restarts; a file, as for an ``ElectionServer``; or a store object that
            has one user at a time.
        options: the other arguments of ``ElectionServer``.

    Raises:
        InvalidRequest: the store is none of those. On entry: see ``ElectionServer``.
    """

    def __init__(self, store: str | Store = "memory://", **options: Any) -> None:
        self._options = options
        self._stores = _stores(store)
        self._open_store = next(self._stores)
        self._target = ""
        self._portal: BlockingPortal | None = None
        self._running: _Running | None = None
        self._ended: Future[None] | None = None
        self._leaving = ExitStack()

    def __enter__(self) -> Self:
        if self._portal is not None:
            raise InvalidRequest("this BackgroundServer is entered already: use another object")
        with ExitStack() as entering:
            self._portal = entering.enter_context(start_blocking_portal("asyncio"))
            entering.callback(self._end)
            self.start()
            self._leaving = entering.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._leaving.__exit__(kind, error, trace)

    @property
    def target(self) -> str:
        """What a client is given, ``grpc://127.0.0.1:PORT``. It stays the same when the server is restarted.

        Raises:
            Unavailable: the server was never started.
        """
        if not self._target:
            raise Unavailable("the server was never started: use it inside its `with` block")
        return self._target

    def stop(self) -> None:
        """Stop the server: connections break, and new ones are refused until ``start``.

        Raises:
            InvalidRequest: it does not run.
        """
        portal, running = self._in_use()
        portal.call(running.stop.set)
        self._running = None
        if self._ended is not None:
            self._ended.result()

    def start(self, *, new_store: bool = False) -> None:
        """Start the server again, at its former address. Each session that was open has its whole time-to-live.

        Args:
            new_store: on an empty store instead of what it had: no sessions, no candidates, and tokens begin at 1.

        Raises:
            InvalidRequest: it runs already, it is not entered, or the store is an object, which cannot be made anew.
            Unavailable: somebody else has taken its port.
        """
        if self._portal is None:
            raise InvalidRequest("this BackgroundServer is not entered: use it inside its `with` block")
        if self._running is not None:
            raise InvalidRequest("the server runs already: stop it first")
        if new_store:
            self._take_new_store()
        self._ended, running = self._portal.start_task(self._serve)
        self._running, self._target = running, running.target

    def restart(self, *, new_store: bool = False) -> None:
        """Stop the server and start it again; within the time-to-live of a session that ends no leadership.

        Args:
            new_store: see ``start``, also for what is raised.
        """
        self._in_use()
        if new_store:
            self._take_new_store()
        self.stop()
        self.start()

    def depose(
        self, election: str, reason: LossReason = LossReason.EVICTED, *, namespace: str = DEFAULT_NAMESPACE
    ) -> Term:
        """Take the lead from whoever has it, and return the term after that.

        It returns when that is decided at the server. The former leader hears of it a moment later: a test waits for
        what follows from it, as for ``leadership.lost.wait()``.

        Args:
            election: its name.
            reason: what the leader is to be told. EVICTED: it is removed from the queue. SUPERSEDED: the candidate
                behind it is put before it. SESSION_ENDED: the server ends its session. EXPIRED: the server is stopped
                for one time-to-live of its session, and started again; so give its client a short one
                (``session_ttl=1.0``). STORE_CHANGED: the server is started anew on an empty store, which takes the lead
                from all leaders there are.
            namespace: where the name lives.

        Raises:
            NotACandidate: nobody leads.
            TimeoutError: EXPIRED, and the leader does not stop: it is none that goes by its own clock.
            InvalidRequest: the server does not run, nobody stands behind the leader, the store is an object and cannot
                be made anew, or the reason is WITHDRAWN, as that is its own doing.
        """
        portal, running = self._in_use()
        call = Call(election, namespace)
        if reason is LossReason.WITHDRAWN:
            raise InvalidRequest("a candidate withdraws itself: call withdraw() of the leader's own LeaderElection")
        if reason in (LossReason.EVICTED, LossReason.SUPERSEDED):
            return portal.call(displace, running.elections, call, reason)
        if reason is LossReason.SESSION_ENDED:
            return portal.call(running.end_session, call)
        led, ttl_s = portal.call(running.leadership, call)
        if reason is LossReason.STORE_CHANGED:
            self.restart(new_store=True)
            return Term()
        self.stop()
        time.sleep(ttl_s)
        self.start()
        portal, running = self._in_use()
        return portal.call(running.wait_until_over, call, led, ttl_s + LONGEST_HAND_OVER_S)

    async def _serve(self, *, task_status: TaskStatus["_Running"]) -> None:
        port = int(self._target.rpartition(":")[2]) if self._target else 0
        options: dict[str, Any] = {"port": port} | self._options
        async with (
            self._open_store() as store,
            ElectionServer(store, **options) as server,
            connect(store) as operator,
        ):
            running = _Running(server.target, store, operator.service, operator.inspection, anyio.Event())
            task_status.started(running)
            await running.stop.wait()

    def _in_use(self) -> "tuple[BlockingPortal, _Running]":
        if self._portal is None or self._running is None:
            raise InvalidRequest("the server does not run: start it first")
        return self._portal, self._running

    def _take_new_store(self) -> None:
        open_store = next(self._stores, None)
        if open_store is None:
            raise InvalidRequest("this server has a store object, and cannot make another one: give it memory://")
        self._open_store = open_store

    def _end(self) -> None:
        if self._running is not None:
            self.stop()
        self._portal = None


@dataclass(frozen=True, slots=True)
class _Running:
    """A server from its start to its stop. Its methods run in the event loop of the server."""

    target: str
    store: Store
    elections: ElectionService
    inspection: InspectionService
    stop: anyio.Event

    async def leadership(self, call: Call) -> tuple[int, float]:
        """Return the number of the term, and for how many seconds the session of the leader lasts."""
        described = await self.inspection.describe(call)
        if not described.candidates:
            raise nobody_leads(call.election)
        return described.term.number, described.candidates[0].session.ttl_s

    async def end_session(self, call: Call) -> Term:
        """End the session of the leader, which is not asked about it."""
        led = (await self.store.read(call.election_id)).election
        if not led.candidates:
            raise nobody_leads(call.election)
        await self.elections.end_session(call.namespace, led.candidates[0].session.id)
        return await self.elections.get_term(call)

    async def wait_until_over(self, call: Call, number: int, limit_s: float) -> Term:
        """Wait until a term is over, and return the one after it."""
        with anyio.move_on_after(limit_s):
            async with self.elections.events(call) as events:
                async for event in events:
                    if event.term.leader is None or event.term.number != number:
                        return event.term
        raise TimeoutError(
            f"{call.election!r} has the same leader {limit_s:g} s after its server was back: it renews its session and "
            "does not stop by its own clock, as LeaderElection does"
        )


def _stores(store: str | Store) -> Generator[OpenStore]:
    """Return how to open one empty store after the other; of an object there is only one.

    Raises:
        InvalidRequest: this one cannot be kept open here. Raised when the first one is asked for.
    """
    if not isinstance(store, str):
        if hasattr(store, "changes"):
            raise InvalidRequest(f"{store!r} is for several servers: {_OTHERS}")
        yield partial(_opened, store)
        return
    scheme, rest = split_target(store)
    if scheme == "sqlite":
        path = sqlite_path(store, rest)
        for number in count():
            yield partial(open_sqlite_store, f"{path}.{number}" if number else path)
    elif store != "memory://":
        raise InvalidRequest(f"store {store!r} is not for a server in a thread of its own: {_OTHERS}")
    while True:
        yield partial(_opened, MemoryStore())


@asynccontextmanager
async def _opened(store: Store) -> AsyncGenerator[Store]:
    yield store
