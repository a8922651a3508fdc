"""A leader whose process is stopped (SIGSTOP) for longer than its lease, and wakes up when another one leads."""

import signal
from pathlib import Path

import anyio
import pytest

from tests.faults.diary import SLACK_S
from tests.faults.stage import TTL_S, Server, Stage
from tests.faults.worker import make_ledger, tokens_in

pytestmark = pytest.mark.anyio

LOSSES = {"EXPIRED", "SESSION_ENDED"}
"""Which of them it notices first: its own clock, or what the server had sent meanwhile."""


async def test_its_work_is_cancelled_at_once_when_it_wakes(stage: Stage, server: Server) -> None:
    """It writes no more, knows that it does not lead, and goes to the back of the queue."""
    a = await stage.candidate(server.target, "a")
    await stage.diary.wait("a", "write")
    await stage.candidate(server.target, "b")
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    paused = a.pause()
    began = await stage.diary.wait("b", "begin")
    assert stage.diary.deadline("a") < began.at
    woken = a.wake()
    ended = await stage.diary.wait("a", "end")
    assert not ended.is_leader
    assert ended.reason in LOSSES
    assert woken.at < ended.at < woken.at + SLACK_S
    assert all(each.is_leader is False for each in stage.diary.entries if each.who == "a" and each.at > woken.at)
    writes = [each for each in stage.diary.entries if (each.who, each.what) == ("a", "write")]
    assert all(each.at < paused.at for each in writes)
    await stage.queue(observer, "b", "a")


async def test_its_write_under_the_old_token_is_refused(stage: Stage, server: Server, tmp_path: Path) -> None:
    """It was stopped between the question whether it leads and the write: only the token protects."""
    ledger = str(tmp_path / "ledger.db")
    make_ledger(ledger)
    a = await stage.candidate(server.target, "a", work={"ledger": ledger, "wait_for_line": True})
    await a.say()
    first = await stage.diary.wait("a", "woke")
    await stage.diary.wait("a", "write", since=first.at)  # it is about to write again
    a.pause()
    await stage.candidate(server.target, "b", work={"ledger": ledger})
    began = await stage.diary.wait("b", "begin")
    await stage.diary.wait("b", "write")
    await stage.diary.wait("b", "write", since=stage.diary.last("b", "write").at)
    await a.say()
    a.wake()
    woke = await stage.diary.wait("a", "woke", since=began.at)
    assert not woke.is_leader
    refused = await stage.diary.wait("a", "refused")
    assert (refused.token, began.token) == (1, 2)
    ended = await stage.diary.wait("a", "end")
    assert ended.reason in LOSSES
    tokens = tokens_in(ledger)
    assert tokens == sorted(tokens)


async def test_a_short_pause_costs_nothing(stage: Stage, server: Server) -> None:
    """Within its lease it goes on under the same token."""
    a = await stage.candidate(server.target, "a")
    await stage.diary.wait("a", "write")
    await stage.candidate(server.target, "b")
    await stage.queue(await stage.observer(server.target), "a", "b")
    a.pause()
    await anyio.sleep(TTL_S / 4)
    a.wake()
    await stage.diary.wait("a", "write", since=stage.diary.deadline("a"))
    assert stage.diary.find("a", "end") is None


async def test_a_stopped_server_loses_nothing_but_time(stage: Stage, server: Server) -> None:
    """Its clients step down before their deadlines, and go on once it does; nobody leads twice."""
    await stage.candidate(server.target, "a")
    await stage.diary.wait("a", "write")
    await stage.candidate(server.target, "b")
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    server.process.send_signal(signal.SIGSTOP)
    ended = await stage.diary.wait("a", "end")
    assert not ended.is_leader
    server.process.send_signal(signal.SIGCONT)
    await stage.diary.wait_until(
        lambda: next((each for each in stage.diary.entries if each.what == "begin" and each.at > ended.at), None),
        "somebody who leads again",
    )
