"""A server without a network: an engine that a test stops and starts again, on the store that it had or a new one."""

from collections.abc import Callable
from functools import partial

import anyio

from atomix_election.clock import Clock
from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.errors import InvalidRequest, Unavailable
from atomix_election.service import Service
from atomix_election.stores.memory import MemoryStore
from atomix_election.tasks import Background

LEAST_TTL_S = 0.001
"""Clients of a test get what they ask for."""


class RestartingServer:
    """One engine after the other.

    Args:
        clock: theirs.
    """

    def __init__(self, clock: Clock) -> None:
        self.store: MemoryStore = MemoryStore()
        """What the engines find: it outlives them."""
        self.engine: Engine | None = None
        """The one that runs."""
        self._clock = clock
        self._scope: anyio.CancelScope | None = None
        self._stopped = anyio.Event()

    def connect(self, peer: str) -> Connection:
        """Return a new connection.

        Raises:
            Unavailable: the server is stopped.
        """
        if self.engine is None:
            raise Unavailable("nobody listens: the server is stopped")
        return Connection(self.engine, peer=peer)

    async def start(self, tasks: Background, *, new_store: bool) -> None:
        """Run an engine until ``stop``, and return when it runs.

        Args:
            tasks: where it runs.
            new_store: whether on an empty store.

        Raises:
            InvalidRequest: one runs already.
        """
        if self._scope is not None:
            raise InvalidRequest("the server runs already: stop it first")
        if new_store:
            self.store = MemoryStore()
        self._scope, self._stopped, started = anyio.CancelScope(), anyio.Event(), anyio.Event()
        tasks.start_soon(self._serve, self._scope, self._stopped, started)
        await started.wait()

    async def stop(self) -> None:
        """End the engine, and wait until it is gone.

        Raises:
            InvalidRequest: none runs.
        """
        if self._scope is None:
            raise InvalidRequest("the server does not run: start it first")
        self._scope.cancel()
        await self._stopped.wait()

    async def _serve(self, scope: anyio.CancelScope, stopped: anyio.Event, started: anyio.Event) -> None:
        limits = SessionLimits(min_ttl_s=LEAST_TTL_S)
        engine = Engine(self.store, clock=self._clock, limits=limits, wall_clock=self._clock.now)
        try:
            with scope:
                async with engine.running():
                    self.engine = engine
                    started.set()
                    await anyio.sleep_forever()
        finally:
            self.engine = self._scope = None
            stopped.set()


class Line:
    """The server's end of one client's connections, of which there is one after the other.

    Args:
        server: whose end it is.
        peer: what the server is told of where they come from.
    """

    def __init__(self, server: RestartingServer, peer: str) -> None:
        self._server = server
        self._peer = peer
        self._connection: Connection | None = None
        self._engine: Engine | None = None

    def service(self) -> Service:
        """Return the connection that is open; a new one after the last was closed, and with each new engine.

        Raises:
            Unavailable: the server is stopped.
        """
        if self._connection is None or self._engine is not self._server.engine:
            self._connection, self._engine = self._server.connect(self._peer), self._server.engine
        return self._connection

    def closed(self) -> Callable[[], None]:
        """The client has closed its connection; return what to call when the server learns of it."""
        former, self._connection = self._connection, None
        return _nothing if former is None else partial(former.disconnect, by_peer=True)


def _nothing() -> None:
    """There was no connection."""
