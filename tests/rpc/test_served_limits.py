"""The limits of connections and of the calls on them: what each refuses, and what it leaves alone."""

import asyncio
import socket
import time
from contextlib import suppress

import pytest
from h2.settings import SettingCodes

from atomix_election import ConnectionLimits, ElectionLimits, ElectionServer
from atomix_election.rpc.http2 import MIN_READ_BYTES, READ_BYTES, TURN_BYTES
from atomix_election.rpc.http2_connection import WriteReady
from atomix_election.rpc.limits import RESERVED_CALLS, SMALL_REQUEST_BYTES
from atomix_election.service import Call
from tests.rpc.attacks import (
    DATA,
    GREETING,
    HEADERS,
    OPEN_WINDOWS,
    PING,
    PREFACE,
    RST_STREAM,
    call,
    http2_frame,
    settings,
)
from tests.rpc.conftest import Rejections, Served
from tests.rpc.raw import WAIT_S, Answer, RawConnection, about, eventually, headers_of, message

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

SHORT_S = 0.2
OK, RESOURCE_EXHAUSTED = 0, 8
KEEP_ALIVE = "/atomix_election.v1.Sessions/KeepAlive"


def limited(**limits: float) -> pytest.MarkDecorator:
    """Run a test with a server that has these limits."""
    return pytest.mark.parametrize("served", [ConnectionLimits(**limits)], indirect=True)  # type: ignore[arg-type]


def check_refused(answer: Answer, name: str) -> None:
    """Fail unless a call was refused, and told what to do."""
    assert (answer.status, answer.error) == (RESOURCE_EXHAUSTED, "LimitExceeded")
    assert name in answer.headers["grpc-message"]
    assert "serve --max" in answer.headers["grpc-message"] or "-timeout" in answer.headers["grpc-message"]


