"""A small port for machines that look in, for metrics and probes: plain HTTP, in threads, bounded in what it takes."""

import logging
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

import anyio

from atomix_election.errors import Unavailable

MAX_CONNECTIONS = 4
"""Connections to a port at a time. For one more, the oldest is closed: an answer takes milliseconds."""
SILENCE_TIMEOUT_S = 5.0
"""How long a connection may say nothing, or not read its answer, before it is closed."""

log: logging.Logger = logging.getLogger(__name__)


@asynccontextmanager
async def serve_http(app: WSGIApplication, host: str, port: int, *, what: str) -> AsyncGenerator[str]:
    """Serve an application over plain HTTP, from a thread of its own, for as long as the block lasts.

    Whoever reaches the address can ask.

    Args:
        app: answers requests; it is called in threads, several at a time.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.
        what: what is served, for messages.

    Returns:
        The URL, without a path.

    Raises:
        Unavailable: the address cannot be listened on.
    """
    try:
        server = _Server(host, port, app, what)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"cannot serve {what} on {host}:{port}: {error}") from error
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{server.server_port}"
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_stop, server, thread)


def _stop(server: "_Server", thread: Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(WSGIRequestHandler):
    timeout = SILENCE_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not logged."""


class _Server(ThreadingMixIn, WSGIServer):
    """Serves an application. The ones that there are take any number of connections, for as long as peers like."""

    request_queue_size = 128  # where many come at once, an honest one among them need not try again

    def __init__(self, host: str, port: int, app: WSGIApplication, what: str) -> None:
        self._what = what
        self._open: dict[socket.socket, Thread] = {}
        self._lock = Lock()
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, address = found[0]
        super().__init__((str(address[0]), port), _Handler)
        self.set_app(app)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread. Called by socketserver, in the one that accepts."""
        with self._lock:
            opened = list(self._open.items())
        too_many = max(len(opened) + 1 - MAX_CONNECTIONS, 0)
        for oldest, thread in opened[:too_many]:
            _hang_up(oldest, thread)
        thread = Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._lock:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection. Called by socketserver, as the last thing that its thread does."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the port, and the connections."""
        super().server_close()
        with self._lock:
            opened = list(self._open.items())
        for each in opened:
            _hang_up(*each)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Called by socketserver, while it handles an exception."""
        error = sys.exception()
        if isinstance(error, OSError):
            log.debug("a connection to the %s ended: %s", self._what, error)
        else:
            log.error("fault while %s were served", self._what, exc_info=error)


def _hang_up(connection: socket.socket, thread: Thread) -> None:
    with suppress(OSError):  # it may be closed already
        connection.shutdown(socket.SHUT_RDWR)
    thread.join()
