"""Servers that answer our client with anything: what each says, as a strategy, and a socket that says it."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.fuzz.headers import METHODS, Fields, changed, nonsense
from tests.fuzz.heard import GOAWAY
from tests.fuzz.messages import framed_as, valid_as
from tests.fuzz.scripts import frames_in
from tests.rpc.attacks import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    http2_frame,
    settings,
)
from tests.rpc.raw import SERVICE, message
from tests.rpc.violations import PUSH_PROMISE

OF_THE_CALL = -1
"""Stands for the stream of the call, whose number is known when it has come."""
LEAD = "lead"
"""What a whole client does: it opens a session, keeps it, enters, and leads."""
OURS = "/atomix_election.v1."
ASKED = {
    "get_term": f"{SERVICE}GetTerm",
    "enter": f"{SERVICE}Enter",
    "evict": f"{SERVICE}Evict",
    "create": f"{SERVICE}Create",
    "close": f"{SERVICE}Close",
    "events": f"{SERVICE}Events",
    "keep_alive": f"{OURS}Sessions/KeepAlive",
    "end_session": f"{OURS}Sessions/End",
    "list": f"{OURS}Inspection/List",
    "describe": f"{OURS}Inspection/Describe",
    "forget": f"{OURS}Administration/Forget",
}
"""What a client may do beside that, and the method that it calls."""
_OF_LEAD = (f"{OURS}Sessions/KeepAlive", f"{SERVICE}Enter", f"{SERVICE}Create")
_WELL: Fields = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_WELL_OURS: Fields = [*_WELL, (b"atomix-election-protocol", b"1")]
_WELL_ENDED: Fields = [(b"grpc-status", b"0")]


class Frame(NamedTuple):
    """One frame of an answer."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def on(self, stream: int) -> bytes:
        """Return it for a call on some stream."""
        return http2_frame(self.kind, self.flags, stream if self.stream == OF_THE_CALL else self.stream, self.payload)


@dataclass(frozen=True, slots=True)
class Answering:
    """What a server says.

    Args:
        attempt: what the client does, of ``ASKED`` or ``LEAD``.
        greeting: what it begins with.
        frames: what it says to each call.
        pieces: how large what it writes at a time is; then all at once.
        hangs_up: whether it closes the connection after an answer.
    """

    attempt: str
    greeting: bytes
    frames: tuple[Frame, ...]
    pieces: tuple[int, ...]
    hangs_up: bool

    def to(self, stream: int) -> bytes:
        """Return what it says to a call on some stream."""
        return b"".join(each.on(stream) for each in self.frames)

    def replay(self) -> str:
        """Return it in one line, for ``answering``; the call is on stream 1, as the first one of a connection is."""
        pieces = ",".join(map(str, self.pieces))
        return f"{self.attempt}:{self.greeting.hex()}:{self.to(1).hex()}:{pieces}:{int(self.hangs_up)}"


def answering(line: str) -> Answering:
    """Return what was written into one line."""
    attempt, greeting, said, pieces, hangs_up = line.split(":")
    frames = [
        Frame(kind, flags, OF_THE_CALL if stream == 1 else stream, payload)
        for kind, flags, stream, payload in frames_in(bytes.fromhex(said))[0]
    ]
    sizes = tuple(int(each) for each in pieces.split(",") if each)
    return Answering(attempt, bytes.fromhex(greeting), tuple(frames), sizes, hangs_up == "1")


