"""What processes of clients have in common: calls over and over, for so many seconds."""

import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median

import anyio

Job = Callable[[], Awaitable[object]]

MICROSECONDS = 1e6


async def repeat(seconds: float, jobs: Sequence[Job]) -> float:
    """Do each job over and over, all at once, and return how often a second they were done."""
    done = 0
    until = time.monotonic() + seconds

    async def repeat_one(job: Job) -> None:
        nonlocal done
        while time.monotonic() < until:
            await job()
            done += 1

    began = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(repeat_one, job)
    return done / (time.monotonic() - began)


async def latency_us(seconds: float, job: Job, between: Job | None = None) -> float:
    """Do a job over and over, one at a time, and return the median of how long it took.

    Args:
        seconds: how long.
        job: what is measured.
        between: done after each of them, and not measured.
    """
    taken_s: list[float] = []
    until = time.monotonic() + seconds
    while not taken_s or time.monotonic() < until:
        began = time.perf_counter()
        await job()
        taken_s.append(time.perf_counter() - began)
        if between is not None:
            await between()
    return median(taken_s) * MICROSECONDS
