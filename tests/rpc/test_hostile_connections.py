"""Connections that break off, break the protocol, or say strange things: each harms itself alone."""

import asyncio
import struct

import h2.errors
import h2.settings
import pytest

from atomix_election.rpc.limits import ConnectionLimits
from tests.rpc.conftest import SESSION_TTL_S, Served
from tests.rpc.raw import RawConnection, about, headers_of, message

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CUT_OFF_S = 2.0
"""What the server says at once it has said by then, and no timer of its own has gone off."""
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


def http2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


BROKEN = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100050100000100") + bytes(40),
    "zeros": bytes(1000),
    "noise": bytes(range(256)) * 8,
    "preface with a typing error": PREFACE.replace(b"SM", b"SN") + SETTINGS,
    "preface, then garbage": PREFACE + bytes(100),
    "a frame that is too long": PREFACE + SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1",
    "headers that are no HPACK": PREFACE + SETTINGS + http2_frame(1, 5, 1, b"\xff" * 20),
    "an index beyond the table": PREFACE + SETTINGS + http2_frame(1, 5, 1, b"\xbf\xbf"),
    "headers on stream 0": PREFACE + SETTINGS + http2_frame(1, 5, 0, b"\x82"),
    "headers on an even stream": PREFACE + SETTINGS + http2_frame(1, 5, 2, b"\x82"),
    "data on an idle stream": PREFACE + SETTINGS + http2_frame(0, 1, 5, b"x"),
    "data on stream 0": PREFACE + SETTINGS + http2_frame(0, 1, 0, b"x"),
    "padding longer than the frame": PREFACE + SETTINGS + http2_frame(1, 13, 1, b"\xff\x82"),
    "a window beyond its limit": PREFACE + SETTINGS + http2_frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "a window of nothing": PREFACE + SETTINGS + http2_frame(8, 0, 0, bytes(4)),
    "a push": PREFACE + SETTINGS + http2_frame(5, 4, 1, bytes(4) + b"\x82"),
    "a continuation of nothing": PREFACE + SETTINGS + http2_frame(9, 4, 1, b"\x82"),
    "a short ping": PREFACE + SETTINGS + http2_frame(6, 0, 0, b"123"),
    "settings on a stream": PREFACE + http2_frame(4, 0, 1),
    "settings of half a length": PREFACE + http2_frame(4, 0, 0, b"123"),
    "an illegal frame size": PREFACE + http2_frame(4, 0, 0, struct.pack(">HI", 5, 1)),
    "an illegal window": PREFACE + http2_frame(4, 0, 0, struct.pack(">HI", 4, 0xFFFFFFFF)),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_a_peer_that_breaks_the_protocol_is_cut_off(served: Served, data: bytes) -> None:
    """The connection is closed at once; nobody else notices."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(data)
    try:
        async with asyncio.timeout(CUT_OFF_S):
            while await reader.read(4096):
                pass
    except ConnectionResetError:
        pass  # the server had not read everything
    finally:
        writer.transport.abort()
    await served.until_idle()
    await served.check_serves()
    assert served.observer.closings == ["protocol_error"]


CUT_OFF = [
    b"",
    PREFACE[:10],
    PREFACE,
    PREFACE + SETTINGS[:5],
    PREFACE + SETTINGS + http2_frame(1, 4, 1, bytes(99))[:20],
]


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize(
    "data", CUT_OFF, ids=["nothing", "half a preface", "preface", "half a frame", "half of headers"]
)
async def test_a_peer_that_goes_away_in_the_middle_is_forgotten(served: Served, data: bytes, reset: bool) -> None:
    """Whether it says good-bye (FIN) or not (RST)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(data)
    await reader.readexactly(9)
    writer.transport.abort() if reset else writer.close()
    await served.until_idle()
    assert served.observer.closings == []
    await served.check_serves()


STAGES = ["headers", "prefix", "half", "whole", "ended"]


