"""Events that are sent without a task: in order, each once, whenever the peer lets them through."""

from typing import Any

import anyio
import pytest
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.core.commands import Anoint
from atomix_election.model import Event, EventType, Term
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc.services.elections import EncodedOnce
from atomix_election.service import WATCH_BUFFER, Call
from tests.rpc.messages import event_message
from tests.rpc.raw import about, eventually, headers_of, message
from tests.rpc.ways import AT_ONCE, WAYS, Transcribing, serving, tokens

pytestmark = pytest.mark.anyio

ABOUT = Call("e", session="s")
NAMES = [f"{number:040d}" for number in range(4)]


@pytest.fixture
def anyio_backend() -> str:
    """gRPC needs asyncio."""
    return "asyncio"


def revisions(messages: list[bytes]) -> list[int]:
    """Return the revisions of events, the first of which has to be the snapshot."""
    events = [wire.decode(each, v1.EventsResponse).event for each in messages]
    assert all(event is not None and event.term is not None and event.term.timestamp is not None for event in events)
    assert [event.type for event in events if event] == [v1.EventType(0)] + [v1.EventType(1)] * (len(events) - 1)
    return [event.term.timestamp.epoch_timestamp.time for event in events]  # type: ignore[union-attr]


async def _watch(way: str, script: list[tuple[str, int]], window: int) -> tuple[list[bytes], int]:
    """Return what a watcher is sent while changes are made and windows opened, and how many were sent at once."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        await server.inside.create(ABOUT)
        for name in NAMES:
            await server.inside.enter(ABOUT, name)
        raw.h2.acknowledge_received_data = lambda *_: None  # type: ignore[method-assign] - the script opens windows
        raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        watch = raw.ask(headers_of("Events", *about("e")), message(b""))
        await raw.heard()
        for step, size in script:
            if step == "change":
                for _ in range(size):
                    last = (await server.inside.get_term(ABOUT)).candidates[-1]
                    await server.inside.anoint(ABOUT, last)
            elif step == "narrow":
                raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: size})
            else:
                raw.h2.increment_flow_control_window(size, stream_id=watch)
            raw.flush()
            await raw.heard()
        raw.h2.increment_flow_control_window(1 << 20, stream_id=watch)
        raw.h2.increment_flow_control_window(1 << 20)
        raw.flush()
        newest = (await server.inside.get_term(ABOUT)).revision
        await raw.until(lambda: bool(raw.answers[watch].messages))
        await raw.until(lambda: revisions(raw.answers[watch].messages)[-1] == newest)
        await raw.heard()
        return raw.answers[watch].messages, server.at_once["messages"]


steps = st.one_of(
    st.tuples(st.just("change"), st.integers(1, 9)),
    st.tuples(st.just("open"), st.sampled_from([1, 5, 100, 200, 210, 1000, 3000])),
    st.tuples(st.just("narrow"), st.sampled_from([0, 100, 1000, 65535])),
)


@settings(deadline=None, print_blob=True, max_examples=40)
@given(script=st.lists(steps, min_size=1, max_size=12), window=st.sampled_from([0, 7, 500, 65535]))
def test_events_are_in_order_and_each_is_sent_once(script: list[tuple[str, int]], window: int) -> None:
    """Whenever the window of the peer is closed and opened again, in the middle of one too."""
    changes = 0
    for place, (step, size) in enumerate(script):
        if step == "change" and changes + size > WATCH_BUFFER - 2:
            script = script[:place]
            break
        changes += size if step == "change" else 0
    (sent, _), (plain, at_once) = (anyio.run(_watch, way, script, window) for way in WAYS)
    assert revisions(sent) == list(range(len(NAMES), len(NAMES) + changes + 1))
    assert sent == plain
    assert not at_once


async def test_events_go_either_way_between_two_windows() -> None:
    """Those that have room at once, and the others when there is some."""
    script = [("change", 3), ("narrow", 10), ("change", 3), ("narrow", 65535), ("change", 3)]
    sent, at_once = await _watch(AT_ONCE, script, 65535)
    assert revisions(sent) == list(range(4, 14))
    assert at_once == 6


@pytest.mark.parametrize("way", WAYS)
async def test_who_falls_behind_is_told_the_newest(way: str) -> None:
    """And nothing that is older than what it was told already."""
    script = [("change", 2), ("narrow", 0), ("change", 2 * WATCH_BUFFER), ("narrow", 65535), ("change", 2)]
    sent, _ = await _watch(way, script, 65535)
    told = revisions(sent)
    assert told == sorted(set(told))
    assert told[:3] == [4, 5, 6]
    assert len(told) < 2 * WATCH_BUFFER
    assert told[-1] == 4 + 2 + 2 * WATCH_BUFFER + 2


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_shut_out_is_told_nothing_more(way: str) -> None:
    """Not even what happens before its task has heard of it."""
    async with serving(way, gate=tokens("one")) as server, Transcribing(server.port) as raw:
        about_it = Call("e", "mine", "s")
        await server.inside.create(about_it)
        await server.inside.enter(about_it, "a")
        await server.inside.enter(about_it, "b")
        watch = raw.ask(headers_of("Events", *about("e", "", "mine"), ("authorization", "Bearer one")), message(b""))
        await raw.until(lambda: len(raw.answers[watch].messages) == 1)
        server.inside.submit_now(about_it, Anoint, "b")
        await raw.until(lambda: len(raw.answers[watch].messages) == 2)
        server.rpc.use_gate(tokens("two"))
        server.inside.submit_now(about_it, Anoint, "a")
        assert (await raw.ended(watch)).status == 16
        assert len(raw.answers[watch].messages) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_an_event_never_comes_into_the_middle_of_another(way: str) -> None:
    """When the window has been opened and whoever sends the first one has not had its turn yet."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        await server.inside.create(ABOUT)
        for name in NAMES:
            await server.inside.enter(ABOUT, name)
        raw.h2.acknowledge_received_data = lambda *_: None  # type: ignore[method-assign]
        raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 300})
        watch = raw.ask(headers_of("Events", *about("e")), message(b""))
        await raw.heard()
        server.inside.submit_now(ABOUT, Anoint, NAMES[1])
        await raw.until(lambda: len(raw.answers[watch].data) == 300)
        raw.h2.increment_flow_control_window(10_000, stream_id=watch)
        (connection,) = server.rpc._connections
        connection.protocol.data_received(raw.h2.data_to_send())
        for name in NAMES[:3]:
            server.inside.submit_now(ABOUT, Anoint, name)
        await raw.until(lambda: len(raw.answers[watch].messages) == 5)
        assert revisions(raw.answers[watch].messages) == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["lost", "closing"])
