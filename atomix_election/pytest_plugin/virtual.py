"""Scenarios in virtual time, each with a network of its own, and the seed that repeats them."""

import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import pytest

from atomix_election.clock import Clock
from atomix_election.testing.network import Faults
from atomix_election.testing.rehearsal import Network
from atomix_election.testing.virtual_time import LIMIT_S, run_virtually

_ResultT = TypeVar("_ResultT")

LARGEST_SEED = 1 << 32
"""Above those that are chosen by chance."""


class VirtualElection:
    """Runs scenarios in virtual time: what the fixture ``virtual_election`` gives.

    Args:
        seed: of scenarios that name none.
        show: is told which seed a scenario runs with.
        in_a_thread: run scenarios in a thread, as this one has an event loop that runs already, and which stands still
            for as long.
    """

    def __init__(self, seed: int, show: Callable[[str], None], *, in_a_thread: bool = False) -> None:
        self.seed = seed
        """What scenarios run with that name no other."""
        self._show = show
        self._in_a_thread = in_a_thread

    def __call__(
        self,
        scenario: Callable[[Network], Awaitable[_ResultT]],
        *,
        seed: int | None = None,
        faults: Faults | None = None,
        clock: Clock | None = None,
        backend: Literal["asyncio", "trio"] = "asyncio",
        limit_s: float = LIMIT_S,
    ) -> _ResultT:
        """Call ``await scenario(network)`` in virtual time, and return what it returns. Minutes pass at once.

        Args:
            scenario: what to run, with a server that runs and no clients yet.
            seed: decides what chance does: the faults of the network, and ``random``. By default the option's.
            faults: how bad all links are, to begin with; nothing is wrong by default.
            clock: the server's; by default the event loop's time.
            backend: the event loop. On "trio", which has to be installed, a seed decides the order of tasks, too.
            limit_s: how long it may take, in virtual seconds: what waits for ever has soon failed.

        Raises:
            TimeoutError: it took longer than that.
            ImportError: Trio is not installed.
        """
        chosen = self.seed if seed is None else seed
        self._show(f"The scenario ran with seed {chosen}: --election-seed={chosen} repeats it.")

        async def on_a_network() -> _ResultT:
            async with Network(seed=chosen, faults=faults, clock=clock) as network:
                return await scenario(network)
            raise AssertionError("the network swallows nothing")

        def run() -> _ResultT:
            return run_virtually(on_a_network, seed=chosen, limit_s=limit_s, backend=backend)

        if not self._in_a_thread:
            return run()
        with ThreadPoolExecutor(1, "virtual_election") as thread:
            return thread.submit(run).result()


def seed_for(config: pytest.Config) -> int:
    """Return the seed of a test: what the option says, or a new one."""
    seed: int | None = config.getoption("--election-seed")
    return random.SystemRandom().randrange(LARGEST_SEED) if seed is None else seed
