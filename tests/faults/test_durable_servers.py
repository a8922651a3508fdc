"""A server whose store is a file is killed and started again: for its clients nothing has happened."""

from pathlib import Path

import pytest

from tests.faults.stage import TTL_S, Server, Stage
from tests.faults.worker import now

pytestmark = pytest.mark.anyio

LONG_TTL_S = 8.0
"""Long enough for a restart on a busy machine, with time to spare."""
RESTARTS = 2


async def test_a_restart_within_the_lease_is_a_non_event(stage: Stage, tmp_path: Path) -> None:
    """SIGKILL, and again on the same port: sessions, the queue, the leadership and its token are kept."""
    store = ("--store", f"sqlite:///{tmp_path}/store.db")
    server = await stage.server("127.0.0.1:0", *store)
    a = await stage.actor(server.target, "a", session_ttl=LONG_TTL_S)
    begun = await stage.diary.wait("a", "begin")
    b = await stage.actor(server.target, "b", session_ttl=LONG_TTL_S)
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    term = await observer.get_term()
    sessions = [actor.client.candidates().keeper.session_id for actor in (a, b)]
    for _ in range(RESTARTS):
        await server.kill()
        server = await stage.server(server.target.removeprefix("grpc://"), *store)
        await renewed(stage, server)
    assert await (await stage.observer(server.target)).get_term() == term
    assert [actor.client.candidates().keeper.session_id for actor in (a, b)] == sessions
    assert a.election.is_leader
    assert stage.diary.find("a", "stopping") is None
    assert stage.diary.find("b", "begin") is None
    await a.leave()
    assert (await stage.diary.wait("b", "begin")).token == begun.token + 1


async def test_a_displaced_leader_is_waited_for_after_a_restart_too(stage: Stage, tmp_path: Path) -> None:
    """It was stopped when an operator took the lead from it, and knows nothing: the wait for it begins anew."""
    store = ("--store", f"sqlite:///{tmp_path}/store.db")
    server = await stage.server("127.0.0.1:0", *store)
    a = await stage.candidate(server.target, "a")
    begun = await stage.diary.wait("a", "begin")
    await stage.actor(server.target, "b")
    observer = await stage.observer(server.target)
    await stage.queue(observer, "a", "b")
    a.pause()
    assert (await observer.anoint("b")).number == begun.token + 1
    await server.kill()
    restarted = now()
    await stage.server(server.target.removeprefix("grpc://"), *store)
    taken_over = await stage.diary.wait("b", "begin")
    assert taken_over.at - restarted > TTL_S
    assert taken_over.token == begun.token + 1


async def renewed(stage: Stage, server: Server) -> None:
    """Wait until the leader was granted more by the server that runs now than it had before."""
    limit = stage.diary.deadline("a")
    await stage.diary.wait_until(
        lambda: next((each for each in stage.diary.entries if each.deadline > limit), None), f"grant of {server.target}"
    )
