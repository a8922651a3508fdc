"""``handle_signals=True``: SIGTERM makes a leader step down and leave before the process dies of it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType

import anyio
import pytest
from anyio.lowlevel import checkpoint

from atomix_election import LeaderElection
from tests.faults.diary import SLACK_S, WAIT_S
from tests.faults.stage import Server, Stage

LONG_TTL_S = 20.0
DRAIN_S = 0.2


@pytest.mark.anyio
async def test_a_leader_drains_withdraws_and_dies_of_the_signal(stage: Stage, server: Server) -> None:
    """The next one leads once the work has ended, not after the lease."""
    a = await stage.candidate(
        server.target, "a", work={"drain_s": DRAIN_S}, handle_signals=True, session_ttl=LONG_TTL_S
    )
    await stage.diary.wait("a", "write")
    await stage.actor(server.target, "b", session_ttl=LONG_TTL_S)
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    asked = stage.diary.note("a", "asked to end")
    a.process.send_signal(signal.SIGTERM)
    assert await a.process.wait() == -signal.SIGTERM
    began = await stage.diary.wait("b", "begin")
    stopping, ended = stage.diary.last("a", "stopping"), stage.diary.last("a", "end")
    assert ended.at - stopping.at >= DRAIN_S
    assert ended.at < began.at < asked.at + DRAIN_S + SLACK_S
    stage.tell(f"from the end of the work to the next leader: {began.at - ended.at:.3f} s")
    assert (await observer.get_term()).candidates == ("b",)


@pytest.mark.anyio
async def test_one_that_waits_leaves_the_queue(stage: Stage, server: Server) -> None:
    """Also a candidate that does not lead."""
    await stage.actor(server.target, "a", session_ttl=LONG_TTL_S)
    await stage.diary.wait("a", "begin")
    b = await stage.candidate(server.target, "b", handle_signals=True, session_ttl=LONG_TTL_S)
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    b.process.send_signal(signal.SIGTERM)
    assert await b.process.wait() == -signal.SIGTERM
    await stage.queue(observer, "a")


@pytest.mark.anyio
async def test_without_it_the_signal_kills_as_ever(stage: Stage, server: Server) -> None:
    """The default: nothing is installed, and the work has no time to end."""
    a = await stage.candidate(server.target, "a")
    await stage.diary.wait("a", "write")
    stage.diary.note("a", "killed")
    a.process.send_signal(signal.SIGTERM)
    assert await a.process.wait() == -signal.SIGTERM
    assert stage.diary.find("a", "stopping") is None


@pytest.mark.anyio
async def test_on_trio_too(stage: Stage) -> None:
    """In memory, as gRPC needs asyncio."""
    a = await stage.candidate("memory://", "a", backend="trio", work={"drain_s": DRAIN_S}, handle_signals=True)
    await stage.diary.wait("a", "write")
    a.process.send_signal(signal.SIGTERM)
    assert await a.process.wait() == -signal.SIGTERM
    assert (await stage.diary.wait("a", "end")).at - stage.diary.last("a", "stopping").at >= DRAIN_S


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_block_that_handles_it_is_cancelled(backend: str) -> None:
    """Each drains, also one that begins after the signal, and the process dies of it when the last one has ended."""
    code = f"""
import os, signal, anyio
from atomix_election import LeaderElection

async def lead(name, drain_s):
    async with LeaderElection(name, candidate_id="a", handle_signals=True) as election, election.lead():
        print(name, "leads", flush=True)
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(drain_s)
            print(name, "drained", flush=True)

async def main():
    async with anyio.create_task_group() as tasks:
        for name, drain_s in (("x", 0.1), ("y", 0.4)):
            tasks.start_soon(lead, name, drain_s)
        await anyio.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep(0.2)
        await lead("late", 0)

anyio.run(main, backend={backend!r})
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert sorted(ended.stdout.split("\n")) == ["", "x drained", "x leads", "y drained", "y leads"]
    assert ended.returncode == -signal.SIGTERM


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run something asynchronous in this thread, without anything else that would handle signals."""
    return lambda job: anyio.run(job, backend=request.param)


async def in_block() -> object:
    """Return what handles SIGTERM inside the block."""
    async with LeaderElection("e", handle_signals=True):
        return signal.getsignal(signal.SIGTERM)


def test_the_former_action_is_restored(run: Callable[..., None]) -> None:
    """At the end of the block, whichever way it ends."""

    async def job() -> None:
        assert await in_block() not in (signal.SIG_DFL, signal.SIG_IGN, None)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with pytest.raises(ValueError, match="the body's own"):
            async with LeaderElection("e", handle_signals=True):
                raise ValueError("the body's own")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    run(job)


def test_a_handler_of_the_user_s_stays(run: Callable[..., None]) -> None:
    """It is called as ever, and the block is not cancelled; the same for a signal that is ignored."""
    heard: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        heard.append(number)

    async def job() -> None:
        async with LeaderElection("e", handle_signals=True) as election, election.lead() as leadership:
            assert signal.getsignal(signal.SIGTERM) is hear
            signal.raise_signal(signal.SIGTERM)
            await checkpoint()
            leadership.ensure()
        assert signal.getsignal(signal.SIGTERM) is hear

    async def ignored() -> None:
        assert await in_block() is signal.SIG_IGN

    former = signal.signal(signal.SIGTERM, hear)
    try:
        run(job)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        run(ignored)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, former)
    assert heard == [signal.SIGTERM]


def test_nothing_is_installed_outside_the_main_thread(run: Callable[..., None]) -> None:
    """Where Python allows no handler; the election works all the same."""
    found: list[object] = []

    async def job() -> None:
        found.append(await in_block())

    thread = threading.Thread(target=run, args=(job,))
    thread.start()
    thread.join(WAIT_S)
    assert found == [signal.SIG_DFL]
