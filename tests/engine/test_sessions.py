"""When sessions end, and what goes with them."""

import anyio
import pytest

from atomix_election import InvalidRequest, SessionEnded
from atomix_election.engine import Connection, Engine
from atomix_election.service import Call
from tests.engine.fakes import LATE_S, TTL_S, RecordingStore, about, candidates, stand

pytestmark = pytest.mark.anyio


async def _seconds_until_gone(engine: Engine, name: str = "e") -> float:
    """Wait until nobody stands in an election, by watching it."""
    began = anyio.current_time()
    async with Connection(engine).events(about(name=name)) as events:
        async for event in events:
            if not event.term.candidates:
                return anyio.current_time() - began
    raise AssertionError


async def test_it_ends_one_time_to_live_after_its_connection(engine: Engine) -> None:
    """Never earlier, and at most LATE_S later."""
    connection = Connection(engine)
    await stand(connection, "s")
    await anyio.sleep(7 * TTL_S)
    assert await candidates(engine) == ("s",)
    connection.disconnect()
    await anyio.sleep(TTL_S - 0.001)
    assert await candidates(engine) == ("s",)
    await anyio.sleep(0.001 + LATE_S)
    assert await candidates(engine) == ()
    assert len(engine.sessions) == 0


@pytest.mark.parametrize("first", [0, 1])
async def test_it_lasts_as_long_as_the_last_connection(engine: Engine, first: int) -> None:
    """Of two connections that used it the one that closes last counts, in either order."""
    connections = [Connection(engine), Connection(engine)]
    await stand(connections[0], "s")
    await connections[1].enter(about("s"), "s")
    connections[first].disconnect()
    await anyio.sleep(3 * TTL_S)
    assert await candidates(engine) == ("s",)
    connections[1 - first].disconnect()
    assert TTL_S <= await _seconds_until_gone(engine) <= TTL_S + LATE_S


@pytest.mark.parametrize("method", ["create", "enter", "withdraw", "promote", "get_term", "events"])
async def test_any_call_that_names_it_keeps_it(engine: Engine, method: str) -> None:
    """A connection that used a session in whatever call is one that keeps it open."""
    one, two = Connection(engine), Connection(engine)
    await stand(one, "s")
    if method in ("create", "get_term"):
        await getattr(two, method)(about("s"))
    elif method == "events":
        async with two.events(about("s")):
            pass
    else:
        await getattr(two, method)(about("s"), "s" if method != "withdraw" else "other")
    one.disconnect()
    await anyio.sleep(2 * TTL_S)
    assert await candidates(engine) == ("s",)
    two.disconnect()
    assert TTL_S <= await _seconds_until_gone(engine) <= TTL_S + LATE_S


async def test_coming_back_in_time_keeps_it(engine: Engine) -> None:
    """A new connection before the end keeps the session and its place, and the next end counts from its close."""
    one = Connection(engine)
    await stand(one, "s")
    for _ in range(3):
        one.disconnect()
        await anyio.sleep(TTL_S - 0.5)
        one = Connection(engine)
        await one.enter(about("s"), "s")
    assert (await one.get_term(about())).number == 1
    await anyio.sleep(5 * TTL_S)
    one.disconnect()
    assert TTL_S <= await _seconds_until_gone(engine) <= TTL_S + LATE_S


async def test_a_connection_holds_only_where_it_may(engine: Engine) -> None:
    """What it held elsewhere ends one time-to-live later, and calls of it keep nothing there."""
    connection = Connection(engine)
    for namespace in ("one", "two"):
        await connection.create(Call("e", namespace, "s"))
        await connection.enter(Call("e", namespace, "s"), "a")
    connection.hold_only(lambda namespace: namespace == "two")
    await anyio.sleep(TTL_S - 0.001)
    assert (await connection.enter(Call("e", "one", "s"), "b")).candidates == ("a", "b")
    await anyio.sleep(0.001 + LATE_S)
    assert (await connection.get_term(Call("e", "one"))).candidates == ()
    await anyio.sleep(3 * TTL_S)
    assert (await connection.get_term(Call("e", "two"))).candidates == ("a",)
    connection.hold_only(lambda _: True)
    await connection.create(Call("e", "one", "s"))
    await anyio.sleep(3 * TTL_S)
    assert len(engine.sessions) == 2


async def test_a_call_in_flight_when_the_connection_closes_does_not_keep_it(
    engine: Engine, store: RecordingStore
) -> None:
    """The call may be served to its end, but the session ends one time-to-live after the connection closed."""
    connection = Connection(engine)
    await stand(connection, "s")
    store.write_delay_s = 3.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.enter, about("s"), "b")
        await anyio.sleep(1.0)
        connection.disconnect()
        await anyio.sleep(2.0)
        store.write_delay_s = 0.0
    assert await candidates(engine) == ("s", "b")
    assert TTL_S - 2.0 <= await _seconds_until_gone(engine) <= TTL_S - 2.0 + LATE_S


