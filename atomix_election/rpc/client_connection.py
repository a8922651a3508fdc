"""The client's connection: to the first of its endpoints that answers, and made anew when it was lost."""

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

import anyio
from grpclib.protocol import AbstractHandler, Stream

from atomix_election.errors import Unavailable
from atomix_election.rpc.http2 import Headers, Http2Protocol, configuration

CONNECT_TIMEOUT_S = 2.0
"""How long one endpoint may take to accept a connection before the next one is tried."""

PING_INTERVAL_S = 10.0
"""A silent server is pinged this often, and has as long to answer before the connection is given up."""

_CONFIG = configuration(connection_window=16 * 1024 * 1024, stream_window=1024 * 1024, ping_interval_s=PING_INTERVAL_S)


_MAX_STREAMS = 100
# A server opens none, but h2 takes the late answer to a call that was cancelled for a new stream: 0 would make that an
# error of the whole connection.


class Endpoint(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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


class ClientConnection:
    """At most one connection at a time.

    Args:
        endpoints: tried in order, beginning with the one that was connected last.
        tls: how to speak to them; None for plain text.
    """

    def __init__(self, endpoints: Sequence[Endpoint], tls: ssl.SSLContext | None = None) -> None:
        self._endpoints = list(endpoints)
        self._tls = tls
        self._lock = anyio.Lock()
        self._process = os.getpid()
        self._protocol: Http2Protocol | None = None
        self._handler = _Connected()
        self._lost = asyncio.Event()

    @property
    def scheme(self) -> str:
        """The URL scheme of requests."""
        return "https" if self._tls else "http"

    @property
    def authority(self) -> str:
        """Which server the requests are for."""
        return str(self._endpoints[0])

    async def get(self) -> Http2Protocol:
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
                except (OSError, UnicodeError, TimeoutError) as error:
                    failures.append(f"{endpoint}: {error or 'no answer'}")
                else:
                    self._endpoints.remove(endpoint)
                    self._endpoints.insert(0, endpoint)
                    return self._protocol
            raise Unavailable(f"no server could be reached ({'; '.join(failures)}): is it running?")

    def give_up(self) -> None:
        """Close the connection at once, and prefer another endpoint for the next one."""
        self._endpoints.append(self._endpoints.pop(0))
        if self._protocol is not None:
            self._protocol.abort()

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

    async def _connect(self, endpoint: Endpoint) -> Http2Protocol:
        handler = _Connected()
        lost = asyncio.Event()
        with anyio.fail_after(CONNECT_TIMEOUT_S):
            _, protocol = await asyncio.get_running_loop().create_connection(
                lambda: Http2Protocol(
                    handler, _CONFIG, max_streams=_MAX_STREAMS, on_made=lambda: None, on_lost=lost.set
                ),
                endpoint.host,
                endpoint.port,
                ssl=self._tls,
            )
        self._handler, self._lost = handler, lost
        return protocol
