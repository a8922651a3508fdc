"""Much of the same on one connection."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from tests.fuzz.builder import Builder
from tests.fuzz.headers import Fields
from tests.fuzz.scripts import Script
from tests.rpc.attacks import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    block,
    http2_frame,
    settings,
)


@st.composite
def floods(draw: st.DrawFn) -> Script:
    """Much of the same, after and before a good call. It is borne, or the connection is closed for it."""
    builder = Builder(draw)
    builder.known_call()
    what, count = draw(st.sampled_from(sorted(_FLOODS))), draw(st.sampled_from([3, 40, 300, 1300]))
    stream = builder.stream()
    _, headers = builder.target()
    builder.data += _FLOODS[what](stream, headers, count)
    return replace(builder.script("floods"), due=(), hoped=(1,))


def _of_streams(make: Callable[[int, bytes], bytes]) -> Callable[[int, Fields, int], bytes]:
    def flood(stream: int, headers: Fields, count: int) -> bytes:
        head = block(headers)
        return b"".join(make(stream + 2 * number, head) for number in range(count))

    return flood


_FLOODS: dict[str, Callable[[int, Fields, int], bytes]] = {
    "pings": lambda _, __, count: http2_frame(PING, 0, 0, bytes(8)) * count,
    "settings": lambda _, __, count: settings((1, 4096)) * count,
    "table sizes": lambda _, __, count: b"".join(settings((1, number % 2 * 4096)) for number in range(count)),
    "empty data": lambda stream, headers, count: (
        http2_frame(HEADERS, END_HEADERS, stream, block(headers)) + http2_frame(DATA, 0, stream) * count
    ),
    "continuations": lambda stream, headers, count: (
        http2_frame(HEADERS, 0, stream, block(headers))
        + http2_frame(CONTINUATION, 0, stream, b"") * count
        + http2_frame(CONTINUATION, END_HEADERS, stream, b"")
    ),
    "resets": _of_streams(
        lambda stream, head: (
            http2_frame(HEADERS, END_HEADERS, stream, head) + http2_frame(RST_STREAM, 0, stream, bytes([0, 0, 0, 8]))
        )
    ),
    "begun": _of_streams(lambda stream, head: http2_frame(HEADERS, END_HEADERS, stream, head)),
    "ended": _of_streams(lambda stream, head: http2_frame(HEADERS, END_HEADERS | END_STREAM, stream, head)),
    "windows": lambda _, __, count: http2_frame(WINDOW_UPDATE, 0, 0, bytes([0, 0, 0, 1])) * count,
    "priorities": lambda stream, __, count: http2_frame(PRIORITY, 0, stream, bytes(5)) * count,
    "unknown": lambda _, __, count: http2_frame(0xEE, 0, 0, b"?") * count,
}
