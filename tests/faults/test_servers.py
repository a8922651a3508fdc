"""Servers that are not there, die, come back, hang, or are one of several; and the ways to name them."""

import logging
import signal
import socket

import anyio
import pytest

from atomix_election import ElectionError, connect
from atomix_election.leadership import session
from tests.faults.diary import SLACK_S, WAIT_S
from tests.faults.stage import TTL_S, Actor, Server, Stage
from tests.ports import free_port

pytestmark = pytest.mark.anyio


def has_ipv6() -> bool:
    """Return whether IPv6 works on loopback here."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


async def test_a_server_that_is_killed_and_started_anew_has_another_store(stage: Stage, server: Server) -> None:
    """Leaders notice it by the store's identity, stop their work, and enter the new one's elections."""
    a = await stage.actor(server.target, "a")
    await stage.diary.wait("a", "begin")
    b = await stage.actor(server.target, "b")
    await stage.queue(await stage.observer(server.target), "a", "b")
    sessions = [actor.client.candidates().keeper.session_id for actor in (a, b)]
    await server.kill()
    stage.diary.new_store()  # it knows nothing of the leases and tokens of the former one
    again = await stage.server(server.target.removeprefix("grpc://"))
    ended = await stage.diary.wait("a", "end")
    assert (ended.is_leader, ended.reason) == (False, "STORE_CHANGED")
    observer = await stage.observer(again.target)
    await stage.queue(observer, "a", "b", in_order=False)
    leader = (await observer.get_term()).leader or ""
    began = await stage.diary.wait(leader, "begin", since=stage.diary.stores[-1])
    assert began.token == 1
    assert not {actor.client.candidates().keeper.session_id for actor in (a, b)} & set(sessions)


async def test_a_target_with_another_store_is_refused(
    stage: Stage, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Two servers that know nothing of each other elect two leaders: the second one is not used, and that is said."""
    stranger = await stage.server()
    a = await stage.actor(f"{server.target},{stranger.target.removeprefix('grpc://')}", "a")
    await stage.diary.wait("a", "begin")
    session = a.client.candidates().keeper.session_id
    await server.kill()
    ended = await stage.diary.wait("a", "end")
    assert (ended.is_leader, ended.reason) == (False, "EXPIRED")
    assert (await (await stage.observer(stranger.target)).get_term()).number == 0
    refused = [each.message for each in caplog.records if "serve different stores" in each.message]
    assert refused
    assert all(target.removeprefix("grpc://") in refused[0] for target in (server.target, stranger.target))
    stage.diary.new_store()
    await stage.server(server.target.removeprefix("grpc://"))
    began = await stage.diary.wait("a", "begin", since=stage.diary.stores[-1])
    assert began.token == 1
    assert a.client.candidates().keeper.session_id != session


async def test_a_server_that_ends_itself_ends_no_leadership(stage: Stage, server: Server) -> None:
    """SIGTERM: the clients keep what they have until their deadlines, and look for another server."""
    await stage.actor(server.target, "a")
    begun = await stage.diary.wait("a", "begin")
    server.process.send_signal(signal.SIGTERM)
    assert await server.process.wait() == 0
    ended = await stage.diary.wait("a", "end")
    assert ended.reason == "EXPIRED"
    assert ended.at - begun.at > TTL_S / 2


@pytest.mark.parametrize("harm", ["refuses", "dies"])
async def test_another_target_takes_over(harm: str, stage: Stage, server: Server) -> None:
    """Two ways to one server: the first is down, or goes down while one leads; session and token are kept."""
    first, second = await stage.proxy(server.target), await stage.proxy(server.target)
    if harm == "refuses":
        first.part()
    a = await stage.actor(f"{first.target},127.0.0.1:{second.port}", "a")
    await stage.diary.wait("a", "begin")
    assert bool(first.accepted) == (harm == "dies")
    session = a.client.candidates().keeper.session_id
    first.part()
    limit = stage.diary.deadline("a") + TTL_S / 10
    await stage.diary.wait_until(
        lambda: next((each for each in stage.diary.entries if each.deadline > limit), None), "a renewal"
    )
    assert second.accepted
    assert a.client.candidates().keeper.session_id == session
    assert stage.diary.find("a", "stopping") is None


@pytest.mark.parametrize("when", ["from the beginning", "later"])
async def test_another_target_takes_over_from_one_that_hangs(
    when: str, stage: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts connections and answers nothing, like a stopped process: that costs a wait, and no leadership."""
    monkeypatch.setattr(session, "OPEN_TIMEOUT_S", 0.5)
    first, second = await stage.proxy(server.target), await stage.proxy(server.target)
    if when == "from the beginning":
        first.stall()
    a = await stage.actor(f"{first.target},127.0.0.1:{second.port}", "a")
    begun = await stage.diary.wait("a", "begin")
    first.stall()
    await stage.diary.wait("a", "write", since=stage.diary.deadline("a"))
    assert second.accepted
    assert stage.diary.find("a", "stopping") is None
    assert a.election.is_leader
    assert begun.token == 1


async def test_a_call_finds_another_target_when_the_first_hangs(stage: Stage, server: Server) -> None:
    """At the latest when it is tried again by its user."""
    first, second = await stage.proxy(server.target), await stage.proxy(server.target)
    first.stall()
    async with connect(f"{first.target},127.0.0.1:{second.port}", session_ttl=TTL_S) as client:
        election = client.election("e")
        with anyio.fail_after(WAIT_S / 3):
            while True:
                try:
                    await election.get_term()
                    break
                except ElectionError as error:
                    logging.getLogger(__name__).info("%s", error)


async def test_the_first_to_start_waits_for_the_server(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and leads as soon as there is one."""
    port = free_port()
    said = anyio.Event()
    monkeypatch.setattr(session.log, "filter", lambda record: said.set() or True)
    await stage.actor(f"grpc://127.0.0.1:{port}", "a")
    with anyio.fail_after(WAIT_S):
        await said.wait()
    (warning,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert f"127.0.0.1:{port}" in warning.message
    server = await stage.server(f"127.0.0.1:{port}")
    with anyio.fail_after(TTL_S / 10 + SLACK_S):
        await stage.diary.wait("a", "begin")
    assert sum("cannot be kept alive" in each.message for each in caplog.records) == 1
    assert server.target.endswith(f":{port}")


async def lead_once(stage: Stage, target: str) -> Actor:
    """Lead with two clients, one after the other."""
    a = await stage.actor(target, "a")
    await stage.diary.wait("a", "begin")
    b = await stage.actor(target, "b")
    await stage.queue(await stage.observer(target), "a", "b")
    await a.leave()
    await stage.diary.wait("b", "begin")
    return b


async def test_a_server_has_a_name(stage: Stage, server: Server) -> None:
    """It is resolved, and whatever of its addresses does not answer is passed over."""
    await lead_once(stage, server.target.replace("127.0.0.1", "localhost"))


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
async def test_a_server_has_an_ipv6_address(stage: Stage) -> None:
    """In brackets, where it listens and where it is called."""
    server = await stage.server("[::1]:0")
    assert server.target.startswith("grpc://[::1]:")
    await lead_once(stage, server.target)
