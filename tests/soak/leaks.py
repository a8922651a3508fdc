"""Thousands of sessions that come and go, and what servers and clients use before and after."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from itertools import count
from math import inf
from pathlib import Path
from statistics import median_low

import anyio
from anyio.abc import Process

from atomix_election import ElectionError, connect
from atomix_election.clock import SystemClock
from atomix_election.etcd import EtcdClient, Get, prefix_end
from atomix_election.service import Call, Service
from atomix_election.stores.etcd import open_etcd_store
from atomix_election.targets import open_service
from atomix_election.testing.history import now
from tests.cluster.servers import PREFIX, Access, run_server
from tests.etcd.cluster import Cluster, free_ports
from tests.etcd.panics import Panics
from tests.soak.entrance import Entrance
from tests.soak.measured import Figures
from tests.soak.processes import START_S, Server, end_process, run_command, running, start_process
from tests.soak.site import ETCD, SQLITE

MODULE = ("-m", "tests.soak.measured")
TTL_S = 10.0
"""Of those that go of their own will."""
SHORT_TTL_S = 1.0
"""Of those that end with a connection or a process."""
ETCD_TTL_S = 2.0
"""Of those on etcd."""
AT_A_TIME = 8
"""Sessions at the same time."""
AT_A_TIME_ON_ETCD = 32
"""The same on etcd, where each waits most of the time for a disk."""
ELECTIONS = 8
WATCHES = 5
"""Watches that one comes for, and drops."""
MEMORY_BYTES = 12 << 20
"""By how much the memory of a process may differ that has grown no object: h2 remembers 65,536 ended streams of the
connection to etcd, which are 8 MiB."""
DEAD_CLIENTS = 5
"""Clients that are killed, so that their sessions expire."""
CLIENT = "process of clients"
REMEMBERED_OBJECTS = 600
"""By how much objects may grow at first, as terms, header blocks and the like are remembered, up to their limits."""
REMEMBERED_ON_ETCD = 300
"""The same on etcd, where a start takes more of that."""
FLAT_OBJECTS = 300
"""By how much objects may differ later, when those limits are reached, and what is forgotten goes in one go."""
SESSIONS_PER_OBJECT = 50
"""On how many sessions there may be one more: what is left of each session of the rarest kind is more than that."""
LONGEST_CLIENTS_S = 120.0
"""How long the least number of clients takes to come and go at most."""
SETTLE_S = 1.0
"""For what follows in a server from the end of the last session."""


_Measured = tuple[tuple[Figures, ...], ...]
"""At each of several times, what each process uses."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What processes used before and after rounds of sessions.

    Args:
        rounds: how many sessions came in each.
        failed: how many of all.
        figures: of each process, before the first round and after each.
        who: what processes they are.
        remembered: objects by which they may grow at first.
    """

    rounds: tuple[int, ...]
    failed: int
    figures: _Measured
    who: str = "server"
    remembered: int = REMEMBERED_OBJECTS

    @property
    def sessions(self) -> int:
        """How many came in all."""
        return sum(self.rounds)

    def __str__(self) -> str:
        """Return it as a line for each process."""
        lines = [
            f"{self.sessions} sessions opened and ended, some of them by kill -9 and by expiry; {self.failed} failed"
        ]
        for number, figures in enumerate(zip(*self.figures, strict=True)):
            parts = [
                f"{each.name} {' -> '.join(str(getattr(at, each.name)) for at in figures)}" for each in fields(Figures)
            ]
            lines.append(f"  {self.who} {number}: {', '.join(parts)}")
        return "\n".join(lines)

    def leaks(self) -> list[str]:
        """Return what is used more of than before; and that sessions failed, where no busy machine explains it.

        Where there were several rounds, it may not go on growing either: what is remembered of sessions that are gone
        has reached its limits in the former half of them, and explains less in the latter.
        """
        found = [f"{self.failed} sessions failed"] if self.failed > self.sessions // 10 else []
        found += self._more(self.figures[:1], self.figures[-1:], self.remembered, "than before")
        if len(self.rounds) > 1:
            middle = len(self.figures) // 2
            found += self._more(self.figures[:middle], self.figures[middle:], FLAT_OBJECTS, "in the latter half")
        return found

    def _more(self, former: _Measured, latter: _Measured, remembered: int, when: str) -> list[str]:
        """Return what there is more of at later times than at earlier ones, by their medians, as each has its noise."""
        room = {"objects": remembered + self.sessions // SESSIONS_PER_OBJECT, "memory_bytes": MEMORY_BYTES}
        found: list[str] = []
        for number in range(len(former[0])):
            for name in (each.name for each in fields(Figures)):
                before, after = (median_low(getattr(at[number], name) for at in times) for times in (former, latter))
                if after - before > room.get(name, 0):
                    found.append(f"{self.who} {number} has more {name} {when}: {before} -> {after}")
        return found


class Crowd:
    """Clients of one server, or of two, of which many come and go.

    Args:
        servers: which.
        directory: for records and logs.
        at_a_time: how many sessions there are at the same time.
    """

    def __init__(self, servers: Sequence[Server], directory: Path, at_a_time: int = AT_A_TIME) -> None:
        self.servers = servers
        self.failed = 0
        self._at_a_time = at_a_time
        self._ports = tuple(each.port for each in servers)
        self._connections: list[Service] = []
        self._directory = directory
        self._numbers = count()
        self._others: list[Callable[[int], Awaitable[None]]] = [
            self._come,
            self._come_to_watch,
            self._come_to_forget,
            self._never_leave,
        ]

    async def come_and_go(self, least: int, until: float = -inf) -> int:
        """Let sessions be opened and ended, in one way or the other, and return how many there were.

        Args:
            least: how many at least.
            until: when to begin with no more of them, if there were enough.
        """
        dying = await self._start_dying()
        come = 0
        async with AsyncExitStack() as connected:
            self._connections = [await connected.enter_async_context(_connection(port)) for port in self._ports]
            limiter = anyio.CapacityLimiter(self._at_a_time)
            async with anyio.create_task_group() as tasks:
                while come < least - DEAD_CLIENTS or now() < until:
                    await limiter.acquire_on_behalf_of(come)
                    tasks.start_soon(self._in_turn, limiter, come, next(self._numbers))
                    come += 1
        await end_process(dying)
        return come + DEAD_CLIENTS

    async def figures(self) -> tuple[Figures, ...]:
        """Return what each server uses."""
        return tuple([await each.measure() for each in self.servers])

    async def _in_turn(self, limiter: anyio.CapacityLimiter, borrower: int, number: int) -> None:
        """Most are published clients, which are the fastest to come and go."""
        rare, kind = divmod(number, 5)
        come = self._come_published if kind else self._others[rare % len(self._others)]
        try:
            await come(number)
        except ElectionError:
            self.failed += 1  # on a busy machine; should something hang in a server because of it, that shows
        finally:
            limiter.release_on_behalf_of(borrower)

    async def _come(self, number: int) -> None:
        """Open a connection and a session, watch, enter, and leave in one way or the other."""
        ports = self._ports if number % 2 else self._ports[::-1]
        async with connect(Entrance("grpc", ports).target(), session_ttl=TTL_S) as client:
            election = client.election(f"e{number % ELECTIONS}", candidate_id=f"c{number}")
            async with election.events() as events:
                await anext(events)
                await election.enter()
                await anext(events)
            if number % 2:
                await election.withdraw()

    async def _come_published(self, number: int) -> None:
        """Open a session on a connection that there is, enter by one server, withdraw by the other, and close it."""
        await self._enter_and_leave(Call(f"e{number % ELECTIONS}", session=f"s{number}"))

    async def _enter_and_leave(self, call: Call) -> None:
        one, other = self._connections[0], self._connections[-1]
        await one.create(call)
        await one.enter(call, "")
        await other.withdraw(call, "")
        await one.close(call)

    async def _come_to_watch(self, number: int) -> None:
        """Open some watches, also of an election that nobody has entered, and drop them."""
        await self._come_published(number)
        for name in [f"e{number % ELECTIONS}", *(f"nobody{number}.{each}" for each in range(WATCHES))]:
            async with self._connections[number % len(self._connections)].events(Call(name)) as events:
                await anext(events)

    async def _come_to_forget(self, number: int) -> None:
        """Enter an election that was never used, leave it, and forget it."""
        name = f"passing{number}"
        await self._enter_and_leave(Call(name, session=f"s{number}"))
        await self._connections[number % len(self._connections)].forget(Call(name))

    async def _never_leave(self, number: int) -> None:
        """Enter, and say nothing any more: the session ends one time-to-live after its connection."""
        call = Call(f"e{number % ELECTIONS}", session=f"s{number}")
        async with _connection(self._ports[number % len(self._ports)]) as connection:
            await connection.create(call)
            await connection.enter(call, "")

    async def _start_dying(self) -> Process:
        name = f"dying{next(self._numbers)}"
        path = str(self._directory / f"{name}.records")
        entrance = Entrance("grpc", self._ports)
        settings = entrance.settings(name, path, ttl_s=SHORT_TTL_S, clients=DEAD_CLIENTS, pause_s=1.0)
        return await start_process(["-m", "tests.crash.load", settings.to_json()], self._directory / "load.log")


async def leaks(
    store: str, directory: Path, warm_up: int, sessions: int, *, rounds: int = 1, until: float = -inf
) -> Growth:
    """Return what servers used after some sessions, and after many more. Nothing of any is left in their store.

    Args:
        store: one of ``STORES``.
        directory: for all files.
        warm_up: sessions after which it is measured first.
        sessions: how many come then at least.
        rounds: after how many parts of these it is measured again.
        until: when to begin with no more of them, if there were enough.
    """
    async with _on_etcd(directory) if store == ETCD else _on_one_server(store, directory) as (crowd, settled):
        await crowd.come_and_go(warm_up)
        await settled()
        come, figures = list[int](), [await crowd.figures()]
        for left in range(rounds, 0, -1):
            come.append(await crowd.come_and_go(sessions // rounds, now() + (until - now()) / left))
            await settled()
            figures.append(await crowd.figures())
        remembered = REMEMBERED_ON_ETCD if store == ETCD else REMEMBERED_OBJECTS
        return Growth(tuple(come), crowd.failed, tuple(figures), remembered=remembered)


async def leaks_of_client(
    directory: Path, warm_up: int, sessions: int, *, rounds: int = 1, until: float = -inf
) -> Growth:
    """Return what one process used in which clients connected and closed some times, and then many times more.

    Args:
        directory: for all files.
        warm_up: times after which it is measured first.
        sessions: how many times come then at least.
        rounds: after how many parts of these it is measured again.
        until: when to begin with no more of them, if there were enough.
    """
    async with _one_server("memory://", directory) as server:
        target, seconds = Entrance("grpc", (server.port,)).target(), max(until - now(), 0.0)
        command = ["-m", "tests.soak.connecting", target, f"--seconds={seconds}", f"--rounds={rounds}"]
        command += [f"--warm-up={warm_up}", f"--sessions={sessions}"]
        status, said = await run_command(command, directory / "client.log", seconds + LONGEST_CLIENTS_S)
        assert status == 0, f"see {directory}/client.log"
        come, found = json.loads(said)
        return Growth(tuple(come), 0, tuple((Figures(**each),) for each in found), CLIENT)


Settled = Callable[[], Awaitable[None]]
"""Waits until nothing goes on any more, and looks whether anything is left."""


@asynccontextmanager
async def _on_one_server(store: str, directory: Path) -> AsyncGenerator[tuple[Crowd, Settled]]:
    target = f"sqlite:///{directory}/store.db" if store == SQLITE else "memory://"
    async with _one_server(target, directory) as server:

        async def settled() -> None:
            with anyio.fail_after(START_S):
                while (await server.measure()).serves_anybody:  # noqa: ASYNC110
                    await anyio.sleep(0.1)
            await anyio.sleep(SETTLE_S)

        yield Crowd([server], directory), settled


@asynccontextmanager
async def _one_server(target: str, directory: Path) -> AsyncGenerator[Server]:
    command = [*MODULE, "--store", target, "--session-ttl", str(SHORT_TTL_S)]
    async with running(Server(directory / "server.log", command, free_ports(1)[0])) as server:
        yield server


@asynccontextmanager
async def _on_etcd(directory: Path) -> AsyncGenerator[tuple[Crowd, Settled]]:
    """Run one member of etcd and two servers that say what they use."""
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(Cluster(directory / "etcd"))
        await cluster.ready()
        access, servers = Access(cluster, directory, secured=False), list[Server]()
        for number in range(2):
            log, options = directory / f"server-{number}.log", ("--session-ttl", str(ETCD_TTL_S))
            server = run_server(log, access, cluster.members, MODULE, options)
            servers.append(await stack.enter_async_context(server))
        etcd = await stack.enter_async_context(cluster.client())
        panics = Panics(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(panics.watch, lambda begun, ended: None)
            yield Crowd(servers, directory, AT_A_TIME_ON_ETCD), lambda: _settled_in(etcd)
            tasks.cancel_scope.cancel()


def _connection(port: int) -> AbstractAsyncContextManager[Service]:
    return open_service(f"grpc://127.0.0.1:{port}", session_ttl_s=TTL_S, clock=SystemClock())


async def _settled_in(etcd: EtcdClient) -> None:
    """Wait until there are only the leases of the servers, and all sessions have been seen off. No key is left."""
    with anyio.fail_after(START_S):
        while len(await etcd.leases()) > 2:  # noqa: ASYNC110
            await anyio.sleep(0.1)
        async with open_etcd_store(etcd, prefix=f"{PREFIX}/") as store:
            while any([election.sessions() async for _, election in store.elections()]):  # noqa: ASYNC110
                await anyio.sleep(0.1)
    await anyio.sleep(SETTLE_S)
    items = (await etcd.get(Get(PREFIX.encode(), prefix_end(PREFIX.encode())))).items
    kinds = {each.key.split(b"/")[1] for each in items}
    assert kinds <= {b"store", b"head", b"elections", b"servers", b"floors"}, kinds
