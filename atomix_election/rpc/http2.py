"""HTTP/2 connections: all that this package uses of grpclib's protocol layer, and how.

grpclib's own call layer is not used, on either side: it answers malformed calls with the wrong status, limits nothing,
cancels with ``task.cancel()`` where a shield must hold, and replaces a cancellation that meets a lost connection. Its
protocol layer (frames, flow control, back-pressure, pings) is, without its private parts, but for the parameter
``_processor`` of ``Stream.send_request`` and those of ``Configuration`` that say how to ping.
"""

import asyncio
import functools
import logging
import os
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import anyio
from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings

from atomix_election.errors import LimitExceeded
from atomix_election.rpc import internals
from atomix_election.rpc.frame_guard import (
    MAX_FRAME_BYTES,
    MAX_SETTINGS,
    FrameGuard,
    FrameHeaders,
    PeerOverLimit,
    too_many_settings,
)
from atomix_election.rpc.header_blocks import CachingDecoder, KnownBlocks
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.tls import AlreadyClosed, abort

LINGER_S = 1.0
"""How long a connection that is being closed may take to send what was written."""

READ_BYTES = 4 * 1024
"""What is read at most from one client in a turn of the event loop."""
MIN_READ_BYTES = 512
"""And what is read at least, however many clients there are."""
TURN_BYTES = 64 * 1024
"""What is read from all clients in a turn, where that leaves enough for each: so a flood delays others little."""
WRITE_BUFFER_BYTES = 16 * 1024
"""What waits at most to be taken by a client's connection before its calls wait; a frame more can be added to it."""
UNREAD_BYTES = 256 * 1024
"""With so much waiting, to which calls do not add, a connection is closed: its client asks on and reads nothing."""
GATHERED_BYTES = 16 * 1024
"""What is gathered at most before it is written, though others may have something to write in the same turn."""
MAX_SHARED_BYTES = 64
"""Names and values of headers up to this size are kept once for all calls that have them at a time."""
MIN_STREAMS = 32
"""With fewer streams it is not looked for those that have ended."""
HEADER_TABLE_BYTES = 4 * 1024
"""How much of its own headers a side remembers for the other, whatever that one offers: HTTP/2's default."""

PROTOCOL_ERROR = "protocol_error"
"""A reason to close a connection: the peer broke HTTP/2."""
UNANSWERED_PING = "unanswered_ping"
"""A reason to close a connection: the peer has not answered a ping in time."""

_UNLIMITED = (1 << 31) - 1
_CLIENT_READ_BYTES = 64 * 1024
_REST = (DataReceived, StreamEnded)

Headers = list[tuple[str, str]]
RawHeaders = Sequence[tuple[bytes, bytes]]

log = logging.getLogger(__name__)
# It would log every header at DEBUG, and with them the tokens of callers.
logging.getLogger("hpack").setLevel(logging.INFO)


def configuration(*, connection_window: int, stream_window: int, ping_interval_s: float | None) -> Configuration:
    """Return grpclib's settings of a connection.

    Args:
        connection_window: bytes that the peer may send, over all calls, before they are read.
        stream_window: bytes that it may send on one call before they are read.
        ping_interval_s: a peer that is silent is pinged this often, and has as long to answer; None for never.
    """
    return Configuration(
        http2_connection_window_size=connection_window,
        http2_stream_window_size=stream_window,
        _keepalive_time=ping_interval_s,
        _keepalive_timeout=ping_interval_s or 1.0,  # which says nothing where there are none
        _keepalive_permit_without_calls=True,
        _http2_max_pings_without_data=0,
        _http2_min_sent_ping_interval_without_data=(ping_interval_s or 1.0) / 2,
    )


class _Http2(H2Connection):
    """h2's connection, with less to remember and less to do over again.

    It remembers fewer streams that have ended: 64 Ki of them take 10 MiB of each connection.

    Args:
        config: its settings.
        known: what blocks of headers mean that have come before.
    """

    MAX_CLOSED_STREAMS = 256

    def __init__(self, config: H2Configuration, known: KnownBlocks) -> None:
        super().__init__(config=config)
        decoder = CachingDecoder(known)
        decoder.max_header_list_size = self.decoder.max_header_list_size
        self.decoder = decoder
        self._inbound = 0
        self._look_at = 0

    @property
    def open_inbound_streams(self) -> int:
        """How many streams of the peer were open when it was last looked at.

        h2 looks at all streams for each new one, to count those that are open and to drop those that are not. The
        handler counts here, so that it is enough to look when there are twice as many as were left.
        """
        if len(self.streams) >= self._look_at:
            self._inbound = super().open_inbound_streams
            self._look_at = 2 * len(self.streams) + MIN_STREAMS
        return self._inbound


