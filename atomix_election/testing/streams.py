"""The part of a bad network that carries streams: in order, late, one way only, or not at all."""

from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Self

import anyio

from atomix_election.core.campaign import Answer
from atomix_election.errors import ElectionError, Unavailable
from atomix_election.service import Renewal


class Direction(Enum):
    """Which way a message goes."""

    THERE = "to the server"
    BACK = "to the client"


class Link:
    """The way between a client and the servers. What is sent while it is cut arrives when it is whole again."""

    def __init__(self) -> None:
        self.dead = False
        """The client's process is gone: nothing arrives there any more."""
        self._cut: set[Direction] = set()
        self._mended = anyio.Event()

    def cut(self, *directions: Direction) -> None:
        """Let nothing through in these directions; none are both."""
        self._cut |= set(directions or Direction)

    def mend(self) -> None:
        """Let everything through."""
        self._cut.clear()
        self._mended.set()
        self._mended = anyio.Event()

    async def passable(self, *directions: Direction) -> None:
        """Wait until messages get through in these directions."""
        while not self._cut.isdisjoint(directions):
            await self._mended.wait()


class _Channel:
    """Messages that wait for their receiver; an error that ends them."""

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()
        self._error: ElectionError | None = None
        self._news = anyio.Event()

    def put(self, message: object) -> None:
        self._waiting.append(message)
        self._news.set()

    def fail(self, error: ElectionError) -> None:
        self._error = self._error or error
        self._news.set()

    async def get(self) -> Any:
        while not self._waiting:
            if self._error is not None:
                await anyio.lowlevel.checkpoint()
                raise type(self._error)(str(self._error))
            self._news = anyio.Event()
            await self._news.wait()
        await anyio.lowlevel.checkpoint()
        return self._waiting.popleft()


class Pipe:
    """One stream: what both ends have of it.

    Args:
        link: the way it takes.
        delay_s: returns how long the next message takes.
        breaks: returns whether it breaks at the next message.
    """

    def __init__(self, link: Link, delay_s: Callable[[], float], breaks: Callable[[], bool]) -> None:
        self.scope: anyio.CancelScope = anyio.CancelScope()
        self.broken: bool = False
        self._link = link
        self._delay_s = delay_s
        self._breaks = breaks
        self._there = _Channel()
        self._back = _Channel()

    def send(self, message: object) -> None:
        """Send to the server."""
        if self.broken:
            raise Unavailable("the stream is closed")
        self._there.put(message)

    async def receive(self) -> Any:
        """Return the next message of the server's."""
        return await self._back.get()

    def __aiter__(self) -> Self:
        """Iterate over what the server sends. No generator, as one that is left half way is a warning under Trio."""
        return self

    async def __anext__(self) -> Any:
        return await self.receive()

    def hang_up(self) -> None:
        """The client has left. What it sent before still arrives, then the server notices."""
        self.broken = True
        self._there.fail(Unavailable("the client hung up"))

    def close_here(self, error: ElectionError) -> None:
        """The client's end is closed, and the server does not know it yet."""
        self.broken = True
        self._back.fail(error)

    def break_off(self, error: ElectionError) -> None:
        """The stream is gone at both ends at once."""
        self.broken = True
        self._back.fail(error)
        self.scope.cancel()

    async def carry(self, send: Callable[[Any], Awaitable[None]], receive: Callable[[], Awaitable[Any]]) -> None:
        """The server's end: hand over what comes, and send what there is to say."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._carry_back, receive, tasks.cancel_scope)
            try:
                while True:
                    message = await self._there.get()
                    await self._pass(Direction.THERE)
                    await send(message)
            except ElectionError as error:
                self._back.fail(error)
            tasks.cancel_scope.cancel()

    async def _carry_back(self, receive: Callable[[], Awaitable[Any]], scope: anyio.CancelScope) -> None:
        try:
            while True:
                message = await receive()
                await self._pass(Direction.BACK)
                self._back.put(message)
        except ElectionError as error:
            self._back.fail(error)
            scope.cancel()

    async def _pass(self, direction: Direction) -> None:
        await anyio.sleep(self._delay_s())
        await self._link.passable(direction)
        if self._breaks():
            self.break_off(Unavailable("the connection was lost"))
            await anyio.lowlevel.checkpoint()


class FaultyKeepAlive:
    """The client's end of a keep-alive stream."""

    target = ""

    def __init__(self, pipe: Pipe, give_up: Callable[[], None]) -> None:
        self._pipe = pipe
        self._give_up = give_up

    async def send(self, renewal: Renewal) -> None:
        """See ``KeepAlive.send``."""
        await anyio.lowlevel.checkpoint()
        self._pipe.send(renewal)

    async def receive(self) -> Answer:
        """See ``KeepAlive.receive``."""
        return await self._pipe.receive()

    def give_up(self) -> None:
        """See ``KeepAlive.give_up``. The next stream may find the same way cut."""
        self._give_up()

    def prefer_another(self) -> None:
        """See ``KeepAlive.prefer_another``. There is no other target."""
