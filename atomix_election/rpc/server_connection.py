"""One connection to a server: its calls, its callers, and what it may cost."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from h2.errors import ErrorCodes

from atomix_election.errors import LimitExceeded
from atomix_election.observer import Observer
from atomix_election.rpc.callers import Callers, Connect
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.header_blocks import KnownBlocks
from atomix_election.rpc.http2 import MIN_READ_BYTES, READ_BYTES, TURN_BYTES, Http2Protocol, Serving, configuration
from atomix_election.rpc.limits import Outbox, Shared, reached
from atomix_election.rpc.quick_calls import KnownRequests
from atomix_election.rpc.server_calls import Calls
from atomix_election.rpc.services.base import ServedMethod

PING_INTERVAL_S = 10.0
"""A silent client is pinged this often, and has as long to answer before its connection is closed."""

_CONFIG = configuration(connection_window=256 * 1024, stream_window=64 * 1024, ping_interval_s=PING_INTERVAL_S)


@dataclass(slots=True, eq=False)
class Common:
    """What the connections of a server have in common."""

    shared: Shared
    connect: Connect
    gate: Gate
    methods: Mapping[str, ServedMethod]
    observer: Observer
    requests: KnownRequests
    blocks: KnownBlocks = field(default_factory=KnownBlocks)
    connections: "set[ServerConnection]" = field(default_factory=lambda: set[ServerConnection]())  # noqa: PLW0108
    closing: bool = False


class ServerConnection:
    """One connection.

    Args:
        common: what it shares with the others of its server.
    """

    def __init__(self, common: Common) -> None:
        self.callers: Callers = Callers(lambda: common.gate, common.connect)
        self.calls: Calls = Calls(common.methods, common.requests, self.callers, common.shared, common.observer)
        self.protocol: Http2Protocol = Http2Protocol(
            self.calls,
            _CONFIG,
            max_streams=common.shared.limits.max_calls_per_connection,
            on_made=self._made,
            on_lost=self._lost,
            serving=Serving(
                common.shared.limits,
                self._read_bytes,
                self._give_up,
                common.observer.closed,
                self.calls.quick.take,
                self.calls.quick.cancelled,
                common.blocks,
            ),
        )
        self._common = common
        self._shared = common.shared
        self._outbox: Outbox
        self._is_lost = False
        self._gone: asyncio.Event | None = None

    def sweep(self, now: float) -> None:
        """Close the connection, or end the calls, of a peer that takes too long."""
        limits = self._shared.limits
        since = self.protocol.unfinished_since
        if since is not None and now >= since + limits.header_timeout_s:
            self._give_up(reached("header_timeout_s", limits.header_timeout_s, "seconds for headers, or any one frame"))
            return
        since = self.protocol.paused_since
        if since is not None and now >= since + limits.send_timeout_s:
            self._give_up(reached("send_timeout_s", limits.send_timeout_s, "seconds for answers to be read"))
            return
        self.calls.sweep(now)

    def check_callers(self) -> None:
        """Judge anew who calls here: end what is not allowed any more, and let go of the sessions that go with it."""
        self.calls.check()
        self.callers.check()

    async def wait_lost(self) -> None:
        """Wait until the connection is gone."""
        if not self._is_lost:
            self._gone = self._gone or asyncio.Event()
            await self._gone.wait()

    def _give_up(self, why: LimitExceeded) -> None:
        if not self.protocol.connection.is_closing():
            self._common.observer.closed(why.limit)
            self._shared.notices.write(f"connection closed: {why}", now=asyncio.get_running_loop().time())
            self.protocol.go_away(ErrorCodes.ENHANCE_YOUR_CALM, str(why))

    def _read_bytes(self) -> int:
        return max(MIN_READ_BYTES, min(READ_BYTES, TURN_BYTES // (len(self._common.connections) or 1)))

    def _made(self) -> None:
        self.calls.outbox = self._outbox = self._shared.outboxes.open(self._give_up)
        self.calls.protocol = self.protocol
        self.calls.quick.connection = self.protocol.http2
        self.callers.made(self.protocol.peer_certificate, self.protocol.peer)
        self._common.connections.add(self)
        self._common.observer.connections(len(self._common.connections))
        refusal = too_many(len(self._common.connections), self._shared.limits.max_connections)
        if refusal is not None:  # several were accepted at a time
            self._give_up(refusal)
        if self._common.closing:  # it was accepted before the end, and made after it
            self.protocol.abort()

    def _lost(self) -> None:
        self._common.connections.discard(self)
        self._outbox.close()
        self._common.observer.connections(len(self._common.connections))
        self.callers.disconnect(by_peer=self.protocol.closed_by_peer)
        self._is_lost = True
        if self._gone is not None:
            self._gone.set()


def too_many(connections: int, limit: int) -> LimitExceeded | None:
    """Return why that many connections are too many, or None."""
    return reached("max_connections", limit, "connections") if connections > limit else None
