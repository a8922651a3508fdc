"""Every kind of input, as a strategy for scripts: valid calls, and among them what this kind is about."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from tests.fuzz.builder import PADDED, PRIORITY_FLAG, Builder
from tests.fuzz.floods import floods
from tests.fuzz.headers import ENDLESS, OPERATION, call_headers, changed, encode, many, nonsense
from tests.fuzz.heard import GOAWAY
from tests.fuzz.messages import candidates, framed, statuses_of, valid
from tests.fuzz.scripts import FINISH, Due, Script
from tests.fuzz.violations import broken_prefaces, violations
from tests.rpc.attacks import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GREETING,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WIDEST,
    WINDOW_UPDATE,
    block,
    settings,
)
from tests.rpc.raw import SERVICE, message

MOST_ITEMS = 6

Item = Callable[[Builder], None]

numbers_of_settings = st.integers(0, 9) | st.sampled_from([0xFF, 0xFFFF])
values_of_settings = st.sampled_from([0, 1, 2, 100, 4096, 16_384, 16_385, 65_535, WIDEST, WIDEST + 1, (1 << 32) - 1])


def known_call(builder: Builder) -> None:
    """A call whose answer is known."""
    builder.known_call()


def any_call(builder: Builder) -> None:
    """A good call of any method."""
    path, headers = builder.target()
    stream = builder.call(headers, message(builder.draw(valid(path))))
    if path in ENDLESS:
        builder.hoped.discard(stream)


def odd_metadata(builder: Builder) -> None:
    """A call with headers that are not as they should be, but that HPACK can say."""
    path, headers = builder.target()
    headers = builder.draw(changed(headers))
    if builder.draw(st.sampled_from([False] * 9 + [True])):
        headers = builder.draw(many(headers))
        builder.forget_table()
    builder.call(headers, message(builder.draw(valid(path))))


def odd_block(builder: Builder) -> None:
    """A block of headers with something in it that may mean nothing."""
    draw, stream = builder.draw, builder.stream()
    path, headers = builder.target()
    fields = [block([each]) for each in headers]
    for each in draw(st.lists(nonsense, min_size=1, max_size=3)):
        fields.insert(draw(st.integers(0, len(fields))), each)
    builder.head(stream, b"".join(fields))
    builder.forget_table()
    builder.body(stream, message(draw(valid(path))))


def odd_message(builder: Builder) -> None:
    """A good call with data that may be no message."""
    path, headers = builder.target()
    body = builder.draw(framed(path))
    stream = builder.call(headers, body)
    if path not in ENDLESS:
        builder.is_due(Due(stream, statuses_of(path, body)))


def begun_call(builder: Builder) -> None:
    """A call of which not all is there."""
    path, headers = builder.target()
    stream = builder.stream()
    builder.head(stream, block(headers))
    body = message(builder.draw(valid(path)))
    builder.add(DATA, 0, stream, body[: builder.draw(st.integers(0, len(body)))])


def raw_frame(builder: Builder) -> None:
    """Any frame, with a length that may lie."""
    draw, stream = builder.draw, builder.any_stream()
    kind = draw(st.integers(0, 10) | st.sampled_from([0xA, 0xC, 0xEE, 0xFF]))
    flags = draw(st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]) | st.integers(0, 255))
    payload = draw(st.binary(max_size=20) | st.sampled_from([bytes(4), bytes(5), bytes(8), b"\x82", bytes(300)]))
    builder.touched(stream)
    builder.forget_table()
    if draw(st.sampled_from([True] * 9 + [False])):
        builder.add(kind, flags, stream, payload)
    else:
        length = draw(st.sampled_from([0, len(payload) + 1, 16_384, 16_385, 0xFFFFFF]))
        builder.data += struct.pack(">I", length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def control_frames(builder: Builder) -> None:
    """What connections are made of beside calls, with values that may be wrong."""
    draw = builder.draw
    kind = draw(st.sampled_from([PING, SETTINGS, WINDOW_UPDATE, RST_STREAM, PRIORITY]))
    if kind == PING:
        builder.add(PING, draw(st.sampled_from([0, 1])), 0, b"otherwis")
    elif kind == SETTINGS:
        pairs = draw(st.lists(st.tuples(numbers_of_settings, values_of_settings), max_size=4))
        builder.data += settings(*pairs)
        for each in list(builder.due):
            builder.touched(each)  # its window may be none
    elif kind == WINDOW_UPDATE:
        stream = builder.any_stream()
        builder.add(kind, 0, stream, struct.pack(">L", draw(values_of_settings)))
        builder.touched(stream)
    elif kind == RST_STREAM:
        stream = builder.any_stream()
        builder.add(kind, 0, stream, struct.pack(">L", draw(st.sampled_from([0, 8, 1 << 31]))))
        builder.touched(stream)
    else:
        stream, weight = draw(values_of_settings), draw(st.integers(0, 255))
        builder.add(kind, 0, builder.any_stream(), struct.pack(">LB", stream, weight))


def good_bye(builder: Builder) -> None:
    """GOAWAY, and whatever comes after it."""
    builder.add(GOAWAY, 0, 0, struct.pack(">LL", builder.draw(values_of_settings), builder.draw(values_of_settings)))


def trailers(builder: Builder) -> None:
    """Headers after the first ones, which end a call or do not."""
    draw = builder.draw
    if not builder.open:
        begun_call(builder)
    stream = draw(st.sampled_from(builder.open))
    flags = END_HEADERS | draw(st.sampled_from([END_STREAM, 0]))
    builder.add(HEADERS, flags, stream, block(draw(changed([(b"x", b"y")]))))
    builder.over(stream)


def more_data(builder: Builder) -> None:
    """Data on any stream, also one that has ended."""
    stream = builder.any_stream()
    builder.touched(stream)
    padded = builder.draw(st.sampled_from([0, 0, PADDED]))
    flags = padded | builder.draw(st.sampled_from([0, END_STREAM]))
    builder.add(DATA, flags, stream, builder.draw(st.binary(max_size=12)))


def odd_head(builder: Builder) -> None:
    """Headers in frames that are not as they should be: padded beyond the end, with a priority, never complete."""
    draw, stream = builder.draw, builder.stream()
    _, headers = builder.target()
    made = encode(builder.encoder, headers, indexed=True, huffman=False)
    builder.forget_table()
    flags = draw(st.sampled_from([END_HEADERS, END_HEADERS | END_STREAM, 0]))
    if draw(st.booleans()):
        flags, made = flags | PADDED, bytes([draw(st.sampled_from([0, 9, 255]))]) + made + bytes(9)
    elif draw(st.booleans()):
        depends = draw(st.sampled_from([0, 1, stream, WIDEST]))
        flags, made = flags | PRIORITY_FLAG, struct.pack(">LB", depends, 3) + made
    builder.add(HEADERS, flags, draw(st.sampled_from([stream, stream, stream, 2])), made)
    if draw(st.booleans()):
        builder.add(draw(st.sampled_from([CONTINUATION, DATA, PING])), END_HEADERS, stream, b"")


def command(builder: Builder) -> None:
    """A call about one of few candidates in one of few elections, maybe with the number of an operation."""
    draw = builder.draw
    method = draw(st.sampled_from([*["Enter"] * 3, "Withdraw", "Anoint", "Promote", "Evict", "GetTerm"]))
    headers = call_headers(SERVICE + method, draw(st.sampled_from("eeeef")), draw(st.sampled_from(["s", "s", "t"])))
    operation = draw(st.sampled_from([b"", b"", b"1", b"2", b"3", b"4"]))
    if operation:
        headers.append((OPERATION, operation))
    builder.call(headers, message(b"" if method == "GetTerm" else draw(candidates)))


METADATA: Sequence[Item] = (known_call, odd_metadata, odd_metadata, any_call)
BLOCKS: Sequence[Item] = (known_call, odd_block, odd_metadata)
FRAMES: Sequence[Item] = (known_call, raw_frame, control_frames, odd_head, begun_call, more_data, trailers, any_call)
MESSAGES: Sequence[Item] = (known_call, odd_message, odd_message, any_call)
PIPELINES: Sequence[Item] = (command,)
ALL: Sequence[Item] = (*FRAMES, odd_block, odd_metadata, odd_message, good_bye)


@st.composite
def scripts(draw: st.DrawFn, kind: str, items: Sequence[Item], *, lasts: bool = False) -> Script:
    """Scripts of some items."""
    builder = Builder(draw)
    for item in draw(st.lists(st.sampled_from(items), min_size=1, max_size=MOST_ITEMS)):
        item(builder)
        builder.cut()
    return builder.script(kind, lasts=lasts)


@st.composite
def broken_bytes(draw: st.DrawFn) -> Script:
    """A good beginning in which bytes are changed, left out, or said twice."""
    script = draw(scripts("bytes", (known_call, any_call, odd_metadata)))
    data = bytearray(script.data)
    for action in draw(st.lists(st.sampled_from(["set", "cut", "put", "drop", "twice"]), min_size=1, max_size=3)):
        place = draw(st.integers(0, len(data)))
        if action == "cut":
            del data[place:]
        elif action == "put":
            data[place:place] = draw(st.binary(min_size=1, max_size=4))
        elif action == "drop":
            del data[place : place + draw(st.integers(1, 9))]
        elif action == "twice":
            data[place:place] = data[place : place + draw(st.integers(1, 60))]
        elif place < len(data):
            data[place] ^= draw(st.integers(1, 255))
    return replace(script, data=bytes(data), due=(), hoped=tuple(each.stream for each in script.due))


noise = st.builds(
    lambda begin, rest: Script("noise", begin + rest, ending=FINISH),
    st.sampled_from([b"", PREFACE[:10], PREFACE, GREETING, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]),
    st.binary(max_size=60),
)


KINDS: dict[str, st.SearchStrategy[Script]] = {
    "metadata": scripts("metadata", METADATA),
    "blocks": scripts("blocks", BLOCKS),
    "frames": scripts("frames", FRAMES),
    "messages": scripts("messages", MESSAGES, lasts=True),
    "pipelines": scripts("pipelines", PIPELINES, lasts=True),
    "all": scripts("all", ALL),
    "bytes": broken_bytes(),
    "noise": noise,
    "floods": floods(),
    "violations": violations(),
    "prefaces": broken_prefaces(),
}
"""What can be sent to a server, by name."""