async def last_words(served: Served, *said: bytes, pause_s: float = 0.0) -> bytes:
    """Say something, and return all that the server says until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    heard = b""
    try:
        for each in said:
            writer.write(each)
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(WAIT_S):
            while data := await reader.read(4096):
                heard += data
    except ConnectionResetError:
        pass  # the server had not read everything
    finally:
        writer.transport.abort()
    return heard


@limited(max_connections=3)
async def test_one_connection_too_many_is_refused(served: Served) -> None:
    """With the reason; those that are there stay, and the place of one that leaves is free again."""
    async with RawConnection(served.port) as second, RawConnection(served.port) as third:
        for each in (second, third):
            assert (await each.call(headers_of("GetTerm", *about()))).status == OK
        for said in (b"", GREETING):
            heard = await last_words(served, said)
            assert b"limit of 3 connections" in heard
            assert b"serve --max-connections" in heard
        assert (await served.honest.call(headers_of("GetTerm", *about()))).status == OK
    await served.until_idle()
    await served.check_serves()


async def test_what_is_refused_is_counted_by_the_limit() -> None:
    """Calls, connections, and calls that take too long."""
    observer = Rejections()
    limits = ConnectionLimits(max_connections=2, max_calls_per_connection=5, max_calls=9, request_timeout_s=SHORT_S)
    async with ElectionServer(observer=observer, connection_limits=limits) as server:
        port = int(server.target.rpartition(":")[2])
        async with RawConnection(port) as one, RawConnection(port) as two, RawConnection(port) as three:
            await three.until_closed()
            streams = [one.begin(headers_of("GetTerm", *about())) for _ in range(6)]
            assert (await one.ended(streams[-1])).status == RESOURCE_EXHAUSTED
            streams += [two.begin(headers_of("GetTerm", *about())) for _ in range(5)]
            assert (await two.ended(streams[-1])).status == RESOURCE_EXHAUSTED
            assert observer.closings == ["max_connections"]
            assert observer.reasons == ["max_calls_per_connection", "max_calls"]
            assert (await one.ended(streams[0])).status == RESOURCE_EXHAUSTED
        assert set(observer.reasons[2:]) == {"request_timeout_s"}


async def test_what_the_engine_refuses_is_counted_by_the_limit_too() -> None:
    """Of sessions, candidates, elections and watchers."""
    observer = Rejections()
    limits = ElectionLimits(max_sessions=1, max_elections=1, max_candidates=1, max_watchers=1)
    async with (
        ElectionServer(observer=observer, limits=limits) as server,
        RawConnection(int(server.target.rpartition(":")[2])) as raw,
    ):
        for method, metadata, body in (
            ("Create", about(session="s"), b"\n\0"),
            ("Enter", about(session="s"), b"\n\1a"),
        ):
            assert (await raw.call(headers_of(method, *metadata), message(body))).status == OK
        watch = raw.begin(headers_of("Events", *about()))
        raw.send(watch, message(b""), end=True)
        await raw.until(lambda: bool(raw.answers[watch].messages))
        for method, metadata, body in (
            ("Create", about(session="another"), b"\n\0"),
            ("Enter", about(session="s"), b"\n\1b"),
            ("Create", about("another", session="s"), b"\n\0"),
            ("Events", about(), b""),
        ):
            assert (await raw.call(headers_of(method, *metadata), message(body))).status == RESOURCE_EXHAUSTED
    assert observer.reasons[:4] == ["max_sessions", "max_candidates", "max_elections", "max_watchers"]


@limited(max_connections=3)
async def test_connections_that_come_together_are_counted_one_by_one(served: Served) -> None:
    """The server accepts many at once."""
    many = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", served.port) for _ in range(30)))
    await eventually(lambda: len(served.rpc._connections) == 3)
    for _, writer in many:
        writer.transport.abort()
    await served.until_idle()


LATE = {
    "nothing": [b""],
    "half a preface": [PREFACE[:10]],
    "no settings": [PREFACE],
    "half a frame": [GREETING, http2_frame(HEADERS, 4, 1, bytes(99))[:20]],
    "headers without end": [GREETING, http2_frame(HEADERS, 0, 1, b"\x83")],
}


@pytest.mark.parametrize("said", LATE.values(), ids=LATE)
@limited(header_timeout_s=SHORT_S)
async def test_what_has_begun_must_be_complete_in_time(served: Served, said: list[bytes]) -> None:
    """Or the connection is closed; those of others are not."""
    assert (await served.honest.call(headers_of("GetTerm", *about()))).status == OK
    since = asyncio.get_running_loop().time()
    heard = await last_words(served, *said, pause_s=SHORT_S / 4)
    assert b"serve --header-timeout" in heard
    assert served.observer.closings == ["header_timeout_s"]
    assert asyncio.get_running_loop().time() - since >= SHORT_S
    await served.until_idle()
    await served.check_serves()


@limited(request_timeout_s=SHORT_S, header_timeout_s=SHORT_S)
async def test_a_connection_may_say_nothing_once_it_has_said_hello(served: Served) -> None:
    """For as long as it likes: the sessions of published clients hang on it."""
    async with RawConnection(served.port) as raw:
        await asyncio.sleep(3 * SHORT_S)
        await served.check_serves(raw)


@pytest.mark.parametrize("method", ["Enter", "Events", KEEP_ALIVE])
@pytest.mark.parametrize("said", [b"", b"\0\0", message(b"\x0a\x01a")[:-1]], ids=["nothing", "prefix", "half"])
@limited(request_timeout_s=SHORT_S)
async def test_a_request_must_be_complete_in_time(served: Served, method: str, said: bytes) -> None:
    """Or the call is refused; its connection goes on."""
    async with RawConnection(served.port) as raw:
        stream = raw.begin(headers_of(method, *about(session="s")))
        if said:
            raw.send(stream, said)
        check_refused(await raw.ended(stream), "request_timeout_s")
        await served.check_serves(raw)
        await served.until_idle(connections=2)


@limited(request_timeout_s=SHORT_S)
async def test_the_end_of_a_request_must_come_in_time(served: Served) -> None:
    """A message alone is not all of it."""
    stream = served.honest.begin(headers_of("GetTerm", *about()))
    served.honest.send(stream, message(b""))
    check_refused(await served.honest.ended(stream), "request_timeout_s")


@limited(request_timeout_s=SHORT_S)
async def test_streams_that_are_meant_to_last_do(served: Served) -> None:
    """Watches, and keep-alive between renewals; a renewal that has begun must be complete in time."""
    raw = served.honest
    watch = raw.begin(headers_of("Events", *about()))
    raw.send(watch, message(b""), end=True)
    keep_alive = raw.begin(headers_of(KEEP_ALIVE, *about(session="s")))
    raw.send(keep_alive, message(b"\x08\x01\x10\x01"))
    await raw.until(lambda: bool(raw.answers[watch].messages and raw.answers[keep_alive].messages))
    await asyncio.sleep(3 * SHORT_S)
    await served.check_serves()
    assert not raw.answers[watch].ended
    assert not raw.answers[keep_alive].ended
    raw.send(keep_alive, b"\0")
    check_refused(await raw.ended(keep_alive), "request_timeout_s")
    assert not raw.answers[watch].ended


@limited(send_timeout_s=SHORT_S)
async def test_an_answer_must_be_read_in_time(served: Served) -> None:
    """A call for whose answer there is no window is ended, and its connection goes on."""
    async with RawConnection(served.port) as raw:
        raw.send_bytes(settings((4, 0)))
        await served.check_serves()
        watch, call = (raw.begin(headers_of(method, *about())) for method in ("Events", "GetTerm"))
        for stream in (watch, call):
            raw.send(stream, message(b""), end=True)
        for stream in (watch, call):
            check_refused(await raw.ended(stream), "send_timeout_s")
        await served.until_idle(connections=2)


@limited(send_timeout_s=SHORT_S)
async def test_a_connection_that_reads_nothing_is_closed(served: Served) -> None:
    """Once its calls have waited for it long enough, and nothing is kept for it."""
    call = Call("raw", session="s")
    await served.inside.create(call)
    for number in range(200):
        await served.inside.enter(call, f"{number:0250d}")
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)  # asyncio itself reads no more
    raw = RawConnection(served.port)
    raw.h2.initiate_connection()
    raw.h2.data_to_send()
    writer.write(OPEN_WINDOWS)
    for stream in range(1, 401, 2):
        raw.h2.send_headers(stream, headers_of("GetTerm", *about()), end_stream=False)
        raw.h2.send_data(stream, message(b""), end_stream=True)
    writer.write(raw.h2.data_to_send())
    await eventually(lambda: len(served.rpc._connections) == 2)
    await eventually(lambda: any(each.protocol.paused_since for each in served.rpc._connections))
    buffered = [each.protocol._transport.get_write_buffer_size() for each in served.rpc._connections]  # type: ignore[union-attr]
    assert max(buffered) <= 64 * 1024
    await served.until_idle()
    assert served.observer.closings == ["send_timeout_s"]
    writer.transport.abort()


@limited(max_calls=20, max_calls_per_connection=20)
async def test_calls_of_all_connections_are_limited(served: Served) -> None:
    """One too many is refused alone, a few of each connection are always let in, and what ends makes room."""
    async with RawConnection(served.port) as greedy, RawConnection(served.port) as other:
        held = [greedy.begin(headers_of("GetTerm", *about())) for _ in range(20)]
        await eventually(lambda: served.calls == 20)
        refused = await greedy.ended(greedy.begin(headers_of("GetTerm", *about())))
        check_refused(refused, "max_calls_per_connection")
        few = [other.begin(headers_of("GetTerm", *about())) for _ in range(RESERVED_CALLS)]
        await eventually(lambda: served.calls == 20 + RESERVED_CALLS)
        check_refused(await other.ended(other.begin(headers_of("GetTerm", *about()))), "max_calls")
        await served.check_serves()
        for stream in held:
            greedy.send(stream, message(b""), end=True)
            assert (await greedy.ended(stream)).status == OK
        more = other.begin(headers_of("GetTerm", *about()))
        for stream in (*few, more):
            other.send(stream, message(b""), end=True)
            assert (await other.ended(stream)).status == OK
    await served.until_idle()
    assert served.rpc._shared.calls == 0


@limited(max_request_bytes=70_000)
async def test_large_requests_share_a_room_and_small_ones_need_none(served: Served) -> None:
    """So nobody can keep others out by filling it."""
    async with RawConnection(served.port) as greedy:
        large = greedy.begin(headers_of("Enter", *about(session="s")))
        greedy.send(large, message(bytes(10), size=60_000))
        await eventually(lambda: served.rpc._shared.room.taken_bytes == 60_000)
        refused = served.honest.begin(headers_of("GetTerm", *about()))
        served.honest.send(refused, message(b"", size=10_001))
        check_refused(await served.honest.ended(refused), "max_request_bytes")
        small = await served.honest.call(headers_of("GetTerm", *about()), message(b"\x12\x7d" + bytes(125)))
        assert len(small.messages) == 1
        assert SMALL_REQUEST_BYTES >= 127
    await eventually(lambda: not served.rpc._shared.room.taken_bytes)
    await served.until_idle()


@limited(max_message_bytes=100)
async def test_a_large_message_is_refused_by_its_prefix(served: Served) -> None:
    """The limit is an option."""
    answer = await served.honest.call(headers_of("GetTerm", *about()), message(b"", size=101))
    check_refused(answer, "max_message_bytes")


async def test_what_a_peer_offers_to_remember_is_not_used(served: Served) -> None:
    """Neither its table of headers nor frames as long as it would take."""
    async with RawConnection(served.port) as raw:
        raw.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 1 << 30, SettingCodes.MAX_FRAME_SIZE: 1 << 20})
        raw.flush()
        await served.check_serves(raw)
        for connection in served.rpc._connections:
            assert connection.protocol._h2.encoder.header_table_size <= 4096
            assert connection.protocol._h2.max_outbound_frame_size == 16_384


async def test_streams_that_have_ended_are_forgotten(served: Served) -> None:
    """All but a few, which is what those of a long connection cost."""
    for _ in range(300):
        assert (await served.honest.call(headers_of("GetTerm", *about()))).status == OK
    (connection,) = served.rpc._connections
    assert len(connection.protocol._h2._closed_streams) <= 256
    await served.check_serves()


@limited(max_header_bytes=2000)
async def test_headers_are_limited_before_the_client_has_agreed(served: Served) -> None:
    """One that does not acknowledge the server's settings gets no larger headers through."""
    entry = b"\x40\x01x\x7f\x85\x06" + b"v" * 900  # goes into the table; each 0xbe after it stands for all of it
    await last_words(served, GREETING + http2_frame(HEADERS, 5, 1, entry + b"\xbe" * 10))
    await served.until_idle()
    assert served.observer.closings == ["protocol_error"]
    assert served.rpc._shared.calls == 0
    await served.check_serves()


