"""Several servers begin and end, lose their store, and find that it is another one."""

from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import anyio
import pytest
import trio

from atomix_election import InvalidRequest, LimitExceeded, OutcomeUnknown, SessionEnded, StoreError, Unavailable
from atomix_election.engine import Connection, ElectionLimits, SharedEngine
from atomix_election.engine.shared_lanes import SharedLane
from atomix_election.etcd import Put
from atomix_election.model import DEFAULT_NAMESPACE, MAX_SESSION_TTL_S
from atomix_election.service import Call, Renewal
from atomix_election.stores.etcd import open_etcd_store
from atomix_election.stores.etcd_keys import Layout, encode_hold
from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd import SimulatedEtcd
from atomix_election.testing.etcd_servers import Server, Servers, open_servers
from tests.engine.fakes import TTL_S, about, stand
from tests.engine.servers import renew, settle, shape

pytestmark = pytest.mark.anyio


@pytest.fixture
async def servers(anyio_backend: object) -> AsyncGenerator[Servers]:
    """Servers on one etcd."""
    async with open_servers() as servers:
        yield servers


@pytest.fixture
async def two(servers: Servers) -> list[Server]:
    """Two of them."""
    return await servers.start_some(2)


# The store goes back in time.


async def _break(servers: Servers, server: Server) -> None:
    snapshot = servers.etcd.snapshot()
    await renew(server.connect(), "lost", open_=True)
    await settle()
    servers.etcd.restore(snapshot)
    await settle()


async def test_nothing_is_served_from_a_store_that_went_back_in_time(servers: Servers, two: list[Server]) -> None:
    """Every call is refused, on all servers, until they are started again; and it is said to the operator."""
    one = two[0].connect()
    await stand(one, "s", "a")
    async with one.keep_alive(DEFAULT_NAMESPACE, "r") as stream:
        await stream.send(Renewal(1, open=True))
        await _break(servers, two[0])
        with pytest.raises(StoreError, match="restored from an older copy"):
            await stream.send(Renewal(2))
    for server in two:
        connection = server.connect()
        call = about("s")
        for refused in (
            connection.enter(call, "b"),
            connection.withdraw(call, "a"),
            connection.create(call),
            connection.close(call),
            connection.get_term(about()),
            connection.anoint(about(), "a"),
            connection.forget(about()),
            connection.describe(Call("e")),
            connection.list_elections(DEFAULT_NAMESPACE),
            connection.end_session(DEFAULT_NAMESPACE, "s"),
            renew(connection, "s"),
        ):
            with pytest.raises(StoreError, match="restored from an older copy"):
                await refused
        with pytest.raises(StoreError):
            async with connection.events(about()):
                pass


async def test_watchers_are_ended_when_the_store_goes_back(servers: Servers, two: list[Server]) -> None:
    """They come back, and are refused."""
    async with two[1].connect().events(about()) as events:
        await anext(events)
        await _break(servers, two[0])
        with pytest.raises(Unavailable, match="restored from an older copy"):
            await anext(events)


async def test_who_waits_for_an_end_hears_that_the_store_went_back(servers: Servers, two: list[Server]) -> None:
    """Instead of waiting for ever; and connections close as always, also one whose session should end with it."""
    one = two[0].connect()
    await renew(one, "r", open_=True)
    async with one.keep_alive(DEFAULT_NAMESPACE, "q") as stream:
        await stream.send(Renewal(1, open=True, release_on_disconnect=True))
        two[0].client.is_cut_off = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_expect_store_error, one)
            await settle()
            snapshot = servers.etcd.snapshot()
            for number in range(3):
                await renew(two[1].connect(), f"lost{number}", open_=True)
            servers.etcd.restore(snapshot)
            servers.etcd.state.revision = 1
            two[0].client.is_cut_off = False
        one.disconnect(by_peer=True)
    await settle()


async def _expect_store_error(connection: Connection) -> None:
    with pytest.raises(StoreError, match="restored from an older copy"):
        await connection.end_session(DEFAULT_NAMESPACE, "r")


# After a restore.


async def test_nobody_is_admitted_while_leaders_from_before_a_restore_may_act(servers: Servers) -> None:
    """On every server that starts in this time; reading goes on, and what is there may leave."""
    (former,) = await servers.start_some(1)
    await renew(former.connect(), "s", open_=True, ttl_s=1000)
    await former.connect().enter(about("s"), "a")
    hold_s = MAX_SESSION_TTL_S + 100
    client = servers.etcd.client()
    await client.txn([], [Put(Layout().hold, encode_hold(hold_s))])
    one = await servers.start()
    await anyio.sleep(hold_s / 2)
    other = await servers.start()
    for server in (one, other):
        with pytest.raises(Unavailable, match="restored from a backup"):
            await renew(server.connect(), "t", open_=True)
        with pytest.raises(Unavailable, match="restored from a backup"):
            await server.connect().create(about("t"))
        with pytest.raises(Unavailable, match="restored from a backup"):
            await server.connect().enter(about("s"), "b")
        assert shape(await server.connect().get_term(about())) == ("a", 1)
        assert not (await renew(server.connect(), "s")).ended
    await anyio.sleep(hold_s / 2 + 1)
    await one.connect().create(about("t"))
    assert one.store.hold_s is None
    await settle()
    third = await servers.start()
    await third.connect().create(about("u"))


# Beginning and ending.


