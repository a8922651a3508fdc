"""TLS handshakes of a server: bounded in time and number, and each with the certificate of the moment."""

import asyncio
import logging
import ssl
from asyncio import BaseTransport, Transport
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from atomix_election.rpc.http2 import READ_BYTES, WRITE_BUFFER_BYTES
from atomix_election.tls import abort

HANDSHAKE_TIMEOUT_S = 5.0
"""How long a client may take from connecting until TLS is up."""
MAX_HANDSHAKES = 64
"""Handshakes under way at a time. For one more, the oldest is given up: an honest one takes milliseconds."""
SHUTDOWN_TIMEOUT_S = 1.0
"""How long a peer may take to answer the good-bye of TLS."""
HANDSHAKE_FAILED = "handshake"
"""A reason to close a connection: TLS did not come about, or the peer went away before it did."""
HANDSHAKE_TIMEOUT = "handshake_timeout_s"
"""A reason to close a connection: TLS was not up in time."""
TOO_MANY_HANDSHAKES = "max_handshakes"
"""A reason to close a connection: its handshake was the oldest of too many."""

log: logging.Logger = logging.getLogger(__name__)


class Handshakes:
    """Takes the connections that a listener accepts, and hands each on when TLS is up.

    A listener's own TLS would keep the certificate that it began with, tell nothing of a connection before its
    handshake has ended, and leave it behind when the server is closed.

    Args:
        context: certificates; another one is for the connections that come after it.
        make_protocol: returns what a connection is handed on to.
        on_closed: is told the reason when a connection is closed before that.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        make_protocol: Callable[[], asyncio.Protocol],
        on_closed: Callable[[str], None],
    ) -> None:
        self.context = context
        self._make_protocol = make_protocol
        self._on_closed = on_closed
        self._under_way: dict[asyncio.Task[None], None] = {}
        self._given_up: set[asyncio.Task[None]] = set()

    def accept(self) -> asyncio.Protocol:
        """Return what begins a handshake when the connection is made."""
        return _Waiting(self._begin)

    async def close(self) -> None:
        """Give up the handshakes that are under way."""
        tasks = [*self._under_way, *self._given_up]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, transport: Transport) -> None:
        if len(self._under_way) >= MAX_HANDSHAKES:
            self._give_up(next(iter(self._under_way)))
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._shake_hands(transport))
        loop.call_soon(narrow, transport)  # once the task has put TLS in its place, and before anything is read
        self._under_way[task] = None
        task.add_done_callback(partial(self._ended, transport))

    def _give_up(self, task: "asyncio.Task[None]") -> None:
        """Cancel a handshake. It counts no longer: several connections may come before it has ended."""
        del self._under_way[task]
        self._given_up.add(task)
        self._on_closed(TOO_MANY_HANDSHAKES)
        task.cancel()

    def _ended(self, transport: Transport, task: "asyncio.Task[None]") -> None:
        self._under_way.pop(task, None)
        self._given_up.discard(task)
        if task.cancelled():
            abort(transport)  # the task may not even have begun

    async def _shake_hands(self, transport: Transport) -> None:
        early = _Early()
        handed_on = False
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport,
                early,
                self.context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )
            handed_on = early.hand_on(secured, self._make_protocol)
        except OSError as error:  # ssl.SSLError is one, and so is what says that the time is over
            log.debug("no TLS connection came about: %s", error)
            late = isinstance(error, ConnectionAbortedError)  # asyncio's, when its time limit is over
            self._on_closed(HANDSHAKE_TIMEOUT if late else HANDSHAKE_FAILED)
        finally:
            if not handed_on:
                abort(transport)


class _Waiting(asyncio.Protocol):
    """A connection before its handshake. Nothing of it is read."""

    def __init__(self, begin: Callable[[Transport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: BaseTransport) -> None:
        plain = cast(Transport, transport)
        plain.pause_reading()
        plain.set_write_buffer_limits(WRITE_BUFFER_BYTES)  # beside what TLS has a limit of its own for
        self._begin(plain)


class _Early(asyncio.Protocol):
    """Keeps what happens between the end of the handshake and the moment when the connection is handed on."""

    def __init__(self) -> None:
        self._data = b""
        self._lost = False
        self._next: asyncio.Protocol | None = None

    def data_received(self, data: bytes) -> None:
        self._data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._next is not None:
            self._next.connection_lost(exc)

    def hand_on(self, secured: Transport | None, make_protocol: Callable[[], asyncio.Protocol]) -> bool:
        """Hand the connection on, unless it is lost already, and return whether that was done."""
        if self._lost or secured is None or secured.get_extra_info("ssl_object") is None:
            return False
        if hasattr(secured, "set_read_buffer_limits"):
            cast(Any, secured).set_read_buffer_limits(READ_BYTES)  # it would read ahead of the connection by 256 KiB
        self._next = make_protocol()
        secured.set_protocol(self._next)
        self._next.connection_made(secured)
        if self._data:
            self._next.data_received(self._data)
        return True


def narrow(transport: Transport) -> None:
    """Let TLS keep little for a connection while it is idle. As it comes, asyncio's has 256 KiB to read into.

    This is the one place that knows how ``asyncio.sslproto`` does it: what reads from the connection beneath makes
    ``_ssl_buffer``, of ``max_size`` bytes, whenever it has none that is large enough. Where that is done in another
    way, as in another event loop, nothing happens, and a connection costs what it costs there.

    Args:
        transport: the connection beneath, of which TLS has not read anything yet.
    """
    reader: Any = transport.get_protocol()
    if hasattr(reader, "_ssl_buffer"):
        reader.max_size = READ_BYTES
        reader._ssl_buffer = b""  # noqa: SLF001
        reader.get_buffer(READ_BYTES)
