"""Several servers on one simulated etcd, each with a view of its own that a test can hold back, and that can die."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from atomix_election.core.campaign import Answer
from atomix_election.engine import Connection, ElectionLimits, SharedEngine
from atomix_election.engine.limits import NO_LIMITS
from atomix_election.errors import StoreError
from atomix_election.etcd import WatchBatch
from atomix_election.model import DEFAULT_NAMESPACE, Event, EventType, Term
from atomix_election.service import Renewal
from atomix_election.stores.etcd import EtcdStore, open_etcd_store
from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd import SimulatedClient, SimulatedEtcd, SimulatedWatch
from tests.engine.fakes import about

EXPIRY_S = 0.5
"""How late etcd deletes a session that has expired."""


class HeldClient(SimulatedClient):
    """A client whose watches can be held back, while all else works."""

    def __init__(self, etcd: SimulatedEtcd) -> None:
        super().__init__(etcd)
        self._let_by = anyio.Event()
        self._let_by.set()

    def hold_back(self, for_s: float | None = None) -> None:
        """What changes is not heard of for some time, or until ``let_by``."""
        if self._let_by.is_set():
            self._let_by = anyio.Event()
        if for_s is not None:
            self._etcd.background.start_soon(self._let_by_after, for_s)

    def let_by(self) -> None:
        """It is heard of, late."""
        self._let_by.set()

    async def _let_by_after(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.let_by()

    async def wait(self) -> None:
        """Wait until changes may be heard of."""
        await self._let_by.wait()

    @asynccontextmanager
    async def watch(
        self, key: bytes, end: bytes = b"", *, start_revision: int, previous: bool = False
    ) -> AsyncGenerator["HeldWatch"]:
        """See ``EtcdClient.watch``."""
        assert not previous, "former values are not simulated"
        yield HeldWatch(self._etcd, self, key, end, start_revision)


class HeldWatch(SimulatedWatch):
    """A watch that hands on what it has when its client lets it."""

    def __init__(self, etcd: SimulatedEtcd, client: HeldClient, key: bytes, end: bytes, revision: int) -> None:
        super().__init__(etcd, client, key, end, revision)
        self._held_client = client

    async def __anext__(self) -> WatchBatch:
        """Wait for changes."""
        batch = await super().__anext__()
        await self._held_client.wait()
        return batch


class Server:
    """One server, until it stops or dies."""

    def __init__(self, client: HeldClient, store: EtcdStore, engine: SharedEngine) -> None:
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
        """End it as a kill does: nothing of it reaches etcd any more."""
        self.client.is_cut_off = True
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
    """

    def __init__(self, etcd: SimulatedEtcd, tasks: TaskGroup) -> None:
        self.etcd = etcd
        self._tasks = tasks

    def start_soon(self, job: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Do something until the end of the test."""
        self._tasks.start_soon(job, *args)

    async def start(self, limits: ElectionLimits = NO_LIMITS) -> Server:
        """Start one more."""
        return await self._tasks.start(self._run, limits)

    async def start_some(self, number: int, limits: ElectionLimits = NO_LIMITS) -> list[Server]:
        """Start some more, which know of each other."""
        servers = [await self.start(limits) for _ in range(number)]
        await settle()
        return servers

    async def start_when_possible(self) -> Server:
        """Start one more as soon as etcd lets it."""
        while True:
            try:
                return await self.start()
            except StoreError:
                await anyio.sleep(1)

    async def _run(self, limits: ElectionLimits, *, task_status: TaskStatus[Server]) -> None:
        random = self.etcd.random
        client = HeldClient(self.etcd)
        async with open_etcd_store(
            client, unique=lambda: f"{random.getrandbits(64):016x}", chance=random.random
        ) as store:
            engine = SharedEngine(store, clock=VirtualClock(), election_limits=limits, chance=random.random)
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


def shape(term: Term) -> tuple[str, int]:
    """Return the queue and the revision of a term: its number depends on all that etcd has written before."""
    return " ".join(term.candidates), term.revision


async def settle() -> None:
    """Let everybody do what is to be done now: virtual time goes on only when nobody has anything to do."""
    await anyio.sleep(1e-6)


async def renew(
    connection: Connection, session: str = "s", *, open_: bool = False, ttl_s: float | None = None, **more: Any
) -> Answer:
    """Send a renewal on a stream of its own, and return the answer to it."""
    async with connection.keep_alive(DEFAULT_NAMESPACE, session) as stream:
        await stream.send(Renewal(1, open=open_, ttl_s=ttl_s, **more))
        while (answer := await stream.receive()).renewal != 1:
            pass
        return answer


async def keep_renewing(connection: Connection, session: str, every_s: float = 3.0) -> None:
    """Renew a session until cancelled."""
    while True:
        assert not (await renew(connection, session)).ended
        await anyio.sleep(every_s)


async def watch(servers: Servers, connection: Connection, name: str = "e") -> list[Event]:
    """Begin to watch an election, and return where the events go."""
    events: list[Event] = []
    servers.start_soon(_collect, connection, events, name)
    await settle()
    assert [event.type for event in events] == [EventType.NONE]
    return events


async def _collect(connection: Connection, into: list[Event], name: str) -> None:
    async with connection.events(about(name=name)) as events:
        async for event in events:
            into.append(event)  # noqa: PERF401 - who looks sees what there is by then
