"""The system's clock, and the one of the event loop that tests use."""

import runpy
import time
from typing import Any

import anyio
import pytest
import trio.testing

from atomix_election import clock
from atomix_election.clock import Clock, SystemClock
from atomix_election.testing import VirtualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def virtual_time() -> tuple[str, dict[str, Any]]:
    """Trio, where waiting takes no time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def test_the_system_clock_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is CLOCK_BOOTTIME where there is one, which on a machine that never slept shows what CLOCK_MONOTONIC does."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("this machine has no such clock")
    times = {time.CLOCK_BOOTTIME: 5000.0, time.CLOCK_MONOTONIC: 200.0}
    with monkeypatch.context() as patched:
        patched.setattr(time, "clock_gettime", times.__getitem__)
        asked = runpy.run_path(clock.__file__)["SystemClock"]().now()
    assert asked == 5000.0
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= SystemClock().now() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_where_there_is_no_such_clock_it_is_the_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is never set, as the wall clock is."""
    with monkeypatch.context() as patched:
        patched.delattr(time, "CLOCK_BOOTTIME", raising=False)
        patched.setattr(time, "monotonic", lambda: 200.0)
        asked = runpy.run_path(clock.__file__)["SystemClock"]().now()
    assert asked == 200.0


async def test_sleeping_ends_no_sooner_than_told() -> None:
    """By the clock itself, not by the event loop's."""
    system = SystemClock()
    when = system.now() + 0.05
    with anyio.fail_after(5):
        await system.sleep_until(when)
    assert system.now() >= when


async def test_sleeping_goes_on_when_the_event_loops_clock_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that fires early is set again."""
    times = iter([0.0, 4.0, 9.9, 10.0])
    slept: list[float] = []

    async def sleep(delay: float) -> None:
        slept.append(delay)

    system = SystemClock()
    monkeypatch.setattr(system, "now", lambda: next(times), raising=True)
    monkeypatch.setattr(clock.anyio, "sleep", sleep)
    await system.sleep_until(10.0)
    assert slept == [10.0, 6.0, pytest.approx(0.1)]


@pytest.mark.parametrize("make", [SystemClock, VirtualClock])
async def test_a_moment_that_has_passed_is_not_waited_for(make: type[SystemClock] | type[VirtualClock]) -> None:
    """It returns at once."""
    each: Clock = make()
    with anyio.fail_after(5):
        await each.sleep_until(each.now() - 1000)


async def test_waiting_for_ever_is_cancelled_like_any_other() -> None:
    """Infinity is a moment that never comes."""
    for each in (SystemClock(), VirtualClock()):
        with anyio.move_on_after(0.01) as limit:
            await each.sleep_until(float("inf"))
        assert limit.cancelled_caught


def test_virtual_time_passes_at_once(virtual_time: tuple[str, dict[str, Any]]) -> None:
    """A day of it takes no time, and ends exactly when told."""
    virtual = VirtualClock()

    async def a_day() -> float:
        began = virtual.now()
        await virtual.sleep_until(began + 86_400)
        return virtual.now() - began

    before = time.monotonic()
    assert anyio.run(a_day, backend=virtual_time[0], backend_options=virtual_time[1]) == 86_400
    assert time.monotonic() - before < 5


async def test_without_virtual_time_it_is_the_event_loops() -> None:
    """On any event loop the virtual clock is its clock."""
    before = anyio.current_time()
    assert before <= VirtualClock().now() <= anyio.current_time()
