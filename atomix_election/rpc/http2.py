"""HTTP/2 connections: all that this package uses of grpclib's protocol layer, and how.

grpclib's own call layer is not used, on either side: it answers malformed calls with the wrong status, limits nothing,
cancels with ``task.cancel()`` where a shield must hold, and replaces a cancellation that meets a lost connection. Its
protocol layer (frames, flow control, back-pressure, pings) is, without its private parts, but for the parameter
``_processor`` of ``Stream.send_request`` and those of ``Configuration`` that say how to ping.
"""

import logging
from asyncio import BaseTransport, Transport
from collections.abc import Callable
from typing import cast

import anyio
from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

Headers = list[tuple[str, str]]

MAX_HEADER_BYTES = 16 * 1024
"""Headers of one call, as HTTP/2 counts them."""

log = logging.getLogger(__name__)


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
        self._client = client
        self._max_streams = max_streams
        self._on_made = on_made
        self._on_lost = on_lost
        self._h2 = H2Connection(config=h2_config)
        self._transport: Transport | None = None

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
        extra = self.config.http2_connection_window_size - self._h2.inbound_flow_control_window
        if extra > 0:
            self._h2.increment_flow_control_window(extra)
        self.connection = Connection(self._h2, self._transport, config=self.config)
        self.connection.flush()
        self.connection.initialize()
        self.processor = EventsProcessor(self.handler, self.connection)
        self._on_made()

    def data_received(self, data: bytes) -> None:
        """Hand on what came in. A peer that breaks the protocol loses its connection, and nothing else happens."""
        try:
            events = self.connection.feed(data)
        except (ProtocolError, ValueError, KeyError, IndexError) as error:
            log.debug("connection closed, the peer broke the protocol: %s", error)
            self.connection.flush()
            self.processor.close("the peer broke the protocol")
            return
        self.connection.flush()
        known = getattr(self.processor, "processors", {})
        for event in events:
            if type(event) in known:
                self.processor.process(event)
        if not self.connection.is_closing():
            self.connection.flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the streams, and then the owner."""
        try:
            super().connection_lost(exc)
        finally:
            self._on_lost()

    def go_away(self) -> None:
        """Say good-bye (GOAWAY) and close the connection once what was written has gone out."""
        if self._transport is None or self._transport.is_closing():
            return
        self._h2.close_connection()
        self.connection.flush()
        self.processor.close("the connection was closed on this side")

    def abort(self) -> None:
        """Close the connection at once, whatever waits to be written."""
        if self._transport is not None:
            self._transport.abort()


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
    """Tell the peer that nobody cares for the stream any more, if it is still open."""
    if stream.closable:
        stream.reset_nowait()
