"""Calls that are answered at once: neither their clients nor an operator can tell them from those that have tasks."""

import asyncio
import logging
import socket
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from typing import Any

import anyio
import pytest
from h2.settings import SettingCodes, Settings
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, PriorityFrame, RstStreamFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.core.commands import Enter
from atomix_election.core.election import Election
from atomix_election.engine import Connection
from atomix_election.model import ElectionId
from atomix_election.rpc import quick_calls
from atomix_election.rpc.header_blocks import MAX_HEADER_LIST_BYTES
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.rpc.quick_calls import MAX_KNOWN_REQUESTS, KnownRequests, QuickCalls
from atomix_election.rpc.services import elections
from atomix_election.rpc.services.base import by_path
from atomix_election.service import Call
from atomix_election.stores.base import Record
from tests.engine.fakes import RecordingStore
from tests.rpc.attacks import DATA, END_HEADERS, END_STREAM, GREETING, HEADERS, PREFACE, block, http2_frame
from tests.rpc.raw import SERVICE, RawConnection, about, eventually, headers_of, message
from tests.rpc.ways import AT_ONCE, BY_TASKS, OPEN, WAYS, Serving, Transcribing, reading, serving, tokens

pytestmark = pytest.mark.anyio

SOON_S = 5.0
KEPT_BYTES = 48 * 1024 * 1024
"""What strangers can make a server keep of requests."""
LONG = "y" * (MAX_HEADER_LIST_BYTES - 400)
"""A header with which a call is too long to be remembered, and four of which come in one piece."""
ENTER_A = message(b"\x0a\x01a")


@pytest.fixture
def anyio_backend() -> str:
    """gRPC needs asyncio."""
    return "asyncio"


class HeldStore(RecordingStore):
    """A store whose writes wait until a test lets them go."""

    def __init__(self) -> None:
        super().__init__()
        self.being_written = anyio.Event()
        self.go_on = anyio.Event()

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``."""
        if election.candidates:
            self.being_written.set()
            await self.go_on.wait()
        return await super().write(election_id, election, expected=expected)


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of a script."""

    method: str
    election: str
    session: str
    candidate: str
    more: tuple[tuple[str, str], ...]
    cuts: tuple[int, ...]
    """Where its data is cut, in a run in which it is."""

    @property
    def headers(self) -> list[tuple[str | bytes, str | bytes]]:
        """What it begins with."""
        return headers_of(self.method, *about(self.election, self.session), *self.more)

    def data(self, *, whole: bool) -> list[bytes]:
        """Its data, frame by frame."""
        name = self.candidate.encode()
        data = message(b"" if self.method == "GetTerm" else b"\x0a%c" % len(name) + name)
        if whole:
            return [data]
        places = sorted(each % len(data) for each in self.cuts)
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


asked = st.builds(
    Asked,
    method=st.sampled_from(["Enter", "Enter", "Withdraw", "Anoint", "Promote", "Evict", "GetTerm"]),
    election=st.sampled_from(["e", "e", "f", ""]),
    session=st.sampled_from(["s", "s", "t", "of another", "", "unknown"]),
    candidate=st.sampled_from(["a", "b", "c", "", " "]),
    more=st.sampled_from(
        [(), (), (), (("grpc-timeout", "5S"),), (("grpc-timeout", "0n"),), (("grpc-timeout", "5s"),)]
        + [(("atomix-election-operation", number),) for number in ("1", "2", "3", "0", "01", "", "x", "9" * 19)]
        + [(("atomix-election-operation", "4"),) * 2, (("session-id", "s"),), (("x", LONG),)]
        + [(("atomix-election-operation", "5"), ("grpc-timeout", "5S")), (("content-type", "text/plain"),)]
    ),
    cuts=st.lists(st.integers(0, 8), min_size=1, max_size=2).map(tuple),
)


async def _play(script: list[list[Asked]], way: str, whole: Callable[[int], bool], store: Any = None) -> object:
    """Return all that clients and operators see of a script, whose calls are asked in batches, each in one write."""
    async with serving(way, store) as server, Transcribing(server.port) as raw:
        for session in "st":
            await server.inside.create(Call("e", session=session))
        await Connection(server.engine, "another").create(Call("e", session="of another"))
        watch = raw.ask(headers_of("Events", *about("e")), message(b""))
        await raw.until(lambda: len(raw.answers[watch].messages) == 1)
        number = 0
        for batch in script:
            streams: list[int] = []
            with raw.together():
                for each in batch:
                    streams.append(raw.ask(each.headers, *each.data(whole=whole(number))))
                    number += 1
            for stream in streams:
                await raw.ended(stream)
        terms = [await server.inside.get_term(Call(name)) for name in "ef"]
        await raw.until(lambda: len(raw.answers[watch].messages) == terms[0].revision + 1)
        await eventually(lambda: server.calls == 1)
        assert way == AT_ONCE or not server.at_once.total()
        del raw.transcripts[watch]
        return raw.transcripts, raw.answers[watch].messages, terms, server.seen.counts


