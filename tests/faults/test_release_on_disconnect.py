"""``release_on_disconnect=True``: a session ends with its client's connection, and with nothing else."""

import signal

import anyio
import pytest

from atomix_election import ElectionServer
from atomix_election.rpc import client_connection, server_connection
from atomix_election.rpc.http2 import configuration
from tests.faults.diary import SLACK_S
from tests.faults.proxy import Proxy
from tests.faults.stage import TTL_S, Server, Stage
from tests.faults.worker import now

pytestmark = pytest.mark.anyio

LONG_TTL_S = 20.0
SLOW_TTL_S = 6.0
"""Long enough to tell a release from an expiry; a quarter of it is waited for an answer."""


async def test_the_next_one_leads_at_once_when_the_leader_is_killed(stage: Stage, server: Server) -> None:
    """The operating system closes the connection of a dead process."""
    a = await stage.candidate(server.target, "a", session_ttl=LONG_TTL_S, release_on_disconnect=True)
    await stage.diary.wait("a", "begin")
    await stage.candidate(server.target, "b", session_ttl=LONG_TTL_S, release_on_disconnect=True)
    await stage.queue(await stage.observer(server.target), "a", "b")
    killed = await a.kill()
    began = await stage.diary.wait("b", "begin")
    stage.tell(f"from kill -9 to the next leader: {began.at - killed.at:.3f} s, to live: {LONG_TTL_S:g} s")
    assert began.at - killed.at < SLACK_S


async def test_a_stopped_leader_is_not_released(stage: Stage, server: Server) -> None:
    """Its connection is there as ever; it keeps the lead for its lease."""
    a = await stage.candidate(server.target, "a", release_on_disconnect=True)
    await stage.diary.wait("a", "begin")
    await stage.actor(server.target, "b", release_on_disconnect=True)
    await stage.queue(await stage.observer(server.target), "a", "b")
    a.pause()
    began = await stage.diary.wait("b", "begin")
    assert stage.diary.deadline("a") < began.at
    a.wake()
    await stage.diary.wait("a", "end")


async def test_a_client_whose_connection_is_cut_steps_down_at_once(stage: Stage, server: Server, proxy: Proxy) -> None:
    """It knows what the server does then, and enters anew with another session."""
    a = await stage.actor(proxy.target, "a", session_ttl=LONG_TTL_S, release_on_disconnect=True)
    await stage.diary.wait("a", "begin")
    session = a.client.candidates().keeper.session_id
    cut = now()
    proxy.cut()
    ended = await stage.diary.wait("a", "end")
    assert (ended.is_leader, ended.reason) == (False, "SESSION_ENDED")
    assert ended.at < cut + SLACK_S
    again = await stage.diary.wait("a", "begin", since=ended.at)
    assert (again.token, a.client.candidates().keeper.session_id == session) == (2, False)


async def test_a_closing_server_steps_everybody_down_without_ending_sessions(stage: Stage, server: Server) -> None:
    """The client's connection is gone, so that it leads no more, long before its lease is over."""
    await stage.actor(server.target, "a", session_ttl=LONG_TTL_S, release_on_disconnect=True)
    await stage.diary.wait("a", "begin")
    asked = now()
    server.process.send_signal(signal.SIGTERM)
    ended = await stage.diary.wait("a", "end")
    assert not ended.is_leader
    assert ended.at < asked + SLACK_S
    assert await server.process.wait() == 0


async def test_a_server_s_own_closing_ends_no_session(stage: Stage) -> None:
    """Its candidates stay in the store, for the server that comes next, until their time-to-live is over."""
    observer = await stage.observer("memory://closing")
    async with ElectionServer("memory://closing") as server:
        opened = now()  # or later
        await stage.actor(server.target, "a", release_on_disconnect=True)
        await stage.diary.wait("a", "begin")
    assert (await observer.get_term()).candidates == ("a",)
    await stage.queue(observer)
    assert now() - opened >= TTL_S
    await stage.diary.wait("a", "end")


async def test_a_ping_that_is_not_answered_ends_no_session(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server closes a connection that is dead to it; whether the client is, it does not know."""
    soon = configuration(connection_window=1 << 20, stream_window=1 << 16, ping_interval_s=0.1)
    monkeypatch.setattr(server_connection, "_CONFIG", soon)
    server = await stage.enter(ElectionServer())
    proxy = await stage.proxy(server.target)
    opened = now()  # or later
    await stage.actor(proxy.target, "a", release_on_disconnect=True)
    await stage.diary.wait("a", "begin")
    observer = await stage.observer(server.target)
    proxy.stall()
    with anyio.fail_after(SLACK_S):
        await proxy.server_closed.wait()
    assert (await observer.get_term()).candidates == ("a",)
    await stage.queue(observer)
    assert now() - opened >= TTL_S
    await stage.diary.wait("a", "end")


async def test_a_client_does_not_close_its_connection_over_a_ping(
    stage: Stage, server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would let the next one lead while its work goes on. Renewals tell when to give up, and it closes last."""
    monkeypatch.setattr(client_connection, "PING_INTERVAL_S", 0.1)
    a = await stage.actor(proxy.target, "a", session_ttl=LONG_TTL_S, release_on_disconnect=True)
    begun = await stage.diary.wait("a", "begin")
    proxy.stall()
    await anyio.sleep(1.0)  # ten of the intervals, and no renewal
    proxy.resume()
    await stage.diary.wait("a", "write", since=now())
    assert a.election.is_leader
    assert stage.diary.find("a", "end", since=begun.at) is None


async def test_a_client_gives_no_connection_up_while_its_work_goes_on(stage: Stage, server: Server) -> None:
    """When a server hangs for a moment: closing makes another one leader, so the work has to have ended before.

    When it has, that goes without waiting for the lease.
    """
    await stage.actor(server.target, "a", work={"drain_s": 0.5}, session_ttl=SLOW_TTL_S, release_on_disconnect=True)
    await stage.diary.wait("a", "begin")
    await stage.candidate(server.target, "b", release_on_disconnect=True, session_ttl=LONG_TTL_S)
    await stage.queue(await stage.observer(server.target), "a", "b")
    server.process.send_signal(signal.SIGSTOP)
    await stage.diary.wait("a", "stopping")
    server.process.send_signal(signal.SIGCONT)
    ended = await stage.diary.wait("a", "end")
    began = await stage.diary.wait("b", "begin")
    assert ended.at <= began.at < ended.at + SLACK_S
    assert SLACK_S < SLOW_TTL_S / 3
