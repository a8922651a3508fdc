"""Watching through one server what others commit: a snapshot, then every change, in order, once."""

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from atomix_election import Event, EventType
from atomix_election.core.floors import Floors
from atomix_election.model import DEFAULT_NAMESPACE
from atomix_election.testing.etcd import EtcdFaults
from atomix_election.testing.etcd_servers import Server, Servers, open_servers
from tests.engine.fakes import about
from tests.engine.servers import renew, settle, shape, watch

pytestmark = pytest.mark.anyio


@pytest.fixture
async def servers(anyio_backend: object) -> AsyncGenerator[Servers]:
    """Servers on one etcd."""
    async with open_servers() as servers:
        yield servers


@pytest.fixture
async def two(servers: Servers) -> list[Server]:
    """Two of them, and on the first one an open session."""
    two = await servers.start_some(2)
    await renew(two[0].connect(), "s", open_=True, ttl_s=1000)
    return two


def _revisions(events: list[Event]) -> list[int]:
    return [event.term.revision for event in events]


def _check(events: list[Event]) -> None:
    """A snapshot, and then every revision after it."""
    first = events[0].term.revision
    assert [event.type for event in events[1:]] == [EventType.CHANGED] * (len(events) - 1)
    assert _revisions(events) == list(range(first, first + len(events)))
    assert not any(event.skipped for event in events)


@pytest.mark.parametrize("commands", [2, 50])
async def test_a_batch_is_told_command_by_command(servers: Servers, two: list[Server], commands: int) -> None:
    """What is committed together is told one by one, on the server that committed it as well."""
    one = two[0].connect()
    here, there = await watch(servers, one), await watch(servers, two[1].connect())
    async with anyio.create_task_group() as entering:
        for number in range(commands):
            entering.start_soon(one.enter, about("s"), f"c{number}")
    await one.withdraw(about("s"), "c0")
    await settle()
    assert len(here) == commands + 2
    assert here == there
    _check(here)


async def test_changes_of_several_servers_are_told_in_order_on_all(servers: Servers, two: list[Server]) -> None:
    """While calls take their time, so that writes are lost and repeated."""
    two += await servers.start_some(1)
    for place in range(3):
        await renew(two[place].connect(), f"t{place}", open_=True, ttl_s=1000)

    async def play(place: int) -> None:
        connection = two[place].connect()
        for number in range(10):
            await connection.enter(about(f"t{place}"), f"{place}-{number}")
            await connection.anoint(about(), f"{place}-{number}")

    seen = [await watch(servers, server.connect()) for server in two]
    servers.etcd.faults = EtcdFaults(longest_call_s=0.05, applied=0.1, lost=0.1)
    async with anyio.create_task_group() as playing:
        for place in range(3):
            playing.start_soon(play, place)
    await anyio.sleep(5)
    for events in seen:
        _check(events)
        assert events == seen[0]
    numbers = [event.term.number for event in seen[0]]
    assert numbers == sorted(numbers)
    assert len(seen[0]) >= 31


@pytest.mark.parametrize("moment", range(8))
async def test_a_watch_that_begins_amid_changes_misses_none(servers: Servers, two: list[Server], moment: int) -> None:
    """Snapshot and changes fit together, however late the view is and whenever it begins."""
    one = two[0].connect()
    seen: list[Event] = []
    two[1].client.hold_back()
    for number in range(8):
        if number == moment:
            seen = await watch(servers, two[1].connect())
        if number == (moment + 2) % 8:
            two[1].client.let_by()
        await one.enter(about("s"), f"c{number}")
    two[1].client.let_by()
    await settle()
    _check(seen)
    assert seen[0].term.revision == moment
    assert seen[-1].term.revision == 8


