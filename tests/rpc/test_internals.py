"""What the package knows of h2's inside is so; and where it were not, all would be served all the same."""

from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.rpc import internals
from atomix_election.service import Call
from tests.rpc.raw import about, headers_of, message
from tests.rpc.ways import AT_ONCE, WAYS, Transcribing, serving

KEEP_ALIVE = headers_of("/atomix_election.v1.Sessions/KeepAlive", ("session-id", "s"))
REQUEST = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0")]


@pytest.fixture(autouse=True)
def asked_anew() -> Generator[None]:
    """What was found out of h2 is forgotten before and after each test."""
    internals.are_known.cache_clear()
    yield
    internals.are_known.cache_clear()


def test_h2_is_as_it_is_known() -> None:
    """If this fails, h2 has changed: see ``internals``. All goes on without it, and several times slower."""
    assert internals.are_known()


def _other_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(internals, "StreamInputs", SimpleNamespace())


def _other_frames(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(internals, "_TRAILERS", [("grpc-status", "0"), ("new", "")])


def _other_windows(patch: pytest.MonkeyPatch) -> None:
    send = H2Connection.send_data

    def send_data(connection: Any, stream_id: int, data: Any, *args: Any, **options: Any) -> None:
        send(connection, stream_id, data, *args, **options)
        connection.outbound_flow_control_window -= 1

    patch.setattr(H2Connection, "send_data", send_data)


def _no_room(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(H2Connection, "max_outbound_frame_size", property(lambda _: 4, lambda *_: None), raising=False)


CHANGES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "other names": _other_names,
    "other frames": _other_frames,
    "other windows": _other_windows,
}


async def _session(way: str) -> tuple[dict[int, list[tuple[Any, ...]]], int]:
    """Return what a client sees of calls, events and renewals, and how much of it went the short way."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        watch = raw.ask(headers_of("Events", *about("e")), message(b""))
        await raw.until(lambda: len(raw.answers[watch].messages) == 1)
        kept = raw.begin(headers_of("/atomix_election.v1.Sessions/KeepAlive", ("session-id", "kept")))
        for number in (1, 2, 3):
            raw.send(kept, message(b"\x08%c" % number + b"\x10\x01" * (number == 1)))
            await raw.until(lambda wanted=number: len(raw.answers[kept].messages) == wanted)
        for method, candidate in (("Enter", b"\x0a\x01a"), ("Enter", b"\x0a\x01b"), ("Anoint", b"\x0a\x01b")):
            await raw.ended(raw.ask(headers_of(method, *about("e", "s")), message(candidate)))
        await raw.ended(raw.ask(headers_of("Evict", *about("e", "s")), message(b"\x0a\x01x")))
        await raw.ended(raw.ask(headers_of("GetTerm", *about("e", "s")), message(b"")))
        await raw.until(lambda: len(raw.answers[watch].messages) == 4)
        store_id = server.inside.store_id.encode()
        for events in raw.transcripts.values():
            events[:] = [tuple(_neutral(said, store_id) for said in event) for event in events]
        return raw.transcripts, server.at_once.total()


def _neutral(said: Any, store_id: bytes) -> Any:
    if isinstance(said, list):
        return [(name, value.replace(store_id.decode(), "store")) for name, value in said]
    return said.replace(store_id, b"store") if isinstance(said, bytes) else said


@pytest.mark.parametrize("change", CHANGES)
def test_with_another_h2_all_goes_the_plain_way(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a client sees the same, frame by frame."""
    seen, at_once = anyio.run(_session, AT_ONCE)
    assert at_once == 5 + 3 + 2  # calls, events and renewals
    CHANGES[change](monkeypatch)
    internals.are_known.cache_clear()
    assert not internals.are_known()
    assert anyio.run(_session, AT_ONCE) == (seen, 0)


def test_where_h2_never_has_room_nothing_is_sent_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is not h2 as it is known."""
    _no_room(monkeypatch)
    assert not internals.are_known()


class Pair:
    """Both ends of a connection, without a network.

    Args:
        window: of each stream.
        frame: the longest frame.
    """

    def __init__(self, window: int, frame: int) -> None:
        self.client, self.server = (
            H2Connection(H2Configuration(client_side=side, header_encoding="utf-8")) for side in (True, False)
        )
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.events: list[tuple[Any, ...]] = []
        self.say({SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.MAX_FRAME_SIZE: frame})

    def say(self, changed: dict[SettingCodes, int]) -> None:
        """The client changes its settings."""
        self.client.update_settings(changed)  # pyright: ignore[reportArgumentType]
        self.exchange()

    def exchange(self, sent: bytes = b"") -> None:
        """Hand on what both say, and what the server is to say besides."""
        self.server.receive_data(self.client.data_to_send())
        for event in self.client.receive_data(self.server.data_to_send() + sent):
            said = getattr(event, "headers", None), getattr(event, "data", None)
            self.events.append((type(event).__name__, getattr(event, "stream_id", None), *said))
        self.server.receive_data(self.client.data_to_send())

    def ask(self, *, end: bool) -> int:
        """The client opens a stream."""
        stream = self.client.get_next_available_stream_id()
        self.client.send_headers(stream, REQUEST, end_stream=end)
        self.exchange()
        return stream

    def room(self, stream: int) -> int:
        """How much the server may say in one frame."""
        return min(self.server.local_flow_control_window(stream), self.server.max_outbound_frame_size)

    def state(self) -> object:
        """What h2 keeps account of."""
        streams = {
            number: (each.state_machine.state, each.closed_by, each.outbound_flow_control_window)
            for number, each in self.server.streams.items()
        }
        return streams, self.server.outbound_flow_control_window, self.server.state_machine.state


def _answer(pair: Pair, data: bytes, *, by_hand: bool) -> bool:
    stream = pair.ask(end=True)
    possible = internals.can_answer(pair.server, stream, len(data))
    if by_hand and possible:
        pair.exchange(internals.answer(pair.server, stream, data))
    elif len(data) <= pair.room(stream):
        pair.server.send_headers(stream, HEADERS)
        pair.server.send_data(stream, data)
        pair.server.send_headers(stream, TRAILERS, end_stream=True)
        pair.exchange()
    assert not internals.can_take(pair.server, stream, 0) or len(data) > pair.room(stream)
    return possible


def _data(pair: Pair, watch: int, data: bytes, *, by_hand: bool) -> bool:
    possible = internals.can_take(pair.server, watch, len(data))
    assert possible == (len(data) <= pair.room(watch))
    if by_hand and possible:
        pair.exchange(internals.data(pair.server, watch, data))
    elif possible:
        pair.server.send_data(watch, data)
        pair.exchange()
    return possible


sizes = st.one_of(st.integers(0, 40), st.sampled_from([16384, 16385, 20000, 30000]))
steps = st.one_of(
    st.tuples(st.just("answer"), sizes),
    st.tuples(st.just("data"), sizes),
    st.tuples(st.just("window"), st.integers(0, 30000)),
    st.tuples(st.just("table"), st.sampled_from([0, 100, 4096, 8192])),
    st.tuples(st.just("open"), st.integers(1, 40000)),
    st.tuples(st.just("encode"), st.just(0)),
)


@settings(deadline=None, print_blob=True, max_examples=100)
@given(
    script=st.lists(steps, min_size=1, max_size=14),
    window=st.sampled_from([0, 20, 16384, 65535]),
    frame=st.sampled_from([16384, 20000]),
)
def test_frames_written_by_hand_are_those_of_h2(script: list[tuple[str, int]], window: int, frame: int) -> None:
    """For the peer and for h2 itself, whatever the windows are, and whatever the peer says of its table of headers."""
    ours, own = Pair(window, frame), Pair(window, frame)
    watches = [each.ask(end=True) for each in (ours, own)]
    for each, watch in zip((ours, own), watches, strict=True):
        each.server.send_headers(watch, HEADERS)
        each.exchange()
    for kind, size in script:
        possible: list[bool] = []
        for each, watch in zip((ours, own), watches, strict=True):
            data = bytes(size) if kind in ("answer", "data") else b""
            if kind == "answer":
                possible.append(_answer(each, data, by_hand=each is ours))
            elif kind == "data":
                possible.append(_data(each, watch, data, by_hand=each is ours))
            elif kind == "window":
                each.say({SettingCodes.INITIAL_WINDOW_SIZE: size})
            elif kind == "table":
                if not each.server.encoder.header_table.resized:  # h2 itself is wrong about two changes on end
                    each.say({SettingCodes.HEADER_TABLE_SIZE: size})
            elif kind == "open":
                each.client.increment_flow_control_window(size, stream_id=watch)
                each.client.increment_flow_control_window(1 + size // 3)
                each.exchange()
            else:  # the plain way is gone between
                stream = each.ask(end=True)
                each.server.send_headers(stream, [*HEADERS, ("x", "y")], end_stream=True)
                each.exchange()
        assert ours.events == own.events
        assert ours.state() == own.state()


def test_the_window_of_the_connection_is_kept_to() -> None:
    """Also where each stream has room."""
    pair = Pair(65535, 16384)
    assert [_answer(pair, bytes(16000), by_hand=True) for _ in range(5)] == [True] * 4 + [False]
    assert _answer(pair, bytes(65535 - 4 * 16000), by_hand=True)
    assert not _answer(pair, b"x", by_hand=True)


def test_the_answer_after_another_size_of_the_table_is_left_to_h2() -> None:
    """It has to say so first; the next one need not."""
    pair = Pair(65535, 16384)
    pair.say({SettingCodes.HEADER_TABLE_SIZE: 0})
    assert [_answer(pair, b"x", by_hand=True) for _ in range(2)] == [False, True]


async def _with_another_table(way: str, size: int) -> tuple[dict[int, list[tuple[Any, ...]]], int]:
    async with serving(way) as server, Transcribing(server.port) as raw:
        for each in (size, 4096, size):
            raw.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: each})
            raw.flush()
            await raw.heard()
            for _ in range(2):
                await raw.ended(raw.ask(headers_of("GetTerm", *about()), message(b"")))
        return raw.transcripts, server.at_once["calls"]


@pytest.mark.parametrize("size", [0, 100, 65536])
def test_a_client_may_want_another_table(size: int) -> None:
    """At any time: its answers can be decoded."""
    (seen, quick), (plain, none) = (anyio.run(_with_another_table, way, size) for way in WAYS)
    assert seen == plain
    assert len(seen) == 6
    assert (quick, none) == (6, 0)
