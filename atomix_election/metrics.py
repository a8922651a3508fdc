"""Metrics for Prometheus: counted by an observer, and served over HTTP on a port of their own.

The one module that imports ``prometheus_client``, which the extra ``server`` installs. No metric is labelled with the
name of an election, a candidate, a session or a peer, so that their number is bounded.
"""

import platform
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import cast
from wsgiref.types import WSGIApplication

from atomix_election.errors import InvalidRequest
from atomix_election.http_port import serve_http

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
except ImportError as _error:
    raise InvalidRequest(
        "metrics need the package prometheus_client: install it with pip install 'atomix-election[server]'"
    ) from _error

_PREFIX = "atomix_election"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of a latency."""


class PrometheusObserver:
    """Counts what an engine and a server tell, see ``Observer``, in a registry of its own."""

    def __init__(self) -> None:
        self.registry: CollectorRegistry = CollectorRegistry()
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
    app = cast(WSGIApplication, make_wsgi_app(observer.registry))
    async with serve_http(app, host, port, what="metrics") as url:
        yield f"{url}/metrics"
