"""Metrics for Prometheus: counted by an observer, and served over HTTP on a port of their own.

The one module that imports ``prometheus_client``, which the extra ``server`` installs. No metric is labelled with the
name of an election, a candidate, a session or a peer, so that their number is bounded.
"""

import logging
import platform
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

import anyio

from atomix_election.errors import InvalidRequest, Unavailable

try:
    from prometheus_client import (
        GC_COLLECTOR,
        PLATFORM_COLLECTOR,
        PROCESS_COLLECTOR,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        make_wsgi_app,  # pyright: ignore[reportUnknownVariableType]
    )
except ImportError as error:
    raise InvalidRequest(
        "metrics need the package prometheus_client: install it with pip install 'atomix-election[server]'"
    ) from error

MAX_SCRAPES = 4
"""Connections to the port of the metrics at a time. For one more, the oldest is closed: a scrape takes milliseconds."""
SCRAPE_TIMEOUT_S = 5.0
"""How long such a connection may say nothing, or not read its answer, before it is closed."""

_PREFIX = "atomix_election"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of a latency."""

log = logging.getLogger(__name__)


class PrometheusObserver:
    """Counts what an engine and a server tell, see ``Observer``, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        self._elections = self._gauge("elections", "Elections that were ever entered")
        self._leaders = self._gauge("leaders", "Elections that have a leader")
        sessions = self._gauge("sessions", "Open sessions, by what keeps them", "kind")
        self._renewals = sessions.labels("renewals")
        self._kept_by_connections = sessions.labels("connections")
        self._watchers = self._gauge("watchers", "Open watches")
        self._connections = self._gauge("connections", "Open connections of clients")
        self._leader_changes = self._counter("leader_changes", "Changes of a leader, by cause", "cause")
        self._commands = self._counter("commands", "Commands that were answered", "command", "outcome")
        self._renewed = self._counter("renewals", "Renewals of sessions that came")
        self._rejected = self._counter("rejected_calls", "Calls that were refused or failed, by reason", "reason")
        self._closed = self._counter("closed_connections", "Connections that the server closed, by reason", "reason")
        self._commit_s = self._histogram("commit_seconds", "How long the store took for a write", "what")
        self._call_s = self._histogram("call_seconds", "How long calls took that are no streams", "method", "status")
        build = self._gauge("build_info", "Versions, as labels", "version", "python")
        build.labels(version("atomix-election"), platform.python_version()).set(1)

    def elections(self, known: int, led: int) -> None:
        """See ``Observer.elections``."""
        self._elections.set(known)
        self._leaders.set(led)

    def sessions(self, renewals: int, connections: int) -> None:
        """See ``Observer.sessions``."""
        self._renewals.set(renewals)
        self._kept_by_connections.set(connections)

    def watchers(self, count: int) -> None:
        """See ``Observer.watchers``."""
        self._watchers.set(count)

    def leader_changed(self, cause: str) -> None:
        """See ``Observer.leader_changed``."""
        self._leader_changes.labels(cause).inc()

    def command(self, kind: str, outcome: str) -> None:
        """See ``Observer.command``."""
        self._commands.labels(kind, outcome).inc()

    def committed(self, what: str, duration_s: float) -> None:
        """See ``Observer.committed``."""
        self._commit_s.labels(what).observe(duration_s)

    def renewed(self) -> None:
        """See ``Observer.renewed``."""
        self._renewed.inc()

    def connections(self, count: int) -> None:
        """See ``Observer.connections``."""
        self._connections.set(count)

    def answered(self, method: str, status: str, duration_s: float) -> None:
        """See ``Observer.answered``."""
        self._call_s.labels(method, status).observe(duration_s)

    def rejected(self, reason: str) -> None:
        """See ``Observer.rejected``."""
        self._rejected.labels(reason).inc()

    def closed(self, reason: str) -> None:
        """See ``Observer.closed``."""
        self._closed.labels(reason).inc()

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", what, labels, registry=self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", what, labels, registry=self.registry, buckets=_SECONDS)


@asynccontextmanager
async def serve_metrics(observer: PrometheusObserver, host: str, port: int) -> AsyncGenerator[str]:
    """Serve what an observer has counted over plain HTTP, from a thread of its own, for as long as the block lasts.

    Whoever reaches the address can read it.

    Args:
        observer: who counts.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.

    Returns:
        The URL.

    Raises:
        Unavailable: the address cannot be listened on.
    """
    try:
        server = _Server(host, port, observer.registry)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"cannot serve metrics on {host}:{port}: {error}") from error
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{server.server_port}/metrics"
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_stop, server, thread)


def _stop(server: "_Server", thread: Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(WSGIRequestHandler):
    timeout = SCRAPE_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Scrapes are not logged."""


class _Server(ThreadingMixIn, WSGIServer):
    """Serves a registry. prometheus_client's own server takes any number of connections, for as long as peers like."""

    request_queue_size = 128  # where many come at once, a scrape among them need not try again

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self._scrapes: dict[socket.socket, Thread] = {}
        self._lock = Lock()
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, address = found[0]
        super().__init__((str(address[0]), port), _Handler)
        self.set_app(cast(WSGIApplication, make_wsgi_app(registry)))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread. Called by socketserver, in the one that accepts."""
        with self._lock:
            scrapes = list(self._scrapes.items())
        for oldest, thread in scrapes[: len(scrapes) + 1 - MAX_SCRAPES]:
            _hang_up(oldest, thread)
        thread = Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._lock:
            self._scrapes[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection. Called by socketserver, as the last thing that its thread does."""
        with self._lock:
            self._scrapes.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the port, and the connections."""
        super().server_close()
        with self._lock:
            scrapes = list(self._scrapes.items())
        for scrape in scrapes:
            _hang_up(*scrape)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Called by socketserver, while it handles an exception."""
        error = sys.exception()
        if isinstance(error, OSError):
            log.debug("a connection to the metrics ended: %s", error)
        else:
            log.error("fault while metrics were served", exc_info=error)


def _hang_up(connection: socket.socket, thread: Thread) -> None:
    with suppress(OSError):  # it may be closed already
        connection.shutdown(socket.SHUT_RDWR)
    thread.join()