@settings(deadline=None, print_blob=True, max_examples=30)
@given(script=st.lists(st.lists(asked, min_size=1, max_size=4), min_size=1, max_size=6), mixed=st.integers(0, 1 << 30))
def test_whole_or_in_pieces_a_call_is_answered_alike(script: list[list[Asked]], mixed: int) -> None:
    """And leaves the same behind, in the order in which it came; whatever it asks for and whatever is wrong with it."""
    plain = anyio.run(_play, script, BY_TASKS, lambda _: False)
    assert anyio.run(_play, script, AT_ONCE, lambda _: True) == plain
    assert anyio.run(_play, script, AT_ONCE, lambda number: bool(mixed >> number & 1)) == plain


@settings(deadline=None, print_blob=True, max_examples=20)
@given(script=st.lists(asked, min_size=1, max_size=12), failing=st.integers(0, 1 << 12))
def test_so_it_is_with_a_store_that_waits_or_fails(script: list[Asked], failing: int) -> None:
    """Each is answered once its command is committed, or could not be."""

    async def play(way: str) -> object:
        store = RecordingStore()
        batches: list[list[Asked]] = [[each] for each in script]

        def whole(number: int) -> bool:
            store.failing = bool(failing >> number & 1)
            return True

        return await _play(batches, way, whole, store)

    async def both() -> None:
        assert await play(AT_ONCE) == await play(BY_TASKS)

    anyio.run(both)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("begun", [b"", ENTER_A[:3], ENTER_A], ids=["headers", "half", "all but the end"])
