"""Lists and descriptions of elections, where time is virtual and what a page costs can be counted."""

import anyio
import pytest

from atomix_election.core.election import Election
from atomix_election.engine import Connection, Engine
from atomix_election.errors import Unavailable
from atomix_election.model import ElectionId, SessionKind
from atomix_election.service import MAX_PAGE_SIZE, PAGE_SIZE, Renewal
from atomix_election.testing import VirtualClock
from tests.engine.fakes import TTL_S, RecordingStore, about, stand

pytestmark = pytest.mark.anyio


async def test_a_page_is_one_read_of_bounded_size_however_many_there_are(engine: Engine, store: RecordingStore) -> None:
    """Whatever size is asked for."""
    for number in range(3 * MAX_PAGE_SIZE):
        await store.memory.write(ElectionId("default", f"e{number:05}"), Election(), expected=0)
    connection = Connection(engine)
    for asked, got in ((PAGE_SIZE, PAGE_SIZE), (MAX_PAGE_SIZE, MAX_PAGE_SIZE), (10 * MAX_PAGE_SIZE, MAX_PAGE_SIZE)):
        before = store.reads
        page = await connection.list_elections("default", page_size=asked)
        assert (len(page.elections), store.reads - before) == (got, 1)
        following = await connection.list_elections("default", page_size=asked, page_token=page.next_page_token)
        assert following.elections[0].name == f"e{got:05}"
    last = await connection.list_elections("default", page_size=MAX_PAGE_SIZE, page_token=following.next_page_token)
    assert (len(last.elections), last.next_page_token) == (MAX_PAGE_SIZE, "")


async def test_what_is_left_of_a_lease_is_told_as_time_goes(engine: Engine) -> None:
    """Full after a renewal; none as long as a connection keeps the session."""
    published, observer = Connection(engine, peer="192.0.2.1:1"), Connection(engine)
    await stand(published, "published", "b")
    async with observer.keep_alive("default", "ours") as stream:
        await stream.send(Renewal(1, open=True))
        await observer.enter(about("ours"), "a")
        await anyio.sleep(TTL_S / 4)
        sessions = [each.session for each in (await observer.describe(about())).candidates]
        assert [(each.kind, each.lease_left_s) for each in sessions] == [
            (SessionKind.CONNECTIONS, None),
            (SessionKind.RENEWALS, pytest.approx(TTL_S * 3 / 4)),
        ]
        published.disconnect()
        await stream.send(Renewal(2))
        await anyio.sleep(TTL_S / 2)
        sessions = [each.session for each in (await observer.describe(about())).candidates]
        assert [each.lease_left_s for each in sessions] == [pytest.approx(TTL_S / 2)] * 2
    assert [each.peer for each in sessions] == ["192.0.2.1:1", ""]


async def test_a_session_that_has_ended_is_said_to_have(engine: Engine, store: RecordingStore) -> None:
    """As long as the store does not take that its candidate is gone."""
    connection = Connection(engine)
    await stand(connection, "s", "a")
    store.failing = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.end_session, "default", "s")
        await anyio.wait_all_tasks_blocked()
        (candidate,) = (await connection.describe(about())).candidates
        assert (candidate.id, candidate.session.kind, candidate.session.ttl_s) == ("a", SessionKind.ENDED, 0)
        store.failing = False
    assert (await connection.describe(about())).candidates == ()


async def test_an_engine_that_does_not_run_says_so(store: RecordingStore) -> None:
    """As for every call."""
    connection = Connection(Engine(store, clock=VirtualClock()))
    with pytest.raises(Unavailable):
        await connection.list_elections("default")
    with pytest.raises(Unavailable):
        await connection.describe(about())
