"""Thousands of sessions that come and go through two servers on etcd, and what the servers use before and after."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path

import anyio

from atomix_election import ElectionError, connect
from atomix_election.clock import SystemClock
from atomix_election.etcd import EtcdClient, Get, prefix_end
from atomix_election.service import Call, Service
from atomix_election.stores.etcd import open_etcd_store
from atomix_election.targets import open_service
from tests.cluster.faults import Panics
from tests.cluster.measured import Figures
from tests.cluster.servers import PREFIX, START_S, Access, Server, end_process, run_server, start_process
from tests.crash.load import Settings
from tests.etcd.cluster import Cluster

MODULE = ("-m", "tests.cluster.measured")
TTL_S = 10.0
"""Of those that go of their own will."""
SHORT_TTL_S = 2.0
"""Of those that end with a connection or a process."""
AT_A_TIME = 8
"""Sessions at the same time."""
OURS = 10
"""One in so many is of a client of this package, with a connection of its own."""
ELECTIONS = 8
MEMORY_BYTES = 12 << 20
"""By how much the memory of a process may differ that has grown no object: of the connection to etcd h2 remembers
65,536 streams that have ended, which are 8 MiB."""
DEAD_CLIENTS = 5
"""Clients that are killed, so that their sessions expire."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What two servers used before and after sessions."""

    sessions: int
    failed: int
    before: tuple[Figures, ...]
    after: tuple[Figures, ...]

    def __str__(self) -> str:
        """Return it as a line for each server."""
        lines = [f"{self.sessions} sessions opened and ended, {DEAD_CLIENTS} of them by kill -9; {self.failed} failed"]
        for number, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            parts = [
                f"{each.name} {getattr(before, each.name)} -> {getattr(after, each.name)}" for each in fields(Figures)
            ]
            lines.append(f"  server {number}: {', '.join(parts)}")
        return "\n".join(lines)

    def leaks(self) -> list[str]:
        """Return what servers use more of than before; and that sessions failed, where no busy machine explains it."""
        found = [f"{self.failed} sessions failed"] if self.failed > self.sessions // 10 else []
        for number, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            room = Figures(0, 0, 0, self.sessions, MEMORY_BYTES)  # of objects, fewer than two for each session
            found += [
                f"server {number} has more {each.name}: {getattr(before, each.name)} -> {getattr(after, each.name)}"
                for each in fields(Figures)
                if getattr(after, each.name) - getattr(before, each.name) > getattr(room, each.name)
            ]
        return found


