"""What is sent on an HTTP/2 connection, and its streams: h2's and grpclib's connections, with what these leave open."""

import asyncio
import functools
import os
from asyncio import Transport
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, cast

import anyio
from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, Stream
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError
from hpack import HeaderTuple, HPACKError, OversizedHeaderListError

from atomix_election.rpc import internals
from atomix_election.rpc.header_blocks import CachingDecoder, KnownBlocks
from atomix_election.tls import AlreadyClosed

GATHERED_BYTES = 16 * 1024
"""What is gathered at most before it is written, though others may have something to write in the same turn."""
MAX_SHARED_BYTES = 64
"""Names and values of headers up to this size are kept once for all calls that have them at a time."""
MAX_ENDED_STREAMS = 256
"""How many streams that have ended are left on a connection at most, until it is looked for them."""
MIN_STREAMS = 32
"""And with how many more than were left it is looked at least."""

Headers = list[tuple[str, str]]
RawHeaders = Sequence[tuple[bytes, bytes]]


class CompressionError(ProtocolError):
    """What the peer has sent as headers is no HPACK. h2 has another error for that than RFC 9113, section 4.3."""

    error_code = ErrorCodes.COMPRESSION_ERROR


class _Decoder(CachingDecoder):
    """Names the error by which a connection is closed."""

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """See ``Decoder.decode``."""
        try:
            return super().decode(data, raw)
        except OversizedHeaderListError:
            raise  # which h2 has an error for
        except HPACKError as error:
            raise CompressionError(f"headers that cannot be read: {error}") from error


class Http2(H2Connection):
    """h2's connection, with less to remember and less to do over again.

    It remembers fewer streams that have ended: 64 Ki of them take 10 MiB of each connection.

    Args:
        config: its settings.
        known: what blocks of headers mean that have come before.
    """

    MAX_CLOSED_STREAMS = 256

    def __init__(self, config: H2Configuration, known: KnownBlocks) -> None:
        super().__init__(config=config)
        decoder = _Decoder(known)
        decoder.max_header_list_size = self.decoder.max_header_list_size
        self.decoder = decoder
        self._inbound = 0
        self._look_at = 0

    @property
    def open_inbound_streams(self) -> int:
        """How many streams of the peer were open when it was last looked at.

        h2 looks at all streams for each new one, to count those that are open and to drop those that are not. The
        handler counts here, so that it is enough to look when there are some more than were left.
        """
        if len(self.streams) >= self._look_at:
            self._inbound = super().open_inbound_streams
            self._look_at = len(self.streams) + min(len(self.streams), MAX_ENDED_STREAMS) + MIN_STREAMS
        return self._inbound


class WriteReady(asyncio.Event):
    """grpclib's event, whose waiters look again when they wake: the first ones may have filled the buffer anew."""

    async def wait(self) -> Literal[True]:
        while not self.is_set():
            await super().wait()
        return True


class Gathered(Transport):
    """A transport that writes together what is written in one turn of the event loop: each write is a system call.

    Args:
        transport: where it goes.
    """

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write it, at the latest when all that is due now was done."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(bytes(data))
        self._size += len(data)
        if self._size >= GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits for that."""
        if self._waiting:
            data, self._waiting, self._size = b"".join(self._waiting), [], 0
            if not self._transport.is_closing():
                self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether it is closed, or is being closed."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close it, once all was written."""
        self.flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not sent yet."""
        return self._size + self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See ``asyncio.BaseTransport.get_extra_info``."""
        return self._transport.get_extra_info(name, default)


