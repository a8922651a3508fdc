"""Time that passes at once, in the order of due times, and the same each time for the same seed."""

import asyncio
import math
import os
import random
import socket
import subprocess
import sys
import time
from typing import Literal

import anyio
import pytest

from atomix_election import ElectionError
from atomix_election.testing import Faults, Network, run_virtually

BOTH = pytest.mark.parametrize("backend", ["trio", "asyncio"])
Backend = Literal["trio", "asyncio"]


async def history(minutes: float) -> list[tuple[float, str]]:
    """Return what becomes of three candidates on a network where everything goes wrong."""
    found: list[tuple[float, str]] = []
    faults = Faults(delay_s=0.3, lost_request=0.1, lost_reply=0.1, duplicate=0.3, broken_stream=0.05)

    async def take_part(network: Network, name: str) -> None:
        async with network.client(name, session_ttl=3.0) as client:
            while True:
                try:
                    async with client.election("e", candidate_id=name).lead() as leadership:
                        found.append((anyio.current_time(), f"{name} leads under {leadership.token}"))
                        await anyio.sleep(random.uniform(0.0, 10.0))
                except ElectionError as error:
                    found.append((anyio.current_time(), f"{name}: {error}"))

    async with Network(seed=random.randrange(1 << 30), faults=faults) as network, anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(take_part, network, name)
        await anyio.sleep(60 * minutes)
        tasks.cancel_scope.cancel()
    return found


@BOTH
def test_hours_pass_at_once(backend: Backend) -> None:
    """In the order in which they are due, with what was asked for as arguments and results."""
    woken: list[int] = []

    async def sleeper(hours: int) -> None:
        await anyio.sleep(3600 * hours)
        woken.append(hours)

    async def main(most: int) -> float:
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for hours in range(most, 0, -1):
                tasks.start_soon(sleeper, hours)
        return anyio.current_time() - began

    began = time.monotonic()
    assert run_virtually(main, 100, limit_s=math.inf, backend=backend) == pytest.approx(360_000)
    assert woken == list(range(1, 101))
    assert time.monotonic() - began < 10


@BOTH
def test_equal_seeds_are_equal_runs(backend: Backend) -> None:
    """To the last moment and message."""
    first = run_virtually(history, 1.0, seed=1, backend=backend)
    assert len(first) > 8
    assert run_virtually(history, 1.0, seed=1, backend=backend) == first
    assert run_virtually(history, 1.0, seed=2, backend=backend) != first


def test_a_seed_is_the_same_run_in_another_process() -> None:
    """Whatever the hashes of strings are there."""
    code = "from tests.testing.test_virtual_time import *; print(run_virtually(history, 0.5, seed=3))"
    expected = f"{run_virtually(history, 0.5, seed=3)}\n"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout == expected


def test_seeds_are_orders_of_tasks() -> None:
    """With Trio: of tasks that could all run, each comes first under some seed."""

    async def main() -> str:
        order: list[str] = []

        async def note(name: str) -> None:
            order.append(name)

        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(note, name)
        return "".join(order)

    assert {run_virtually(main, seed=seed)[0] for seed in range(30)} == {"a", "b", "c"}


@BOTH
def test_what_hangs_fails(backend: Backend) -> None:
    """After an hour, or what was asked for, which takes no time."""
    ended: list[float] = []

    async def main() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(anyio.current_time())

    with pytest.raises(TimeoutError, match="not over after 3600 s of virtual time"):
        run_virtually(main, backend=backend)
    with pytest.raises(TimeoutError, match="not over after 50 s of virtual time"):
        run_virtually(main, limit_s=50.0, backend=backend)
    assert ended == [3600.0, 50.0]


@BOTH
def test_chance_is_given_back(backend: Backend) -> None:
    """Whoever else uses the module ``random`` does not notice."""

    async def main() -> float:
        return random.random()

    state = random.getstate()
    assert run_virtually(main, seed=5, backend=backend) == random.Random(5).random()
    assert random.getstate() == state


@BOTH
def test_an_error_comes_out_as_itself(backend: Backend) -> None:
    """With chance given back as well."""

    async def main() -> None:
        raise ZeroDivisionError

    state = random.getstate()
    with pytest.raises(ZeroDivisionError):
        run_virtually(main, backend=backend)
    assert random.getstate() == state


def test_without_trio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what goes without."""

    async def main() -> int:
        return 1

    monkeypatch.setitem(sys.modules, "trio", None)
    with pytest.raises(ImportError, match=r"pip install trio.*backend='asyncio'"):
        run_virtually(main)
    assert run_virtually(main, backend="asyncio") == 1


@BOTH
def test_threads_are_overtaken(backend: Backend) -> None:
    """By every time-out; only where nothing is due they are waited for."""

    async def main() -> float:
        await anyio.to_thread.run_sync(time.sleep, 0.05)
        return anyio.current_time()

    with pytest.raises(TimeoutError, match="for a thread"):
        run_virtually(main, backend=backend)
    assert run_virtually(main, limit_s=math.inf, backend=backend) == 0.0


def test_asyncio_sees_what_is_ready() -> None:
    """Before anything that is due later: what was written to a socket can be read at once."""

    async def main() -> float:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.add_reader(ours, readable.set)
            theirs.send(b"!")
            await readable.wait()
            loop.remove_reader(ours)
        return loop.time()

    assert run_virtually(main, backend="asyncio") == 0.0


def test_asyncio_keeps_its_own_ways_to_wait() -> None:
    """Time-outs, intervals, wait_for: what code for asyncio uses."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7.5):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), timeout=2.5)
        await asyncio.wait([asyncio.create_task(asyncio.sleep(40))])
        return asyncio.get_running_loop().time()

    assert run_virtually(main, backend="asyncio") == pytest.approx(50.0)
