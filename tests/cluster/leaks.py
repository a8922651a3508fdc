"""Thousands of sessions that come and go through two servers on etcd, and what the servers use before and after."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path

import anyio

from atomix_election import connect
from atomix_election.etcd import EtcdClient, Get, prefix_end
from atomix_election.stores.etcd import open_etcd_store
from tests.cluster.measured import Figures
from tests.cluster.servers import PREFIX, START_S, Access, Server, end_process, run_server, start_process
from tests.crash.load import Settings
from tests.etcd.cluster import Cluster

MODULE = ("-m", "tests.cluster.measured")
TTL_S = 10.0
"""Of those that go of their own will."""
DYING_TTL_S = 2.0
AT_A_TIME = 8
"""Clients at the same time, each of which has one session after the other."""
ELECTIONS = 8
DEAD_CLIENTS = 20
"""Clients that are killed, so that their sessions expire."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What two servers used before and after sessions."""

    sessions: int
    before: tuple[Figures, ...]
    after: tuple[Figures, ...]

    def __str__(self) -> str:
        """Return it as a line for each server."""
        lines = [f"{self.sessions} sessions opened and ended, {DEAD_CLIENTS} of them by kill -9"]
        for number, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            parts = [
                f"{each.name} {getattr(before, each.name)} -> {getattr(after, each.name)}" for each in fields(Figures)
            ]
            lines.append(f"  server {number}: {', '.join(parts)}")
        return "\n".join(lines)


class Crowd:
    """Clients of two servers, of which many come and go.

    Args:
        servers: which.
        directory: for records and logs.
    """

    def __init__(self, servers: list[Server], directory: Path) -> None:
        self.servers = servers
        self._directory = directory
        self._numbers = count()

    async def come_and_go(self, sessions: int) -> None:
        """Let clients open so many sessions, enter, lead if it is their turn, and go; a few are killed."""
        dying = await self._start_dying()
        until = next(self._numbers) + sessions - DEAD_CLIENTS
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_A_TIME):
                tasks.start_soon(self._one_after_the_other, until)
        await end_process(dying)

    async def figures(self) -> tuple[Figures, ...]:
        """Return what each server uses."""
        return tuple([await each.measure() for each in self.servers])

    async def _one_after_the_other(self, until: int) -> None:
        while (number := next(self._numbers)) < until:
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

    async def _start_dying(self) -> anyio.abc.Process:
        target = f"grpc://127.0.0.1:{self.servers[0].port},127.0.0.1:{self.servers[1].port}"
        name = f"dying{next(self._numbers)}"
        path = str(self._directory / f"{name}.records")
        settings = Settings(target, name, path, 0, DYING_TTL_S, DEAD_CLIENTS, pause_s=1.0)
        return await start_process(["-m", "tests.crash.load", settings.to_json()], self._directory / "load.log")


@asynccontextmanager
async def crowd(directory: Path) -> AsyncGenerator[tuple[Crowd, Cluster]]:
    """Run one member of etcd and two servers that say what they use."""
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(Cluster(directory / "etcd"))
        await cluster.ready()
        access, servers = Access(cluster, directory, secured=False), list[Server]()
        for number in range(2):
            log, options = directory / f"server-{number}.log", ("--session-ttl", str(TTL_S))
            running = run_server(log, access, cluster.members, MODULE, options)
            servers.append(await stack.enter_async_context(running))
        yield Crowd(servers, directory), cluster


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
        return Growth(sessions, before, after)


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