class _WriteReady(asyncio.Event):
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
        self.write_ready = _WriteReady()
        self.write_ready.set()
        self.frames_sent = 0
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


class Serving(NamedTuple):
    """What a connection needs to know on a server's side.

    Args:
        limits: what a client may do.
        read_bytes: returns how much to read at most at a time.
        give_up: closes the connection; is told why.
        on_closed: is told the reason when the connection is closed on this side without that.
        take: answers a call that came in whole, if it can at once; is told the stream, the headers and the data, and
            returns whether it does.
        cancelled: is told which stream was reset, whose call nobody waits for.
        known: what blocks of headers mean that have come before, on any connection.
    """

    limits: ConnectionLimits
    read_bytes: Callable[[], int]
    give_up: Callable[[LimitExceeded], None]
    on_closed: Callable[[str], None]
    take: Callable[[int, RawHeaders, bytes], bool]
    cancelled: Callable[[int], None]
    known: KnownBlocks


class Http2Protocol(H2Protocol, asyncio.BufferedProtocol):
    """One HTTP/2 connection.

    Args:
        handler: is given the streams that the peer opens.
        config: windows and pings.
        max_streams: how many streams the peer is told that it may have open at a time.
        on_made: called once, when the connection is there.
        on_lost: called once after it, when the connection is gone.
        serving: what a client may do to this server; None on a client's side.
    """

    def __init__(
        self,
        handler: AbstractHandler,
        config: Configuration,
        *,
        max_streams: int,
        on_made: Callable[[], None],
        on_lost: Callable[[], None],
        serving: "Serving | None" = None,
    ) -> None:
        self._client = serving is None
        super().__init__(handler, config, _h2_config(client=self._client))
        self._process = os.getpid()
        self._max_streams = max_streams
        self._on_made = on_made
        self._on_lost = on_lost
        self._serving = serving
        self._h2 = _Http2(self.h2_config, KnownBlocks() if serving is None else serving.known)
        self._guard: FrameGuard | None = None
        self._frames = FrameHeaders(0)
        self._transport: Transport | None = None
        self._buffer = bytearray()
        self._lingering: asyncio.TimerHandle | None = None
        self._ending = False
        self.paused_since: float | None = None
        """Since when the peer has not read what was written, and calls wait for it."""
        self.closed_by_peer = False
        """Whether the peer has closed the connection (FIN or RST), and not this side."""

    @property
    def http2(self) -> Http2Connection:
        """The connection, once it is made."""
        return cast(Http2Connection, self.connection)

    @property
    def peer_certificate(self) -> Mapping[str, Any]:
        """What ``ssl`` says of the peer's certificate, which it has verified; empty where there is none."""
        return (self._transport.get_extra_info("peercert") if self._transport else None) or {}

    @property
    def unfinished_since(self) -> float | None:
        """When the peer began something that it has not completed, by which it has said nothing yet."""
        return self._guard.unfinished_since if self._guard is not None else None

    def connection_made(self, transport: BaseTransport) -> None:
        """Announce the settings. Done here, as grpclib's own method leaves the limit of streams at 100."""
        self._transport = cast(Transport, transport)
        initial = {
            SettingCodes.INITIAL_WINDOW_SIZE: self.config.http2_stream_window_size,
            SettingCodes.MAX_HEADER_LIST_SIZE: self._serving.limits.max_header_bytes
            if self._serving
            else MAX_FRAME_BYTES,
            SettingCodes.MAX_CONCURRENT_STREAMS: self._max_streams,
            SettingCodes.ENABLE_PUSH: 0,
        }
        if not self._client:
            del initial[SettingCodes.ENABLE_PUSH]  # only a client may say this
        self._h2.local_settings = Settings(client=self._client, initial_values=initial)
        self._h2.initiate_connection()
        if self._serving is not None:
            # What was announced is sent. One stream too many is refused alone, by the handler; h2 would end them all.
            initial[SettingCodes.MAX_CONCURRENT_STREAMS] = _UNLIMITED
            self._h2.local_settings = Settings(client=False, initial_values=initial)
            self._h2.decoder.max_header_list_size = self._serving.limits.max_header_bytes  # at once
            self._guard = FrameGuard(self._serving.limits, asyncio.get_running_loop().time())
            self._transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        extra = self.config.http2_connection_window_size - self._h2.inbound_flow_control_window
        if extra > 0:
            self._h2.increment_flow_control_window(extra)
        self.connection = Http2Connection(self._h2, self._transport, config=self.config, on_close=self._on_close)
        self.connection.flush()
        self.connection.initialize()
        self.processor = EventsProcessor(self.handler, self.connection)
        self._on_made()

    @property
    def peer(self) -> str:
        """Address and port at the other end, "" where there is no such thing."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        if not isinstance(name, tuple):
            return ""
        host, port = cast("tuple[str, int]", name)[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what comes in. It is not read in larger pieces, so that all have their turn."""
        self._buffer = bytearray(_CLIENT_READ_BYTES if self._serving is None else self._serving.read_bytes())
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what came in."""
        buffer, self._buffer = self._buffer, bytearray()
        self.data_received(bytes(memoryview(buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Hand on what came in. A peer that breaks the protocol loses its connection, and nothing else happens."""
        if self.connection.is_closing():
            return  # TLS goes on reading what had come by then
        try:
            self._check(data)
            events = self.connection.feed(data)
            self._judge(events)
        except (ProtocolError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, PeerOverLimit) and self._serving is not None:
                self._serving.give_up(error.reason)
                return
            log.debug("connection closed, the peer broke the protocol: %s", error)
            self._note_closed(PROTOCOL_ERROR)
            self.connection.flush()
            self.processor.close("the peer broke the protocol")
            return
        self.connection.flush()
        self._handle(events)
        if not self.connection.is_closing():
            self.http2.flush_now()
            self._check_unread()

    def _handle(self, events: list[Event]) -> None:
        """Hand on what the peer has said."""
        known = getattr(self.processor, "processors", {})
        taken, in_order = -1, True
        for place, event in enumerate(events):
            if place <= taken:
                continue
            if isinstance(event, RequestReceived):
                if in_order and self._take(event, events[place + 1 : place + 1 + len(_REST)]):
                    taken = place + len(_REST)
                    continue
                in_order = False  # a task has it: what has come with it, after it, has to wait for its turn too
                event.headers = cast(Any, text(cast(RawHeaders, event.headers)))
            elif isinstance(event, DataReceived):
                reader = self.http2.readers.get(event.stream_id)
                if reader is not None and event.data and reader(event.data):
                    self.connection.ack(event.stream_id, event.flow_controlled_length)
                    continue
            elif isinstance(event, ResponseReceived | TrailersReceived):
                event.headers = cast(Any, text(cast(RawHeaders, event.headers)))
            if isinstance(event, ConnectionTerminated) and not self._client:
                # GOAWAY of a client: h2 sends nothing any more, and it is for the client to close the connection.
                self.handler.close()
                self._closing()
            elif type(event) in known and not _says_nothing(event):
                self.processor.process(event)

    def _take(self, request: RequestReceived, rest: list[Event]) -> bool:
        """Have a call answered at once, if its data and its end have come with it, and return whether it is."""
        if self._serving is None or len(rest) < len(_REST):
            return False
        data, end = rest
        if not isinstance(data, DataReceived) or not isinstance(end, StreamEnded):
            return False
        if data.stream_id != request.stream_id or end.stream_id != request.stream_id:
            return False
        if not self._serving.take(request.stream_id, cast(RawHeaders, request.headers), data.data):
            return False
        self.connection.ack(request.stream_id, data.flow_controlled_length)
        return True

    def _check_unread(self) -> None:
        """Close a connection whose client asks for what is answered at once, as pings are, and reads nothing."""
        if self.paused_since is None or self._serving is None or self._transport is None:
            return
        if self._transport.get_write_buffer_size() > UNREAD_BYTES:
            why = f"{UNREAD_BYTES} bytes wait that the peer does not read"
            self._serving.give_up(LimitExceeded(why, limit="unread_bytes"))

    def _check(self, data: bytes) -> None:
        """Look at the frames before h2 does."""
        if self._guard is None:
            self._frames.read(data)
        else:
            sent = self.http2.frames_sent
            self._guard.check(data, now=asyncio.get_running_loop().time(), answers=sent)

    def _judge(self, events: list[Event]) -> None:
        """Take back what the peer's settings would allow this side to keep for it, count its faults, and tell what it
        has cancelled."""
        for event in events:
            if isinstance(event, RemoteSettingsChanged):
                if len(self._h2.remote_settings) > MAX_SETTINGS:
                    raise too_many_settings()
                if self._h2.encoder.header_table_size > HEADER_TABLE_BYTES:
                    self._h2.encoder.header_table_size = HEADER_TABLE_BYTES
                self._h2.max_outbound_frame_size = min(self._h2.max_outbound_frame_size, MAX_FRAME_BYTES)
            elif isinstance(event, StreamReset) and self._serving is not None and self._guard is not None:
                self._serving.cancelled(event.stream_id)
                if not event.remote_reset:
                    self._guard.reset()

    def pause_writing(self) -> None:
        """Called by asyncio when the peer does not read what was written."""
        self.paused_since = asyncio.get_running_loop().time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Called by asyncio when it does again."""
        self.paused_since = None
        super().resume_writing()

    def eof_received(self) -> None:
        """The peer has closed its side; asyncio closes the other one, after what was answered by then."""
        self.closed_by_peer = True
        if not self.connection.is_closing():
            self.http2.flush_now()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the streams, and then the owner."""
        self._ending = True
        if self._lingering is not None:
            self._lingering.cancel()
        if isinstance(exc, ConnectionResetError | BrokenPipeError):
            self.closed_by_peer = True
        try:
            super().connection_lost(exc)
        finally:
            self._on_lost()

    def _on_close(self) -> None:
        """Called when the connection begins to close; grpclib does that itself when a ping is not answered."""
        self._note_closed(UNANSWERED_PING)
        self._closing()

    def _note_closed(self, reason: str) -> None:
        """Tell why this side closes the connection, unless that was told, or was decided elsewhere."""
        if self._serving is not None and not self._ending:
            self._serving.on_closed(reason)
        self._ending = True

    def _closing(self) -> None:
        """What was written may still go out, but a peer that reads nothing does not keep the connection for ever."""
        if self._lingering is None and self._transport is not None:
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(LINGER_S, abort, self._transport)

    def go_away(self, error: ErrorCodes = ErrorCodes.NO_ERROR, why: str = "") -> None:
        """Say good-bye (GOAWAY) and close the connection once what was written has gone out."""
        if self._transport is None or self._transport.is_closing() or os.getpid() != self._process:
            return
        self._ending = True
        self._h2.close_connection(error, additional_data=why.encode() or None)
        self.connection.flush()
        self.processor.close("the connection was closed on this side")

    def abort(self) -> None:
        """Close the connection at once, whatever waits to be written."""
        if self._transport is not None and os.getpid() == self._process:
            abort(self._transport)