class Crowd:
    """Clients of two servers, of which many come and go.

    Args:
        servers: which.
        directory: for records and logs.
    """

    def __init__(self, servers: list[Server], directory: Path) -> None:
        self.servers = servers
        self.failed = 0
        self._connections: list[Service] = []
        self._directory = directory
        self._numbers = count()

    async def come_and_go(self, sessions: int) -> None:
        """Let so many sessions be opened and ended: by our clients, by published ones, and by some that are killed."""
        dying = await self._start_dying()
        async with AsyncExitStack() as connected:
            self._connections = [await connected.enter_async_context(_connection(each)) for each in self.servers]
            limiter = anyio.CapacityLimiter(AT_A_TIME)
            async with anyio.create_task_group() as tasks:
                for number in range(sessions - DEAD_CLIENTS):
                    await limiter.acquire_on_behalf_of(number)
                    come = self._come if number % OURS == 0 else self._come_published
                    tasks.start_soon(self._in_turn, limiter, number, come)
        await end_process(dying)

    async def figures(self) -> tuple[Figures, ...]:
        """Return what each server uses."""
        return tuple([await each.measure() for each in self.servers])

    async def _in_turn(
        self, limiter: anyio.CapacityLimiter, number: int, come: Callable[[int], Awaitable[None]]
    ) -> None:
        try:
            await come(next(self._numbers))
        except ElectionError:
            self.failed += 1  # on a busy machine; should something hang in a server because of it, that shows
        finally:
            limiter.release_on_behalf_of(number)

    async def _come(self, number: int) -> None:
        """Open a connection and a session, watch, enter, and leave in one way or the other."""
        ports = [each.port for each in self.servers]
        target = ",".join(f"127.0.0.1:{port}" for port in (ports if number % 2 else reversed(ports)))
        async with connect(f"grpc://{target}", session_ttl=TTL_S) as client:
            election = client.election(f"e{number % ELECTIONS}", candidate_id=f"c{number}")
            async with election.events() as events:
                await anext(events)
                await election.enter()
                await anext(events)
            if number % 3:
                await election.withdraw()

    async def _come_published(self, number: int) -> None:
        """Open a session on a connection that there is, enter by one server, withdraw by the other, and close it."""
        one, other = self._connections if number % 2 else reversed(self._connections)
        call = Call(f"e{number % ELECTIONS}", session=f"s{number}")
        await one.create(call)
        await one.enter(call, "")
        await other.withdraw(call, "")
        await one.close(call)

    async def _start_dying(self) -> anyio.abc.Process:
        target = f"grpc://127.0.0.1:{self.servers[0].port},127.0.0.1:{self.servers[1].port}"
        name = f"dying{next(self._numbers)}"
        path = str(self._directory / f"{name}.records")
        settings = Settings(target, name, path, 0, SHORT_TTL_S, DEAD_CLIENTS, pause_s=1.0)
        return await start_process(["-m", "tests.crash.load", settings.to_json()], self._directory / "load.log")


@asynccontextmanager
async def crowd(directory: Path) -> AsyncGenerator[tuple[Crowd, Cluster]]:
    """Run one member of etcd and two servers that say what they use."""
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(Cluster(directory / "etcd"))
        await cluster.ready()
        access, servers = Access(cluster, directory, secured=False), list[Server]()
        for number in range(2):
            log, options = directory / f"server-{number}.log", ("--session-ttl", str(SHORT_TTL_S))
            running = run_server(log, access, cluster.members, MODULE, options)
            servers.append(await stack.enter_async_context(running))
        panics = Panics(cluster)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(panics.watch, lambda begun, ended: None)
            yield Crowd(servers, directory), cluster
            tasks.cancel_scope.cancel()


def _connection(server: Server) -> AbstractAsyncContextManager[Service]:
    return open_service(f"grpc://127.0.0.1:{server.port}", session_ttl_s=TTL_S, clock=SystemClock())


async def leaks(directory: Path, warm_up: int, sessions: int) -> Growth:
    """Return what servers used after some sessions, and after many more. Nothing of any is left in etcd.

    Args:
        directory: for all files.
        warm_up: sessions after which it is measured first.
        sessions: how many come then.
    """
    async with crowd(directory) as (those, cluster), cluster.client() as etcd:
        await those.come_and_go(warm_up)
        await _wait_settled(etcd)
        before = await those.figures()
        await those.come_and_go(sessions)
        await _wait_settled(etcd)
        after = await those.figures()
        await _nothing_left(etcd)
        return Growth(sessions, those.failed, before, after)


async def _wait_settled(etcd: EtcdClient) -> None:
    """Wait until there are only the leases of the servers, and all sessions have been seen off."""
    with anyio.fail_after(START_S):
        while len(await etcd.leases()) > 2:  # noqa: ASYNC110
            await anyio.sleep(0.1)
        async with open_etcd_store(etcd, prefix=f"{PREFIX}/") as store:
            while any([election.sessions() async for _, election in store.elections()]):  # noqa: ASYNC110
                await anyio.sleep(0.1)
    await anyio.sleep(1.0)  # for what follows from that in the servers


async def _nothing_left(etcd: EtcdClient) -> None:
    items = (await etcd.get(Get(PREFIX.encode(), prefix_end(PREFIX.encode())))).items
    kinds = {each.key.split(b"/")[1] for each in items}
    assert kinds <= {b"store", b"head", b"elections", b"servers", b"floors"}, kinds
