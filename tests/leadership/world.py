"""A network in virtual time, on which a test can hold back what it chooses, and look inside."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

import anyio
from anyio.abc import TaskGroup

from atomix_election import Client, LeaderElection, Term
from atomix_election.clock import Clock
from atomix_election.engine import Connection, Engine
from atomix_election.errors import Unavailable
from atomix_election.leadership import Candidates, SessionKeeper
from atomix_election.service import Call, Service
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import Faults, Network
from tests.leadership.held import HeldService

TTL_S = 10.0
MARGIN_S = 0.25
GRACE_S = 1.0
LATE_S = 0.1
"""How late the end of a session may come."""


class Replica:
    """One process with one candidate in the election "e"."""

    def __init__(self, client: Client, keeper: SessionKeeper, service: HeldService, name: str) -> None:
        self.keeper = keeper
        self.service = service
        self.client = client
        self.election: LeaderElection = client.election("e", candidate_id=name)

    @property
    def candidates(self) -> Candidates:
        """What stands for its candidate."""
        return self.client.candidates()

    def crash(self) -> None:
        """Say nothing any more, and hear nothing."""
        self.service.kill()


class World(Network):
    """A network whose clients are replicas, and whose server shows what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.up = True
        """Whether anybody listens; the engine runs on all the same."""
        self.owner = ""
        """Name of the principal that the server takes all clients for."""
        self._names = count()
        self._chances: dict[str, random.Random] = {}

    @property
    def engine(self) -> Engine:
        """The engine that runs."""
        assert self._server.engine is not None
        return self._server.engine

    @property
    def store(self) -> MemoryStore:
        """What it runs on."""
        return self._server.store

    def server(self) -> Service:
        """Return a connection to the engine."""
        if not self.up or self._server.engine is None:
            raise Unavailable("nobody listens")
        return Connection(self._server.engine, self.owner)

    @asynccontextmanager
    async def replica(
        self, candidate_id: str, *, chance: random.Random | None = None, clock: Clock | None = None
    ) -> AsyncGenerator[Replica]:
        """Connect a client, with a chance and a clock of its own if need be."""
        name = f"{candidate_id}.{next(self._names)}"
        self._chances[name] = chance or self._chance_of(name)
        async with self.client(name, session_ttl=TTL_S, clock=clock) as client:
            end = self._end(name)
            assert isinstance(end.service, HeldService)
            yield Replica(client, end.keeper, end.service, candidate_id)

    def _chance_of(self, name: str) -> random.Random:
        return self._chances.pop(name, None) or super()._chance_of(name)

    def _way(self, name: str, chance: random.Random, faults: Faults) -> HeldService:
        return HeldService(self.server, self._started_tasks(), chance)

    async def term(self) -> Term:
        """Return the term as the store has it."""
        return (await self.store.read(Call("e").election_id)).election.term

    async def operate(self, name: str, candidate_id: str) -> Term:
        """Do what an operator does."""
        return await getattr(Connection(self.engine), name)(Call("e"), candidate_id)

    async def move(self) -> None:
        """From now on another engine answers, on a store of its own."""
        await self.stop_server()
        await self.start_server(new_store=True)

    def left_behind(self) -> list[str]:
        """Return what is still there."""
        found = [str(each) for each in self.store._sessions]
        for record in self.store._records.values():
            found += [str(each) for each in record.election.candidates]
        return found + [str(each) for each in self.engine._lanes]


@asynccontextmanager
async def a_world() -> AsyncGenerator[World]:
    """Run an engine and a network for as long as the block lasts."""
    async with World() as world:
        yield world


@asynccontextmanager
async def a_group() -> AsyncGenerator[TaskGroup]:
    """Run a test's own tasks; what the test raises comes out as itself."""
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as raised:  # noqa: BLE001 - raised again below
            error = raised
            tasks.cancel_scope.cancel()
    if error is not None:
        raise error
