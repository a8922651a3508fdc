"""A leader that is killed: the next one leads once the dead one's lease is over, and not much later."""

import pytest

from tests.faults.diary import SLACK_S
from tests.faults.stage import TTL_S, Server, Stage
from tests.faults.worker import now

pytestmark = pytest.mark.anyio

LATE_S = 0.1
"""How late the end of a session may come when the machine is not busy."""


async def test_the_next_one_leads_after_one_time_to_live(stage: Stage, server: Server) -> None:
    """Never before the last deadline of the killed one, and at most 0.1 s after its time-to-live."""
    a = await stage.candidate(server.target, "a")
    await stage.diary.wait("a", "begin")
    await stage.candidate(server.target, "b")
    await stage.queue(await stage.observer(server.target), "a", "b")
    killed = await a.kill()
    began = await stage.diary.wait("b", "begin")
    stage.tell(f"from kill -9 to the next leader: {began.at - killed.at:.3f} s, at a time-to-live of {TTL_S:g} s")
    assert stage.diary.deadline("a") < began.at
    assert began.at - killed.at < TTL_S + LATE_S + SLACK_S


async def test_the_same_one_comes_back_when_its_former_self_is_gone(stage: Stage, server: Server) -> None:
    """Started again under the same id it waits for the end of its session, instead of failing."""
    a = await stage.candidate(server.target, "a")
    first = await stage.diary.wait("a", "begin")
    await a.kill()
    deadline = stage.diary.deadline("a")
    await stage.candidate(server.target, "a")
    again = await stage.diary.wait("a", "begin", since=first.at)
    assert again.at > deadline
    assert again.token > first.token


async def test_a_waiting_one_that_is_killed_does_not_lead(stage: Stage, server: Server) -> None:
    """It leaves the queue with its session, and who comes after it is next."""
    await stage.candidate(server.target, "a")
    await stage.diary.wait("a", "begin")
    b = await stage.candidate(server.target, "b")
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    killed = await b.kill()
    await stage.queue(observer, "a")
    assert TTL_S * 2 / 3 - LATE_S < now() - killed.at < TTL_S + LATE_S + SLACK_S
    assert stage.diary.find("a", "end") is None