async def test_sessions_end_each_in_its_time(engine: Engine) -> None:
    """Many sessions, closed at different times in no order, end in their order and on time."""
    connections = {f"s{number}": Connection(engine) for number in range(20)}
    for name, connection in connections.items():
        await stand(connection, name, name, name)
    ends: dict[str, float] = {}

    async def watch(name: str) -> None:
        await _seconds_until_gone(engine, name)
        ends[name] = anyio.current_time()

    closes: dict[str, float] = {}
    async with anyio.create_task_group() as tasks:
        for name in connections:
            tasks.start_soon(watch, name)
        for number in range(20):
            name = f"s{(number * 7) % 20}"
            connections[name].disconnect()
            closes[name] = anyio.current_time()
            await anyio.sleep(TTL_S / 13)
    took_s = [round(ends[name] - closes[name], 6) for name in connections]
    assert TTL_S <= min(took_s) <= max(took_s) <= TTL_S + LATE_S


async def test_its_end_removes_its_candidates_everywhere(engine: Engine) -> None:
    """In all elections, all candidates of it, in one revision each, and nobody else's."""
    one, two = Connection(engine), Connection(engine)
    names = [f"e{number}" for number in range(5)]
    for name in names:
        await stand(one, "s", "a", name)
        await stand(two, "t", "b", name)
        await one.enter(about("s", name), "c")
    one.disconnect()
    await anyio.sleep(TTL_S + LATE_S)
    for name in names:
        term = await two.get_term(about(name=name))
        assert (term.candidates, term.number, term.revision) == (("b",), 2, 4)


async def test_close_ends_it_with_its_last_registration(engine: Engine) -> None:
    """Not before; Close removes the candidates of its election only."""
    connection = Connection(engine)
    for name in ("e", "f"):
        await stand(connection, "s", "a", name)
    await connection.close(about("s", "e"))
    assert await candidates(engine, "e") == ()
    assert await candidates(engine, "f") == ("a",)
    await connection.enter(about("s", "f"), "b")
    await connection.close(about("s", "f"))
    assert await candidates(engine, "f") == ()
    assert len(engine.sessions) == 0
    with pytest.raises(SessionEnded):
        await connection.enter(about("s", "f"), "b")


async def test_enter_needs_an_open_session_only(engine: Engine) -> None:
    """One that another election opened will do; its end removes that candidate too."""
    connection = Connection(engine)
    with pytest.raises(SessionEnded):
        await connection.enter(about("s", "f"), "a")
    await connection.create(about("s", "e"))
    await connection.enter(about("s", "f"), "a")
    await connection.close(about("s", "e"))
    assert await candidates(engine, "f") == ()


async def test_who_names_no_session_where_one_is_needed_is_refused(engine: Engine) -> None:
    """Create, Close, Enter and Withdraw name a session."""
    connection = Connection(engine)
    for call in (connection.create, connection.close):
        with pytest.raises(InvalidRequest, match="session-id"):
            await call(about())
    for method in (connection.enter, connection.withdraw):
        with pytest.raises(InvalidRequest, match="session-id"):
            await method(about(), "a")


async def test_creating_again_changes_nothing(engine: Engine) -> None:
    """One Close undoes any number of Creates of an election."""
    connection = Connection(engine)
    for _ in range(3):
        await stand(connection, "s")
    await connection.close(about("s"))
    with pytest.raises(SessionEnded):
        await connection.close(about("s"))


async def test_a_session_of_the_same_id_is_another_one(engine: Engine) -> None:
    """After the end, the same ids come back as a new incarnation, which the old one's end leaves alone."""
    one = Connection(engine)
    await stand(one, "s", "a")
    await one.close(about("s"))
    two = Connection(engine)
    await stand(two, "s", "a")
    one.disconnect()
    await anyio.sleep(3 * TTL_S)
    assert await candidates(engine) == ("a",)
    assert (await two.get_term(about())).number == 2


async def test_namespaces_have_sessions_of_their_own(engine: Engine) -> None:
    """The same session id in two namespaces is two sessions."""
    connection = Connection(engine)
    await connection.create(Call("e", "one", "s"))
    with pytest.raises(SessionEnded):
        await connection.enter(Call("e", "two", "s"), "a")


async def test_close_and_create_at_once_leave_the_session_whole(engine: Engine) -> None:
    """A Create that was answered after a Close of the same election registers it, so that no other Close ends it."""
    connection = Connection(engine)
    await stand(connection, "s", "z", "elsewhere")
    await stand(connection, "s", "a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.close, about("s"))
        tasks.start_soon(connection.create, about("s"))
    term = await connection.enter(about("s"), "b")
    await connection.close(about("s", "elsewhere"))
    if term.candidates == ("b",):
        assert await candidates(engine) == ("b",)
