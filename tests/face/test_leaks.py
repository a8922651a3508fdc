"""Clients that come and go leave nothing behind: no task, no thread, no file descriptor."""

import asyncio
import gc
import threading
from pathlib import Path

import pytest

from atomix_election import connect

pytestmark = pytest.mark.anyio

CYCLES = 200
SLACK = 2
"""What the interpreter may do beside it."""


def _counts() -> tuple[int, int, int]:
    gc.collect()
    return len(asyncio.all_tasks()), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


async def _cycle(target: str) -> None:
    async with connect(target) as client, client.election("e", candidate_id="a") as election:
        await election.enter()
        async with election.events() as events:
            await anext(events)


async def _settle() -> None:
    """Let the server's side of the last connection end."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize("face", ["memory-asyncio", "sqlite", "grpc"], indirect=True)
@pytest.mark.parametrize("keep_one", [False, True], ids=["alone", "beside-another"])
async def test_open_and_close_cycles_leave_nothing(target: str, keep_one: bool) -> None:
    """After 200 of them there are as many tasks, threads and open files as after five."""
    if keep_one:
        async with connect(target):
            await _flat(target)
    else:
        await _flat(target)


async def _flat(target: str) -> None:
    for _ in range(5):
        await _cycle(target)
    await _settle()
    before = _counts()
    for _ in range(CYCLES):
        await _cycle(target)
    await _settle()
    after = _counts()
    assert all(now <= then + SLACK for now, then in zip(after, before, strict=True)), (before, after)


@pytest.mark.parametrize("face", ["grpc"], indirect=True)
async def test_abandoned_watches_leave_nothing(target: str) -> None:
    """Watches that were opened and left on one connection do not stay on either side."""
    async with connect(target) as client:
        election = client.election("e")
        async with election.events() as events:
            await anext(events)
        await _settle()
        before = _counts()
        for _ in range(CYCLES):
            async with election.events() as events:
                await anext(events)
        await election.get_term()
        await _settle()
        after = _counts()
    assert all(now <= then + SLACK for now, then in zip(after, before, strict=True)), (before, after)