FLOODS = {
    "max_resets": call(1, body=None) + http2_frame(RST_STREAM, 0, 1, bytes(4)) * 20,
    "max_control_frames": http2_frame(PING, 0, 0, bytes(8)) * 110,
    "max_header_bytes": http2_frame(HEADERS, 0, 1, bytes(2001)),
}


@pytest.mark.parametrize(("limit", "said"), FLOODS.items(), ids=FLOODS)
@limited(max_resets=10, max_control_frames=100, max_header_bytes=2000)
async def test_a_connection_that_is_closed_for_a_limit_is_counted_by_it(
    served: Served, limit: str, said: bytes
) -> None:
    """Once, whatever else it sends."""
    assert limit.encode() in await last_words(served, GREETING + said)
    await served.until_idle()
    assert served.observer.closings == [limit]


async def test_settings_that_nobody_knows_are_not_kept(served: Served) -> None:
    """However slowly they come."""
    heard = await last_words(served, GREETING, *(settings(*((n, 1) for n in range(m, m + 20))) for m in (100, 200)))
    assert b"more than 32 settings" in heard
    assert served.observer.closings == ["max_settings"]
    await served.check_serves()


async def test_the_more_connections_there_are_the_less_is_read_from_each_at_a_time(served: Served) -> None:
    """So that a turn of the event loop is short, and nobody is starved."""
    (first,) = served.rpc._connections
    assert len(first.protocol.get_buffer(-1)) == READ_BYTES
    many = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(150)]
    await eventually(lambda: len(served.rpc._connections) == 151)
    assert len(first.protocol.get_buffer(-1)) == MIN_READ_BYTES
    for _, writer in many[31:]:
        writer.transport.abort()
    await eventually(lambda: len(served.rpc._connections) == 32)
    assert sum(len(each.protocol.get_buffer(-1)) for each in served.rpc._connections) == TURN_BYTES
    for _, writer in many:
        writer.transport.abort()
    await served.until_idle()


