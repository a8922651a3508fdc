"""Waiting by a given clock: a limit that passes cancels, and whatever comes out of the job comes out as itself."""

import anyio
import pytest

from atomix_election.leadership.waiting import pause, within
from atomix_election.testing import DriftingClock, VirtualClock

pytestmark = pytest.mark.anyio

TWICE_AS_FAST = DriftingClock(VirtualClock(), rate=2.0, offset=500.0)


class Mishap(Exception):
    """What goes wrong in a job."""


async def test_a_pause_is_that_of_the_clock() -> None:
    """One that runs twice as fast has passed ten seconds in five."""
    began = anyio.current_time()
    await pause(TWICE_AS_FAST, 10.0)
    assert anyio.current_time() - began == pytest.approx(5.0)


async def test_a_job_in_time() -> None:
    """Its result comes back, and nothing waits on."""
    began = anyio.current_time()

    async def job() -> str:
        await anyio.sleep(4.9)
        return "done"

    assert await within(TWICE_AS_FAST, 10.0, job) == "done"
    assert anyio.current_time() - began == pytest.approx(4.9)


async def test_a_job_that_takes_too_long_is_cancelled_by_the_clock() -> None:
    """And it says for how long it was waited."""
    began, cancelled = anyio.current_time(), False

    async def job() -> None:
        nonlocal cancelled
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled = True
            raise

    with pytest.raises(TimeoutError, match="within 10 s"):
        await within(TWICE_AS_FAST, 10.0, job)
    assert cancelled
    assert anyio.current_time() - began == pytest.approx(5.0)


async def test_an_error_comes_out_as_itself() -> None:
    """Not in a group."""
    error = Mishap()

    async def job() -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    with pytest.raises(Mishap) as raised:
        await within(TWICE_AS_FAST, 10.0, job)
    assert raised.value is error


async def test_an_outer_cancellation_is_no_time_out() -> None:
    """It goes on outwards."""
    with anyio.move_on_after(1) as scope:
        await within(TWICE_AS_FAST, 10.0, anyio.sleep_forever)
    assert scope.cancelled_caught
