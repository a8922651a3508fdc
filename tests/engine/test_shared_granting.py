"""Who may act as the leader, with several servers: as many as know it, and one at a time."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from atomix_election import StoreError
from atomix_election.core.campaign import Answer, Granted
from atomix_election.engine import Connection
from atomix_election.model import DEFAULT_NAMESPACE
from atomix_election.service import Renewal
from atomix_election.testing.etcd_servers import Server, Servers, open_servers
from tests.engine.fakes import about, stand
from tests.engine.servers import EXPIRY_S, keep_renewing, renew, settle, shape

pytestmark = pytest.mark.anyio

TTL_S = 10


@pytest.fixture
async def servers(anyio_backend: object) -> AsyncGenerator[Servers]:
    """Servers on one etcd."""
    async with open_servers() as servers:
        yield servers


@pytest.fixture
async def three(servers: Servers) -> list[Server]:
    """Three of them; a and b stand in this order, for the sessions s and t of clients that renew."""
    three = await servers.start_some(3)
    one, other, _ = (each.connect() for each in three)
    await renew(one, "s", open_=True, ttl_s=TTL_S)
    await renew(other, "t", open_=True, ttl_s=TTL_S)
    await one.enter(about("s"), "a")
    await other.enter(about("t"), "b")
    await settle()
    return three


def _leads(answer: Answer) -> list[str]:
    return [each.candidate_id for each in answer.leaderships]


async def test_any_server_grants_what_was_gained_through_any(three: list[Server]) -> None:
    """The leader learns it from whichever it renews with; nobody else does."""
    for server in three:
        assert _leads(await renew(server.connect(), "s")) == ["a"]
        assert _leads(await renew(server.connect(), "t")) == []


async def test_an_answer_does_not_name_what_was_taken_before_the_renewal_arrived(three: list[Server]) -> None:
    """The view of the server that is asked lags: it answers when it knows better, and not before."""
    three[1].client.hold_back(for_s=2.0)
    await three[0].connect().withdraw(about("s"), "a")
    assert _leads(await renew(three[1].connect(), "s")) == []


async def test_an_answer_names_what_was_gained_before_the_renewal_arrived(three: list[Server]) -> None:
    """Gained elsewhere, that is, and under its new number."""
    three[1].client.hold_back(for_s=2.0)
    term = await three[0].connect().withdraw(about("s"), "a")
    answer = await renew(three[1].connect(), "t")
    assert answer.leaderships == (Granted("e", term.number, "b"),)


async def test_what_is_told_while_a_renewal_is_under_way_does_not_answer_it(three: list[Server]) -> None:
    """By then it has renewed nothing, and its client would count from when it sent it."""
    async with three[1].connect().keep_alive(DEFAULT_NAMESPACE, "s") as stream, anyio.create_task_group() as tasks:
        await stream.send(Renewal(1))
        assert (await stream.receive()).renewal == 1
        three[1].client.hold_back(for_s=2.0)
        await three[0].connect().enter(about("t"), "c")
        tasks.start_soon(stream.send, Renewal(2))
        await settle()
        stream.wake()
        assert (await stream.receive()).renewal == 1
        assert (await stream.receive()).renewal == 2


async def test_a_view_that_does_not_come_grants_nothing(three: list[Server]) -> None:
    """The renewal fails in time, and the client tries another server."""
    three[1].client.hold_back()
    await three[0].connect().enter(about("t"), "c")
    began = anyio.current_time()
    with pytest.raises(StoreError):
        await renew(three[1].connect(), "s")
    assert anyio.current_time() - began <= TTL_S / 2
    assert _leads(await renew(three[2].connect(), "s")) == ["a"]


async def test_an_open_stream_hears_of_a_change_elsewhere(three: list[Server]) -> None:
    """Without being asked: the leader that loses it, and the one that gains it."""
    async with (
        three[1].connect().keep_alive(DEFAULT_NAMESPACE, "s") as loser,
        three[2].connect().keep_alive(DEFAULT_NAMESPACE, "t") as gainer,
    ):
        for stream in (loser, gainer):
            await stream.send(Renewal(1))
            await stream.receive()
        await three[0].connect().withdraw(about("s"), "a")
        assert _leads(await loser.receive()) == []
        assert _leads(await gainer.receive()) == ["b"]


async def _until_it_leads(connection: Connection, session: str) -> None:
    async with connection.keep_alive(DEFAULT_NAMESPACE, session) as stream:
        await stream.send(Renewal(1))
        while not _leads(await stream.receive()):
            pass


# Displacing.


async def test_the_next_one_acts_when_the_displaced_has_confirmed_through_another_server(three: list[Server]) -> None:
    """Displaced through the third, told by the second, confirmed there, granted by the first."""
    await three[2].connect().anoint(about(), "b")
    assert _leads(await renew(three[0].connect(), "t")) == []
    answer = await renew(three[1].connect(), "s")
    assert (_leads(answer), [each.granted.candidate_id for each in answer.revoked]) == ([], ["a"])
    confirmed = tuple(each.granted for each in answer.revoked)
    assert (await renew(three[1].connect(), "s", stepped_down=confirmed)).leaderships == ()
    await settle()
    assert _leads(await renew(three[0].connect(), "t")) == ["b"]
    assert (await renew(three[0].connect(), "s")).revoked == ()


@pytest.mark.parametrize("method", ["anoint", "promote", "evict"])
async def test_a_late_view_waits_for_the_displaced_too(servers: Servers, method: str) -> None:
    """The server that displaces has never heard of the leader's session, and waits until it has."""
    one, other = await servers.start_some(2)
    other.client.hold_back(for_s=2.0)
    await renew(one.connect(), "s", open_=True)
    await renew(one.connect(), "t", open_=True)
    await one.connect().enter(about("s"), "a")
    await one.connect().enter(about("t"), "b")
    term = await getattr(other.connect(), method)(about(), "a" if method == "evict" else "b")
    assert term.leader == "b"
    assert _leads(await renew(one.connect(), "t")) == []
    assert [each.granted.candidate_id for each in (await renew(one.connect(), "s")).revoked] == ["a"]


