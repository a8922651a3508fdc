"""Scenarios: what they are given, and what becomes of what they return and raise, also beside an event loop."""

import asyncio
import threading
from typing import Literal

import anyio
import pytest

from atomix_election import Unavailable
from atomix_election.pytest_plugin import VirtualElection
from atomix_election.testing import Faults, Network


async def hour(network: Network) -> float:
    await anyio.sleep(3600)
    return anyio.current_time()


async def fails(network: Network) -> None:
    async with network.client("a") as client:
        await client.election("e").enter()


async def hangs(network: Network) -> None:
    await anyio.sleep_forever()


@pytest.fixture(params=[False, True], ids=["in this thread", "in another one"])
def election(request: pytest.FixtureRequest) -> VirtualElection:
    return VirtualElection(3, lambda text: None, in_a_thread=request.param)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_time_and_its_limit(backend: Literal["asyncio", "trio"], election: VirtualElection) -> None:
    assert election(hour, limit_s=4000, backend=backend) >= 3600
    with pytest.raises(TimeoutError, match="not over after 100 s of virtual time"):
        election(hangs, limit_s=100, backend=backend)


def test_what_is_raised(election: VirtualElection) -> None:
    """Comes out as it is, and the faults are those that were asked for."""
    with pytest.raises(Unavailable):
        election(fails, faults=Faults(lost_request=1.0))
    election(fails)


def test_beside_an_event_loop() -> None:
    """It has a thread for as long as it lasts."""

    async def test() -> float:
        return VirtualElection(3, lambda text: None, in_a_thread=True)(hour, limit_s=4000)

    before = set(threading.enumerate())
    assert asyncio.run(test()) >= 3600
    assert set(threading.enumerate()) <= before


def test_the_seed_is_told() -> None:
    told: list[str] = []
    election = VirtualElection(3, told.append)
    election(hour, limit_s=4000)
    election(hour, limit_s=4000, seed=5)
    assert [text.split(":")[0] for text in told] == [f"The scenario ran with seed {seed}" for seed in (3, 5)]