async def test_a_server_that_ends_refuses_what_waits_and_leaves_nothing(two: list[Server]) -> None:
    """Commands, opens, ends, watches and renewals are under way; others go on with what is in etcd."""
    one = two[0].connect()
    await stand(one, "s", "a")
    await renew(one, "t", open_=True, ttl_s=100)
    outcomes: list[str] = []

    async def note(name: str, call: Coroutine[Any, Any, Any]) -> None:
        try:
            await call
            outcomes.append(name)
        except (Unavailable, StoreError, OutcomeUnknown, SessionEnded) as error:
            outcomes.append(type(error).__name__)

    async def watch() -> None:
        async with one.events(about()) as events:
            async for _ in events:
                pass

    two[0].client.is_cut_off = True
    calls = {
        "enter": one.enter(about("s"), "b"),
        "create": one.create(about("u")),
        "renew": renew(one, "t"),
        "get_term": one.get_term(about()),
        "watch": watch(),
    }
    async with anyio.create_task_group() as tasks:
        for name, call in calls.items():
            tasks.start_soon(note, name, call)
        await anyio.sleep(1)
        await two[0].stop()
    assert len(outcomes) == len(calls)
    assert set(outcomes) <= {"Unavailable", "StoreError", "OutcomeUnknown"}
    assert shape(await two[1].connect().get_term(about())) == ("a", 1)
    assert not (await renew(two[1].connect(), "t")).ended


@pytest.mark.parametrize("moment_s", [0.0, 0.5, 1.0, 2.0, 5.0, TTL_S, TTL_S + 0.5])
def test_nothing_runs_on_when_all_have_ended(moment_s: float) -> None:
    """Whatever they were about to do when they ended."""

    async def play() -> None:
        async with SimulatedEtcd(VirtualClock(), seed=1) as etcd, anyio.create_task_group() as tasks:
            two = await Servers(etcd, tasks).start_some(2)
            one = two[0].connect()
            await stand(one, "s", "a")
            await renew(one, "t", open_=True)
            await one.enter(about("t"), "b")
            await one.anoint(about(), "b")
            one.disconnect()
            await anyio.sleep(moment_s)
            for server in two:
                await server.stop()
        assert trio.lowlevel.current_statistics().tasks_living <= 3

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_an_engine_of_a_shared_store_has_one_user_at_a_time(anyio_backend: object) -> None:
    """The next one begins anew, with what is in etcd, and with what has to be cleared up."""
    async with SimulatedEtcd(VirtualClock()) as etcd, open_etcd_store(etcd.client()) as store:
        engine = SharedEngine(store, clock=VirtualClock(), election_limits=ElectionLimits(max_elections=2))
        async with engine.running():
            connection = Connection(engine)
            await renew(connection, "s", open_=True)
            await connection.enter(about("s"), "a")
            with pytest.raises(InvalidRequest, match="one user at a time"):
                async with engine.running():
                    pass
            assert shape(await connection.get_term(about())) == ("a", 1)
            await anyio.sleep(TTL_S - 0.1)
            connection.disconnect()
        await anyio.sleep(3)
        async with engine.running():
            await settle()
            connection = Connection(engine)
            assert shape(await connection.get_term(about())) == ("", 2)
            await stand(connection, "t", "b")
            await stand(connection, "t", "b", "f")
            assert len(engine.sessions) == 1


async def test_an_engine_that_begins_anew_forgets_what_it_was_about_to_do(anyio_backend: object) -> None:
    """It left a sweep to others, and ended: when it runs again it looks for itself."""
    async with (
        SimulatedEtcd(VirtualClock()) as etcd,
        open_etcd_store(etcd.client()) as one,
        open_etcd_store(etcd.client()) as other,
    ):
        engine = SharedEngine(one, clock=VirtualClock())
        async with engine.running():
            await settle()
            names = (f"e{number}" for number in range(100))
            name = next(name for name in names if one.rank(about(name=name).election_id))
            await renew(Connection(engine), "s", open_=True)
            await Connection(engine).enter(about("s", name), "a")
            await settle()
            await other.end_session(engine.sessions.get(DEFAULT_NAMESPACE, "s").id)
            await anyio.sleep(0.1)
        async with engine.running():
            await anyio.sleep(1)
            assert shape(await Connection(engine).get_term(about(name=name))) == ("", 2)


async def test_a_server_does_not_start_without_etcd(servers: Servers) -> None:
    """It says so in time."""
    client = servers.etcd.client()
    async with open_etcd_store(client) as store:
        client.is_cut_off = True
        began = anyio.current_time()
        with pytest.raises(StoreError):
            async with SharedEngine(store, clock=VirtualClock()).running():
                pass
        assert anyio.current_time() - began <= 10


async def test_lanes_nobody_uses_are_dropped(two: list[Server]) -> None:
    """Whoever changes their elections."""
    one = two[0].connect()
    await renew(one, "s", open_=True)
    for number in range(50):
        await one.enter(about("s", f"e{number}"), "a")
    await settle()
    for server in two:
        assert not server.engine._lanes
    async with two[1].connect().events(about("", "e1")):
        assert [type(lane) for lane in two[1].engine._lanes.values()] == [SharedLane]


async def test_a_restart_counts_what_is_there(servers: Servers) -> None:
    """Elections and sessions are counted once, also by the servers that saw them come."""
    two = await servers.start_some(2, ElectionLimits(max_elections=3))
    one = two[0].connect()
    await renew(one, "s", open_=True, ttl_s=100)
    for name in ("e", "f"):
        await one.enter(about("s", name), "a")
    two += await servers.start_some(1, ElectionLimits(max_elections=3))
    await two[2].connect().enter(about("s", "g"), "a")
    await settle()
    for server in two:
        assert len(server.engine.sessions) == 1
        with pytest.raises(LimitExceeded):
            await server.connect().enter(about("s", "h"), "a")
