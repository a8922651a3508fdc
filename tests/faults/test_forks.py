"""A forked child is not the leader, whatever its parent is; a body that blocks the event loop finds out itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest

from atomix_election import InvalidRequest, LeaderElection, Leadership, LeadershipLost, LossReason, connect
from tests.faults.diary import WAIT_S
from tests.faults.proxy import Proxy
from tests.faults.stage import TTL_S, Server, Stage
from tests.forking import in_child, outcome

pytestmark = pytest.mark.anyio


def begin(call: Callable[[], Awaitable[object]]) -> str:
    """Return the name of the error that an asynchronous call raises before it waits for anything."""

    async def called() -> None:
        await call()

    coroutine: Coroutine[Any, Any, None] = called()
    try:
        return outcome(lambda: coroutine.send(None))
    finally:
        coroutine.close()


async def stand(election: LeaderElection) -> None:
    """Lead."""
    async with election.lead():
        pass


async def watch(election: LeaderElection) -> None:
    """Watch."""
    async with election.events():
        pass


async def work(_: Leadership) -> None:
    """Nothing to do."""


CALLS: dict[str, Callable[[LeaderElection], Awaitable[object]]] = {
    "enter": lambda election: election.enter(),
    "withdraw": lambda election: election.withdraw(),
    "get_term": lambda election: election.get_term(),
    "anoint": lambda election: election.anoint("a"),
    "promote": lambda election: election.promote("a"),
    "evict": lambda election: election.evict("a"),
    "events": watch,
    "lead": stand,
    "run": lambda election: election.run(work),
}


async def test_a_child_does_not_lead_and_sends_nothing(stage: Stage, server: Server, proxy: Proxy) -> None:
    """``is_leader`` is false, every call raises, and its parent goes on as the leader."""
    observer = await stage.observer(server.target)
    async with connect(proxy.target, session_ttl=20.0) as client:
        election = client.election("e", candidate_id="a")
        async with election.lead() as leadership:
            await election.get_term()
            await anyio.wait_all_tasks_blocked()  # what this process had to send is sent
            sent = proxy.up.bytes
            accepted = proxy.accepted
            found = in_child(
                lambda: [election.is_leader, {name: begin(lambda it=it: it(election)) for name, it in CALLS.items()}]
            )
            assert found == [False, dict.fromkeys(CALLS, InvalidRequest.__name__)]
            assert (await observer.get_term()).leader == "a"
            assert (proxy.up.bytes, proxy.accepted) == (sent, accepted)
            assert election.is_leader
            leadership.ensure()


async def test_a_leadership_is_none_in_a_child(server: Server) -> None:
    """``ensure`` raises there, and nothing remains: two processes cannot both be the leader."""
    async with connect(server.target, session_ttl=20.0) as client, client.election("e").lead() as leadership:
        found = in_child(lambda: [outcome(leadership.ensure), leadership.remaining])
        assert found[0] != "no error"
        assert found[1] == 0


async def test_a_child_can_connect_anew(server: Server) -> None:
    """With an event loop of its own it is a client like any other."""

    async def in_new_client() -> list[str]:
        async with LeaderElection("e", target=server.target, candidate_id="child") as election:
            return list((await election.enter()).candidates)

    async with connect(server.target, session_ttl=TTL_S) as client, client.election("e", candidate_id="a").lead():
        assert in_child(lambda: asyncio.run(in_new_client())) == ["a", "child"]


async def test_a_body_that_blocks_past_its_deadline_finds_out_at_once(stage: Stage, server: Server) -> None:
    """No event reaches it meanwhile: ``ensure`` and ``is_leader`` read the clock. Another one leads then."""
    await stage.candidate(server.target, "b", work={})
    await stage.diary.wait("b", "begin")
    observer = await stage.observer(server.target)
    async with connect(server.target, session_ttl=TTL_S) as client:
        election = client.election("e", candidate_id="a")

        async def lead() -> None:
            async with election.lead() as leadership:
                time.sleep(leadership.remaining - 0.1)  # noqa: ASYNC251 - what must not be done
                leadership.ensure()
                assert election.is_leader
                time.sleep(leadership.remaining + 0.01)  # noqa: ASYNC251
                assert not election.is_leader
                assert leadership.remaining == 0
                with pytest.raises(LeadershipLost):
                    leadership.ensure()
                await anyio.sleep(WAIT_S)

        async def lose() -> None:
            with pytest.raises(LeadershipLost) as lost:
                await lead()
            assert lost.value.reason is LossReason.EXPIRED

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lose)
            await stage.queue(observer, "b", "a")
            await observer.anoint("a")
        assert not election.is_leader
        began = stage.diary.last("b", "begin")
        assert (await stage.diary.wait("b", "begin", since=began.at - 1)).token
        await stage.queue(observer, "b")
