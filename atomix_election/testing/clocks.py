"""Clocks that are wrong in the ways that real ones are: they drift, and their timers stop while a machine sleeps."""

from atomix_election.clock import Clock


class DriftingClock:
    """A clock that runs faster or slower than another one, and began at another time.

    Args:
        clock: what time it really is.
        rate: seconds of this clock in one real second.
        offset: what this clock shows at time 0, in seconds.
    """

    def __init__(self, clock: Clock, rate: float = 1.0, offset: float = 0.0) -> None:
        self._clock = clock
        self._rate = rate
        self._offset = offset

    def now(self) -> float:
        """Return the time that this clock shows."""
        return self._offset + self._rate * self._clock.now()

    async def sleep_until(self, when: float) -> None:
        """Wait until ``now() >= when``."""
        while self.now() < when:
            # The least step forward counters rounding, which could make it wait for a time that has come.
            await self._clock.sleep_until(max((when - self._offset) / self._rate, self._clock.now() + 1e-9))


class SleepingClock:
    """The clock of a machine that sleeps: it goes on meanwhile, but its timers stop.

    Args:
        clock: one that goes on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slept_s = 0.0

    def slept(self, duration_s: float) -> None:
        """The machine has slept for so long: what waits now waits so much longer."""
        self._slept_s += duration_s

    def now(self) -> float:
        """Return the time, which went on while the machine slept."""
        return self._clock.now()

    async def sleep_until(self, when: float) -> None:
        """Wait for as long as it was until then, the machine's sleep not counted."""
        before = self._slept_s
        while self.now() < (late := when + (self._slept_s - before)):
            await self._clock.sleep_until(late)
