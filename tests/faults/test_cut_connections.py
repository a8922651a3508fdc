"""A leader whose connection is cut, stalled, half closed or slow: what it loses, and when the next one leads."""

from collections.abc import Callable

import anyio
import pytest

from tests.faults.diary import SLACK_S, Entry
from tests.faults.proxy import Proxy
from tests.faults.stage import TTL_S, Actor, Server, Stage

pytestmark = pytest.mark.anyio

Harm = Callable[[Proxy], None]
LASTING: dict[str, Harm] = {
    "cut": lambda proxy: proxy.part(),
    "stalled": lambda proxy: proxy.stall(),
    "deaf": lambda proxy: proxy.stall(up=False),
    "dumb": lambda proxy: proxy.stall(down=False),
}
PASSING: dict[str, Harm] = {
    "cut": lambda proxy: proxy.cut(),
    "half closed by the server": lambda proxy: proxy.half_close(down=True),
    "half closed by the client": lambda proxy: proxy.half_close(up=True),
    "half closed by both": lambda proxy: proxy.half_close(up=True, down=True),
    "cut and refused": lambda proxy: proxy.part(),
    "stalled": lambda proxy: proxy.stall(),
}
SHORT_S = TTL_S / 8
"""How long what passes lasts, where it does not pass by itself."""


async def leader_and_next(stage: Stage, server: Server, proxy: Proxy) -> tuple[Actor, Entry]:
    """Let ``a`` lead behind the proxy, and ``b`` wait, with a connection of its own."""
    a = await stage.actor(proxy.target, "a")
    begun = await stage.diary.wait("a", "begin")
    await stage.actor(server.target, "b")
    await stage.queue(await stage.observer(server.target), "a", "b")
    return a, begun


@pytest.mark.parametrize("harm", LASTING)
async def test_a_leader_that_hears_nothing_steps_down_before_its_deadline(
    harm: str, stage: Stage, server: Server, proxy: Proxy
) -> None:
    """The next one leads after that; once all is well again the former one queues up."""
    a, _ = await leader_and_next(stage, server, proxy)
    LASTING[harm](proxy)
    ended = await stage.diary.wait("a", "end")
    assert (ended.is_leader, ended.reason) == (False, "EXPIRED")
    assert stage.diary.last("a", "write").at < stage.diary.deadline("a")
    began = await stage.diary.wait("b", "begin")
    assert ended.at < began.at < stage.diary.deadline("a") + TTL_S + SLACK_S
    proxy.refuse()
    await proxy.accept()
    proxy.resume()
    await stage.queue(await stage.observer(server.target), "b", "a")
    assert not a.election.is_leader
    assert stage.diary.find("a", "begin", since=ended.at) is None  # answers that were kept revive nothing


async def test_a_lost_connection_is_not_a_lost_leadership(stage: Stage, server: Server, proxy: Proxy) -> None:
    """It comes back within its lease, with its session and token, time after time; its block is not cancelled."""
    a, _ = await leader_and_next(stage, server, proxy)
    session = a.client.candidates().keeper.session_id
    first = stage.diary.deadline("a")
    for harm in PASSING.values():
        deadline = stage.diary.deadline("a")
        harm(proxy)
        await anyio.sleep(SHORT_S)
        proxy.refuse()
        await proxy.accept()
        proxy.resume()
        await stage.diary.wait_until(lambda deadline=deadline: _renewed(stage, deadline), "a renewal")
    assert proxy.accepted >= len(PASSING)
    await stage.diary.wait("a", "write", since=first)
    assert a.client.candidates().keeper.session_id == session
    assert stage.diary.find("a", "stopping") is None
    assert (await a.election.get_term()).candidates == ("a", "b")


async def test_a_slow_network_shortens_what_is_left_and_nothing_else(
    stage: Stage, server: Server, proxy: Proxy
) -> None:
    """With 0.1 s each way it keeps its leadership; the deadline counts from the sending of each renewal."""
    proxy.up.delay_s = proxy.down.delay_s = 0.1
    await leader_and_next(stage, server, proxy)
    await stage.diary.wait("a", "write", since=stage.diary.deadline("a"))
    assert stage.diary.find("a", "stopping") is None
    assert all(each.deadline - each.at < TTL_S for each in stage.diary.entries if each.what == "write")
    first = next(each for each in stage.diary.entries if each.what == "begin")
    assert first.deadline - first.at < TTL_S - 0.2


async def test_a_work_that_does_not_stop_keeps_the_next_one_waiting_no_longer_than_the_lease(
    stage: Stage, server: Server, proxy: Proxy
) -> None:
    """It leads no more at its deadline, whatever its work does, which may end later than the next one begins."""
    a = await stage.actor(proxy.target, "a", work={"drain_s": TTL_S / 2})
    await stage.diary.wait("a", "begin")
    await stage.actor(server.target, "b")
    await stage.queue(await stage.observer(server.target), "a", "b")
    proxy.part()
    stopping = await stage.diary.wait("a", "stopping")
    began = await stage.diary.wait("b", "begin")
    assert stopping.at <= stage.diary.deadline("a") < began.at
    assert not a.election.is_leader
    await proxy.accept()
    await stage.diary.wait("a", "end")
    await stage.queue(await stage.observer(server.target), "b", "a")
    stage.diary.overdue.add("a")


def _renewed(stage: Stage, deadline: float) -> Entry | None:
    last = stage.diary.last("a", "write")
    return last if last.deadline > deadline + SHORT_S else None
