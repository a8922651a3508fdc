"""A command under its guard, from the side that asked for both."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from atomix_election.clock import SystemClock
from atomix_election.supervise import guard
from atomix_election.supervise.guarded import Guarded, guarded
from tests.cli.processes import processes_of_session

pytestmark = pytest.mark.anyio

FAR_S = 1000.0
STUBBORN = ("sh", "-c", "trap '' TERM; sleep 100 & while :; do sleep 100; done")


@pytest.fixture(autouse=True)
def orphans() -> Generator[None]:
    """Be who looks after orphans, as a runner is."""
    guard.adopt_orphans()
    yield
    guard._prctl(guard._PR_SET_CHILD_SUBREAPER, 0)


async def heard(beside: Guarded, what: str) -> list[str]:
    """Return the report of that name."""
    while words := await beside.report():
        if words[0] == what:
            return words
    raise AssertionError(f"{what} was never reported")


def descriptors() -> set[str]:
    """Return what is open in this process."""
    return {each.name for each in Path("/proc/self/fd").iterdir()}


async def test_a_command_comes_and_goes_and_leaves_nothing_open(tmp_path: Path) -> None:
    """With the environment that it is given, and no more of it."""
    before, out = descriptors(), tmp_path / "out"
    command = ("sh", "-c", f"echo $A $HOME > {out}; exit 5")
    kill_at = SystemClock().now() + FAR_S
    async with guarded(command, {"A": "b", "PATH": os.environ["PATH"]}, kill_at=kill_at, grace_s=1) as beside:
        await heard(beside, "ready")
        assert not out.exists()
        beside.begin()
        assert await heard(beside, "ended") == ["ended", "5"]
    assert out.read_text() == "b\n"
    assert descriptors() <= before


async def test_a_block_that_is_left_early_ends_the_command() -> None:
    """The guard sees to it, within the grace."""
    kill_at = SystemClock().now() + FAR_S
    async with guarded(STUBBORN, os.environ, kill_at=kill_at, grace_s=0.1) as beside:
        await heard(beside, "ready")
        beside.begin()
        assert beside.pid is not None
        assert processes_of_session(beside.pid)
    assert not processes_of_session(beside.pid)


async def test_a_strike_needs_no_guard() -> None:
    """It is dead, and what it told afterwards goes nowhere; the group is gone when the strike is over."""
    kill_at = SystemClock().now() + FAR_S
    async with guarded(STUBBORN, os.environ, kill_at=kill_at, grace_s=FAR_S / 2) as beside:
        await heard(beside, "ready")
        beside.begin()
        beside.give_up()
        with pytest.raises(AssertionError, match="never reported"):
            await heard(beside, "gone")
        beside.tell("stop")
        with anyio.fail_after(10):
            await beside.strike()
        assert beside.pid is not None
        assert not processes_of_session(beside.pid)
        with pytest.raises(ProcessLookupError):
            os.killpg(beside.pid, signal.SIGKILL)