async def test_what_is_complete_first_takes_place_first(way: str, begun: bytes) -> None:
    """Also when the end of one call comes in one piece with the whole of the next one, as networks have it."""
    async with serving(way) as server, RawConnection(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        for operation in ("1", "3"):
            first = raw.begin(headers_of("Enter", *about("e", "s"), ("atomix-election-operation", operation)))
            if begun:
                raw.send(first, begun)
            await raw.heard()
            with raw.together():
                raw.send(first, ENTER_A[len(begun) :], end=True)
                later = ("atomix-election-operation", str(int(operation) + 1))
                second = raw.ask(headers_of("Withdraw", *about("e", "s"), later), ENTER_A)
            assert [(await raw.ended(each)).status for each in (first, second)] == [0, 0]
        term = await server.inside.get_term(Call("e"))
        assert (term.leader, term.number, term.revision) == (None, 2, 4)


@pytest.mark.parametrize("way", WAYS)
async def test_however_it_is_cut_what_is_complete_first_takes_place_first(way: str) -> None:
    """Three calls, of which the second one has its data in two frames, come in one, two or three reads."""
    heads = [_begin(number, candidate) for number, candidate in ((1, b"a"), (3, b"b"), (5, b"c"))]
    frames = [*heads[0], heads[1][0], *_halves(heads[1][1]), *heads[2]]
    ends = [len(PREFACE), *accumulate(map(len, frames), initial=len(GREETING))]
    for cuts in combinations(ends, 3):
        async with serving(way) as server:
            await server.inside.create(Call("e", session="s"))
            with reading(end - start for start, end in pairwise([0, *cuts])):
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(GREETING + b"".join(frames))
                await eventually(lambda: server.seen.counts["answered", "Enter", "OK"] == 3)
            writer.transport.abort()
            assert (await server.inside.get_term(Call("e"))).candidates == ("a", "b", "c"), cuts


def _begin(stream: int, candidate: bytes) -> tuple[bytes, bytes]:
    """Return the frames of Enter."""
    headers = http2_frame(HEADERS, END_HEADERS, stream, block(headers_of("Enter", *about("e", "s"))))
    return headers, http2_frame(DATA, END_STREAM, stream, message(b"\x0a\x01" + candidate))


def _halves(data: bytes) -> tuple[bytes, bytes]:
    """Return two frames with the data of one."""
    stream, payload = int.from_bytes(data[5:9], "big"), data[9:]
    return http2_frame(DATA, 0, stream, payload[:3]), http2_frame(DATA, END_STREAM, stream, payload[3:])


@asynccontextmanager
async def held(way: str, **options: Any) -> AsyncGenerator[tuple[Serving, HeldStore, Transcribing]]:
    """A server whose store waits, with an open session, and a client."""
    store = HeldStore()
    async with serving(way, store, **options) as server, Transcribing(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        try:
            yield server, store, raw
        finally:
            store.go_on.set()


async def enter(server: Serving, store: HeldStore, raw: RawConnection, *more: tuple[str, str]) -> int:
    """Ask for Enter, and return its stream once the command is being written."""
    stream = raw.ask(headers_of("Enter", *about("e", "s"), *more), ENTER_A)
    with anyio.fail_after(SOON_S):
        await store.being_written.wait()
    await raw.heard()
    assert server.calls == 1
    return stream


def once(status: str, *, rejected: str | None = None) -> dict[tuple[str, ...], int]:
    """Return what is counted of a call beside its command."""
    return {("answered", "Enter", status): 1, **({} if rejected is None else {("rejected", rejected): 1})}


def counted(server: Serving) -> dict[tuple[str, ...], int]:
    """Return what was counted of calls."""
    return {key: count for key, count in server.seen.counts.items() if key[0] != "command"}


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_is_answered_when_its_command_is_committed(way: str) -> None:
    """And not before."""
    async with held(way) as (server, store, raw):
        stream = await enter(server, store, raw, ("grpc-timeout", "1H"))
        assert not raw.transcripts
        store.go_on.set()
        assert (await raw.ended(stream)).status == 0
        await eventually(lambda: counted(server) == once("OK"))
        assert server.at_once["calls"] == (way == AT_ONCE)


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_left_of_a_deadline(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """When it passes, after the answer, nobody is there whom it concerns."""
    async with held(way) as (server, store, raw):
        stream = await enter(server, store, raw, ("grpc-timeout", "100m"))
        passed = asyncio.get_running_loop().time() + 0.11
        store.go_on.set()
        assert (await raw.ended(stream)).status == 0
        await eventually(lambda: asyncio.get_running_loop().time() > passed)
        assert counted(server) == once("OK")
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("way", WAYS)
async def test_the_wait_for_the_commit_is_part_of_the_time_that_is_counted(way: str) -> None:
    """Also when the answer waits for the peer after it."""
    async with held(way) as (server, store, raw):
        raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stream = await enter(server, store, raw)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await eventually(lambda: loop.time() > began + 0.05)
        store.go_on.set()
        await raw.until(lambda: bool(raw.answers[stream].headers))
        raw.h2.increment_flow_control_window(1000, stream_id=stream)
        raw.flush()
        assert (await raw.ended(stream)).status == 0
        await eventually(lambda: len(server.seen.durations_s) == 1)
        assert server.seen.durations_s[0] >= 0.05


@pytest.mark.parametrize("way", WAYS)
async def test_a_deadline_ends_the_wait(way: str) -> None:
    """Once, whatever becomes of the command after it."""
    async with held(way) as (server, store, raw):
        stream = raw.ask(headers_of("Enter", *about("e", "s"), ("grpc-timeout", "20m")), ENTER_A)
        answer = await raw.ended(stream)
        assert (answer.status, answer.error) == (4, "OutcomeUnknown")
        with anyio.fail_after(SOON_S):
            await store.being_written.wait()
        await eventually(lambda: counted(server) == once("DEADLINE_EXCEEDED", rejected="OutcomeUnknown"))
        assert not server.calls
        store.go_on.set()
        await eventually(lambda: len(store.writes) > 1)
        await raw.heard()
        assert counted(server) == once("DEADLINE_EXCEEDED", rejected="OutcomeUnknown")
        assert [kind for kind, *_ in raw.transcripts[stream]] == ["ResponseReceived", "StreamEnded"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("timeout", ["0S", "1n"])
async def test_who_has_no_time_is_not_served(way: str, timeout: str) -> None:
    """Though it would have taken next to none."""
    async with serving(way) as server, RawConnection(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        for method, data in (("Enter", ENTER_A), ("GetTerm", message(b""))):
            stream = raw.ask(headers_of(method, *about("e", "s"), ("grpc-timeout", timeout)), data)
            assert (await raw.ended(stream)).status == 4
        assert (await server.inside.get_term(Call("e"))).leader is None


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_goes_waits_for_commits(way: str) -> None:
    """What comes late is refused meanwhile, and what has begun is answered."""
    async with held(way) as (server, store, raw), anyio.create_task_group() as tasks:
        stream = await enter(server, store, raw)
        tasks.start_soon(server.rpc.close)
        await eventually(lambda: all(each.calls._shutting_down for each in server.rpc._connections))
        late = raw.ask(headers_of("Enter", *about("e", "s")), ENTER_A)
        assert (await raw.ended(late)).status == 14
        assert raw.answers[stream].status is None
        store.go_on.set()
        assert (await raw.ended(stream)).status == 0
        await raw.until_closed()
        assert counted(server) == {
            ("answered", "Enter", "OK"): 1,
            ("answered", "Enter", "UNAVAILABLE"): 1,
            ("rejected", "Unavailable"): 1,
        }


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_goes_waits_for_nobody_who_does_not_read(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts the call as one whose outcome is not known."""
    monkeypatch.setattr("atomix_election.rpc.server.DRAIN_TIMEOUT_S", 0.01)
    monkeypatch.setattr("atomix_election.rpc.server_calls.ANSWER_TIMEOUT_S", 0.01)
    async with held(way) as (server, store, raw):
        stream = await enter(server, store, raw)
        (connection,) = server.rpc._connections
        connection.protocol.pause_writing()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.rpc.close)
            await raw.until_closed()
        assert counted(server) == once("ABORTED")
        assert raw.answers[stream].status is None
        store.go_on.set()


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_goes_waits_no_longer_than_it_says(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the outcome is not known."""
    monkeypatch.setattr("atomix_election.rpc.server.DRAIN_TIMEOUT_S", 0.01)
    async with held(way) as (server, store, raw):
        stream = await enter(server, store, raw)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.rpc.close)
            answer = await raw.ended(stream)
            assert (answer.status, answer.error) == (10, "OutcomeUnknown")
            await raw.until_closed()
        assert counted(server) == once("ABORTED")
        store.go_on.set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["reset of the connection", "goodbye", "cancellation", "half closed"])
async def test_a_client_that_leaves_waits_no_more(way: str, how: str) -> None:
    """Its call is over at once, before the command is committed, and counted; the command takes place."""
    async with held(way) as (server, store, raw):
        stream = await enter(server, store, raw)
        if how == "reset of the connection":
            raw.abort()
        elif how == "goodbye":
            raw.h2.close_connection()
            raw.flush()
        elif how == "half closed":
            raw._writer.write_eof()
        else:
            raw.h2.reset_stream(stream)
            raw.flush()
        await eventually(lambda: not server.calls)
        assert not server.rpc._shared.calls
        assert counted(server) == once("CANCELLED")
        store.go_on.set()
        await eventually(lambda: len(store.writes) > 1)
        await anyio.lowlevel.checkpoint()
        assert counted(server) == once("CANCELLED")
        assert not raw.answers[stream].headers


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["goodbye", "cancellation"])
async def test_who_cancels_in_the_same_breath_has_asked_for_nothing(way: str, how: str) -> None:
    """No command takes place."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        with raw.together():
            stream = raw.ask(headers_of("Enter", *about("e", "s")), ENTER_A)
            if how == "goodbye":
                raw.h2.close_connection()
            else:
                raw.h2.reset_stream(stream)
        await eventually(lambda: counted(server) == once("CANCELLED"))
        assert (await server.inside.get_term(Call("e"))).leader is None


@pytest.mark.parametrize("way", WAYS)
async def test_calls_that_wait_count_for_the_limits(way: str) -> None:
    """Those that are answered do not any more."""
    limits = ConnectionLimits(max_calls_per_connection=2, max_calls=5)
    async with held(way, limits=limits) as (server, store, raw), Transcribing(server.port) as other:
        await raw.heard()
        raw.h2.remote_settings = Settings(client=False)  # it asks for more than it may
        streams = [await enter(server, store, raw)]
        streams.append(raw.ask(headers_of("Enter", *about("e", "s")), ENTER_A))
        refused = await raw.ended(raw.ask(headers_of("Enter", *about("e", "s")), ENTER_A))
        assert refused.status == 8
        assert "max_calls_per_connection" in refused.headers["grpc-message"]
        assert (await other.call(headers_of("GetTerm", *about("e")), message(b""))).status == 0
        store.go_on.set()
        for stream in streams:
            assert (await raw.ended(stream)).status == 0
        assert (await raw.call(headers_of("GetTerm", *about("e")), message(b""))).status == 0
        assert server.seen.counts["rejected", "max_calls_per_connection"] == 1


def _frames(*frames: Frame) -> bytes:
    return b"".join(each.serialize() for each in frames)


def _headers(raw: RawConnection, stream: int, *flags: str, block: bytes | None = None, **options: Any) -> HeadersFrame:
    made = raw.h2.encoder.encode(headers_of("Enter", *about("e", "s"))) if block is None else block
    frame = HeadersFrame(stream, data=made, **options)
    frame.flags |= {"END_HEADERS", *flags}
    return frame


def _data(stream: int, data: bytes, *flags: str, **options: Any) -> DataFrame:
    frame = DataFrame(stream, data=data, **options)
    frame.flags |= set(flags)
    return frame


def _continued(raw: RawConnection, stream: int) -> bytes:
    whole = _headers(raw, stream)
    first, rest = HeadersFrame(stream, data=whole.data[:9]), ContinuationFrame(stream, data=whole.data[9:])
    rest.flags.add("END_HEADERS")
    return _frames(first, rest, _data(stream, ENTER_A, "END_STREAM"))


def _with_length(raw: RawConnection, stream: int) -> bytes:
    block = raw.h2.encoder.encode([*headers_of("Enter", *about("e", "s")), ("content-length", "99")])
    return _frames(_headers(raw, stream, block=block), _data(stream, ENTER_A, "END_STREAM"))


ODD: dict[str, Callable[[RawConnection, int], bytes]] = {
    "no headers": lambda raw, s: _frames(_headers(raw, s, block=b""), _data(s, ENTER_A, "END_STREAM")),
    "padded": lambda raw, s: _frames(
        _headers(raw, s, "PADDED", pad_length=7), _data(s, ENTER_A, "END_STREAM", "PADDED", pad_length=200)
    ),
    "a priority": lambda raw, s: _frames(
        _headers(raw, s, "PRIORITY", depends_on=0, stream_weight=3), _data(s, ENTER_A, "END_STREAM")
    ),
    "a frame of priority": lambda raw, s: _frames(
        _headers(raw, s), PriorityFrame(s, depends_on=0), _data(s, ENTER_A, "END_STREAM")
    ),
    "headers in two frames": _continued,
    "trailers": lambda raw, s: _frames(
        _headers(raw, s),
        _data(s, ENTER_A),
        _headers(raw, s, "END_STREAM", block=raw.h2.encoder.encode([("x", "y")])),
    ),
    "no data": lambda raw, s: _frames(_headers(raw, s, "END_STREAM")),
    "empty data": lambda raw, s: _frames(_headers(raw, s), _data(s, b"", "END_STREAM")),
    "empty data before": lambda raw, s: _frames(_headers(raw, s), _data(s, b""), _data(s, ENTER_A, "END_STREAM")),
    "empty data after": lambda raw, s: _frames(_headers(raw, s), _data(s, ENTER_A), _data(s, b"", "END_STREAM")),
    "padding alone": lambda raw, s: _frames(
        _headers(raw, s), _data(s, b"", "PADDED", pad_length=9), _data(s, ENTER_A, "END_STREAM")
    ),
    "two messages": lambda raw, s: _frames(_headers(raw, s), _data(s, 2 * ENTER_A, "END_STREAM")),
    "half a message": lambda raw, s: _frames(_headers(raw, s), _data(s, ENTER_A[:-1], "END_STREAM")),
    "no prefix": lambda raw, s: _frames(_headers(raw, s), _data(s, b"\0\0", "END_STREAM")),
    "compressed": lambda raw, s: _frames(_headers(raw, s), _data(s, b"\1" + ENTER_A[1:], "END_STREAM")),
    "no message of protobuf": lambda raw, s: _frames(_headers(raw, s), _data(s, message(b"\xff"), "END_STREAM")),
    "no text": lambda raw, s: _frames(_headers(raw, s), _data(s, message(b"\x0a\x01\xff"), "END_STREAM")),
    "too large": lambda raw, s: _frames(_headers(raw, s), _data(s, message(b"\x0a\x7f" + b"a" * 127), "END_STREAM")),
    "another length": _with_length,
    "data after the end": lambda raw, s: _frames(
        _headers(raw, s), _data(s, ENTER_A, "END_STREAM"), _data(s, ENTER_A, "END_STREAM")
    ),
    "cancelled after the answer": lambda raw, s: _frames(_headers(raw, s), _data(s, ENTER_A, "END_STREAM")),
}


async def _odd(way: str, kind: str) -> object:
    async with serving(way, limits=ConnectionLimits(max_message_bytes=100)) as server:
        await server.inside.create(Call("e", session="s"))
        async with Transcribing(server.port) as raw:
            stream = raw.h2.get_next_available_stream_id()
            known = raw.h2.encoder
            raw.h2.send_headers(stream, headers_of("GetTerm"))  # h2 is to know the stream
            raw.h2.data_to_send()
            raw.h2.encoder = type(known)()
            raw.send_bytes(ODD[kind](raw, stream))
            try:
                await raw.heard()
                await eventually(lambda: not server.calls)
                if kind == "cancelled after the answer":
                    raw.send_bytes(_frames(RstStreamFrame(stream, error_code=8)))
                await raw.heard()
            except AssertionError:
                assert raw.closed
            seen = dict(raw.transcripts), raw.closed
        async with Transcribing(server.port) as another:
            assert (await another.call(headers_of("GetTerm", *about("e")), message(b""))).status == 0
        return *seen, server.seen.counts, await server.inside.get_term(Call("e"))


@pytest.mark.parametrize("kind", ODD)
async def test_what_is_odd_is_seen_alike(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """By the client, by the operator, and in the log, where nothing is said of it."""
    assert await _odd(AT_ONCE, kind) == await _odd(BY_TASKS, kind)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def _read_late(way: str, *more: tuple[str, str]) -> tuple[object, dict[tuple[str, ...], int]]:
    """Return what is seen by a client that has no room for answers, and then some, and then all."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        for number in range(100):
            await server.inside.enter(Call("e", session="s"), f"{number:0250d}")
        raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        raw.flush()
        streams = [raw.ask(headers_of("GetTerm", *about("e"), *more), message(b"")) for _ in range(2)]
        streams.append(raw.ask(headers_of("Evict", *about("e"), *more), message(b"\x0a\x01x")))
        streams.append(raw.ask(headers_of("Evict", *about("e"), *more), message(b"\x0a\xfa\x01" + b"0" * 250)))
        assert (await raw.ended(streams[2])).status == 3
        await raw.heard()
        if more:
            for stream in streams:
                await raw.ended(stream)
        else:
            assert server.calls == 3
            assert not raw.answers[streams[0]].data
            raw.h2.increment_flow_control_window(10, stream_id=streams[0])
            raw.flush()
            await raw.until(lambda: len(raw.answers[streams[0]].data) == 10)
            raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65535})
            raw.flush()
            for stream in streams:
                await raw.ended(stream)
        await eventually(lambda: not server.calls)
        return raw.transcripts, server.seen.counts


async def test_who_reads_late_is_answered_late() -> None:
    """With all of it."""
    seen = await _read_late(AT_ONCE)
    assert seen == await _read_late(BY_TASKS)


async def test_who_reads_too_late_has_no_time_left() -> None:
    """The deadline holds for the sending of the answer too."""
    _, counts = seen = await _read_late(AT_ONCE, ("grpc-timeout", "50m"))
    assert seen == await _read_late(BY_TASKS, ("grpc-timeout", "50m"))
    assert counts["answered", "GetTerm", "DEADLINE_EXCEEDED"] == 2
    assert counts["answered", "Evict", "DEADLINE_EXCEEDED"] == 1


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_kept_for_those_who_do_not_read_is_small(way: str) -> None:
    """The message is made when it can be sent: many calls may wait for that."""
    calls, size = 100, 25_000
    async with serving(way) as server, RawConnection(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        for number in range(100):
            await server.inside.enter(Call("e", session="s"), f"{number:0250d}")
        raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        raw.flush()
        await raw.heard()
        tracemalloc.start()
        try:
            for _ in range(calls):
                raw.ask(headers_of("GetTerm", *about("e")), message(b""))
            await raw.heard()
            assert server.calls == calls
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < calls * size
        raw.abort()
        await eventually(lambda: not server.calls)


@pytest.mark.parametrize("way", WAYS)
async def test_windows_do_not_run_dry(way: str) -> None:
    """Padding is given back as well: what is sent here is twice what the connection may send without that."""
    async with serving(way) as server, RawConnection(server.port) as raw:
        for _ in range(40):
            streams: list[int] = []
            with raw.together():
                for _ in range(50):
                    streams.append(raw.begin(headers_of("GetTerm", *about("e"))))
                    raw.h2.send_data(streams[-1], message(b""), end_stream=True, pad_length=255)
            for stream in streams:
                assert (await raw.ended(stream)).status == 0
        assert server.at_once["calls"] > 1500 if way == AT_ONCE else not server.at_once["calls"]
        (connection,) = server.rpc._connections
        assert len(connection.protocol._h2.streams) < 200


@pytest.mark.parametrize("way", WAYS)
async def test_each_frame_of_an_answer_may_be_reacted_to(way: str) -> None:
    """As clients do that ping and open windows for what they are sent. An answer has three, a refusal one."""
    async with (
        serving(way, limits=ConnectionLimits(max_control_frames=200)) as server,
        RawConnection(server.port) as raw,
    ):
        for _ in range(60):
            assert (await raw.ended(raw.ask(headers_of("GetTerm", *about("e")), message(b"")))).status == 0
            with raw.together():
                for _ in range(9):
                    raw.h2.ping(b"reaction")
        for _ in range(150):
            assert (await raw.ended(raw.ask(headers_of("Evict", *about("e")), message(b"\x0a\x01x")))).status == 3
            with raw.together():
                for _ in range(3):
                    raw.h2.ping(b"reaction")
        await raw.heard()


@pytest.mark.parametrize("way", WAYS)
async def test_credentials_are_good_as_long_as_they_are_accepted(way: str) -> None:
    """For each call anew, on a connection that has made the same call before; and for their namespaces only."""
    async with serving(way, gate=tokens("one", "two")) as server, RawConnection(server.port) as raw:

        async def status(token: str | None, namespace: str = "mine") -> int | None:
            more = [] if token is None else [("authorization", f"Bearer {token}")]
            stream = raw.ask(headers_of("GetTerm", *about("e", "", namespace), *more), message(b""))
            return (await raw.ended(stream)).status

        for _ in range(2):
            assert [await status(each) for each in ("one", "two", "three", None)] == [0, 0, 16, 16]
            assert await status("one", "another") == 7
        server.rpc.use_gate(tokens("two", "three"))
        for _ in range(2):
            assert [await status(each) for each in ("one", "two", "three", None)] == [16, 0, 0, 16]
        server.rpc.use_gate(OPEN)
        assert [await status(each) for each in ("one", None)] == [0, 0]
        assert server.at_once["calls"] == (20 if way == AT_ONCE else 0)


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_shut_out_keeps_no_session_open(way: str) -> None:
    """The service that its calls went to before is not the one that they go to when it is let in again."""
    async with serving(way, gate=tokens("one")) as server, RawConnection(server.port) as raw:
        headers = headers_of("Enter", *about("e", "s", "mine"), ("authorization", "Bearer one"))
        create = headers_of("Create", *about("e", "s", "mine"), ("authorization", "Bearer one"))
        assert (await raw.call(create, message(b"\x0a\0"))).status == 0
        assert (await raw.ended(raw.ask(headers, ENTER_A))).status == 0
        session = server.engine.sessions.get("mine", "s")
        assert session.holders
        server.rpc.use_gate(tokens("two"))
        assert not session.holders
        assert (await raw.ended(raw.ask(headers, ENTER_A))).status == 16
        server.rpc.use_gate(tokens("one"))
        assert (await raw.ended(raw.ask(headers, ENTER_A))).status == 0
        assert session.holders


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["command", "answer"])
async def test_a_fault_is_that_of_one_call(
    way: str, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and counted, and others go on: also those whose commands are committed together with its one."""
    encode = elections.term_response_bytes

    def faulty(*_: Any) -> Any:
        raise RuntimeError("a fault")

    async with held(way) as (server, store, raw), Transcribing(server.port) as other:
        blocked = await enter(server, store, other)
        if where == "command":
            monkeypatch.setattr(Connection, "_hand_over", faulty)
            bad = raw.ask(headers_of("Enter", *about("e", "s")), ENTER_A)
            await raw.ended(bad)
            monkeypatch.undo()
        else:
            monkeypatch.setattr(
                elections, "term_response_bytes", lambda term: faulty() if "bad" in term.candidates else encode(term)
            )
            bad = raw.ask(headers_of("Enter", *about("e", "s")), message(b"\x0a\x03bad"))
            await raw.heard()
        withdrawn = raw.ask(headers_of("Withdraw", *about("e", "s")), message(b"\x0a\x03bad"))
        await raw.heard()
        store.go_on.set()
        assert (await other.ended(blocked)).status == 0
        assert (await raw.ended(bad)).status == 13
        assert (await raw.ended(withdrawn)).status == 0
        assert server.seen.counts["answered", "Enter", "INTERNAL"] == 1
        assert server.seen.counts["rejected", "ElectionError"] == 1
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.getMessage() == f"fault of this package in {SERVICE}Enter"
    assert record.exc_info is not None


@pytest.mark.parametrize("way", WAYS)
async def test_calls_whose_frames_are_mixed_are_not_mixed_up(way: str) -> None:
    """What comes between the headers and the data of a call belongs to another one."""
    async with serving(way) as server, RawConnection(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        await server.inside.create(Call("e", session="t"))
        first = raw.begin(headers_of("Enter", *about("e", "s")))
        await raw.heard()
        with raw.together():
            second = raw.begin(headers_of("Enter", *about("e", "t")))
            raw.send(first, message(b"\x0a\x01a"), end=True)
            raw.send(second, message(b"\x0a\x01b"), end=True)
        assert [(await raw.ended(each)).status for each in (first, second)] == [0, 0]
        candidates = (await server.inside.describe(Call("e"))).candidates
        sessions = [server.engine.sessions.get("default", name).id.digest for name in "st"]
        assert {each.id: each.session.digest for each in candidates} == dict(zip("ab", sessions, strict=True))


@pytest.mark.parametrize("way", WAYS)
async def test_the_order_is_that_in_which_calls_came(way: str) -> None:
    """Also where one of them has to be left to a task: it is not overtaken by what came with it."""
    long = ("x", LONG)
    async with serving(way) as server, RawConnection(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        with raw.together():
            raw.ask(headers_of("Enter", *about("e", "s")), ENTER_A[:3], ENTER_A[3:])
            raw.ask(headers_of("Enter", *about("e", "s")), message(b"\x0a\x01b"))
            raw.ask(headers_of("Enter", *about("e", "s"), long), message(b"\x0a\x01c"))
            last = raw.ask(headers_of("Enter", *about("e", "s")), message(b"\x0a\x01d"))
        await raw.ended(last)
        assert (await server.inside.get_term(Call("e"))).candidates == ("a", "b", "c", "d")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("left_to_task", [False, True])
async def test_who_says_no_more_is_still_answered(way: str, left_to_task: bool) -> None:
    """What was asked before the client closed its side, and is known by then, goes out."""
    long = [("x", LONG)] if left_to_task else []
    async with serving(way) as server:
        with socket.socket() as plain:
            plain.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(plain, ("127.0.0.1", server.port))
            raw = RawConnection(server.port)
            raw.h2.initiate_connection()
            stream = raw.h2.get_next_available_stream_id()
            raw.h2.send_headers(stream, headers_of("GetTerm", *about("e"), *long))
            raw.h2.send_data(stream, message(b""), end_stream=True)
            await loop.sock_sendall(plain, raw.h2.data_to_send())
            plain.shutdown(socket.SHUT_WR)
            received = b""
            async with asyncio.timeout(SOON_S):
                while data := await loop.sock_recv(plain, 1 << 16):
                    received += data
        names = [type(each).__name__ for each in raw.h2.receive_data(received)]
        assert {"ResponseReceived", "DataReceived", "TrailersReceived"} <= set(names)


METHODS = by_path(elections.METHODS)
HOSTILE: dict[str, list[tuple[bytes, bytes]]] = {
    "many headers": [(b"age", b"")] * 250,
    "as many as are kept": [(b"a%d" % number, b"") for number in range((MAX_HEADER_LIST_BYTES - 400) // 36)],
    "long ones": [(b"x", b"y" * (MAX_HEADER_LIST_BYTES - 600))],
}


def _request(*more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    headers = headers_of("GetTerm", *about("e"))
    return [*((str(name).encode(), str(value).encode()) for name, value in headers), *more]


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_remembered_of_requests_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number, and in what one of them can take."""
    count = 64
    monkeypatch.setattr(quick_calls, "MAX_KNOWN_REQUESTS", count)
    known = KnownRequests(METHODS)
    assert known.find(_request()) is not None
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count - 1):
            made = [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in HOSTILE[kind]]
            known.find([*_request(*made), (b"n", str(number).encode())])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count * MAX_KNOWN_REQUESTS < KEPT_BYTES
    for number in range(2 * count):
        known.find(_request((b"n", str(number).encode())))
        assert 0 < len(known._known) <= count


async def test_a_connection_keeps_no_requests_that_the_server_has_forgotten() -> None:
    """There are many connections, and each is cheap."""
    async with serving(AT_ONCE) as server, RawConnection(server.port) as raw:
        for number in range(3):
            await raw.ended(raw.ask(headers_of("GetTerm", *about(f"e{number}")), message(b"")))
        (connection,) = server.rpc._connections
        quick: QuickCalls = connection.calls.quick
        assert len(quick._services) == 3
        server.rpc._common.requests._known.clear()
        assert not quick._services


async def test_a_number_is_not_part_of_what_is_remembered() -> None:
    """Equal calls with other numbers are one request, and each goes to the engine with its own number."""
    async with serving(AT_ONCE) as server, RawConnection(server.port) as raw:
        await server.inside.create(Call("e", session="s"))
        statuses = []
        for number in ("1", "2", "2", "1", "3"):
            headers = headers_of("Enter", *about("e", "s"), ("atomix-election-operation", number))
            statuses.append((await raw.ended(raw.ask(headers, ENTER_A))).status)
        assert statuses == [0, 0, 0, 10, 0]
        assert server.at_once["calls"] == 5
        assert len(server.rpc._common.requests._known) == 1


async def test_a_command_goes_to_the_engine_once() -> None:
    """What was handed over is not asked for again by the plain way."""
    async with held(AT_ONCE) as (server, store, raw):
        handed_over: list[object] = []
        submit = server.engine.submit_now

        def count(*args: Any) -> Any:
            handed_over.append(args[1])
            return submit(*args)

        server.engine.submit_now = count  # type: ignore[method-assign]
        stream = await enter(server, store, raw)
        store.go_on.set()
        assert (await raw.ended(stream)).status == 0
        assert [type(each) for each in handed_over] == [Enter]
