"""An engine on a store that was made of a backup: nobody is admitted before the leaders from before have ended."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.errors import Unavailable
from atomix_election.model import Event, EventType, Term
from atomix_election.service import Renewal
from atomix_election.stores.sqlite import Inline, open_sqlite_store
from atomix_election.stores.sqlite_backup import back_up, restore
from atomix_election.testing import VirtualClock
from tests.engine.fakes import RecordingStore, about, stand

pytestmark = pytest.mark.anyio

HOLD_S = 60.0
LIMITS = SessionLimits(max_ttl_s=HOLD_S)
REFUSED = r"restored from a backup, and leaders from before may still act: nobody is admitted for another 60 s"


@asynccontextmanager
async def running(store: RecordingStore, limits: SessionLimits = LIMITS) -> AsyncGenerator[Connection]:
    """Run an engine, and give a connection to it."""
    engine = Engine(store, clock=VirtualClock(), limits=limits)
    async with engine.running():
        yield Connection(engine)


@pytest.fixture
def store() -> RecordingStore:
    """A store that was restored."""
    store = RecordingStore()
    store.held_for_s = 10.0
    return store


async def test_nobody_is_admitted_before_a_maximum_time_to_live_has_passed(store: RecordingStore) -> None:
    """Create, Enter and a keep-alive that opens a session say for how long; then all go on."""
    async with running(store) as connection:
        with pytest.raises(Unavailable, match=REFUSED):
            await connection.create(about("s"))
        with pytest.raises(Unavailable, match=REFUSED):
            await connection.enter(about("s"), "a")
        async with connection.keep_alive("default", "s") as stream:
            with pytest.raises(Unavailable, match=REFUSED):
                await stream.send(Renewal(1, open=True))
        await anyio.sleep(HOLD_S - 0.5)
        with pytest.raises(Unavailable, match="another 1 s"):
            await connection.create(about("s"))
        assert store.held_for_s is not None
        await anyio.sleep(0.5)
        await stand(connection, "s", "a")
        async with connection.keep_alive("default", "t") as stream:
            await stream.send(Renewal(1, open=True))
            assert not (await stream.receive()).ended
        await anyio.wait_all_tasks_blocked()
        assert store.held_for_s is None


async def test_terms_can_be_read_and_watched_meanwhile(store: RecordingStore) -> None:
    """A watch that began in that time sees who enters after it."""
    async with running(store) as connection, connection.events(about()) as events:
        assert await connection.get_term(about()) == Term()
        assert await anext(events) == Event(EventType.NONE, Term())
        await anyio.sleep(HOLD_S)
        await stand(connection, "s", "a")
        assert await anext(events) == Event(EventType.CHANGED, Term(("a",), 1, 1))


async def test_a_restart_before_that_begins_anew(store: RecordingStore) -> None:
    """However long the server was down; one after it does not."""
    async with running(store):
        await anyio.sleep(HOLD_S - 1)
    await anyio.sleep(10 * HOLD_S)
    async with running(store) as connection:
        await anyio.sleep(HOLD_S - 1)
        with pytest.raises(Unavailable, match="another 1 s"):
            await connection.create(about("s"))
        await anyio.sleep(1)
        await connection.create(about("s"))
    async with running(store) as connection:
        await connection.create(about("t"))


async def test_it_is_the_longest_that_was_granted_where_that_is_more(store: RecordingStore) -> None:
    """The former server may have had another maximum."""
    store.held_for_s = 3 * HOLD_S
    async with running(store) as connection:
        await anyio.sleep(3 * HOLD_S - 1)
        with pytest.raises(Unavailable, match="another 1 s"):
            await connection.create(about("s"))
        await anyio.sleep(1)
        await connection.create(about("s"))


async def test_a_store_that_fails_then_is_told_later(store: RecordingStore) -> None:
    """Who is admitted meanwhile finds out for himself that the disk is full."""
    async with running(store):
        store.failing = True
        await anyio.sleep(HOLD_S + 5)
        assert store.held_for_s is not None
        store.failing = False
        await anyio.sleep(1)
        assert store.held_for_s is None


async def test_a_real_backup_restored_leads_to_higher_tokens_only(tmp_path: Path) -> None:
    """Also of elections that were made after it; what was there before is there without anybody in it."""
    live, backup, new = (str(tmp_path / name) for name in ("live.db", "backup.db", "new.db"))
    seen: dict[str, Term] = {}
    async with open_sqlite_store(live, execute=Inline()) as store:
        engine = Engine(store, clock=VirtualClock())
        async with engine.running():
            connection = Connection(engine)
            await stand(connection, "s", "a", "old")
            back_up(live, backup)
            for number in range(3):
                await stand(connection, "s", f"b{number}", "old")
                await connection.evict(about(name="old"), "a" if not number else f"b{number - 1}")
            for name in ("made after it", "old"):
                await stand(connection, "s", "z", name.replace(" ", "-"))
                seen[name] = await connection.get_term(about(name=name.replace(" ", "-")))
        former_id = store.id
    assert seen["old"].number > 3
    restore(backup, new)
    for _ in range(2):
        async with open_sqlite_store(new, execute=Inline()) as store:
            assert store.id != former_id
            assert await store.sessions() == []
            engine = Engine(store, clock=VirtualClock(), limits=LIMITS)
            async with engine.running():
                connection = Connection(engine)
                with pytest.raises(Unavailable, match=REFUSED):
                    await stand(connection, "s", "a", "old")
    async with open_sqlite_store(new, execute=Inline()) as store:
        assert [each.name async for each, _ in store.elections()] == ["old"]
        engine = Engine(store, clock=VirtualClock(), limits=LIMITS)
        async with engine.running():
            connection = Connection(engine)
            await anyio.sleep(HOLD_S)
            for name, former in seen.items():
                call = about(name=name.replace(" ", "-"))
                term = await connection.get_term(call)
                assert term.leader is None
                assert term.number > former.number
                assert term.revision > former.revision
                await stand(connection, "s", "a", call.election)
                after = await connection.get_term(call)
                assert (after.number, after.revision) == (term.number + 1, term.revision + 1)
            await anyio.wait_all_tasks_blocked()
            assert store.hold_s is None
    async with open_sqlite_store(new, execute=Inline()) as store:
        assert store.hold_s is None
