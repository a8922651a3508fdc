"""HTTP/2 connections: all that this package uses of grpclib's protocol layer, and how.

grpclib's own call layer is not used, on either side: it answers malformed calls with the wrong status, limits nothing,
cancels with ``task.cancel()`` where a shield must hold, and replaces a cancellation that meets a lost connection. Its
protocol layer (frames, flow control, back-pressure, pings) is, without its private parts, but for the parameter
``_processor`` of ``Stream.send_request`` and those of ``Configuration`` that say how to ping.
"""

import asyncio
import logging
import os
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Mapping
from typing import Any, cast

import anyio
from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.settings import SettingCodes, Settings

LINGER_S = 1.0
"""How long a connection that is being closed may take to send what was written."""

_UNLIMITED = (1 << 31) - 1
_FRAME_HEADER_BYTES = 9
_PREFACE_BYTES = 24

Headers = list[tuple[str, str]]

MAX_FRAME_BYTES = 16 * 1024
"""The longest HTTP/2 frame; this is the protocol's own default."""
MAX_HEADER_BYTES = 16 * 1024
"""Headers of one call, as HTTP/2 counts them."""

log = logging.getLogger(__name__)
# It would log every header at DEBUG, and with them the tokens of callers.
logging.getLogger("hpack").setLevel(logging.INFO)


def configuration(*, connection_window: int, stream_window: int, ping_interval_s: float) -> Configuration:
    """Return grpclib's settings of a connection.

    Args:
        connection_window: bytes that the peer may send, over all calls, before they are read.
        stream_window: bytes that it may send on one call before they are read.
        ping_interval_s: a peer that is silent is pinged this often, and has as long to answer.
    """
    return Configuration(
        http2_connection_window_size=connection_window,
        http2_stream_window_size=stream_window,
        _keepalive_time=ping_interval_s,
        _keepalive_timeout=ping_interval_s,
        _keepalive_permit_without_calls=True,
        _http2_max_pings_without_data=0,
        _http2_min_sent_ping_interval_without_data=ping_interval_s / 2,
    )


class _Connection(Connection):
    """grpclib's connection, which tells when it begins to close."""

    def __init__(
        self, h2: H2Connection, transport: Transport, *, config: Configuration, on_close: Callable[[], None]
    ) -> None:
        super().__init__(h2, transport, config=config)
        self._on_close = on_close
        self._process = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that connected: the socket is the parent's."""
        return os.getpid() != self._process

    def close(self) -> None:
        super().close()
        self._on_close()


