"""A TCP proxy between client and server, on loopback, which does on command what networks do."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)  # linger on, for no time: closing sends RST


@dataclass(eq=False)
class Direction:
    """What becomes of the bytes that go one way, on all connections."""

    delay_s: float = 0.0
    bytes: int = 0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.flowing.set()


class _Pipe:
    """One connection, one way: what comes in goes out, late or not at all."""

    def __init__(
        self, direction: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter, ended: asyncio.Event
    ) -> None:
        self._direction = direction
        self._ended = ended
        self._source = source
        self._sink = sink
        self._waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read(self) -> None:
        """Take bytes in, also while nothing flows; an empty chunk is the end."""
        data = b"-"
        while data:
            try:
                data = await self._source.read(CHUNK_BYTES)
            except ConnectionError:
                reset(self._sink)
                data = b""
            self._direction.bytes += len(data)
            due = asyncio.get_running_loop().time() + self._direction.delay_s
            self._waiting.put_nowait((due, data))
        self._ended.set()

    async def write(self) -> None:
        """Hand them on when their time has come."""
        with suppress(OSError):
            while True:
                due, data = await self._waiting.get()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                await self._direction.flowing.wait()
                if not data:
                    self.half_close()
                    return
                self._sink.write(data)
                await self._sink.drain()

    def half_close(self) -> None:
        """Tell the receiver that nothing more comes (FIN)."""
        if not self._sink.is_closing():
            with suppress(OSError):
                self._sink.write_eof()


@dataclass(eq=False)
class _Pair:
    """The two connections that the proxy joins, and the pipes between them."""

    ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    up: _Pipe
    down: _Pipe


class Proxy:
    """Stands before a server. An async context manager.

    Args:
        port: where the server listens, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.up = Direction()
        """From clients to the server."""
        self.down = Direction()
        """From the server to clients."""
        self.accepted = 0
        """How many connections there were."""
        self.server_closed = asyncio.Event()
        """Set when the server has closed a connection (FIN)."""
        self.port = 0
        self._server_port = port
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    @property
    def target(self) -> str:
        """What a client is given."""
        return f"grpc://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._pairs)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()
        for task in self._tasks:
            task.cancel()  # one that waits for something to flow
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self) -> None:
        """Take new connections (again), always on the same port."""
        self._listener = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no new connections: whoever tries is refused. Those that there are go on."""
        if self._listener is not None:
            self._listener.close()

    def cut(self) -> None:
        """Reset every connection, at both ends."""
        for pair in self._pairs:
            for end in pair.ends:
                reset(end)

    def part(self) -> None:
        """Cut and refuse: nobody reaches the server until ``accept``."""
        self.refuse()
        self.cut()

    def half_close(self, *, up: bool = False, down: bool = False) -> None:
        """Tell the server (up) or the clients (down) that the other end sends nothing more."""
        for pair in self._pairs:
            if up:
                pair.up.half_close()
            if down:
                pair.down.half_close()

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Hand nothing on, and keep it; new connections are taken, and treated the same."""
        for direction, stalled in ((self.up, up), (self.down, down)):
            if stalled:
                direction.flowing.clear()

    def resume(self) -> None:
        """Let everything flow, what was kept first."""
        self.up.flowing.set()
        self.down.flowing.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            reset(writer)
            return
        up = _Pipe(self.up, reader, server_writer, asyncio.Event())
        down = _Pipe(self.down, server_reader, writer, self.server_closed)
        pair = _Pair((writer, server_writer), up, down)
        self._pairs.add(pair)
        task = asyncio.create_task(self._serve(pair))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, pair: _Pair) -> None:
        try:
            async with asyncio.TaskGroup() as pipes:
                for pipe in (pair.up, pair.down):
                    pipes.create_task(pipe.read())
                    pipes.create_task(pipe.write())
        finally:
            self._pairs.discard(pair)
            for end in pair.ends:
                end.close()
            for end in pair.ends:
                with suppress(OSError):
                    await end.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST."""
    found: socket.socket | None = writer.get_extra_info("socket")
    if found is not None and not writer.is_closing():
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
