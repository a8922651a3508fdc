"""Waiting by a clock that is given, so that nothing in ``leadership`` has a timer of another one."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from atomix_election.clock import Clock
from atomix_election.tasks import background_tasks

_ResultT = TypeVar("_ResultT")


async def pause(clock: Clock, duration_s: float) -> None:
    """Wait for so long."""
    await clock.sleep_until(clock.now() + duration_s)


async def within(clock: Clock, limit_s: float, job: Callable[[], Awaitable[_ResultT]]) -> _ResultT:
    """Do a job that may take so long at the most; after it the job is cancelled.

    Raises:
        TimeoutError: it was cancelled.
    """
    result: list[_ResultT] = []
    with anyio.CancelScope() as scope:

        async def cancel_in_time() -> None:
            await pause(clock, limit_s)
            scope.cancel()

        async with background_tasks() as tasks:
            tasks.start_soon(cancel_in_time)
            result.append(await job())
    if not result:
        raise TimeoutError(f"nothing came of it within {limit_s:g} s")
    return result[0]