@pytest.mark.parametrize("method", ["anoint", "evict"])
async def test_a_late_view_that_stays_displaces_nobody(servers: Servers, method: str) -> None:
    """Rather than that two lead."""
    one, other = await servers.start_some(2)
    other.client.hold_back()
    await renew(one.connect(), "s", open_=True)
    await renew(one.connect(), "t", open_=True)
    await one.connect().enter(about("s"), "a")
    before = await one.connect().enter(about("t"), "b")
    with pytest.raises(StoreError, match="nothing was changed"):
        await getattr(other.connect(), method)(about(), "a" if method == "evict" else "b")
    assert await one.connect().get_term(about()) == before


async def test_a_published_client_is_not_waited_for(servers: Servers) -> None:
    """It confirms nothing: also where the server that displaces it has never heard of it before."""
    one, other = await servers.start_some(2)
    other.client.hold_back(for_s=2.0)
    await stand(one.connect(), "s", "a")
    await renew(one.connect(), "t", open_=True)
    await one.connect().enter(about("t"), "b")
    await other.connect().anoint(about(), "b")
    assert _leads(await renew(one.connect(), "t")) == ["b"]


@pytest.mark.parametrize("dies", [False, True])
async def test_a_displaced_one_that_says_nothing_is_waited_for_one_time_to_live(
    servers: Servers, three: list[Server], dies: bool
) -> None:
    """Its session goes on, kept by renewals. The server that saw the displacement may die: the others see to it."""
    began = anyio.current_time()
    await three[0].connect().anoint(about(), "b")
    if dies:
        await three[0].die()
    connection = three[1].connect()
    servers.start_soon(keep_renewing, three[2].connect(), "s")
    servers.start_soon(keep_renewing, three[2].connect(), "t")
    await _until_it_leads(connection, "t")
    took_s = anyio.current_time() - began
    assert TTL_S <= took_s <= TTL_S + 2.5


async def test_the_end_of_the_displaced_one_is_enough(three: list[Server]) -> None:
    """Ended through another server than the one that displaced it."""
    await three[0].connect().anoint(about(), "b")
    await three[1].connect().end_session(DEFAULT_NAMESPACE, "s")
    assert _leads(await renew(three[2].connect(), "t")) == ["b"]


async def test_who_was_displaced_twice_is_waited_for_by_its_newest_number(three: list[Server]) -> None:
    """And several are all waited for; a confirmation of the older number does not do."""
    one, other, third = (each.connect() for each in three)
    await one.anoint(about(), "b")
    await other.anoint(about(), "a")
    first = (await renew(third, "t")).revoked[0].granted
    await third.anoint(about(), "b")
    revoked = {each.granted.candidate_id for each in (await renew(one, "s")).revoked}
    assert revoked == {"a"}
    await renew(other, "t", stepped_down=(first,))
    await settle()
    assert _leads(await renew(third, "t")) == []
    granted = tuple(each.granted for each in (await renew(one, "s")).revoked)
    await renew(third, "s", stepped_down=granted)
    await settle()
    assert _leads(await renew(other, "t")) == ["b"]


async def test_the_waiting_starts_anew_with_the_servers(servers: Servers, three: list[Server]) -> None:
    """It is stored with the election: when all servers have gone, the next one waits on, for one time-to-live."""
    await three[0].connect().anoint(about(), "b")
    await anyio.sleep(TTL_S / 2)
    for session in ("s", "t"):
        await renew(three[0].connect(), session)
    for server in three:
        await server.stop()
    began = anyio.current_time()
    (server,) = await servers.start_some(1)
    servers.start_soon(keep_renewing, server.connect(), "s")
    await _until_it_leads(server.connect(), "t")
    assert TTL_S <= anyio.current_time() - began <= TTL_S + 1


async def test_a_dead_leader_is_followed_within_the_announced_time(servers: Servers, three: list[Server]) -> None:
    """Its session expires in etcd; whoever comes first sweeps it."""
    answer = await renew(three[0].connect(), "s")
    began = anyio.current_time()
    servers.start_soon(keep_renewing, three[1].connect(), "t")
    await _until_it_leads(three[2].connect(), "t")
    took_s = anyio.current_time() - began
    assert TTL_S <= took_s <= TTL_S + EXPIRY_S + 0.6
    assert took_s <= answer.longest_failover_s
    assert shape(await three[0].connect().get_term(about())) == ("b", 3)
