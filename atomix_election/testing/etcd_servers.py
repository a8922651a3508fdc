"""Several servers on one simulated etcd, each with a view and a clock of its own, which stop and die."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from atomix_election.clock import Clock
from atomix_election.engine import Connection, ElectionLimits, SessionLimits, SharedEngine
from atomix_election.engine.limits import NO_LIMITS
from atomix_election.errors import StoreError
from atomix_election.stores.etcd import EtcdStore, open_etcd_store
from atomix_election.testing.clock import VirtualClock
from atomix_election.testing.etcd import SimulatedClient, SimulatedEtcd

START_AGAIN_S = 1.0
"""Pause before a server is started again that could not."""


SETTLED_S = 1e-6
"""Virtual time goes on only when nobody has anything to do."""


class Server:
    """One server, until it stops or dies.

    Attributes:
        client: its own of etcd, which can be cut off and held back.
        store, engine: the real ones.
    """

    def __init__(self, client: SimulatedClient, store: EtcdStore, engine: SharedEngine) -> None:
        self.client = client
        self.store = store
        self.engine = engine
        self._ending = anyio.Event()
        self._ended = anyio.Event()

    def connect(self, owner: str = "") -> Connection:
        """Return a connection to it."""
        return Connection(self.engine, owner)

    async def stop(self) -> None:
        """End it in order."""
        self._ending.set()
        await self._ended.wait()

    async def die(self) -> None:
        """End it as a kill does: nothing more of it is sent to etcd."""
        self.client.die()
        await self.stop()

    async def serve(self) -> None:
        """Run until it is ended."""
        await self._ending.wait()

    def has_ended(self) -> None:
        """It is gone."""
        self._ended.set()


class Servers:
    """The servers of one etcd.

    Args:
        etcd: what they share.
        tasks: where they run.
        clock: returns the clock of the next one.
        limits: of its sessions.
    """

    def __init__(
        self,
        etcd: SimulatedEtcd,
        tasks: TaskGroup,
        clock: Callable[[], Clock] = VirtualClock,
        limits: SessionLimits | None = None,
    ) -> None:
        self.etcd = etcd
        self._tasks = tasks
        self._clock = clock
        self._limits = limits

    def start_soon(self, job: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Do something for as long as the servers may run."""
        self._tasks.start_soon(job, *args)

    async def start(self, limits: ElectionLimits = NO_LIMITS) -> Server:
        """Start one more.

        Raises:
            StoreError: etcd does not let it.
        """
        return await self._tasks.start(self._run, limits)

    async def start_some(self, number: int, limits: ElectionLimits = NO_LIMITS) -> list[Server]:
        """Start some more, which know of each other."""
        servers = [await self.start(limits) for _ in range(number)]
        await anyio.sleep(SETTLED_S)
        return servers

    async def start_when_possible(self) -> Server:
        """Start one more as soon as etcd lets it."""
        while True:
            try:
                return await self.start()
            except StoreError:
                await anyio.sleep(START_AGAIN_S)

    async def _run(self, limits: ElectionLimits, *, task_status: TaskStatus[Server]) -> None:
        client, clock, random = self.etcd.client(), self._clock(), self.etcd.random
        async with open_etcd_store(
            client, unique=lambda: f"{random.getrandbits(64):016x}", chance=random.random
        ) as store:
            engine = SharedEngine(
                store,
                clock=clock,
                limits=self._limits,
                election_limits=limits,
                wall_clock=clock.now,
                chance=random.random,
            )
            async with engine.running():
                server = Server(client, store, engine)
                task_status.started(server)
                await server.serve()
        server.has_ended()


@asynccontextmanager
async def open_servers(seed: int = 1) -> AsyncGenerator[Servers]:
    """Give servers on an etcd of their own; those that run at the end are stopped."""
    async with SimulatedEtcd(VirtualClock(), seed=seed) as etcd, anyio.create_task_group() as tasks:
        yield Servers(etcd, tasks)
        tasks.cancel_scope.cancel()