@st.composite
def answerings(draw: st.DrawFn) -> Answering:
    """Servers that answer nearly well, or not at all."""
    attempt = draw(st.sampled_from([*ASKED, LEAD]))
    path = draw(st.sampled_from(_OF_LEAD)) if attempt == LEAD else ASKED[attempt]
    frames: list[Frame] = []
    for part in draw(st.lists(st.sampled_from(["well", "well", *_PARTS]), max_size=5)):
        frames += draw(_PARTS[part](path, METHODS[path].response))
    greeting = draw(st.sampled_from([settings()] * 12 + [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", settings((4, 0))]))
    pieces = draw(st.lists(st.integers(1, 30), max_size=6))
    return Answering(attempt, greeting, tuple(frames), tuple(pieces), draw(st.sampled_from([False] * 4 + [True])))


def _head(headers: bytes, flags: int = 0) -> Frame:
    return Frame(HEADERS, END_HEADERS | flags, OF_THE_CALL, headers)


def _well(path: str, kind: Any) -> st.SearchStrategy[list[Frame]]:
    head, end = _head(block(_WELL_OURS if path.startswith(OURS) else _WELL)), _head(block(_WELL_ENDED), END_STREAM)
    return valid_as(kind).map(lambda data: [head, Frame(DATA, 0, OF_THE_CALL, message(data)), end])


@st.composite
def _odd_head(draw: st.DrawFn, path: str, _: Any) -> list[Frame]:
    headers = draw(changed([*_WELL_OURS, *draw(st.sampled_from([[], _WELL_ENDED]))]))
    fields = [block([each]) for each in headers]
    if draw(st.sampled_from([False, False, True])):
        fields.insert(draw(st.integers(0, len(fields))), draw(nonsense))
    data, flags = b"".join(fields), draw(st.sampled_from([0, 0, END_STREAM]))
    if draw(st.booleans()):
        return [_head(data, flags)]
    middle = draw(st.integers(0, len(data)))
    return [
        Frame(HEADERS, flags, OF_THE_CALL, data[:middle]),
        Frame(CONTINUATION, draw(st.sampled_from([END_HEADERS, 0])), OF_THE_CALL, data[middle:]),
    ]


@st.composite
def _odd_body(draw: st.DrawFn, path: str, kind: Any) -> list[Frame]:
    data, flags = draw(framed_as(kind)), draw(st.sampled_from([0, 0, END_STREAM]))
    middle = draw(st.integers(0, len(data)))
    return [Frame(DATA, 0, OF_THE_CALL, data[:middle]), Frame(DATA, flags, OF_THE_CALL, data[middle:])]


@st.composite
def _odd_end(draw: st.DrawFn, path: str, _: Any) -> list[Frame]:
    return [_head(block(draw(changed(_WELL_ENDED))), draw(st.sampled_from([END_STREAM, END_STREAM, 0])))]


_numbers = st.sampled_from([0, 1, 2, 8, 100, 16_384, 65_535, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
_streams = st.sampled_from([OF_THE_CALL, OF_THE_CALL, 0, 1, 2, 3, 99, (1 << 31) - 1])


@st.composite
def _control(draw: st.DrawFn, path: str, _: Any) -> list[Frame]:
    kind = draw(st.sampled_from([PING, SETTINGS, WINDOW_UPDATE, RST_STREAM, GOAWAY, PUSH_PROMISE]))
    if kind == PING:
        return [Frame(PING, draw(st.sampled_from([0, 1])), 0, b"otherwis")]
    if kind == SETTINGS:
        pairs = draw(st.lists(st.tuples(st.integers(0, 9), _numbers), max_size=3))
        return [Frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *each) for each in pairs))]
    if kind == GOAWAY:
        return [Frame(GOAWAY, 0, 0, struct.pack(">LL", draw(_numbers), draw(_numbers)) + draw(st.binary(max_size=4)))]
    if kind == PUSH_PROMISE:
        return [Frame(PUSH_PROMISE, END_HEADERS, OF_THE_CALL, bytes([0, 0, 0, 2]) + block(_WELL))]
    return [Frame(kind, 0, draw(_streams), struct.pack(">L", draw(_numbers)))]


@st.composite
def _raw(draw: st.DrawFn, path: str, _: Any) -> list[Frame]:
    flags = draw(st.sampled_from([0, 1, 4, 5, 8, 0x20]))
    return [Frame(draw(st.integers(0, 12)), flags, draw(_streams), draw(st.binary(max_size=12)))]


_PARTS: dict[str, Callable[[str, Any], st.SearchStrategy[list[Frame]]]] = {
    "well": _well,
    "head": _odd_head,
    "body": _odd_body,
    "end": _odd_end,
    "control": _control,
    "raw": _raw,
}


class _Server(asyncio.Protocol):
    """One connection of it."""

    def __init__(self, answering: Answering) -> None:
        self.transport: asyncio.Transport
        self._answering = answering
        self._data = b""
        self._answered: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._answering.greeting)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if len(self._data) < len(PREFACE):
            return
        frames, rest = frames_in(self._data)
        self._data = PREFACE + rest  # as if it had only begun
        for kind, flags, stream, _ in frames:
            if stream not in self._answered and (kind == DATA or (kind == HEADERS and flags & END_STREAM)):
                self._answered.add(stream)
                self._write(self._answering.to(stream))

    def _write(self, data: bytes) -> None:
        sizes = chain(self._answering.pieces, repeat(len(data)))
        loop = asyncio.get_running_loop()

        def go_on(rest: bytes) -> None:
            size = next(sizes)
            self.transport.write(rest[:size])
            if rest[size:]:
                loop.call_soon(go_on, rest[size:])
            elif self._answering.hangs_up:
                self.transport.close()

        go_on(data)


@asynccontextmanager
async def listening(answering: Answering) -> AsyncGenerator[int]:
    """Run it, and return its port; connections that are left at the end are cut off."""
    connections: list[_Server] = []

    def accept() -> _Server:
        connections.append(_Server(answering))
        return connections[-1]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in connections:
            each.transport.abort()
        await server.wait_closed()
