"""Sessions on several servers: opened on one, used on all, ended once."""

from collections.abc import AsyncGenerator
from itertools import count
from typing import Any

import anyio
import pytest

from atomix_election import NotSessionOwner, OutcomeUnknown, SessionEnded, StoreError
from atomix_election.engine import Connection
from atomix_election.engine.shared import AUDIT_S, STAGGER_S
from atomix_election.engine.shared_sessions import SharedSessions
from atomix_election.model import DEFAULT_NAMESPACE, SessionId
from atomix_election.service import Call, Renewal
from atomix_election.stores.etcd import open_etcd_store
from atomix_election.testing.etcd import Outcome
from atomix_election.testing.etcd_servers import Server, Servers, open_servers
from tests.engine.fakes import TTL_S, about, stand
from tests.engine.servers import EXPIRY_S, keep_renewing, renew, settle, shape

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


async def _queue(server: Server, name: str = "e") -> str:
    return " ".join((await server.connect().get_term(about(name=name))).candidates)


def _first_for(servers: list[Server], name: str = "e") -> list[Server]:
    """Return the servers in the order in which they see to an election."""
    return sorted(servers, key=lambda server: server.store.rank(about(name=name).election_id))


async def _seconds_until_gone(server: Server, name: str = "e") -> float:
    began = anyio.current_time()
    async with server.connect().events(about(name=name)) as events:
        async for event in events:
            if not event.term.candidates:
                return anyio.current_time() - began
    raise AssertionError


# Opened on one, usable on all.


@pytest.mark.parametrize("method", ["enter", "create", "close", "renew", "withdraw", "end"])
async def test_a_session_is_usable_on_another_server_at_once(two: list[Server], method: str) -> None:
    """Also if that one's view lags: it waits until it knows."""
    one, other = (each.connect() for each in two)
    two[1].client.hold_back(for_s=2.0)
    await one.create(about("s"))
    if method == "renew":
        await renew(one, "r", open_=True)
    match method:
        case "renew":
            assert not (await renew(other, "r")).ended
        case "end":
            await other.end_session(DEFAULT_NAMESPACE, "s")
        case "create" | "close":
            await getattr(other, method)(about("s"))
        case _:
            await getattr(other, method)(about("s"), "a")
    if method in ("close", "end"):
        await settle()
        with pytest.raises(SessionEnded):
            await one.enter(about("s"), "a")


async def test_opening_twice_at_once_is_one_session(two: list[Server]) -> None:
    """Create of the same id on two servers at the same time: one of the two incarnations counts, on both."""
    one, other = (each.connect() for each in two)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.create, about("s"))
        tasks.start_soon(other.create, about("s"))
    await settle()
    assert len({each.engine.sessions.get(DEFAULT_NAMESPACE, "s").id for each in two}) == 1
    await one.enter(about("s"), "a")
    assert (await other.enter(about("s"), "a")).candidates == ("a",)
    await anyio.sleep(3 * TTL_S)
    assert await _queue(two[0]) == "a"
    assert len(await two[0].store.sessions()) == 1


