"""A session belongs to the principal that opened it, also after a restart."""

import pytest

from atomix_election.engine import Connection
from atomix_election.errors import PermissionDenied
from atomix_election.service import Call, Renewal
from tests.engine.fakes import RecordingStore, about, candidates, running, stand

pytestmark = pytest.mark.anyio


async def check_refused(connection: Connection, session: str = "s") -> None:
    """Fail unless each call with that session is refused, and changes nothing."""
    call, numbered = about(session), Call("e", session=session, operation=1)

    async def events() -> None:
        async with connection.events(call):
            pass

    async def keep_alive() -> None:
        for opens in (False, True):
            async with connection.keep_alive(call.namespace, session) as stream:
                with pytest.raises(PermissionDenied):
                    await stream.send(Renewal(1, open=opens))

    await keep_alive()
    for attempt in (
        lambda: connection.create(call),
        lambda: connection.close(call),
        lambda: connection.enter(call, "x"),
        lambda: connection.withdraw(call, "a"),
        lambda: connection.anoint(call, "a"),
        lambda: connection.promote(numbered, "a"),
        lambda: connection.evict(call, "a"),
        lambda: connection.get_term(call),
        lambda: connection.end_session(call.namespace, session),
        events,
    ):
        with pytest.raises(PermissionDenied, match="belongs to another principal"):
            await attempt()


@pytest.mark.parametrize("owner", ["", "somebody"])
async def test_a_session_is_its_owners_alone(owner: str) -> None:
    """Every call of another principal is refused; who opened it goes on, on another connection too."""
    store = RecordingStore()
    async with running(store) as engine:
        await stand(Connection(engine, owner), "s", "a")
        await check_refused(Connection(engine, "other"))
        assert [each.owner for each in await store.sessions()] == [owner]
        await Connection(engine, owner).enter(about("s"), "b")
        assert await candidates(engine) == ("a", "b")


async def test_a_session_that_is_kept_alive_has_an_owner_too() -> None:
    """It is the principal of the stream."""
    async with (
        running(RecordingStore()) as engine,
        Connection(engine, "somebody").keep_alive("default", "s") as stream,
    ):
        await stream.send(Renewal(1, open=True))
        assert not (await stream.receive()).ended
        await check_refused(Connection(engine, "other"))
        await check_refused(Connection(engine))
        await stream.send(Renewal(2))
        assert not (await stream.receive()).ended


async def test_an_owner_is_remembered() -> None:
    """When the engine begins anew from the same store."""
    store = RecordingStore()
    async with running(store) as engine:
        await stand(Connection(engine, "somebody"), "s", "a")
    async with running(store) as engine:
        await check_refused(Connection(engine, "other"))
        assert (await Connection(engine, "somebody").withdraw(about("s"), "a")).leader is None


async def test_the_id_of_a_session_that_ended_is_free() -> None:
    """For whoever takes it next."""
    async with running(RecordingStore()) as engine:
        await stand(Connection(engine, "somebody"), "s", "a")
        await Connection(engine, "somebody").end_session("default", "s")
        await stand(Connection(engine, "other"), "s", "a")
        await check_refused(Connection(engine, "somebody"))


async def test_evicting_needs_no_session() -> None:
    """Administrators get at others' candidates, not at their sessions."""
    async with running(RecordingStore()) as engine:
        await stand(Connection(engine, "somebody"), "s", "a")
        assert (await Connection(engine, "other").evict(about(), "a")).leader is None
