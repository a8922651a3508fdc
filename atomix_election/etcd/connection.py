"""The connection to etcd: one at a time, to one of the members, and made anew when it was lost.

It is made of grpclib's protocol layer. grpclib's own client lets a lost connection replace a cancellation, and leaves
asyncio's count of cancellations wrong after each loss.
"""

import asyncio
import ssl
from asyncio import BaseTransport, Transport
from collections.abc import Callable, Sequence
from typing import Any, cast

import anyio
from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from atomix_election.errors import InvalidRequest
from atomix_election.etcd.errors import EtcdUnavailable
from atomix_election.etcd.values import Endpoint
from atomix_election.tls import AlreadyClosed, ClientTls, abort, explain

PING_INTERVAL_S = 6.0
"""A connection with calls on it is pinged this often. More than two pings less than 5 s apart make etcd close it."""
PING_TIMEOUT_S = 3.0
"""How long a member may take to answer a ping."""
LINGER_S = 1.0
"""How long a connection that is being closed may take to send what was written."""
CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
STREAM_WINDOW_BYTES = 1024 * 1024
"""What a member sends on one stream before it is read: so a watch that nobody reads holds up no call."""

_MAX_STREAMS = 100  # etcd opens none, but h2 takes the late answer to a call that was cancelled for a new one
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4  # the type of the first frame, in its fourth byte


class _Handler(AbstractHandler):
    """What grpclib tells of a connection; etcd opens no streams."""

    def __init__(self) -> None:
        self.closed = False

    def accept(self, stream: Stream, headers: Any, release_stream: Callable[[], None]) -> None:
        raise AssertionError("HTTP/2 does not let a server open streams")

    def cancel(self, stream: Stream) -> None:
        """Nothing to do: the stream's own ``Termination`` is told as well."""

    def close(self) -> None:
        self.closed = True


class _Connection(Connection):
    """grpclib's connection, which does not wait for ever when it closes: what was written may never go out."""

    def __init__(self, h2: H2Connection, transport: Transport, *, config: Configuration) -> None:
        super().__init__(h2, transport, config=config)
        self._own_transport = transport
        self._lingering: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if hasattr(self, "_transport") and self.is_closing():
            self._transport = AlreadyClosed()
        super().close()
        if self._lingering is None:
            self._lingering = asyncio.get_running_loop().call_later(LINGER_S, abort, self._own_transport)

    def lost(self) -> None:
        """Nothing lingers any more."""
        if self._lingering is not None:
            self._lingering.cancel()


