"""An operator takes the lead from a leader that is cut off or stopped: the next one waits for that one."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from atomix_election import LeaderElection, Term
from tests.faults.diary import SLACK_S
from tests.faults.proxy import Proxy
from tests.faults.stage import Server, Stage

pytestmark = pytest.mark.anyio

COMMANDS: dict[str, Callable[[LeaderElection], Awaitable[Term]]] = {
    "anoint": lambda election: election.anoint("b"),
    "promote": lambda election: election.promote("b"),
    "evict": lambda election: election.evict("a"),
}


@pytest.mark.parametrize("command", ["anoint", "evict"])
async def test_the_next_one_waits_for_the_deadline_of_one_that_is_cut_off(
    command: str, stage: Stage, server: Server, proxy: Proxy
) -> None:
    """The term changes at once; the lead is granted when the former leader's session has ended."""
    await stage.actor(proxy.target, "a")
    await stage.diary.wait("a", "begin")
    b = await stage.actor(server.target, "b")
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    proxy.part()
    term = await COMMANDS[command](observer)
    assert (term.leader, term.number) == ("b", 2)
    assert not b.election.is_leader
    ended = await stage.diary.wait("a", "end")
    began = await stage.diary.wait("b", "begin")
    assert began.token == 2
    assert max(ended.at, stage.diary.deadline("a")) < began.at < stage.diary.deadline("a") + SLACK_S


@pytest.mark.parametrize("command", COMMANDS)
async def test_the_next_one_waits_for_the_confirmation_of_one_that_comes_back(
    command: str, stage: Stage, server: Server, proxy: Proxy
) -> None:
    """Its work is stopped when it learns of it, and the next one leads once that has ended: sooner than the lease."""
    await stage.actor(proxy.target, "a", work={"drain_s": 0.2})
    await stage.diary.wait("a", "begin")
    await stage.actor(server.target, "b")
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    proxy.part()
    await COMMANDS[command](observer)
    assert stage.diary.find("b", "begin") is None
    await proxy.accept()
    ended = await stage.diary.wait("a", "end")
    assert ended.reason == ("EVICTED" if command == "evict" else "SUPERSEDED")
    began = await stage.diary.wait("b", "begin")
    assert ended.at < began.at
    await stage.queue(observer, "b", "a")


async def test_a_connected_leader_is_displaced_at_once(stage: Stage, server: Server) -> None:
    """Cancelled, drained, confirmed: it takes as long as the work takes to stop, and no time-to-live."""
    await stage.actor(server.target, "a", work={"drain_s": 0.1}, session_ttl=20.0)
    await stage.diary.wait("a", "begin")
    await stage.actor(server.target, "b", session_ttl=20.0)
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    await observer.anoint("b")
    with anyio.fail_after(0.1 + SLACK_S):
        began = await stage.diary.wait("b", "begin")
    assert stage.diary.last("a", "end").at < began.at


async def test_the_next_one_waits_for_one_that_is_stopped(stage: Stage, server: Server) -> None:
    """For the end of its session; on waking it does nothing more under its token."""
    a = await stage.candidate(server.target, "a")
    await stage.diary.wait("a", "begin")
    await stage.actor(server.target, "b")
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    paused = a.pause()
    await observer.anoint("b")
    began = await stage.diary.wait("b", "begin")
    assert stage.diary.deadline("a") < began.at
    a.wake()
    assert not (await stage.diary.wait("a", "end")).is_leader
    assert stage.diary.last("a", "write").at < paused.at
    await stage.queue(observer, "b", "a")


async def test_one_that_wakes_within_its_lease_confirms(stage: Stage, server: Server) -> None:
    """It is told that it does not lead any more before it can have renewed, and the next one need not wait longer."""
    a = await stage.candidate(server.target, "a", session_ttl=8.0)
    await stage.diary.wait("a", "begin")
    await stage.actor(server.target, "b", session_ttl=8.0)
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    a.pause()
    await observer.anoint("b")
    woken = a.wake()
    began = await stage.diary.wait("b", "begin")
    ended = await stage.diary.wait("a", "end")
    assert (ended.is_leader, ended.reason) == (False, "SUPERSEDED")
    assert ended.at < began.at < woken.at + SLACK_S < stage.diary.deadline("a")
