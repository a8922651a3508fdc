"""The client's connection: to the first of its endpoints that answers, and made anew when it was lost."""

import asyncio
import os
from collections.abc import Callable, Sequence

import anyio
from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, EventsProcessor, Stream
from h2.events import Event

from atomix_election.addresses import Endpoint
from atomix_election.core.campaign import LONGEST_CONNECT_S
from atomix_election.errors import InvalidRequest, Unavailable
from atomix_election.rpc.call import token_metadata
from atomix_election.rpc.http2 import LINGER_S, Http2Protocol, configuration
from atomix_election.rpc.http2_connection import Headers, Processor
from atomix_election.rpc.methods import Method
from atomix_election.rpc.quick_client import QuickCall, QuickCalls
from atomix_election.service import Call
from atomix_election.tls import ClientTls, abort, explain

CONNECT_TIMEOUT_S = LONGEST_CONNECT_S
"""How long one endpoint may take to accept a connection, and to speak, before the next one is tried."""

PING_INTERVAL_S = 10.0
"""A silent server is pinged this often, and has as long to answer before the connection is given up."""


def _config(ping_interval_s: float | None) -> Configuration:
    return configuration(connection_window=16 * 1024 * 1024, stream_window=1024 * 1024, ping_interval_s=ping_interval_s)


_MAX_STREAMS = 100
# A server opens none, but h2 takes the late answer to a call that was cancelled for a new stream: 0 would make that an
# error of the whole connection.


_TLS_ALERT = b"\x15\x03"
_IS_NOT_HTTP2 = "what listens there does not speak HTTP/2: is the port that of the election server?"
_WANTS_TLS = "it closed the connection without a word of HTTP/2; if it speaks TLS, the target is grpcs://"
_WANTS_CERTIFICATE = (
    "it closed the connection when TLS was up; it may not accept this client's certificate, or want one of it"
)


class _Connected(AbstractHandler):
    """What grpclib tells of a connection; a server opens no streams."""

    def __init__(self) -> None:
        self.closed = False

    def accept(self, stream: Stream, headers: Headers, release_stream: Callable[[], None]) -> None:
        raise AssertionError("HTTP/2 does not let a server open streams")

    def cancel(self, stream: Stream) -> None:
        """Nothing to do: the stream's own ``Termination`` is told as well."""

    def close(self) -> None:
        self.closed = True


class ClientProtocol(Http2Protocol):
    """A connection that tells when the server has begun to speak, which HTTP/2 has it do at once.

    Args:
        handler: is told when the connection is closed.
        on_lost: called when it is gone.
        tls: whether it speaks TLS.
        authority: which server requests are for.
        ping_interval_s: a silent server is pinged this often; None for never.
    """

    def __init__(
        self,
        handler: AbstractHandler,
        on_lost: Callable[[], None],
        *,
        tls: bool,
        authority: str,
        ping_interval_s: float | None,
    ) -> None:
        config = _config(ping_interval_s)
        super().__init__(handler, config, max_streams=_MAX_STREAMS, on_made=self._begin_quick_calls, on_lost=on_lost)
        self.quick: QuickCalls
        self._tls = tls
        self._authority = authority
        self._begun = asyncio.Event()
        self._failure = ""

    async def wait_begun(self) -> None:
        """Wait until it speaks HTTP/2.

        Raises:
            OSError: it speaks something else, or has closed the connection.
        """
        await self._begun.wait()
        if self._failure:
            raise ConnectionError(self._failure)

    def _begin_quick_calls(self) -> None:
        processor = Processor(self.handler, self.http2)
        self.processor: EventsProcessor = processor
        scheme = scheme_of(tls=self._tls)
        self.quick = QuickCalls(self.http2, processor, super()._handle, scheme=scheme, authority=self._authority)

    def _handle(self, events: list[Event]) -> None:
        super()._handle(self.quick.take(events))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._begun.is_set():
            if data.startswith(_TLS_ALERT):
                self._failure = _WANTS_TLS
            elif self.connection.is_closing():
                self._failure = _IS_NOT_HTTP2
            self._begun.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._begun.is_set():
            self._failure = _WANTS_CERTIFICATE if self._tls else _WANTS_TLS
            self._begun.set()
        super().connection_lost(exc)


def scheme_of(*, tls: bool) -> str:
    """Return the URL scheme of requests."""
    return "https" if tls else "http"