class Http2Protocol(H2Protocol):
    """One HTTP/2 connection.

    Args:
        handler: is given the streams that the peer opens.
        config: windows and pings.
        client: which side this is.
        max_streams: how many streams the peer may have open at a time.
        on_made: called once, when the connection is there.
        on_lost: called once after it, when the connection is gone.
    """

    def __init__(
        self,
        handler: AbstractHandler,
        config: Configuration,
        *,
        client: bool,
        max_streams: int,
        on_made: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        # Header values are decoded as Latin-1, which never fails: a bad one is the fault of its call alone.
        h2_config = H2Configuration(
            client_side=client,
            header_encoding="latin-1",
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        super().__init__(handler, config, h2_config)
        self._process = os.getpid()
        self._client = client
        self._max_streams = max_streams
        self._on_made = on_made
        self._on_lost = on_lost
        self._h2 = H2Connection(config=h2_config)
        self._frames = _FrameLengths(0 if client else _PREFACE_BYTES)
        self._transport: Transport | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self.closed_by_peer = False
        """Whether the peer has closed the connection (FIN or RST), and not this side."""

    @property
    def peer_certificate(self) -> Mapping[str, Any]:
        """What ``ssl`` says of the peer's certificate, which it has verified; empty where there is none."""
        return (self._transport.get_extra_info("peercert") if self._transport else None) or {}

    def connection_made(self, transport: BaseTransport) -> None:
        """Announce the settings. Done here, as grpclib's own method leaves the limit of streams at 100."""
        self._transport = cast(Transport, transport)
        initial = {
            SettingCodes.INITIAL_WINDOW_SIZE: self.config.http2_stream_window_size,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            SettingCodes.MAX_CONCURRENT_STREAMS: self._max_streams,
            SettingCodes.ENABLE_PUSH: 0,
        }
        if not self._client:
            del initial[SettingCodes.ENABLE_PUSH]  # only a client may say this
        self._h2.local_settings = Settings(client=self._client, initial_values=initial)
        self._h2.initiate_connection()
        if not self._client:
            # What was announced is sent. One stream too many is refused alone, by the handler; h2 would end them all.
            initial[SettingCodes.MAX_CONCURRENT_STREAMS] = _UNLIMITED
            self._h2.local_settings = Settings(client=False, initial_values=initial)
        extra = self.config.http2_connection_window_size - self._h2.inbound_flow_control_window
        if extra > 0:
            self._h2.increment_flow_control_window(extra)
        self.connection = _Connection(self._h2, self._transport, config=self.config, on_close=self._closing)
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

    def data_received(self, data: bytes) -> None:
        """Hand on what came in. A peer that breaks the protocol loses its connection, and nothing else happens."""
        try:
            self._frames.check(data)
            events = self.connection.feed(data)
        except (ProtocolError, ValueError, KeyError, IndexError) as error:
            log.debug("connection closed, the peer broke the protocol: %s", error)
            self.connection.flush()
            self.processor.close("the peer broke the protocol")
            return
        self.connection.flush()
        known = getattr(self.processor, "processors", {})
        for event in events:
            if isinstance(event, ConnectionTerminated) and not self._client:
                # GOAWAY of a client: h2 sends nothing any more, and it is for the client to close the connection.
                self.handler.close()
                self._closing()
            elif type(event) in known and not _says_nothing(event):
                self.processor.process(event)
        if not self.connection.is_closing():
            self.connection.flush()

    def eof_received(self) -> None:
        """The peer has closed its side; asyncio closes the other one."""
        self.closed_by_peer = True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the streams, and then the owner."""
        if self._lingering is not None:
            self._lingering.cancel()
        if isinstance(exc, ConnectionResetError | BrokenPipeError):
            self.closed_by_peer = True
        try:
            super().connection_lost(exc)
        finally:
            self._on_lost()

    def _closing(self) -> None:
        """What was written may still go out, but a peer that reads nothing does not keep the connection for ever."""
        if self._lingering is None and self._transport is not None:
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(LINGER_S, self._transport.abort)

    def go_away(self) -> None:
        """Say good-bye (GOAWAY) and close the connection once what was written has gone out."""
        if self._transport is None or self._transport.is_closing() or os.getpid() != self._process:
            return
        self._h2.close_connection()
        self.connection.flush()
        self.processor.close("the connection was closed on this side")

    def abort(self) -> None:
        """Close the connection at once, whatever waits to be written."""
        if self._transport is not None and os.getpid() == self._process:
            self._transport.abort()


class _FrameLengths:
    """Finds a frame that is too long when its header comes; h2 would wait for all of it first, up to 16 MiB.

    Args:
        first: bytes before the first frame.
    """

    def __init__(self, first: int) -> None:
        self._left = first
        self._header = bytearray()

    def check(self, data: bytes) -> None:
        """Look at the next bytes.

        Raises:
            FrameTooLargeError: a frame in them is longer than HTTP/2 allows without another setting.
        """
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
            else:
                step = min(_FRAME_HEADER_BYTES - len(self._header), len(data) - position)
                self._header += data[position : position + step]
                if len(self._header) == _FRAME_HEADER_BYTES:
                    self._left = int.from_bytes(self._header[:3], "big")
                    self._header.clear()
                    if self._left > MAX_FRAME_BYTES:
                        raise FrameTooLargeError(f"a frame of {self._left} bytes, the limit is {MAX_FRAME_BYTES}")
            position += step


def _says_nothing(event: Event) -> bool:
    """A legal empty DATA frame in the middle of a stream, which grpclib's buffer would take for the stream's end."""
    return isinstance(event, DataReceived) and not event.flow_controlled_length


class Termination:
    """What grpclib calls when a stream ends before its time: it cancels the scope of the call, and says why."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.reason: str | None = None
        self._scope = scope

    def cancel(self, error: Exception) -> None:
        """Called by grpclib, which names it so."""
        self.reason = str(error)
        self._scope.cancel()


def reset(stream: Stream) -> None:
    """Tell the peer that nobody cares for the stream any more, if it is still open. In a forked child, do nothing."""
    inherited = isinstance(stream.connection, _Connection) and stream.connection.is_inherited
    if stream.closable and not inherited:
        stream.reset_nowait()
