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
import socket
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, cast

from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol
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
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from atomix_election.errors import LimitExceeded
from atomix_election.rpc.frame_guard import (
    MAX_FRAME_BYTES,
    MAX_SETTINGS,
    FrameGuard,
    FrameHeaders,
    PeerOverLimit,
    too_many_settings,
)
from atomix_election.rpc.header_blocks import KnownBlocks
from atomix_election.rpc.http2_connection import Http2, Http2Connection, RawHeaders, text
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.tls import abort

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
HEADER_TABLE_BYTES = 4 * 1024
"""How much of its own headers a side remembers for the other, whatever that one offers: HTTP/2's default."""

PROTOCOL_ERROR = "protocol_error"
"""A reason to close a connection: the peer broke HTTP/2."""
UNANSWERED_PING = "unanswered_ping"
"""A reason to close a connection: the peer has not answered a ping in time."""

_UNLIMITED = (1 << 31) - 1
_CLIENT_READ_BYTES = 64 * 1024
_REST = (DataReceived, StreamEnded)

log: logging.Logger = logging.getLogger(__name__)
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
        self._h2 = Http2(self.h2_config, KnownBlocks() if serving is None else serving.known)
        self._guard: FrameGuard | None = None
        self._frames = FrameHeaders(0)
        self._transport: Transport | None = None
        self._buffer = bytearray()
        self._woken = False
        self._later: list[Event] = []
        self._lingering: asyncio.TimerHandle | None = None
        self._ending = False
        self.paused_since: float | None = None
        """Since when the peer has not read what was written, and calls wait for it."""
        self.closed_by_peer: bool = False
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
        _send_at_once(transport)
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
        self.connection: Connection = Http2Connection(
            self._h2, self._transport, config=self.config, on_close=self._on_close
        )
        self.connection.flush()
        self.connection.initialize()
        self.processor: EventsProcessor = EventsProcessor(self.handler, self.connection)
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
            self._say_what_was_broken(error)
            self.processor.close("the peer broke the protocol")
            return
        self.connection.flush()
        if self._later:
            self._later += events
        else:
            self._handle(events)
            self._handled()

    def _say_what_was_broken(self, error: Exception) -> None:
        """Send GOAWAY with the error, as h2 has done where it noticed that itself."""
        if self._h2.state_machine.state is not ConnectionState.CLOSED:
            code = error.error_code if isinstance(error, ProtocolError) else ErrorCodes.PROTOCOL_ERROR
            self._h2.close_connection(code)
        self.connection.flush()

    def _handle(self, events: list[Event]) -> None:
        """Hand on what the peer has said. What it has asked for first, and is complete, takes place first."""
        taken, in_order = -1, True
        for place, event in enumerate(events):
            if place <= taken:
                continue
            if isinstance(event, RequestReceived):
                if in_order and self._woken:
                    self._handle_later(events[place:])
                    return
                if in_order and self._take(event, events[place + 1 : place + 1 + len(_REST)]):
                    taken = place + len(_REST)
                    continue
                in_order = False  # a task has it: what has come with it, after it, has to wait for its turn too
                self._wake()
            elif isinstance(event, _REST):
                if isinstance(event, DataReceived) and self._offer(event):
                    continue
                self._wake()
            self._hand_on(event)

    def _hand_on(self, event: Event) -> None:
        if isinstance(event, RequestReceived | ResponseReceived | TrailersReceived):
            event.headers = cast(Any, text(cast(RawHeaders, event.headers)))
        if isinstance(event, ConnectionTerminated) and not self._client:
            # GOAWAY of a client: h2 sends nothing any more, and it is for the client to close the connection.
            self.handler.close()
            self._closing()
        elif type(event) in getattr(self.processor, "processors", {}) and not _says_nothing(event):
            self.processor.process(event)

    def _wake(self) -> None:
        """A task of a call has something to do. Its turn comes in the next round of the event loop."""
        if not self._woken and not self._client:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._had_turn)

    def _had_turn(self) -> None:
        self._woken = False

    def _handle_later(self, events: list[Event]) -> None:
        """Hand it on when the tasks that are woken have had their turn, and before what comes in after it."""
        self._later = events
        asyncio.get_running_loop().call_soon(self._handle_rest)

    def _handle_rest(self) -> None:
        events, self._later = self._later, []
        if not self.connection.is_closing():
            self._handle(events)
            self._handled()

    def _handled(self) -> None:
        """All that came in was handed on."""
        if not self.connection.is_closing():
            self.http2.flush_now()
            self._check_unread()

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

    def _offer(self, event: DataReceived) -> bool:
        """Offer data to who reads that of its stream without a task, and return whether it is taken."""
        reader = self.http2.readers.get(event.stream_id)
        if reader is None or not event.data or not reader(event.data):
            return False
        self.connection.ack(event.stream_id, event.flow_controlled_length)
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
            elif isinstance(event, RequestReceived) and self._client:
                raise ProtocolError(f"the server has begun stream {event.stream_id}")
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


def _send_at_once(transport: BaseTransport) -> None:
    """Turn Nagle's algorithm off. asyncio does so only for sockets made for TCP by number, as those of a listener that
    is handed to a server need not be: then each answer would wait for the peer's delayed acknowledgement, 40 ms."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # it may be closed by now
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


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


def _says_nothing(event: Event) -> bool:
    """A legal empty DATA frame in the middle of a stream, which grpclib's buffer would take for the stream's end."""
    return isinstance(event, DataReceived) and not event.flow_controlled_length
