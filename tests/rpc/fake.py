"""Servers that are not what they should be: each connection gets what a script says."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import h2.config
import h2.connection
import h2.events

from atomix_election.addresses import Endpoint

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = [("grpc-status", "0")]
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]


@asynccontextmanager
async def listening(script: Script) -> AsyncGenerator[Endpoint]:
    """Run the script with each connection; those that are left at the end are cut off."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError):
            await script(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield Endpoint(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read, and never say a word."""
    while await reader.read(4096):
        pass


async def http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a web server that knows no HTTP/2."""
    await reader.read(4096)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\n\r\n<html>what?</html>")
    await writer.drain()
    writer.close()


async def hanging_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection at the first words."""
    await reader.read(1)
    writer.close()


class Speaker:
    """The server's side of HTTP/2, for a script that answers calls in its own way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1", validate_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what h2 has ready."""
        self._writer.write(self.h2.data_to_send())

    def send_bytes(self, data: bytes) -> None:
        """Send what h2 has ready, and then bytes that it knows nothing of."""
        self.flush()
        self._writer.write(data)

    async def ended(self, count: int = 1, *, begun: bool = False) -> list[int]:
        """Return the streams of so many calls whose requests are complete, or have begun; fewer when the client has
        gone."""
        streams: list[int] = []
        awaited = h2.events.RequestReceived if begun else h2.events.StreamEnded
        while len(streams) < count and (data := await self._reader.read(1 << 16)):
            events = self.h2.receive_data(data)
            streams += [event.stream_id for event in events if isinstance(event, awaited)]
            self.flush()
        return streams


def answering(answer: Callable[[Speaker, int], None], *, begun: bool = False) -> Script:
    """Return a script that gives each call the same answer, when its request is complete or has begun."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        speaker = Speaker(reader, writer)
        while streams := await speaker.ended(begun=begun):
            for stream in streams:
                answer(speaker, stream)
                speaker.flush()

    return script
