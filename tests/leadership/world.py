"""Clients in virtual time, each at the end of a way of its own that a test can cut, and an engine that can end."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

import anyio
from anyio.abc import TaskGroup

from atomix_election import Client, LeaderElection, Term
from atomix_election.client import client_of
from atomix_election.clock import Clock
from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.errors import Unavailable
from atomix_election.leadership import Candidates, SessionKeeper
from atomix_election.service import Call, Service
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import VirtualClock
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


class World:
    """An engine and its clients."""

    def __init__(self, network: TaskGroup) -> None:
        self.network = network
        self.store = MemoryStore()
        self.engine = Engine(self.store, clock=VirtualClock(), limits=SessionLimits(0.1))
        self.up = True
        self.owner = ""
        """Name of the principal that the server takes all clients for."""
        self._chance = random.Random(0)
        self._names = count()

    def server(self) -> Service:
        """Return a connection to the engine."""
        if not self.up:
            raise Unavailable("nobody listens")
        return Connection(self.engine, self.owner)

    @asynccontextmanager
    async def replica(
        self, name: str, *, chance: random.Random | None = None, clock: Clock | None = None
    ) -> AsyncGenerator[Replica]:
        """Connect a client, with a chance and a clock of its own if need be."""
        chance = chance or self._chance
        service = HeldService(self.server, self.network, chance)
        process = next(self._names)
        ids = count()
        keeper = SessionKeeper(
            service,
            "default",
            clock=clock or VirtualClock(),
            ttl_s=TTL_S,
            new_session_id=lambda: f"{name}.{process}.{next(ids)}",
            chance=chance.random,
        )
        async with client_of(keeper, inspection=service) as client:
            yield Replica(client, keeper, service, name)

    async def term(self) -> Term:
        """Return the term as the store has it."""
        return (await self.store.read(Call("e").election_id)).election.term

    async def operate(self, name: str, candidate_id: str) -> Term:
        """Do what an operator does."""
        return await getattr(Connection(self.engine), name)(Call("e"), candidate_id)

    def left_behind(self) -> list[str]:
        """Return what is still there."""
        found = [str(each) for each in self.store._sessions]
        for record in self.store._records.values():
            found += [str(each) for each in record.election.candidates]
        return found + [str(each) for each in self.engine._lanes]


@asynccontextmanager
async def a_world() -> AsyncGenerator[World]:
    """Run an engine and a network for as long as the block lasts."""
    async with anyio.create_task_group() as network:
        world = World(network)
        async with world.engine.running():
            yield world
        network.cancel_scope.cancel()


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