async def test_nothing_is_encoded_for_who_does_not_read(served: Served) -> None:
    """An event waits as it is, which many watchers share."""
    async with RawConnection(served.port) as raw:
        raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        raw.flush()
        watch = raw.begin(headers_of("Events", *about()))
        raw.send(watch, message(b""), end=True)
        await raw.until(lambda: bool(raw.answers[watch].headers))
        await served.check_serves()
        assert served.rpc._shared.outboxes.taken_bytes == 0
        raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
        raw.flush()
        await raw.until(lambda: len(raw.answers[watch].messages) == 1)


async def test_who_wakes_first_may_fill_the_buffer_again() -> None:
    """Then the others wait on, or all of them would write at once."""
    ready, woken = WriteReady(), list[int]()

    async def write(number: int) -> None:
        await ready.wait()
        woken.append(number)
        ready.clear()

    tasks = [asyncio.create_task(write(number)) for number in range(3)]
    for expected in ([0], [0, 1], [0, 1, 2]):
        await asyncio.sleep(0)
        ready.set()
        await eventually(lambda expected=expected: len(woken) >= len(expected))
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted(woken) == expected
    await asyncio.wait(tasks)


@limited(max_unsent_bytes=100_000)
async def test_answers_that_cannot_be_sent_are_bounded(served: Served) -> None:
    """The connection that holds most of them is closed, and the others go on."""
    call = Call("raw", session="s")
    await served.inside.create(call)
    for number in range(50):
        await served.inside.enter(call, f"{number:0250d}")
    async with RawConnection(served.port) as few, RawConnection(served.port) as many:
        for raw, count in ((few, 2), (many, 20)):
            raw.send_bytes(settings((4, 10)))
            await served.check_serves()
            for _ in range(count):
                raw.send(raw.begin(headers_of("Events", *about())), message(b""), end=True)
        await many.until_closed()
        assert served.observer.closings == ["max_unsent_bytes"]
        await served.check_serves()
        assert not few.closed
        await eventually(lambda: served.calls == 2)
        assert 0 < served.rpc._shared.outboxes.taken_bytes < 100_000
    await served.until_idle()
    assert served.rpc._shared.outboxes.taken_bytes == 0