class ClientConnection:
    """At most one connection at a time.

    Args:
        endpoints: tried in order, beginning with the one that was connected last.
        tls: how to speak to them; None for plain text.
        token: returns the token to send, as it is now; None for none.
        pings: whether a server that answers no ping is given up.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        tls: ClientTls | None = None,
        token: Callable[[], str] | None = None,
        *,
        pings: bool = True,
    ) -> None:
        self.connect_timeout_s = CONNECT_TIMEOUT_S
        self._ping_interval_s = PING_INTERVAL_S if pings else None
        self._endpoints = list(endpoints)
        self._tls = tls
        self._token = token
        self._lock = anyio.Lock()
        self._process = os.getpid()
        self._protocol: ClientProtocol | None = None
        self._handler = _Connected()
        self._lost = asyncio.Event()

    @property
    def scheme(self) -> str:
        """The URL scheme of requests."""
        return scheme_of(tls=self._tls is not None)

    @property
    def authority(self) -> str:
        """Which server the requests are for."""
        return str(self._endpoints[0])

    @property
    def credentials(self) -> Headers:
        """What a call carries to say who makes it.

        Raises:
            Unauthenticated: the token cannot be read.
        """
        return [] if self._token is None else token_metadata(self._token())

    def begin(self, method: Method, call: Call, message: bytes, timeout_s: float) -> QuickCall | None:
        """Send a call, if that can be done without waiting; see ``QuickCalls.begin``.

        Raises:
            Unauthenticated: the token cannot be read.
        """
        if self._protocol is None or self._handler.closed:
            return None
        token = None if self._token is None else self._token()
        return self._protocol.quick.begin(method, call, token, message, timeout_s)

    async def get(self) -> ClientProtocol:
        """Return the connection, after making one if need be.

        Raises:
            Unavailable: no endpoint could be connected to.
        """
        if self._protocol is not None and not self._handler.closed:
            return self._protocol
        async with self._lock:
            if self._protocol is not None and not self._handler.closed:
                return self._protocol
            failures: list[str] = []
            for endpoint in list(self._endpoints):
                try:
                    self._protocol = await self._connect(endpoint)
                    if self._handler.closed:  # lost with the first bytes, and so before anybody could use it
                        raise ConnectionResetError("the connection was closed at once")
                except (OSError, UnicodeError, InvalidRequest) as error:
                    failures.append(f"{endpoint}: {self._explain(error, endpoint)}")
                else:
                    self._endpoints.remove(endpoint)
                    self._endpoints.insert(0, endpoint)
                    return self._protocol
            raise Unavailable(f"no server could be reached ({'; '.join(failures)})")

    def give_up(self) -> None:
        """Close the connection at once, and prefer another endpoint for the next one."""
        self._endpoints.append(self._endpoints.pop(0))
        if self._protocol is not None:
            self._protocol.abort()

    def prefer_another(self) -> None:
        """Use another endpoint, if there is one."""
        if len(self._endpoints) > 1:
            self.give_up()

    async def close(self) -> None:
        """Close the connection and wait until it is gone."""
        if self._protocol is None or os.getpid() != self._process:
            return
        self._protocol.go_away()
        with anyio.move_on_after(CONNECT_TIMEOUT_S, shield=True):
            await self._lost.wait()
        self._protocol.abort()
        with anyio.CancelScope(shield=True):
            await self._lost.wait()
        self._protocol = None

    def _name_of(self, endpoint: Endpoint) -> str:
        """Return the name that a server's certificate must have."""
        return (self._tls and self._tls.server_name) or endpoint.host.partition("%")[0]

    def _explain(self, error: Exception, endpoint: Endpoint) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self.connect_timeout_s:g} s: is it running?"
        if isinstance(error, ConnectionRefusedError):
            return f"{error}: is it running?"
        return explain(error, self._name_of(endpoint))

    async def _connect(self, endpoint: Endpoint) -> ClientProtocol:
        handler = _Connected()
        lost = asyncio.Event()
        with anyio.fail_after(self.connect_timeout_s):
            transport, protocol = await asyncio.get_running_loop().create_connection(
                lambda: ClientProtocol(
                    handler,
                    lost.set,
                    tls=self._tls is not None,
                    authority=str(endpoint),
                    ping_interval_s=self._ping_interval_s,
                ),
                endpoint.host,
                endpoint.port,
                ssl=self._tls and self._tls.context(),
                server_hostname=self._name_of(endpoint) if self._tls else None,
                ssl_shutdown_timeout=LINGER_S if self._tls else None,
            )
            try:
                await protocol.wait_begun()
            except BaseException:
                abort(transport)
                raise
        self._handler, self._lost = handler, lost
        return protocol
