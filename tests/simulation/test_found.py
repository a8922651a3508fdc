"""What the simulation has found, without chance."""

import random
from contextlib import suppress
from typing import Any

import anyio
import pytest
import trio.testing

from atomix_election import NotACandidate, OutcomeUnknown, StoreError, Unavailable
from atomix_election.engine import Connection, Engine
from atomix_election.service import Call, Renewal
from atomix_election.testing import VirtualClock
from atomix_election.testing.memory_host import FaultyStore, StoreFaults


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio with virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.mark.anyio
async def test_an_engine_is_closed_while_it_commits_an_eviction() -> None:
    """Whoever waits gets an answer, and no error comes out of the engine."""
    store = FaultyStore(random.Random(0), StoreFaults(delay_s=0.0))
    engine = Engine(store, clock=VirtualClock())
    answered = False

    async def evict() -> None:
        nonlocal answered
        with suppress(NotACandidate, OutcomeUnknown, StoreError, Unavailable):
            await Connection(engine).evict(Call("e"), "a")
        answered = True

    with anyio.move_on_after(10):
        async with anyio.create_task_group() as tasks, engine.running():
            async with Connection(engine).keep_alive("default", "s") as stream:
                await stream.send(Renewal(1, open=True))
                await stream.receive()
                await Connection(engine).enter(Call("e", session="s"), "a")
            store.faults.delay_s = 1.0
            tasks.start_soon(evict)
            await anyio.sleep(0.01)
    assert answered