@limited(max_calls_per_connection=1)
async def test_who_asks_on_and_reads_nothing_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is answered without a call, such as a refusal, must not pile up either."""
    monkeypatch.setattr("atomix_election.rpc.http2.UNREAD_BYTES", 20_000)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", served.port))
        await eventually(lambda: len(served.rpc._connections) == 2)
        (connection,) = [each for each in served.rpc._connections if _is_of(each, deaf)]
        transport = connection.protocol._transport
        assert transport is not None
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        deaf.setblocking(False)
        most = 0
        asking = b"".join(http2_frame(HEADERS, 5, stream, b"\x83") for stream in range(1, 200_001, 2))
        waiting = GREETING + asking
        async with asyncio.timeout(WAIT_S):
            while connection in served.rpc._connections and not transport.is_closing():
                with suppress(OSError):
                    waiting = waiting[deaf.send(waiting[: 1 << 16]) :]
                most = max(most, transport.get_write_buffer_size())
                await asyncio.sleep(0)
        assert waiting
        assert 0 < most < 40_000
        assert served.observer.closings == ["unread_bytes"]
    await served.until_idle()
    await served.check_serves()


@limited(header_timeout_s=SHORT_S)
async def test_a_server_that_was_stopped_reads_before_it_judges(served: Served) -> None:
    """A client cannot help it that nobody read what it sent."""
    async with RawConnection(served.port) as raw:
        await served.check_serves(raw)
        stream = raw.begin(headers_of("Enter", *about(session="s")))
        body = http2_frame(DATA, 0, stream, message(b"\x0a\x01a" + b"\x12\xff\x74" + bytes(15_000 - 129)))
        raw.send_bytes(body[:100])
        await asyncio.sleep(SHORT_S / 4)
        raw.send_bytes(body[100:])
        time.sleep(2 * SHORT_S)  # noqa: ASYNC251 - the process is stopped
        raw.send_bytes(http2_frame(DATA, 1, stream))
        answer = await raw.ended(stream)
        assert answer.status is not None
        assert "the limit of" not in answer.headers["grpc-message"]
        await served.check_serves(raw)


def _is_of(connection: object, client: socket.socket) -> bool:
    return connection.protocol._transport.get_extra_info("peername") == client.getsockname()  # type: ignore[attr-defined]
