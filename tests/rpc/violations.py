"""What breaks HTTP/2, one rule at a time, and the error that RFC 9113 names for it."""

import struct
from collections.abc import Callable
from typing import NamedTuple

from tests.rpc.attacks import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET_TERM,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WIDEST,
    WINDOW_UPDATE,
    http2_frame,
    settings,
)

PUSH_PROMISE = 5
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR = 1, 3, 5, 6, 9
OPENED, ENDED = END_HEADERS, END_HEADERS | END_STREAM


class Violation(NamedTuple):
    """What breaks one rule.

    Args:
        frames: returns what is sent, for a stream that was not used before.
        code: what the connection is closed with.
    """

    frames: Callable[[int], bytes]
    code: int


def _of(code: int, *frames: Callable[[int], bytes]) -> Violation:
    return Violation(lambda stream: b"".join(each(stream) for each in frames), code)


def _frame(kind: int, flags: int, payload: bytes = b"", *, on: int | None = None) -> Callable[[int], bytes]:
    return lambda stream: http2_frame(kind, flags, stream if on is None else on, payload)


def _setting(number: int, value: int) -> Callable[[int], bytes]:
    return lambda _: settings((number, value))


def _announced(length: int) -> Callable[[int], bytes]:
    """The beginning of a frame that is longer than all that comes."""
    return lambda stream: struct.pack(">I", length)[1:] + bytes([DATA, 0]) + struct.pack(">I", stream)


_open = _frame(HEADERS, OPENED, GET_TERM)

VIOLATIONS: dict[str, Violation] = {
    "4.2 frame beyond the limit": _of(FRAME_SIZE_ERROR, _open, _announced(16_385)),
    "4.2 frame of 16 MiB": _of(FRAME_SIZE_ERROR, _announced(0xFFFFFF)),
    "4.3 not HPACK": _of(COMPRESSION_ERROR, _frame(HEADERS, OPENED, b"\xff" * 20)),
    "4.3 index beyond the table": _of(COMPRESSION_ERROR, _frame(HEADERS, OPENED, b"\xff\x80\x7f")),
    "4.3 table larger than allowed": _of(COMPRESSION_ERROR, _frame(HEADERS, OPENED, b"\x3f\xe2\x1f" + GET_TERM)),
    "5.1 data on an idle stream": _of(PROTOCOL_ERROR, _frame(DATA, 1, b"x")),
    "5.1 window of an idle stream": _of(PROTOCOL_ERROR, _frame(WINDOW_UPDATE, 0, bytes([0, 0, 0, 1]))),
    "5.1.1 an even stream": _of(PROTOCOL_ERROR, _frame(HEADERS, OPENED, GET_TERM, on=2)),
    "5.1.1 a stream passed over": _of(
        PROTOCOL_ERROR,
        lambda s: http2_frame(HEADERS, ENDED, s + 2, GET_TERM) + http2_frame(HEADERS, ENDED, s, GET_TERM),
    ),
    "6.1 data on stream 0": _of(PROTOCOL_ERROR, _frame(DATA, 0, b"x", on=0)),
    "6.1 padding beyond the frame": _of(PROTOCOL_ERROR, _open, _frame(DATA, 8, b"\x05abcd")),
    "6.2 headers on stream 0": _of(PROTOCOL_ERROR, _frame(HEADERS, OPENED, GET_TERM, on=0)),
    "6.2 padding beyond the frame": _of(PROTOCOL_ERROR, _frame(HEADERS, OPENED | 8, b"\xff" + GET_TERM[:9])),
    "6.2 another frame among headers": _of(
        PROTOCOL_ERROR, _frame(HEADERS, 0, GET_TERM), _frame(PING, 0, bytes(8), on=0)
    ),
    "6.3 priority of stream 0": _of(PROTOCOL_ERROR, _frame(PRIORITY, 0, bytes(5), on=0)),
    "6.4 reset of stream 0": _of(PROTOCOL_ERROR, _frame(RST_STREAM, 0, bytes(4), on=0)),
    "6.4 reset of another size": _of(FRAME_SIZE_ERROR, _open, _frame(RST_STREAM, 0, bytes(5))),
    "6.5 settings of a stream": _of(PROTOCOL_ERROR, _open, _frame(SETTINGS, 0)),
    "6.5 settings of another size": _of(FRAME_SIZE_ERROR, _frame(SETTINGS, 0, b"12345", on=0)),
    "6.5 settings acknowledged with some": _of(FRAME_SIZE_ERROR, _frame(SETTINGS, 1, bytes(6), on=0)),
    "6.5.2 push neither on nor off": _of(PROTOCOL_ERROR, _setting(2, 2)),
    "6.5.2 window beyond the limit": _of(FLOW_CONTROL_ERROR, _setting(4, WIDEST + 1)),
    "6.5.2 frames smaller than allowed": _of(PROTOCOL_ERROR, _setting(5, 16_383)),
    "6.5.2 frames larger than allowed": _of(PROTOCOL_ERROR, _setting(5, 1 << 24)),
    "6.6 a push of the client": _of(PROTOCOL_ERROR, _open, _frame(PUSH_PROMISE, 4, bytes(4) + GET_TERM)),
    "6.7 ping on a stream": _of(PROTOCOL_ERROR, _open, _frame(PING, 0, bytes(8))),
    "6.7 ping of another size": _of(FRAME_SIZE_ERROR, _frame(PING, 0, bytes(7), on=0)),
    "6.9 window of nothing": _of(PROTOCOL_ERROR, _frame(WINDOW_UPDATE, 0, bytes(4), on=0)),
    "6.9 window of another size": _of(FRAME_SIZE_ERROR, _frame(WINDOW_UPDATE, 0, bytes(5), on=0)),
    "6.9.1 window too wide": _of(FLOW_CONTROL_ERROR, _frame(WINDOW_UPDATE, 0, struct.pack(">L", WIDEST), on=0)),
    "6.9.2 windows too wide by settings": _of(
        FLOW_CONTROL_ERROR,
        _open,
        _frame(WINDOW_UPDATE, 0, struct.pack(">L", WIDEST - 65_535)),
        _setting(4, 65_536),
    ),
    "6.10 continuation of nothing": _of(PROTOCOL_ERROR, _open, _frame(CONTINUATION, 4, b"\x82")),
    "6.10 continuation on stream 0": _of(PROTOCOL_ERROR, _frame(CONTINUATION, 4, b"\x82", on=0)),
}
"""By section and name."""
