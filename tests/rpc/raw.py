"""A client made of a socket and ``h2``: it shares no code with the package, and says whatever a test wants."""

import asyncio
import ssl
import struct
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast

import h2.config
import h2.connection
import h2.events

SERVICE = "/atomix.election.v1.LeaderElection/"
WAIT_S = 10.0
"""How long anything that must happen may take on a slow machine."""

Pairs = list[tuple[str | bytes, str | bytes]]


def message(body: bytes, *, compressed: int = 0, size: int | None = None) -> bytes:
    """Return a length-prefixed message; the prefix lies when ``size`` says so."""
    return struct.pack(">BI", compressed, len(body) if size is None else size) + body


def headers_of(method: str, *metadata: tuple[str | bytes, str | bytes]) -> Pairs:
    """Return the headers of a well-formed call."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method if method.startswith("/") else SERVICE + method),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *metadata,
    ]


def about(election: str = "raw", session: str = "", namespace: str = "") -> Pairs:
    """Return the metadata of a call; every key is sent, also with an empty value."""
    return [("primitive-id", election), ("application-id", namespace), ("session-id", session)]


async def eventually(true: Callable[[], bool]) -> None:
    """Wait for what nobody announces."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if true():
                return
            await asyncio.sleep(0.001)


@dataclass(slots=True)
class Answer:
    """What has come back on one stream."""

    headers: dict[str, str] = field(default_factory=dict[str, str])
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int | None:
        """The gRPC status, once it is there."""
        return int(self.headers["grpc-status"]) if "grpc-status" in self.headers else None

    @property
    def error(self) -> str | None:
        """The name of the class of error, where there is one."""
        return self.headers.get("atomix-election-error")

    @property
    def messages(self) -> list[bytes]:
        """The complete messages."""
        found: list[bytes] = []
        rest = self.data
        while len(rest) >= 5 and len(rest) >= 5 + int.from_bytes(rest[1:5], "big"):
            size = int.from_bytes(rest[1:5], "big")
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found


class RawConnection:
    """One HTTP/2 connection. An async context manager; the socket is closed at the end of the block.

    Args:
        port: where the server listens, on 127.0.0.1.
        tls: how to speak TLS; None for plain text.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.answers: dict[int, Answer] = {}
        self.pongs: list[bytes] = []
        self.closed = False
        self._held_back = False

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        self.h2.initiate_connection()
        self.flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def abort(self) -> None:
        """Close the socket at once, with a reset."""
        self._writer.transport.abort()

    def flush(self) -> None:
        """Send what h2 has ready."""
        if not self._held_back:
            self.send_bytes(self.h2.data_to_send())

    @contextmanager
    def together(self) -> Generator[None]:
        """Send all that is said in the block at its end, in one piece."""
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False
        self.flush()

    def send_bytes(self, data: bytes) -> None:
        """Send bytes that h2 knows nothing of."""
        self._writer.write(data)

    def begin(self, headers: Pairs, *, end: bool = False) -> int:
        """Send the headers of a call, and return the number of its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send data on a stream, in frames; it must fit the window."""
        step = self.h2.max_outbound_frame_size
        parts = [data[start : start + step] for start in range(0, len(data), step)] or [b""]
        for part in parts[:-1]:
            self.h2.send_data(stream, part)
        self.h2.send_data(stream, parts[-1], end_stream=end)
        self.flush()

    def ask(self, headers: Pairs, *data: bytes) -> int:
        """Send a whole call at once, its data in as many frames as are given, and return the number of its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, headers)
        for number, each in enumerate(data, start=1):
            self.h2.send_data(stream, each, end_stream=number == len(data))
        self.flush()
        return stream

    async def heard(self) -> None:
        """Wait until the server has read all that was sent."""
        pongs = len(self.pongs)
        self.h2.ping(b"heard???")
        self.flush()
        await self.until(lambda: len(self.pongs) > pongs)

    async def call(self, headers: Pairs, body: bytes | None = b"\0\0\0\0\0") -> Answer:
        """Send a call with a body as it stands, or without any, and return its answer once it has ended."""
        stream = self.begin(headers, end=body is None)
        if body is not None:
            self.send(stream, body, end=True)
        return await self.ended(stream)

    async def ended(self, stream: int) -> Answer:
        """Return the answer on a stream once it has ended in any way."""
        answer = self.answers[stream]
        await self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    async def until(self, true: Callable[[], bool]) -> None:
        """Receive until something is true, or the connection is closed; an assertion fails in the latter case."""
        async with asyncio.timeout(WAIT_S):
            while not true():
                assert not self.closed, "the server closed the connection"
                await self._receive()

    async def until_closed(self) -> None:
        """Receive until the server has closed the connection."""
        async with asyncio.timeout(WAIT_S):
            while not self.closed:
                await self._receive()

    async def _receive(self) -> None:
        try:
            data = await self._reader.read(1 << 16)
        except ConnectionError:
            data = b""
        self.closed = not data
        if data:
            self._take(self.h2.receive_data(data))
            self.flush()

    def _take(self, events: Iterable[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.PingAckReceived):
                self.pongs.append(event.ping_data)
            answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
            if answer is None:
                continue
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                answer.headers.update(cast("Iterable[tuple[str, str]]", event.headers))
            elif isinstance(event, h2.events.DataReceived):
                answer.data += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                answer.ended = True
            elif isinstance(event, h2.events.StreamReset) and answer.reset is None:
                answer.reset = int(event.error_code)
