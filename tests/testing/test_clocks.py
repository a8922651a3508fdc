"""Clocks that are wrong, by so much as a test says."""

import anyio
import pytest

from atomix_election.testing import DriftingClock, SleepingClock, VirtualClock, run_virtually


@pytest.mark.parametrize("rate", [0.5, 0.99, 1.0, 1.01, 3.0])
def test_a_clock_drifts(rate: float) -> None:
    """It shows another time, and what waits by it waits until it shows that time."""

    async def scenario() -> None:
        clock = DriftingClock(VirtualClock(), rate=rate, offset=1000.0)
        began, shown = anyio.current_time(), clock.now()
        assert shown == pytest.approx(1000.0 + rate * began)
        await clock.sleep_until(shown + 30.0)
        assert clock.now() >= shown + 30.0
        assert anyio.current_time() - began == pytest.approx(30.0 / rate)

    run_virtually(scenario)


def test_timers_stand_still_while_a_machine_sleeps() -> None:
    """What waits then waits so much longer; the time itself goes on, and what waits later is not late."""

    async def scenario() -> None:
        clock = SleepingClock(VirtualClock())
        woken: list[float] = []

        async def wait(until: float) -> None:
            await clock.sleep_until(until)
            woken.append(clock.now())

        began = clock.now()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, began + 5.0)
            await anyio.sleep(1.0)
            clock.slept(20.0)
            await anyio.sleep(20.0)
            assert clock.now() == pytest.approx(began + 21.0)
            tasks.start_soon(wait, clock.now() + 1.0)
        assert woken == pytest.approx([began + 22.0, began + 25.0])

    run_virtually(scenario)