async def test_opening_twice_at_once_on_one_server_opens_once(
    two: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the second one would end the first, which has been answered."""
    open_session, opened = two[0].store.open_session, list[SessionId]()

    async def counted(*args: Any, **kwargs: Any) -> SessionId:
        opened.append(await open_session(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(two[0].store, "open_session", counted)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(two[0].connect().create, about("s"))
    assert opened == [two[0].engine.sessions.get(DEFAULT_NAMESPACE, "s").id]


@pytest.mark.parametrize("outcome", [Outcome.LATE, Outcome.APPLIED, Outcome.LOST])
async def test_an_opening_that_takes_place_late_ends_no_session_of_that_id(
    servers: Servers, two: list[Server], outcome: Outcome
) -> None:
    """The client did not wait for the first server, opened its session at the other one, and leads."""
    one, other = (each.connect() for each in two)
    two[0].client.next_writes.extend([Outcome.ANSWERED, outcome])
    with anyio.move_on_after(1e-6):
        await renew(one, "s", open_=True)
    for session, candidate_id in (("s", "a"), ("t", "b")):
        await renew(other, session, open_=True)
        await other.enter(about(session), candidate_id)
        servers.start_soon(keep_renewing, other, session, TTL_S / 3)
    await anyio.sleep(3 * TTL_S)
    assert shape(await one.get_term(about())) == ("a b", 2)
    assert len(await two[0].store.sessions()) == 2
    assert len(servers.etcd.state.leases) == 4, "those of the servers included"


@pytest.mark.parametrize("starts", ["before", "after"])
async def test_of_two_incarnations_the_older_one_ends(servers: Servers, two: list[Server], starts: str) -> None:
    """With all that it left, and at once; a server that starts later does not bring it back either."""
    one = two[0].connect()
    await stand(one, "s", "a")
    if starts == "after":
        for server in two:
            await server.stop()
        two = await servers.start_some(1)
    incarnation = await two[0].store.open_session(DEFAULT_NAMESPACE, "s", ttl_s=100, kept_alive=True)
    two += await servers.start_some(1)
    await anyio.sleep(2 * STAGGER_S)
    assert await _queue(two[0]) == ""
    assert [each.session for each in await two[0].store.sessions()] == [incarnation]
    assert {each.engine.sessions.get(DEFAULT_NAMESPACE, "s").id for each in two} == {incarnation}


@pytest.mark.parametrize("step", [4, -4])
async def test_a_server_that_finds_two_incarnations_takes_the_newer_one(servers: Servers, step: int) -> None:
    """In whichever order it reads them; the older one ends."""
    numbers = count(1 << 60, step)
    async with open_etcd_store(servers.etcd.client(), unique=lambda: f"{next(numbers):016x}") as store:
        await store.open_session(DEFAULT_NAMESPACE, "s", ttl_s=100, kept_alive=True)
        newer = await store.open_session(DEFAULT_NAMESPACE, "s", ttl_s=100, kept_alive=True)
        (server,) = await servers.start_some(1)
        assert server.engine.sessions.get(DEFAULT_NAMESPACE, "s").id == newer
        assert [each.session for each in await store.sessions()] == [newer]


async def test_a_session_belongs_to_its_owner_on_all(two: list[Server]) -> None:
    """Whichever server another principal tries."""
    await two[0].connect("alice").create(about("s"))
    two[1].client.hold_back(for_s=1.0)
    with pytest.raises(NotSessionOwner):
        await two[1].connect("bob").enter(about("s"), "a")
    with pytest.raises(NotSessionOwner):
        await renew(two[1].connect("bob"), "s")


async def test_create_opens_what_has_ended_elsewhere(two: list[Server]) -> None:
    """Also where the end is not yet heard of: Create opens a session if need be."""
    one, other = (each.connect() for each in two)
    await stand(one, "s", "a")
    await other.create(about("s"))
    await settle()
    two[1].client.hold_back(for_s=1.0)
    await one.end_session(DEFAULT_NAMESPACE, "s")
    await other.create(about("s"))
    assert (await other.enter(about("s"), "b")).candidates == ("b",)


# The end is final.


@pytest.mark.parametrize("late", [False, True])
async def test_an_end_is_final_on_all_servers(two: list[Server], late: bool) -> None:
    """No renewal and no Enter is answered as if it were open, whatever the other server has heard of."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    await one.enter(about("s"), "a")
    identity = two[0].engine.sessions.get(DEFAULT_NAMESPACE, "s").id
    async with other.keep_alive(DEFAULT_NAMESPACE, "s") as stream:
        await stream.send(Renewal(1))
        assert not (await stream.receive()).ended
        if late:
            two[1].client.hold_back()
        await one.end_session(DEFAULT_NAMESPACE, "s")
        with pytest.raises(SessionEnded):
            await other.enter(about("s"), "b")
        await stream.send(Renewal(2))
        assert (await stream.receive()).ended
    two[1].client.let_by()
    sessions = two[0].engine.sessions
    assert isinstance(sessions, SharedSessions)
    assert not sessions.is_ending(identity)
    assert await _queue(two[1]) == ""


async def test_an_end_that_cannot_be_committed_is_final_here(servers: Servers, two: list[Server]) -> None:
    """While etcd does not answer, and afterwards; it is committed as soon as that is possible."""
    one = two[0].connect()
    await renew(one, "s", open_=True, ttl_s=100)
    await one.enter(about("s"), "a")
    async with one.keep_alive(DEFAULT_NAMESPACE, "s") as stream, anyio.create_task_group() as tasks:
        await stream.send(Renewal(1))
        await stream.receive()
        servers.etcd.is_available = False
        tasks.start_soon(one.end_session, DEFAULT_NAMESPACE, "s")
        await settle()
        await stream.send(Renewal(2))
        assert (await stream.receive()).ended
        with pytest.raises((SessionEnded, StoreError)):
            await one.enter(about("s"), "b")
        await anyio.sleep(12)
        servers.etcd.is_available = True
        with pytest.raises(SessionEnded):
            await one.enter(about("s"), "b")
    assert await _queue(two[1]) == ""
    with pytest.raises(SessionEnded):
        await two[1].connect().enter(about("s"), "b")


async def test_who_is_about_to_end_holds_up_nobody(two: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end was decided, and etcd has not taken it yet: another session may have its candidate id at once."""
    one = two[0].connect()
    await renew(one, "s", open_=True, ttl_s=100)
    await renew(one, "t", open_=True, ttl_s=100)
    await one.enter(about("s"), "a")
    end = two[0].store.end_session

    async def fail(_: SessionId) -> None:
        raise StoreError("etcd did not take it")

    monkeypatch.setattr(two[0].store, "end_session", fail)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.end_session, DEFAULT_NAMESPACE, "s")
        await settle()
        assert shape(await one.enter(about("t"), "a")) == ("a", 2)
        monkeypatch.setattr(two[0].store, "end_session", end)
    assert await _queue(two[1]) == "a"
    assert (await renew(two[1].connect(), "s")).ended


async def test_an_entry_under_way_when_the_session_ends_is_not_answered_well(
    servers: Servers, two: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed before the end, or not at all: the candidate does not stay, and the caller is not told that it does."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    two[0].client.hold_back()
    original = two[0].store.write

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        await other.end_session(DEFAULT_NAMESPACE, "s")
        return await original(*args, **kwargs)

    monkeypatch.setattr(two[0].store, "write", slowly)
    with pytest.raises(SessionEnded):
        await one.enter(about("s"), "a")
    assert shape(await other.get_term(about())) == ("", 0)


async def test_close_ends_a_session_with_its_last_election(two: list[Server]) -> None:
    """Whichever servers the elections were created and closed through."""
    one, other = (each.connect() for each in two)
    await stand(one, "s", "a", "e")
    two[0].client.hold_back(for_s=1.0)
    await stand(other, "s", "b", "f")
    await one.close(about("s", "e"))
    assert await _queue(two[0], "e") == ""
    assert (await one.enter(about("s", "f"), "b")).candidates == ("b",)
    await other.close(about("s", "f"))
    with pytest.raises(SessionEnded):
        await one.enter(about("s", "f"), "b")
    assert await _queue(two[0], "f") == ""
    assert not await two[0].store.sessions()


async def test_a_close_whose_effect_on_the_session_is_not_known_says_so(two: list[Server]) -> None:
    """The session has left the election; whether it was its last one is told by repeating the call."""
    one = two[0].connect()
    await stand(one, "s", "a")
    two[0].client.hold_back()
    with pytest.raises(OutcomeUnknown, match="may not have ended"):
        await one.close(about("s"))
    two[0].client.let_by()
    await one.close(about("s"))
    assert not await two[0].store.sessions()


# Expiry.


async def test_an_expired_session_is_swept_once(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the server that comes first for the election; the others find nothing left to do."""
    three = await servers.start_some(3)
    await renew(three[0].connect(), "s", open_=True)
    await three[0].connect().enter(about("s"), "a")
    writes = _count_writes(three, monkeypatch)
    assert TTL_S <= await _seconds_until_gone(three[1]) <= TTL_S + EXPIRY_S + 0.01
    await anyio.sleep(5)
    first, *rest = _first_for(three)
    assert writes[first] == 1
    assert [writes[each] for each in rest] == [0, 0]
    assert shape(await three[0].connect().get_term(about())) == ("", 2)
    assert all(not len(each.engine.sessions) for each in three)


async def test_the_next_one_sweeps_when_the_first_is_dead(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for its turn, and no longer."""
    three = await servers.start_some(3)
    first, second, third = _first_for(three)
    await renew(first.connect(), "s", open_=True)
    await first.connect().enter(about("s"), "a")
    began = anyio.current_time()
    await first.die()
    writes = _count_writes([second, third], monkeypatch)
    await _seconds_until_gone(third)
    assert TTL_S + STAGGER_S - 0.01 <= anyio.current_time() - began <= TTL_S + EXPIRY_S + STAGGER_S + 0.01
    await anyio.sleep(5)
    assert (writes[second], writes[third]) == (1, 0)


def _count_writes(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> dict[Server, int]:
    writes = dict.fromkeys(servers, 0)

    def count(server: Server, name: str) -> None:
        original = getattr(server.store, name)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            writes[server] += 1
            return await original(*args, **kwargs)

        monkeypatch.setattr(server.store, name, counted)

    for server in servers:
        count(server, "write")
        count(server, "confirm")
    return writes


async def test_an_expired_session_leaves_all_its_elections(servers: Servers) -> None:
    """Entered through any server; nobody else loses anything."""
    three = await servers.start_some(3)
    await renew(three[0].connect(), "s", open_=True)
    await renew(three[0].connect(), "t", open_=True, ttl_s=100)
    names = [f"e{number}" for number in range(6)]
    for number, name in enumerate(names):
        connection = three[number % 3].connect()
        await connection.enter(about("s", name), "a")
        await connection.enter(about("t", name), "b")
        await connection.enter(about("s", name), "c")
    await anyio.sleep(TTL_S + EXPIRY_S + 3 * STAGGER_S)
    for name in names:
        assert shape(await three[0].connect().get_term(about(name=name))) == ("b", 4)


async def test_what_is_left_of_gone_sessions_is_found(servers: Servers, two: list[Server]) -> None:
    """After AUDIT_S at most, though nobody has heard of the end, as a fault in etcd may cause."""
    one = two[0].connect()
    await renew(one, "s", open_=True, ttl_s=100)
    await one.enter(about("s"), "a")
    await settle()
    session = two[0].engine.sessions.get(DEFAULT_NAMESPACE, "s")
    for server in two:
        server.engine.sessions.get(DEFAULT_NAMESPACE, "s").elections.clear()
    await two[0].store.end_session(session.id)
    await anyio.sleep(1)
    assert await _queue(two[1]) == "a"
    await anyio.sleep(AUDIT_S + STAGGER_S)
    assert await _queue(two[1]) == ""


async def test_a_restart_finds_what_is_left(servers: Servers, two: list[Server]) -> None:
    """Sessions that have ended while no server ran are swept by the next one, at once."""
    one = two[0].connect()
    await renew(one, "s", open_=True)
    await renew(one, "t", open_=True, ttl_s=100)
    await one.enter(about("s"), "a")
    await one.enter(about("t"), "b")
    for server in two:
        await server.stop()
    await anyio.sleep(2 * TTL_S)
    (server,) = await servers.start_some(1)
    await anyio.sleep(2 * STAGGER_S)
    assert await _queue(server) == "b"
    assert not (await renew(server.connect(), "t")).ended


async def test_who_left_through_one_and_came_back_through_another_is_swept(
    two: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one's answer to the leaving comes after it has heard of the coming back."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    await one.enter(about("s"), "a")
    original = two[0].store.write

    async def late(*args: Any, **kwargs: Any) -> Any:
        record = await original(*args, **kwargs)
        monkeypatch.setattr(two[0].store, "write", original)
        await other.enter(about("s"), "a")
        await settle()
        return record

    monkeypatch.setattr(two[0].store, "write", late)
    await one.withdraw(about("s"), "a")
    await two[1].die()
    assert await _seconds_until_gone(two[0]) <= TTL_S + EXPIRY_S + STAGGER_S


# Sessions that connections keep.


async def test_a_held_session_lasts_as_long_as_its_connection(two: list[Server]) -> None:
    """On any server, and one time-to-live longer; never on a timer of the server."""
    one, other = (each.connect() for each in two)
    await stand(one, "s", "a")
    await anyio.sleep(5 * TTL_S)
    assert await _queue(two[1]) == "a"
    one.disconnect()
    await anyio.sleep(TTL_S - 0.001)
    assert await _queue(two[1]) == "a"
    assert await _seconds_until_gone(two[1]) <= 0.001 + EXPIRY_S + STAGGER_S
    await stand(one := two[0].connect(), "s", "a")
    await other.enter(about("s"), "a")
    one.disconnect()
    await anyio.sleep(3 * TTL_S)
    assert await _queue(two[0]) == "a"
    other.disconnect()
    assert TTL_S <= await _seconds_until_gone(two[0]) <= TTL_S + EXPIRY_S + STAGGER_S


async def test_a_session_that_renewals_keep_ends_without_them(two: list[Server]) -> None:
    """A connection that stays open keeps nothing of it, on whichever server it was used."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    await one.enter(about("s"), "a")
    await other.enter(about("s"), "a")
    assert TTL_S <= await _seconds_until_gone(two[0]) <= TTL_S + EXPIRY_S + STAGGER_S


async def test_renewals_through_any_server_keep_a_session(two: list[Server]) -> None:
    """A client may change its server between any two."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True)
    await one.enter(about("s"), "a")
    for _ in range(4):
        for connection in (other, one):
            await anyio.sleep(TTL_S - 1)
            assert not (await renew(connection, "s")).ended
    assert await _queue(two[0]) == "a"


@pytest.mark.parametrize("method", ["enter", "create", "get_term", "events"])
@pytest.mark.parametrize("back_after_s", [2.0, 9.5])
async def test_a_held_session_survives_the_death_of_its_server(
    two: list[Server], method: str, back_after_s: float
) -> None:
    """Its client comes back to another one, in time, with whatever call: from then on that one keeps it."""
    await stand(two[0].connect(), "s", "a")
    await settle()
    await two[0].die()
    await anyio.sleep(back_after_s - 1.0)  # dying takes that
    back = two[1].connect()
    await _use(back, method)
    await anyio.sleep(3 * TTL_S)
    assert await _queue(two[1]) == "a"
    back.disconnect()
    assert await _seconds_until_gone(two[1]) >= TTL_S - 0.01


async def _use(connection: Connection, method: str) -> None:
    match method:
        case "events":
            async with connection.events(about("s")):
                pass
        case "enter":
            await connection.enter(about("s"), "a")
        case _:
            await getattr(connection, method)(about("s"))


async def test_a_held_session_of_a_dead_server_ends(two: list[Server]) -> None:
    """Where its client does not come back."""
    await stand(two[0].connect(), "s", "a")
    began = anyio.current_time()
    await two[0].die()
    await _seconds_until_gone(two[1])
    assert TTL_S * 2 / 3 <= anyio.current_time() - began <= TTL_S + EXPIRY_S + STAGGER_S


async def test_many_connections_that_come_and_go_cost_no_renewal_of_the_others(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lets go renews what it held, and nothing else."""
    (server,) = await servers.start_some(1)
    connection = server.connect()
    for number in range(20):
        await connection.create(about(f"s{number}"))
    await anyio.sleep(3.4)
    renewals = 0
    original = server.client.keep_alive

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal renewals
        renewals += 1
        return await original(*args, **kwargs)

    monkeypatch.setattr(server.client, "keep_alive", counted)
    for number in range(5):
        guest = server.connect()
        await guest.create(about(f"guest{number}"))
        guest.disconnect()
        await settle()
    assert renewals <= 10


async def test_an_outage_shorter_than_the_lease_ends_nothing(servers: Servers, two: list[Server]) -> None:
    """Held and renewed sessions are there afterwards; leases begin anew with a new leader of etcd."""
    one = two[0].connect()
    await stand(one, "s", "a")
    await renew(one, "t", open_=True)
    await one.enter(about("t"), "b")
    servers.etcd.is_available = False
    await anyio.sleep(6)
    servers.etcd.is_available = True
    servers.etcd.change_leader()
    servers.etcd.notify()
    assert not (await renew(two[1].connect(), "t")).ended
    servers.start_soon(keep_renewing, two[1].connect(), "t")
    await anyio.sleep(3 * TTL_S)
    assert await _queue(two[1]) == "a b"


async def test_sessions_are_described_by_any_server(
    servers: Servers, two: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is left of the lease, as far as it is known there; no group of errors when etcd is out of reach."""
    one, other = (each.connect() for each in two)
    await renew(one, "s", open_=True, ttl_s=60)
    await one.enter(about("s"), "a")
    await settle()
    described = await other.describe(Call("e"))
    left_s = described.candidates[0].session.lease_left_s
    assert left_s is not None
    assert 58 <= left_s <= 60
    original = two[1].store.lease_left_s

    async def fail(session: SessionId) -> float | None:
        servers.etcd.is_available = False
        return await original(session)

    monkeypatch.setattr(two[1].store, "lease_left_s", fail)
    with pytest.raises(StoreError):
        await other.describe(Call("e"))
