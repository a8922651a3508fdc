"""The one place that reads a clock."""

import time
from functools import partial
from typing import Protocol

import anyio

_now_s = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


def wall_clock_s() -> float:
    """Return the seconds since 1970 by the wall clock.

    For people: it may jump, so nothing is decided by it but how far the tokens of a restored store go up.
    """
    return time.time()


class Clock(Protocol):
    """What time it is, in seconds since a point of its own; only differences mean anything."""

    def now(self) -> float:
        """Return the time, which never goes back."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Wait until ``now() >= when``."""
        ...


class SystemClock:
    """The machine's clock that goes on while the machine sleeps (CLOCK_BOOTTIME), where there is one."""

    def now(self) -> float:
        """Return the seconds since the machine was started."""
        return _now_s()

    async def sleep_until(self, when: float) -> None:
        """Wait until ``now() >= when``."""
        while (left := when - self.now()) > 0:  # noqa: ASYNC110 - the two clocks may differ
            await anyio.sleep(left)
