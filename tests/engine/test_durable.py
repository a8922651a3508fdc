"""The engine on a file: what a restart finds is what was there."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from atomix_election.core.commands import Anoint, Create, Enter, Operation
from atomix_election.core.election import Displaced
from atomix_election.engine import Engine
from atomix_election.model import Candidate, ElectionId, Term
from atomix_election.stores.sqlite import Inline, SqliteStore, open_sqlite_store
from atomix_election.testing import VirtualClock
from tests.engine.fakes import LATE_S

pytestmark = pytest.mark.anyio

E = ElectionId("default", "e")
TTL_S = 7.0


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the file is."""
    return str(tmp_path / "store.db")


@asynccontextmanager
async def serving(path: str) -> AsyncGenerator[tuple[Engine, SqliteStore]]:
    """Run an engine on the file, as a process of its own would."""
    async with open_sqlite_store(path, execute=Inline()) as store:
        engine = Engine(store, clock=VirtualClock())
        async with engine.running():
            yield engine, store


async def test_everything_about_an_election_outlives_a_restart(path: str) -> None:
    """Number, revision, queue, registrations, the newest writes, displaced leaders; and the store's identity."""
    async with serving(path) as (engine, store):
        sessions = [await engine.sessions.open("default", each, kept_alive_ttl_s=TTL_S) for each in "st"]
        for number, session in enumerate(sessions, start=5):
            await engine.submit(E, Create(session.id), Operation(session.id, number))
            await engine.submit(E, Enter(f"c{number}", session.id), Operation(session.id, number + 10))
        await engine.submit(E, Anoint("c6"))
        before, identity = await store.read(E), store.id
    assert before.election.displaced == (Displaced(Candidate("c5", sessions[0].id), 1),)
    assert before.election.operations == {sessions[0].id: 15, sessions[1].id: 16}
    assert before.election.registered == {each.id for each in sessions}
    async with serving(path) as (engine, store):
        assert (await store.read(E), store.id) == (before, identity)
        restored = [engine.sessions.get("default", each) for each in "st"]
        assert [(each.id, each.ttl_s, each.kept_alive) for each in restored] == [
            (each.id, TTL_S, True) for each in sessions
        ]
        assert await engine.read(E) == Term(("c6", "c5"), 2, 3)


async def test_sessions_and_waits_begin_anew_with_a_restart(path: str) -> None:
    """However long it took: one full time-to-live from then on, for the displaced leader too."""
    async with serving(path) as (engine, _):
        sessions = [await engine.sessions.open("default", each, kept_alive_ttl_s=TTL_S) for each in "st"]
        for session in sessions:
            await engine.submit(E, Enter(session.id.id, session.id))
        await engine.submit(E, Anoint("t"))
        await anyio.sleep(TTL_S - 1)
    await anyio.sleep(100 * TTL_S)
    async with serving(path) as (engine, store):
        leader = engine.sessions.get("default", "t")
        await anyio.sleep(TTL_S - 0.001)
        assert await engine.read(E) == Term(("t", "s"), 2, 3)
        assert not leader.leads
        engine.sessions.renew(leader)
        await anyio.sleep(0.001 + LATE_S)
        assert leader.leads
        assert await engine.read(E) == Term(("t",), 2, 4)
        assert [each.session for each in await store.sessions()] == [leader.id]


async def test_a_session_never_gets_the_incarnation_of_a_former_one(path: str) -> None:
    """The same id, opened again after a restart, is another session."""
    incarnations: set[int] = set()
    for _ in range(3):
        async with serving(path) as (engine, _):
            session = await engine.sessions.open("default", "s", kept_alive_ttl_s=TTL_S)
            await engine.end_session(session)
            incarnations.add(session.id.incarnation)
    assert len(incarnations) == 3
