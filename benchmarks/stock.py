"""The floor: grpclib and betterproto2 as their documentation uses them, with nothing behind.

``python -m benchmarks.stock`` is a server that prints its port. ``Call`` takes and returns an empty message, ``Echo``
returns each empty message of a stream, and ``Watch`` sends an event to all its callers whenever ``Publish`` is called.
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import betterproto2
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

SERVICE = "/benchmarks.Stock/"
BACKLOG = 1024
"""Connections that may come at once."""


@dataclass(eq=False, repr=False)
class Nothing(betterproto2.Message):
    """A message without fields."""


@dataclass(eq=False, repr=False)
class EpochTimestamp(betterproto2.Message):
    """As in ``atomix.time.v1``."""

    epoch: int = betterproto2.field(1, betterproto2.TYPE_UINT64)
    time: int = betterproto2.field(2, betterproto2.TYPE_UINT64)


@dataclass(eq=False, repr=False)
class Timestamp(betterproto2.Message):
    """As in ``atomix.time.v1``."""

    epoch_timestamp: EpochTimestamp | None = betterproto2.field(
        4, betterproto2.TYPE_MESSAGE, optional=True, group="timestamp"
    )


@dataclass(eq=False, repr=False)
class Term(betterproto2.Message):
    """As in ``atomix.election.v1``."""

    leader_id: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    candidates: list[str] = betterproto2.field(2, betterproto2.TYPE_STRING, repeated=True)
    timestamp: Timestamp | None = betterproto2.field(3, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False)
class Event(betterproto2.Message):
    """As in ``atomix.election.v1``, the type a number."""

    type: int = betterproto2.field(1, betterproto2.TYPE_INT32)
    term: Term | None = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


@dataclass(eq=False, repr=False)
class EventsResponse(betterproto2.Message):
    """As in ``atomix.election.v1``."""

    event: Event | None = betterproto2.field(1, betterproto2.TYPE_MESSAGE, optional=True)


def event(leader: str, number: int) -> EventsResponse:
    """Return what an election server says when somebody has become the leader of an empty election."""
    timestamp = Timestamp(epoch_timestamp=EpochTimestamp(epoch=number, time=number))
    return EventsResponse(event=Event(type=1, term=Term(leader, [leader], timestamp)))


class Stock:
    """The service."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[EventsResponse]] = set()
        self._published = 0

    async def call(self, stream: Stream[Nothing, Nothing]) -> None:
        """Answer."""
        await stream.recv_message()
        await stream.send_message(Nothing())

    async def echo(self, stream: Stream[Nothing, Nothing]) -> None:
        """Answer each message."""
        async for message in stream:
            await stream.send_message(message)

    async def watch(self, stream: Stream[Nothing, EventsResponse]) -> None:
        """Send what is published."""
        await stream.recv_message()
        events: asyncio.Queue[EventsResponse] = asyncio.Queue()
        self._watchers.add(events)
        try:
            await stream.send_message(event("", 0))
            while True:
                await stream.send_message(await events.get())
        finally:
            self._watchers.discard(events)

    async def publish(self, stream: Stream[Nothing, Nothing]) -> None:
        """Tell all who watch."""
        await stream.recv_message()
        self._published += 1
        news = event("session", self._published)
        for watcher in self._watchers:
            watcher.put_nowait(news)
        await stream.send_message(Nothing())

    def __mapping__(self) -> Mapping[str, Handler]:
        unary, watch, both = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM, Cardinality.STREAM_STREAM
        return {
            f"{SERVICE}Call": Handler(self.call, unary, Nothing, Nothing),
            f"{SERVICE}Publish": Handler(self.publish, unary, Nothing, Nothing),
            f"{SERVICE}Watch": Handler(self.watch, watch, Nothing, EventsResponse),
            f"{SERVICE}Echo": Handler(self.echo, both, Nothing, Nothing),
        }


def call_of(channel: Channel) -> UnaryUnaryMethod[Any, Any]:
    """Return the empty call of a client."""
    return UnaryUnaryMethod(channel, f"{SERVICE}Call", Nothing, Nothing)


async def main() -> None:
    """Serve until the process is killed."""
    server = Server([Stock()])
    # asyncio turns off Nagle's algorithm only where the protocol is named; with it each call would take 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    await server.start(sock=listener, backlog=BACKLOG)
    print(listener.getsockname()[1], flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