@pytest.mark.parametrize("method", ["Enter", "Events"])
@pytest.mark.parametrize("at_once", [True, False], ids=["in one packet", "later"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_call_may_be_reset_at_any_stage(served: Served, method: str, at_once: bool, stage: str) -> None:
    """The call leaves nothing behind, and the connection goes on."""
    body = message(b"\x0a\x01a")
    sent = {"headers": b"", "prefix": body[:5], "half": body[:6], "whole": body, "ended": body}[stage]
    async with RawConnection(served.port) as raw:
        stream = raw.begin(headers_of(method, *about(session="s")))
        if sent:
            raw.send(stream, sent, end=stage == "ended")
        if not at_once:
            await served.check_serves(raw)
        if method == "Events" or not (stage == "ended" and not at_once):
            raw.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            raw.flush()
        await served.check_serves(raw)
        await served.until_idle(connections=2)


@pytest.mark.parametrize("stage", STAGES)
async def test_a_connection_may_break_at_any_stage_of_a_call(served: Served, stage: str) -> None:
    """Its calls end with it."""
    body = message(b"")
    sent = {"headers": b"", "prefix": body[:4], "half": body[:3], "whole": body, "ended": body}[stage]
    async with RawConnection(served.port) as raw:
        for _ in range(10):
            stream = raw.begin(headers_of("Events", *about(session="s")))
            if sent:
                raw.send(stream, sent, end=stage == "ended")
        await served.check_serves(raw)
        assert served.calls == 10
    await served.until_idle()
    await served.check_serves()


async def test_a_flood_of_resets_leaves_nothing_behind(served: Served) -> None:
    """Two thousand calls that are taken back at once."""
    async with RawConnection(served.port) as raw:
        for _ in range(2_000):
            stream = raw.begin(headers_of("Events", *about(session="s")), end=False)
            raw.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        raw.flush()
        await served.check_serves()
        await served.until_idle(connections=2 if not raw.closed else 1)
    await served.until_idle()


@pytest.mark.parametrize("served", [ConnectionLimits(max_calls_per_connection=5)], indirect=True)
async def test_one_stream_too_many_is_refused_alone(served: Served) -> None:
    """The limit of streams costs the call that reaches it, not the calls that are open."""
    async with RawConnection(served.port) as raw:
        streams = [raw.begin(headers_of("Events", *about())) for _ in range(6)]
        for stream in streams[:-1]:
            raw.send(stream, message(b""), end=True)
        refused = await raw.ended(streams[-1])
        assert (refused.status, refused.error) == (8, "LimitExceeded")
        assert "serve --max-calls-per-connection" in refused.headers["grpc-message"]
        await raw.until(lambda: all(len(raw.answers[each].messages) == 1 for each in streams[:-1]))
        assert not any(raw.answers[each].ended for each in streams[:-1])


async def test_a_ping_is_answered(served: Served) -> None:
    """Also while a call waits."""
    raw = served.honest
    raw.begin(headers_of("Events", *about()))
    raw.h2.ping(b"12345678")
    raw.flush()
    await raw.until(lambda: raw.pongs == [b"12345678"])
    await served.check_serves()


@pytest.mark.parametrize("stream", [0, 1, 3])
async def test_a_frame_of_an_unknown_type_is_passed_over(served: Served, stream: int) -> None:
    """As HTTP/2 demands, on the connection, on an open stream and on an idle one."""
    async with RawConnection(served.port) as raw:
        call = raw.begin(headers_of("GetTerm", *about()))
        raw.send_bytes(http2_frame(0xBE, 0xFF, stream, b"what is this"))
        raw.send(call, message(b""), end=True)
        assert (await raw.ended(call)).status == 0
        await served.check_serves(raw)


async def test_unknown_settings_are_passed_over(served: Served) -> None:
    """As HTTP/2 demands."""
    async with RawConnection(served.port) as raw:
        raw.send_bytes(http2_frame(4, 0, 0, struct.pack(">HI", 0xBEEF, 7)))
        await served.check_serves(raw)


async def test_a_client_that_says_good_bye_is_let_go(served: Served) -> None:
    """GOAWAY ends the connection and the calls on it."""
    async with RawConnection(served.port) as raw:
        raw.send(raw.begin(headers_of("Events", *about())), message(b""), end=True)
        await served.check_serves(raw)
        raw.h2.close_connection()
        raw.flush()
        await raw.until_closed()
    await served.until_idle()
    assert served.observer.closings == []
    await served.check_serves()


async def test_more_headers_after_the_request_are_trailers(served: Served) -> None:
    """A client may end its stream with trailers."""
    async with RawConnection(served.port) as raw:
        stream = raw.begin(headers_of("GetTerm", *about()))
        raw.send(stream, message(b""))
        raw.h2.send_headers(stream, [("x-trailer", "1")], end_stream=True)
        raw.flush()
        assert (await raw.ended(stream)).status == 0
        await served.check_serves(raw)


async def test_a_client_that_does_not_read_harms_itself_alone(served: Served) -> None:
    """Its window is shut; the rest are served, and its stream is let go with it."""
    async with RawConnection(served.port) as raw:
        raw.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        raw.flush()
        stream = raw.begin(headers_of("GetTerm", *about()))
        raw.send(stream, message(b""), end=True)
        await raw.until(lambda: raw.answers[stream].headers != {})
        await served.check_serves()
        assert raw.answers[stream].data == b""
        raw.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
        raw.flush()
        assert (await raw.ended(stream)).status == 0


async def test_the_sessions_of_a_broken_connection_end(served: Served) -> None:
    """However it broke, its candidate is gone one time-to-live later."""
    async with RawConnection(served.port) as raw:
        assert (await raw.call(headers_of("Create", *about(session="s")), message(b"\n\0"))).status == 0
        assert (await raw.call(headers_of("Enter", *about(session="s")))).status == 0
        watch = served.honest.begin(headers_of("Events", *about()))
        served.honest.send(watch, message(b""), end=True)
        answer = served.honest.answers[watch]
        await served.honest.until(lambda: len(answer.messages) == 1)
        before = asyncio.get_running_loop().time()
        raw.send_bytes(bytes(100))
        await raw.until_closed()
    await served.honest.until(lambda: len(answer.messages) == 2)
    elapsed = asyncio.get_running_loop().time() - before
    assert SESSION_TTL_S - 0.01 <= elapsed < SESSION_TTL_S + 1.0