class Http2Connection(Connection):
    """grpclib's connection, which tells when it begins to close, and can write a whole answer at once."""

    def __init__(
        self, h2: H2Connection, transport: Transport, *, config: Configuration, on_close: Callable[[], None]
    ) -> None:
        self._gathered = Gathered(transport)
        super().__init__(h2, self._gathered, config=config)
        self.write_ready: WriteReady = WriteReady()
        self.write_ready.set()
        self.frames_sent: int = 0
        self.h2 = h2
        self.readers: dict[int, Callable[[bytes], bool]] = {}
        """For some streams, what is offered the data that comes, and returns whether it has taken it."""
        self._on_close = on_close
        self._process = os.getpid()

    def headers_send_process(self) -> None:
        """Called by grpclib after each frame of headers."""
        self.frames_sent += 1
        super().headers_send_process()

    def data_send_process(self) -> None:
        """Called by grpclib after each frame of data."""
        self.frames_sent += 1
        super().data_send_process()

    def flush_now(self) -> None:
        """Write what is due, and do not wait for more."""
        self.flush()
        self._gathered.flush()

    def is_open(self, stream_id: int) -> bool:
        """Return whether something can still be said on a stream."""
        stream = self.h2.streams.get(stream_id)
        closed = self.is_closing() or self.h2.state_machine.state is ConnectionState.CLOSED
        return stream is not None and not closed and not stream.closed

    def answer(self, stream_id: int, message: bytes) -> bool:
        """Answer a call with one message, and return whether the peer takes that now; else nothing is done.

        Args:
            stream_id: where it came.
            message: with its prefix.
        """
        if not self.write_ready.is_set() or not internals.can_answer(self.h2, stream_id, len(message)):
            return False
        self.flush()
        self._gathered.write(internals.answer(self.h2, stream_id, message))
        self.headers_send_process()
        self.data_send_process()
        self.headers_send_process()
        return True

    def send(self, stream_id: int, message: bytes) -> bool:
        """Send one more message, and return whether the peer takes that now; else nothing is done.

        Args:
            stream_id: where headers were sent, and all messages before.
            message: with its prefix.
        """
        if self.is_closing() or not self.write_ready.is_set():
            return False
        if not internals.can_take(self.h2, stream_id, len(message)):
            return False
        self.flush()
        self._gathered.write(internals.data(self.h2, stream_id, message))
        self.data_send_process()
        return True

    def refuse(self, stream_id: int, headers: Headers) -> bool:
        """Answer a call with nothing but headers, and return whether the peer takes that now; else nothing is done."""
        if not self.write_ready.is_set():
            return False
        self.h2.send_headers(stream_id, headers, end_stream=True)
        self.flush()
        self.headers_send_process()
        return True

    def request(self, block: bytes, message: bytes, windows: tuple[int, int], *, at_once: bool) -> int | None:
        """Send a whole request on a new stream and return that; None if the peer does not take it now.

        Args:
            block: its headers, which touch no table.
            message: all that it has to say, with its prefix.
            windows: see ``internals.request``.
            at_once: whether nothing is to be sent together with it.
        """
        if not self.write_ready.is_set() or not internals.can_request(self.h2, block, message):
            return None
        self.flush()
        stream_id, frames = internals.request(self.h2, block, message, windows)
        self._gathered.write(frames)
        if at_once:
            self._gathered.flush()
        return stream_id

    def stream_of(self, stream_id: int, wrapper: "Termination") -> Stream:
        """Return grpclib's view of a stream that is open already."""
        return Stream(self, self.h2, self._gathered, stream_id=stream_id, wrapper=cast(Any, wrapper))

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that connected: the socket is the parent's."""
        return os.getpid() != self._process

    def close(self) -> None:
        if hasattr(self, "_transport") and self.is_closing():
            self._transport = AlreadyClosed()
        super().close()
        self._on_close()


class Processor(EventsProcessor):
    """grpclib's, which tells before it closes all streams.

    Args:
        handler: see ``EventsProcessor``.
        connection: the same.
    """

    def __init__(self, handler: AbstractHandler, connection: Http2Connection) -> None:
        super().__init__(handler, connection)
        self.on_close: Callable[[], None] | None = None

    def close(self, reason: str = "Connection closed") -> None:
        """Called when the connection is closed, for whatever reason."""
        if self.on_close is not None:
            self.on_close()
        super().close(reason)


def text(headers: RawHeaders) -> Headers:
    """Return headers as text. Latin-1 never fails: a bad value is the fault of its call alone."""
    return [(_text_of(name), _text_of(value)) for name, value in headers]


def _text_of(value: bytes) -> str:
    return value.decode("latin-1") if len(value) > MAX_SHARED_BYTES else _shared_text_of(value)


@functools.lru_cache(maxsize=1024)
def _shared_text_of(value: bytes) -> str:
    """Most are the same in all calls: all that go on at a time have the same object."""
    return value.decode("latin-1")


class Termination:
    """What grpclib calls when a stream ends before its time: it cancels the scope of the call, and says why."""

    def __init__(self, scope: anyio.CancelScope | None = None) -> None:
        self.reason: str | None = None
        self._scope = scope

    def cancel(self, error: Exception) -> None:
        """Called by grpclib, which names it so."""
        self.reason = str(error)
        if self._scope is not None:
            self._scope.cancel()

    def ends(self, scope: anyio.CancelScope) -> None:
        """The call goes on in a scope, which is cancelled if the stream has ended meanwhile."""
        self._scope = scope
        if self.reason is not None:
            scope.cancel()


def reset(stream: Stream) -> None:
    """Tell the peer that nobody cares for the stream any more, if it is still open. In a forked child, do nothing."""
    inherited = isinstance(stream.connection, Http2Connection) and stream.connection.is_inherited
    if stream.closable and not inherited:
        stream.reset_nowait()


async def ready_to_send(stream: Stream, *, data: bool = True) -> None:
    """Wait until the peer would take something on a stream, so that nothing is made for one who does not read.

    Args:
        stream: which one.
        data: whether it is data, for which the stream needs a window.

    Raises:
        StreamClosedError: the stream or its connection is closed.
    """
    connection = cast(Http2Connection, stream.connection)
    assert stream.id is not None
    while True:
        await connection.write_ready.wait()
        if connection.is_closing() or stream.id not in connection.h2.streams:
            raise StreamClosedError(stream.id)
        if not data or connection.h2.local_flow_control_window(stream.id) > 0:
            return
        stream.window_updated.clear()
        await stream.window_updated.wait()


def refuse(stream: Stream, headers: Headers) -> None:
    """Answer a call on the spot with nothing but headers, or reset it where the peer does not read."""
    connection = cast(Http2Connection, stream.connection)
    assert stream.id is not None
    if stream.id not in connection.h2.streams:
        return
    if connection.write_ready.is_set():
        connection.h2.send_headers(stream.id, headers, end_stream=True)
    reset(stream)