async def test_a_watcher_that_is_gone_disturbs_nobody(way: str, how: str) -> None:
    """Whatever happens between the loss of its connection and the end of its task."""
    async with serving(way) as server, Transcribing(server.port) as raw, Transcribing(server.port) as other:
        await server.inside.create(ABOUT)
        for name in ("a", "b"):
            await server.inside.enter(ABOUT, name)
        watches: list[int] = []
        for each in (other, raw):
            watches.append(each.ask(headers_of("Events", *about("e")), message(b"")))
            await each.until(lambda of=each: bool(of.answers[watches[-1]].messages))
        (gone,) = (each for each in server.rpc._connections if each.protocol.peer.endswith(f":{_port(other)}"))
        gone.protocol._h2.ping(b"unsaid!!")
        if how == "lost":
            gone.protocol.connection_lost(None)
        else:
            gone.protocol.http2.close()  # as when a ping is not answered
        server.inside.submit_now(ABOUT, Anoint, "b")
        await raw.until(lambda: len(raw.answers[watches[-1]].messages) == 2)
        other.abort()
        await eventually(lambda: server.calls == 1)


def _port(raw: Transcribing) -> int:
    port: int = raw._writer.get_extra_info("sockname")[1]
    return port


def test_an_event_is_encoded_once_for_all() -> None:
    """The same event, and not one that only looks like it; another one is another message."""
    encoded = EncodedOnce()
    first, second = (Event(EventType.CHANGED, Term((name,), 1, 1)) for name in "ab")
    made: list[Any] = [encoded.message(each) for each in (first, first, second, first)]
    assert made[0] is made[1]
    assert made[0] == made[3] == message(wire.encode(event_message(first)))
    assert made[2] == message(wire.encode(event_message(second)))
