"""The real thing in one process: an engine, and clients at the ends of a network that may be as bad as a test likes."""

import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self

import anyio

from atomix_election.client import Client, client_of
from atomix_election.clock import Clock
from atomix_election.core.campaign import Timing
from atomix_election.engine import Connection
from atomix_election.errors import InvalidRequest, LossReason
from atomix_election.leadership import SessionKeeper
from atomix_election.model import DEFAULT_NAMESPACE, DEFAULT_SESSION_TTL_S, Term, check_metadata_id
from atomix_election.service import Call
from atomix_election.tasks import Background, background_tasks
from atomix_election.testing.clock import VirtualClock
from atomix_election.testing.clocks import SleepingClock
from atomix_election.testing.deposing import displace, nobody_leads
from atomix_election.testing.network import Faults, FaultyService
from atomix_election.testing.restarting import Line, RestartingServer
from atomix_election.testing.streams import Link


class Network:
    """A server and its clients in this process, for tests: each client is a real one, at the end of a link of its own.

    An async context manager: the server runs from the beginning of the block to its end, on a store in memory that
    outlives restarts of the server. It runs on any event loop; in virtual time (see ``run_virtually``) every run with
    the same seed is the same.

    Args:
        seed: decides how long each message takes, and which ones meet a fault.
        faults: how bad all links are, to begin with; nothing is wrong by default.
        clock: the server's; by default the event loop's time.
    """

    def __init__(self, *, seed: int = 0, faults: Faults | None = None, clock: Clock | None = None) -> None:
        self._faults = faults or Faults()
        self._seed = seed
        self._server = RestartingServer(clock or VirtualClock())
        self._ends: dict[str, _End] = {}
        self._processes = count()
        self._tasks: Background | None = None
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise InvalidRequest("this Network is entered already: use another object")
        async with AsyncExitStack() as entering:
            self._tasks = await entering.enter_async_context(background_tasks())
            entering.callback(self._forget_tasks)
            await self.start_server()
            self._running = entering.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._running.__aexit__(kind, error, trace)

    @property
    def faults(self) -> Faults:
        """How bad all links are that were given no faults of their own. Its fields may be changed at any time."""
        return self._faults

    @asynccontextmanager
    async def client(
        self,
        name: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        session_ttl: float = DEFAULT_SESSION_TTL_S,
        release_on_disconnect: bool = False,
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> AsyncGenerator[Client]:
        """Connect a client, as ``connect`` does: its elections do not know that the network is not real.

        Args:
            name: what the test calls it, and its link; one at a time has it.
            namespace: where the names of its elections live.
            session_ttl: seconds that its session lasts after its last renewal; as short as you like.
            release_on_disconnect: see ``connect``.
            clock: what time it is for this client; by default the event loop's time.
            faults: how bad its link is; by default as all others are (``Network.faults``).

        Raises:
            InvalidRequest: there is a client of that name, an argument is malformed, or the network is not entered.
        """
        check_metadata_id("client name", name)
        check_metadata_id("namespace", namespace)
        if name in self._ends:
            raise InvalidRequest(f"client {name!r} is connected already: choose another name")
        sleeping, chance = SleepingClock(clock or VirtualClock()), self._chance_of(name)
        service = self._way(name, chance, faults or self._faults)
        process, numbers = next(self._processes), count()
        keeper = SessionKeeper(
            service,
            namespace,
            clock=sleeping,
            ttl_s=session_ttl,
            new_session_id=lambda: f"{name}.{process}.{next(numbers)}",
            chance=chance.random,
            release_on_disconnect=release_on_disconnect,
        )
        self._ends[name] = _End(service, keeper, sleeping, Timing(session_ttl).watchdog_interval_s)
        try:
            async with client_of(keeper, inspection=service) as client:
                yield client
        finally:
            del self._ends[name]

    def link(self, name: str) -> Link:
        """Return the way between a client and the server, which can be cut and mended.

        Raises:
            InvalidRequest: there is no client of that name.
        """
        return self._end(name).service.link

    async def sleep(self, name: str, duration_s: float) -> None:
        """Let the machine of a client sleep, and return when it is awake and can be reached again.

        Its time goes on, but its timers stand still and nothing gets in or out: so it hears of nothing, and nothing is
        cancelled that has to be before it wakes up. What was sent to it arrives a fifth of its time-to-live after that,
        when it has had time to look at its clock. The code under test goes on all the while: what that does now, it
        does as a process that was paused for long and does not know it yet.

        Args:
            name: the client.
            duration_s: how long it sleeps, in seconds.

        Raises:
            InvalidRequest: there is no client of that name.
        """
        end = self._end(name)
        end.clock.slept(duration_s)
        end.service.link.cut()
        try:
            await anyio.sleep(duration_s + 2 * end.watchdog_interval_s)
        finally:
            end.service.link.mend()

    async def stop_server(self) -> None:
        """Stop the server: connections break, and nobody answers until ``start_server``.

        Raises:
            InvalidRequest: it does not run.
        """
        for end in self._ends.values():
            end.service.break_streams()
        await self._server.stop()

    async def start_server(self, *, new_store: bool = False) -> None:
        """Start the server again. As after any restart, each session that was open has its whole time-to-live.

        Args:
            new_store: on an empty store instead of what it had: no sessions, no candidates, and tokens begin at 1.

        Raises:
            InvalidRequest: it runs already, or the network is not entered.
        """
        await self._server.start(self._started_tasks(), new_store=new_store)

    async def depose(
        self, election: str, reason: LossReason = LossReason.EVICTED, *, namespace: str = DEFAULT_NAMESPACE
    ) -> Term:
        """Take the lead from whoever has it, and return the term after that.

        It returns when that is decided at the server. The former leader hears of it as soon as its link lets it: a test
        waits for what follows from it, as for ``leadership.lost.wait()``.

        Args:
            election: its name.
            reason: what the leader is to be told. EVICTED: it is removed from the queue. SUPERSEDED: the candidate
                behind it is put before it. SESSION_ENDED: the server ends its session. EXPIRED: its link is cut until
                the server has ended its session. STORE_CHANGED: the server starts anew on an empty store, which takes
                the lead from all leaders there are.
            namespace: where the name lives.

        Raises:
            NotACandidate: nobody leads.
            InvalidRequest: nobody stands behind the leader, or the reason is WITHDRAWN, as that is its own doing.
            Unavailable: the server is stopped.
        """
        call = Call(election, namespace)
        server = self._server.connect("operator")
        if reason in (LossReason.EVICTED, LossReason.SUPERSEDED):
            return await displace(server, call, reason)
        if reason is LossReason.WITHDRAWN:
            raise InvalidRequest("a candidate withdraws itself: call withdraw() of the leader's own LeaderElection")
        led = (await self._server.store.read(call.election_id)).election
        if not led.candidates:
            raise nobody_leads(election)
        session_id = led.candidates[0].session.id
        if reason is LossReason.SESSION_ENDED:
            await server.end_session(namespace, session_id)
        elif reason is LossReason.EXPIRED:
            await self._let_expire(server, call, led.term, session_id)
        else:
            await self.stop_server()
            await self.start_server(new_store=True)
            server = self._server.connect("operator")
        return await server.get_term(call)

    async def _let_expire(self, server: Connection, call: Call, led: Term, session_id: str) -> None:
        (link,) = [each.service.link for each in self._ends.values() if each.keeper.session_id == session_id]
        link.cut()
        try:
            async with server.events(call) as events:
                async for event in events:
                    if event.term.leader is None or event.term.number != led.number:
                        return
        finally:
            link.mend()

    def _chance_of(self, name: str) -> random.Random:
        """Return what decides the pauses of a client and what its messages meet: no other client changes that."""
        return random.Random(f"{self._seed} {next(self._processes)} {name}")

    def _way(self, name: str, chance: random.Random, faults: Faults) -> FaultyService:
        """Return the way of a client to the server."""
        line = Line(self._server, name)
        return FaultyService(line.service, self._started_tasks(), chance, faults, on_close=line.closed)

    def _end(self, name: str) -> "_End":
        if name not in self._ends:
            raise InvalidRequest(f"no client {name!r} is connected: there are {', '.join(self._ends) or 'none'}")
        return self._ends[name]

    def _started_tasks(self) -> Background:
        if self._tasks is None:
            raise InvalidRequest("this Network is not running: use it inside its `async with` block")
        return self._tasks

    def _forget_tasks(self) -> None:
        self._tasks = None


@dataclass(frozen=True, slots=True)
class _End:
    """A client's end of the network."""

    service: FaultyService
    keeper: SessionKeeper
    clock: SleepingClock
    watchdog_interval_s: float