def _h2_config(*, client: bool) -> H2Configuration:
    return H2Configuration(
        client_side=client,
        header_encoding=None,
        validate_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_inbound_headers=False,
        normalize_outbound_headers=False,
    )


class Refusing(asyncio.Protocol):
    """A connection that is told why it is not wanted, and closed.

    Args:
        why: for a person.
    """

    def __init__(self, why: str) -> None:
        self._why = why

    def connection_made(self, transport: BaseTransport) -> None:
        """Say so, in two frames that are always the same."""
        transport = cast(Transport, transport)
        transport.write(_good_bye(self._why))
        transport.close()


@functools.lru_cache(maxsize=16)
def _good_bye(why: str) -> bytes:
    h2 = H2Connection(_h2_config(client=False))
    h2.initiate_connection()
    h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM, additional_data=why.encode())
    return h2.data_to_send()


def text(headers: RawHeaders) -> Headers:
    """Return headers as text. Latin-1 never fails: a bad value is the fault of its call alone."""
    return [(_text_of(name), _text_of(value)) for name, value in headers]


def _text_of(value: bytes) -> str:
    return value.decode("latin-1") if len(value) > MAX_SHARED_BYTES else _shared_text_of(value)


@functools.lru_cache(maxsize=1024)
def _shared_text_of(value: bytes) -> str:
    """Most are the same in all calls: all that go on at a time have the same object."""
    return value.decode("latin-1")


def _says_nothing(event: Event) -> bool:
    """A legal empty DATA frame in the middle of a stream, which grpclib's buffer would take for the stream's end."""
    return isinstance(event, DataReceived) and not event.flow_controlled_length


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