async def test_a_watch_goes_on_after_a_compaction_and_says_that_it_skipped(servers: Servers, two: list[Server]) -> None:
    """The server was cut off meanwhile: the newest term is told, marked, and then every change again."""
    one = two[0].connect()
    events = await watch(servers, two[1].connect())
    await one.enter(about("s"), "a")
    await settle()
    two[1].client.is_cut_off = True
    for number in range(5):
        await one.enter(about("s"), f"c{number}")
    servers.etcd.state.compact(servers.etcd.state.revision)
    two[1].client.is_cut_off = False
    await settle()
    await one.withdraw(about("s"), "a")
    await settle()
    assert _revisions(events) == [0, 1, 6, 7]
    assert [event.skipped for event in events] == [False, False, True, False]


async def test_what_ended_while_cut_off_and_compacted_is_known_afterwards(servers: Servers, two: list[Server]) -> None:
    """Sessions and elections: counts, watchers and renewals of that server are right again."""
    one, other = (each.connect() for each in two)
    await renew(one, "t", open_=True, ttl_s=1000)
    await one.enter(about("t"), "a")
    await one.enter(about("t", "f"), "a")
    events = await watch(servers, other)
    two[1].client.is_cut_off = True
    await one.end_session(DEFAULT_NAMESPACE, "t")
    await one.forget(about(name="f"))
    await renew(one, "u", open_=True, ttl_s=1000)
    servers.etcd.state.compact(servers.etcd.state.revision)
    two[1].client.is_cut_off = False
    await settle()
    assert [shape(event.term) for event in events] == [("a", 1), ("", 2)]
    assert len(two[1].engine.sessions) == len(two[0].engine.sessions) == 2
    assert (await renew(other, "t")).ended
    assert not (await renew(other, "u")).ended


async def test_a_server_that_cannot_read_for_a_moment_after_a_compaction_goes_on(
    servers: Servers, two: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Etcd comes and goes: what is out of reach for a moment is not gone for good."""
    one = two[0].connect()
    two[1].client.is_cut_off = True
    for candidate_id in "abc":
        await one.enter(about("s"), candidate_id)
    servers.etcd.state.compact(servers.etcd.state.revision)
    read, cut = two[1].client.get, 0

    async def get(*args: Any, **kwargs: Any) -> Any:
        nonlocal cut
        cut += 1
        two[1].client.is_cut_off = True
        monkeypatch.setattr(two[1].client, "get", read)
        return await read(*args, **kwargs)

    monkeypatch.setattr(two[1].client, "get", get)
    two[1].client.is_cut_off = False
    await anyio.sleep(7)
    two[1].client.is_cut_off = False
    await anyio.sleep(7)
    assert not (await renew(two[1].connect(), "s")).ended
    assert shape(await two[1].connect().enter(about("s"), "b")) == ("a b c", 3)
    assert cut == 1


async def test_a_forgotten_election_that_comes_back_is_told(servers: Servers, two: list[Server]) -> None:
    """A watcher that stays sees it go on with higher numbers, whoever forgot it and whoever enters."""
    one, other = (each.connect() for each in two)
    await renew(one, "t", open_=True, ttl_s=1000)
    await one.enter(about("t"), "a")
    events = await watch(servers, other)
    await one.end_session(DEFAULT_NAMESPACE, "t")
    await one.forget(about())
    await one.enter(about("s"), "b")
    await settle()
    assert [shape(event.term) for event in events] == [("a", 1), ("", 2), ("b", 3)]
    assert events[2].term.number > events[0].term.number


async def test_a_higher_floor_of_the_namespace_makes_no_event_and_no_gap(servers: Servers, two: list[Server]) -> None:
    """Another election with a high revision is forgotten: one that begins afterwards begins above it."""
    one, other = (each.connect() for each in two)
    await renew(one, "t", open_=True, ttl_s=1000)
    for number in range(5):
        await one.enter(about("t", "f"), f"c{number}")
    await one.end_session(DEFAULT_NAMESPACE, "t")
    events = await watch(servers, other)
    await one.forget(about(name="f"))
    await other.enter(about("s"), "a")
    await settle()
    assert [shape(event.term) for event in events] == [("", 0), ("a", 7)]
    assert two[0].store.latest(about().election_id).election.revision > Floors().revision