class Protocol(H2Protocol):
    """One HTTP/2 connection to a member.

    Args:
        endpoint: which one.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._state = _Handler()
        config = Configuration(
            http2_connection_window_size=CONNECTION_WINDOW_BYTES,
            http2_stream_window_size=STREAM_WINDOW_BYTES,
            _keepalive_time=PING_INTERVAL_S,
            _keepalive_timeout=PING_TIMEOUT_S,
            _keepalive_permit_without_calls=False,  # etcd takes pings without calls for an attack
            _http2_max_pings_without_data=0,
            _http2_min_sent_ping_interval_without_data=PING_INTERVAL_S - 0.5,
        )
        h2_config = H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        super().__init__(self._state, config, h2_config)
        self._transport: Transport | None = None
        self._begun = asyncio.Event()
        self._lost = asyncio.Event()
        self._failure: BaseException | None = None
        self._head = b""
        self._heard = asyncio.get_running_loop().time()

    @property
    def is_usable(self) -> bool:
        """Whether calls can be made on it."""
        return self._begun.is_set() and not self._state.closed and self._failure is None

    @property
    def silent_s(self) -> float:
        """For how long nothing has come, not even the answer to a ping."""
        return asyncio.get_running_loop().time() - self._heard

    @property
    def is_lost(self) -> bool:
        """Whether nothing is left of it."""
        return self._lost.is_set()

    def connection_made(self, transport: BaseTransport) -> None:
        """Called by asyncio. Done here, so that the windows are announced with the first frame."""
        self._transport = cast(Transport, transport)
        h2 = H2Connection(config=self.h2_config)
        h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_STREAMS,
            },
        )
        h2.initiate_connection()
        h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - h2.inbound_flow_control_window)
        self.connection: Connection = _Connection(h2, self._transport, config=self.config)
        self.connection.flush()
        self.connection.initialize()
        self.processor: EventsProcessor = EventsProcessor(self.handler, self.connection)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio. The first frame shows that a member speaks HTTP/2, as it does at once."""
        super().data_received(data)
        self._heard = asyncio.get_running_loop().time()
        if self._begun.is_set():
            return
        self._head = (self._head + data)[:_FRAME_HEADER_BYTES]
        is_whole = len(self._head) == _FRAME_HEADER_BYTES
        if self._state.closed or (is_whole and self._head[3] != _SETTINGS):
            self._failure = ConnectionError(
                "what listens there does not speak HTTP/2: is the port that for clients of etcd?"
            )
        if is_whole or self._failure is not None:
            self._begun.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by asyncio: tell all calls."""
        cast(_Connection, self.connection).lost()
        super().connection_lost(exc)
        self._failure = self._failure or exc or ConnectionError("the connection was closed")
        self._begun.set()
        self._lost.set()

    async def wait_begun(self) -> None:
        """Wait until the member speaks HTTP/2.

        Raises:
            OSError: it speaks something else, or has closed the connection.
        """
        await self._begun.wait()
        if self._failure is not None:
            raise self._failure if isinstance(self._failure, OSError) else ConnectionError(str(self._failure))

    def abort(self) -> None:
        """Close the connection at once, whatever waits to be written."""
        if self._transport is not None:
            abort(self._transport)

    async def close(self) -> None:
        """Close the connection and wait until it is gone, which takes ``LINGER_S`` at most."""
        self.processor.close("the connection was closed on this side")
        with anyio.CancelScope(shield=True):
            await self._lost.wait()


class EtcdConnection:
    """At most one connection at a time, to a member that answers.

    Args:
        endpoints: where the members are; tried in turn.
        tls: how to speak to them; None for plain text.
        first: which of them to begin with, so that clients do not all crowd one.
    """

    def __init__(self, endpoints: Sequence[Endpoint], tls: ClientTls | None, *, first: int = 0) -> None:
        self._endpoints = [*endpoints[first:], *endpoints[:first]]
        self._tls = tls
        self._lock = anyio.Lock()
        self._failures = 0
        self._failure = ""
        self._protocol: Protocol | None = None
        self._open: list[Protocol] = []
        self.is_closed: bool = False
        """Whether nothing connects any more."""

    @property
    def scheme(self) -> str:
        """The URL scheme of requests."""
        return "https" if self._tls else "http"

    @property
    def endpoint(self) -> Endpoint:
        """The member that is connected, or the one to be tried next."""
        return self._endpoints[0]

    @property
    def size(self) -> int:
        """How many endpoints there are."""
        return len(self._endpoints)

    async def get(self) -> Protocol:
        """Return the connection; where there is none, try the next endpoint.

        Whoever comes while one is being made waits for that one.

        Raises:
            EtcdUnavailable: it could not be connected to, and the next call tries another one; or the client is closed.
        """
        if self._protocol is not None and self._protocol.is_usable:
            return self._protocol
        failures = self._failures
        async with self._lock:
            if self.is_closed:
                raise EtcdUnavailable("the client is closed")
            if self._protocol is not None and self._protocol.is_usable:
                return self._protocol
            if self._failures != failures:
                raise EtcdUnavailable(self._failure)
            endpoint = self.endpoint
            try:
                self._protocol = await self._connect(endpoint)
            except (OSError, UnicodeError, InvalidRequest, ProtocolError) as error:
                self._failures += 1
                self._failure = f"{endpoint}: {self._explain(error, endpoint)}"
                self._turn()
                raise EtcdUnavailable(self._failure) from error
            except anyio.get_cancelled_exc_class():
                self._turn()  # it takes longer than the try may
                raise
            return self._protocol

    def give_up(self, protocol: Protocol) -> None:
        """Close a connection at once, if it is still the one in use, and try another endpoint next."""
        if protocol is self._protocol:
            self._protocol = None
            self._turn()
        protocol.abort()

    async def close(self) -> None:
        """Close the connection and wait until it is gone, and those that were given up."""
        self.is_closed = True
        self._protocol = None
        for protocol in self._open:
            await protocol.close()
        self._open.clear()

    def _turn(self) -> None:
        self._endpoints.append(self._endpoints.pop(0))

    def _name_of(self, endpoint: Endpoint) -> str:
        """Return the name that a member's certificate must have."""
        return (self._tls and self._tls.server_name) or endpoint.host.partition("%")[0]

    def _explain(self, error: Exception, endpoint: Endpoint) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return explain(error, self._name_of(endpoint))
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            return f"it refused this client's certificate, or wants one of it ({error.reason})"
        if isinstance(error, ssl.SSLError):
            return f"no TLS connection came about ({error.reason or error}): does etcd speak plain text there?"
        if isinstance(error, ConnectionRefusedError):
            return f"{error}: is etcd running?"
        if isinstance(error, ConnectionError) and self._tls is None:
            return f"{error}; if etcd speaks TLS there, connect with TLS"
        if isinstance(error, ConnectionError):
            return "it closed the connection: does it want a certificate of this client, or speak plain text?"
        return str(error) or type(error).__name__

    async def _connect(self, endpoint: Endpoint) -> Protocol:
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: Protocol(endpoint),
            endpoint.host,
            endpoint.port,
            ssl=self._tls and self._tls.context(),
            server_hostname=self._name_of(endpoint) if self._tls else None,
            ssl_shutdown_timeout=LINGER_S if self._tls else None,
        )
        self._open = [protocol, *(each for each in self._open if not each.is_lost)]
        if self.is_closed:
            protocol.abort()
        try:
            await protocol.wait_begun()
        except BaseException:
            protocol.abort()
            raise
        return protocol
