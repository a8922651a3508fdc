"""What all hosts have in common: a killed server says nothing, and operators are known to be at work."""

import random
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest
import trio.testing

from atomix_election import NotACandidate, OutcomeUnknown, Unavailable
from atomix_election.service import Call
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import VirtualClock
from atomix_election.testing.history import History
from atomix_election.testing.host import HostedConnection, HostedEngine, Surroundings
from atomix_election.testing.invariants import Invariants

pytestmark = pytest.mark.anyio

CALL = Call("e", session="s")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio with virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Server:
    """A hosted engine, and a connection to it."""

    def __init__(self, store: MemoryStore) -> None:
        self.killed = False
        self.invariants = Invariants(VirtualClock().now, lambda: None)
        surroundings = Surroundings(
            random.Random(0), frozenset(), 10.0, self.invariants, History(), lambda *_: None, lambda _: None
        )
        self.engine = HostedEngine(store, surroundings, VirtualClock())
        self.connection = HostedConnection(self.engine, self.invariants, is_gone=lambda: self.killed)


@pytest.fixture
async def server(anyio_backend: object) -> AsyncGenerator[Server]:
    """A server with a session and a candidate."""
    server = Server(MemoryStore())
    async with server.engine.running():
        await server.connection.create(CALL)
        await server.connection.enter(CALL, "a")
        yield server


async def test_what_a_killed_server_answers_reaches_nobody(server: Server) -> None:
    """Whether it has done something is not known, whatever came of it."""
    server.killed = True
    for write in (
        server.connection.create(CALL),
        server.connection.enter(CALL, "b"),
        server.connection.promote(CALL, "nobody"),
        server.connection.anoint(CALL, "a"),
        server.connection.evict(CALL, "a"),
        server.connection.withdraw(CALL, "b"),
        server.connection.forget(CALL),
        server.connection.close(CALL),
        server.connection.end_session("default", "s"),
    ):
        with pytest.raises(OutcomeUnknown):
            await write
    for read in (
        server.connection.get_term(CALL),
        server.connection.describe(CALL),
        server.connection.list_elections("default"),
    ):
        with pytest.raises(Unavailable):
            await read


async def test_operators_at_work_are_known(server: Server) -> None:
    """As long as their commands may take place; a refused one does not."""
    with pytest.raises(NotACandidate):
        await server.connection.promote(CALL, "nobody")
    assert (server.invariants.operators, server.invariants.unsure) == (0, set())
    server.killed = True
    with pytest.raises(OutcomeUnknown):
        await server.connection.anoint(CALL, "a")
    assert (server.invariants.operators, server.invariants.unsure) == (0, {"e"})


async def test_the_invariants_know_first(server: Server) -> None:
    """What was committed, before anybody is told, and what a server finds that is started."""
    assert server.invariants.revision("e") == 1
    seen: list[int] = []
    async with server.connection.events(CALL) as events:
        await anext(events)
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                seen.append((await anext(events)).term.revision - server.invariants.revision("e"))

            tasks.start_soon(watch)
            await server.connection.enter(CALL, "b")
    assert seen == [0]


async def test_a_server_that_is_started_says_what_it_finds() -> None:
    """Before it takes a call."""
    store = MemoryStore()
    first, second = Server(store), Server(store)
    async with first.engine.running():
        await first.connection.create(CALL)
        await first.connection.enter(CALL, "a")
    async with second.engine.running():
        assert second.invariants.revision("e") == 1
        assert any("found e" in line for line in second.invariants.history)
