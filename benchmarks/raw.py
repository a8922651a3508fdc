"""A client that costs next to nothing, so that what a server can do is measured: fixed bytes out, frames counted in.

It speaks enough HTTP/2 (RFC 9113) for that and no more. Its header blocks refer to HPACK's dynamic table, as those of
all real clients do from the second call on.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from hpack import Encoder

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 1, 4
_MAX_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 2**16 - 1
_REFILL = 2**29
_FRAME_HEADER_BYTES = 9

Metadata = Sequence[tuple[str, str]]


class Request(NamedTuple):
    """A call.

    Args:
        path: which method.
        metadata: what it says of itself.
        body: the message.
    """

    path: str
    metadata: Metadata = ()
    body: bytes = b""


class Prepared(NamedTuple):
    """The bytes of a call: the frames of its headers and of its body, without the stream."""

    headers: bytes
    body: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def message(body: bytes) -> bytes:
    """Return a message as gRPC has it in DATA."""
    return b"\0" + len(body).to_bytes(4) + body


class RawConnection(asyncio.Protocol):
    """One connection. ``on_data`` is told the stream that a message has come for, ``on_end`` one that has ended."""

    def __init__(self, authority: str) -> None:
        self.on_data: Callable[[int], None] = _nothing
        self.on_end: Callable[[int], None] = _nothing
        self.data_bytes = 0
        """What has come in DATA, without the headers of frames."""
        self._authority = authority
        self._encoder = Encoder()
        self._next_stream = 1
        self._rest = b""
        self._out: list[bytes] = []
        self._refilled = 0
        self.settled = asyncio.Event()
        """The server has said what it takes."""

    @classmethod
    async def connect(cls, target: str) -> Self:
        """Connect to ``host:port``."""
        host, _, port = target.removeprefix("grpc://").rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(target), host, int(port))
        await connection.settled.wait()
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        window = _INITIAL_WINDOW_SIZE.to_bytes(2) + _MAX_WINDOW.to_bytes(4)
        more = (_MAX_WINDOW - _DEFAULT_WINDOW).to_bytes(4)
        transport.write(_PREFACE + frame(_SETTINGS, 0, 0, window) + frame(_WINDOW_UPDATE, 0, 0, more))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            raise exc

    def close(self) -> None:
        """Close it."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        while end - position >= _FRAME_HEADER_BYTES:
            length = int.from_bytes(data[position : position + 3])
            after = position + _FRAME_HEADER_BYTES + length
            if after > end:
                break
            kind, flags = data[position + 3], data[position + 4]
            stream = int.from_bytes(data[position + 5 : position + 9])
            if kind == _DATA:
                self.data_bytes += length
                self.on_data(stream)
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    self.on_end(stream)
            elif kind != _WINDOW_UPDATE:
                self._control(kind, flags, data[position + _FRAME_HEADER_BYTES : after])
            position = after
        self._rest = data[position:]
        self._refill()
        self.flush()

    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Return the bytes of calls of which each was made once already, so that the peer has their headers.

        Whatever adds to the dynamic table makes them invalid: no other call comes after.
        """
        once, again = ([self._block(each) for each in requests] for _ in range(2))
        assert once == again, "the headers of these calls are more than HPACK's dynamic table takes"
        return [_prepared(block, each.body) for block, each in zip(once, requests, strict=True)]

    def begin(self, request: Request, *, end: bool = True) -> int:
        """Begin a call whose headers are coded now, and return its stream."""
        return self.send(_prepared(self._block(request), request.body if end else b"", end=end))

    def send(self, prepared: Prepared) -> int:
        """Begin a call, and return its stream. It goes out with ``flush``, or when what has come is dealt with."""
        stream = self._next_stream
        self._next_stream += 2
        number = stream.to_bytes(4)
        headers, body = prepared
        self._out += (
            [headers[:5], number, headers[5:], body[:5], number, body[5:]]
            if body
            else [
                headers[:5],
                number,
                headers[5:],
            ]
        )
        return stream

    def send_data(self, stream: int, body: bytes) -> None:
        """Send a message on a stream."""
        self._out.append(frame(_DATA, 0, stream, message(body)))

    def flush(self) -> None:
        """Send what waits to be sent."""
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    async def call(self, request: Request) -> None:
        """Make one call, and wait for its answer."""
        answered = asyncio.get_running_loop().create_future()
        before = self.data_bytes
        former, self.on_end = self.on_end, answered.set_result
        stream = self.begin(request)
        self.flush()
        assert await answered == stream
        self.on_end = former
        assert self.data_bytes > before, f"{request.path} was refused"

    def _block(self, request: Request) -> bytes:
        fixed = [(":method", "POST"), (":scheme", "http"), (":path", request.path), (":authority", self._authority)]
        fixed += [("te", "trailers"), ("content-type", "application/grpc")]
        return self._encoder.encode([*fixed, *request.metadata])

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for position in range(0, len(payload), 6):
                if int.from_bytes(payload[position : position + 2]) == _HEADER_TABLE_SIZE:
                    self._encoder.header_table_size = int.from_bytes(payload[position + 2 : position + 6])
            self._out.append(frame(_SETTINGS, _ACK, 0))
            self.settled.set()
        elif kind == _PING and not flags & _ACK:
            self._out.append(frame(_PING, _ACK, 0, payload))
        elif kind in (_RST_STREAM, _GOAWAY):
            raise ConnectionError(f"the server has given up a stream or the connection: {payload!r}")

    def _refill(self) -> None:
        used = self.data_bytes - self._refilled
        if used > _REFILL:
            self._out.append(frame(_WINDOW_UPDATE, 0, 0, used.to_bytes(4)))
            self._refilled += used


def _prepared(block: bytes, body: bytes, *, end: bool = True) -> Prepared:
    headers = frame(_HEADERS, _END_HEADERS, 0, block)
    data = frame(_DATA, _END_STREAM, 0, message(body)) if end else b""
    return Prepared(headers[:5] + headers[9:], data[:5] + data[9:])


class Lane:
    """Calls that are made one after the other, again and again."""

    def __init__(self, calls: Sequence[Prepared]) -> None:
        self.calls = itertools.cycle(calls)
        self.answered = False


async def rate(connection: RawConnection, lanes: Sequence[Sequence[Prepared]], seconds: float) -> float:
    """Make the calls of all lanes at once, those of a lane one at a time, and return how many a second there were."""
    over = asyncio.get_running_loop().create_future()
    open_lanes: dict[int, Lane] = {}
    done, began = 0, time.monotonic()

    def on_data(stream: int) -> None:
        open_lanes[stream].answered = True

    def on_end(stream: int) -> None:
        nonlocal done
        lane = open_lanes.pop(stream)
        assert lane.answered, "a call was refused"
        done += 1
        if time.monotonic() - began < seconds:
            lane.answered = False
            open_lanes[connection.send(next(lane.calls))] = lane
        elif not open_lanes:
            over.set_result(None)

    connection.on_data, connection.on_end = on_data, on_end
    for calls in lanes:
        lane = Lane(calls)
        open_lanes[connection.send(next(lane.calls))] = lane
    connection.flush()
    await over
    connection.on_data = connection.on_end = _nothing
    return done / (time.monotonic() - began)


def _nothing(_: int) -> None:
    """Nobody wants to know."""
