"""A network that delays, loses, repeats and cuts, between a client and an election service in the same process."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from atomix_election.core.campaign import LONGEST_CALL_S, Timing
from atomix_election.errors import (
    ElectionError,
    LimitExceeded,
    OutcomeUnknown,
    PermissionDenied,
    SessionEnded,
    StoreError,
    Unauthenticated,
    Unavailable,
    doubt,
)
from atomix_election.model import ElectionDescription, ElectionPage, Event, Term
from atomix_election.service import PAGE_SIZE, WATCH_BUFFER, Call, KeepAlive, Renewal, Service
from atomix_election.tasks import Background, Pauses
from atomix_election.testing.streams import Direction, FaultyKeepAlive, Link, Pipe

_ResultT = TypeVar("_ResultT")


@dataclass(slots=True)
class Faults:
    """How bad a network is: the longest delay in seconds, and how likely each fault is, from 0 to 1.

    Args:
        delay_s: each message takes up to so long.
        lost_request: the connection breaks before a call was sent.
        lost_reply: it breaks after the call was sent, before its answer came.
        duplicate: a write with an operation number arrives once more, late.
        broken_stream: a stream breaks at a message.
    """

    delay_s: float = 0.0
    lost_request: float = 0.0
    lost_reply: float = 0.0
    duplicate: float = 0.0
    broken_stream: float = 0.0


class _Reply:
    """What the server said to one call, once it is here."""

    def __init__(self) -> None:
        self.came = anyio.Event()
        self.outcome: Any = None

    def set(self, outcome: Any) -> None:
        self.outcome = outcome
        self.came.set()


class FaultyService:
    """An election service at the other end of a bad network. Calls fail as the RPC client's do.

    Args:
        server: returns the service that is there now; raises Unavailable while there is none.
        tasks: where the network's and the server's part runs; what is on its way arrives when the client is gone.
        chance: decides what happens to each message.
        faults: how bad it is; may be changed at any time.
        start: starts a task of the network's: ``start(task_group.start_soon, function, *arguments)``.
        on_close: called when the client's end closes its connection; returns what to call when the server learns of it.
    """

    def __init__(
        self,
        server: Callable[[], Service],
        tasks: TaskGroup | Background,
        chance: random.Random,
        faults: Faults | None = None,
        start: Callable[..., object] | None = None,
        on_close: Callable[[], Callable[[], None]] | None = None,
    ) -> None:
        self.faults: Faults = faults or Faults()
        self.link: Link = Link()
        self._server = server
        self._tasks = tasks
        self._chance = chance
        self._start = start or _start
        self._on_close = on_close
        self._call_timeout_s = LONGEST_CALL_S
        self._pauses = Pauses(1.0, chance.random)
        self._pipes: set[Pipe] = set()
        self._is_connected = False

    @property
    def open_streams(self) -> int:
        """How many streams are open, at either end."""
        return len(self._pipes)

    def break_streams(self) -> None:
        """Break every stream at both ends: the connection is lost, and what comes next needs another one."""
        self._is_connected = False
        for pipe in list(self._pipes):
            pipe.break_off(Unavailable("the connection was lost"))

    def kill(self) -> None:
        """The client's process is gone: nothing more is sent, and nothing arrives; what is on its way goes on."""
        self.link.dead = True
        self._close(Unavailable("this process is dead"))

    def give_up(self) -> None:
        """The client closes its connection."""
        self._close(Unavailable("the connection was closed at this end"))

    def _close(self, error: Unavailable) -> None:
        """The streams end here at once, and there when that gets through."""
        self._is_connected = False
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.close_here(error)
        tell = self._on_close() if self._on_close is not None else None
        self._start(self._tasks.start_soon, self._hang_up, pipes, tell, self._delay_s())

    async def _hang_up(self, pipes: list[Pipe], tell: Callable[[], None] | None, delay_s: float) -> None:
        await anyio.sleep(delay_s)
        await self.link.passable(Direction.THERE)
        if tell is not None:
            tell()
        for pipe in pipes:
            pipe.break_off(Unavailable("the client hung up"))

    @asynccontextmanager
    async def keep_alive(self, namespace: str, session: str) -> AsyncGenerator[KeepAlive]:
        """See ``ElectionService.keep_alive``."""

        async def serve(pipe: Pipe) -> None:
            async with self._server().keep_alive(namespace, session) as stream:
                await pipe.carry(stream.send, stream.receive)

        async with self._open(serve) as pipe:
            yield FaultyKeepAlive(pipe, self.give_up)

    @asynccontextmanager
    async def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AsyncGenerator[AsyncIterator[Event]]:
        """See ``ElectionService.events``."""

        async def serve(pipe: Pipe) -> None:
            async with self._server().events(call, buffer=buffer) as events:
                await pipe.carry(_nothing_to_send, events.__anext__)

        async with self._open(serve) as pipe:
            yield pipe

    def session_granted(self, ttl_s: float) -> None:
        """See ``ElectionService.session_granted``."""
        self._call_timeout_s = Timing(ttl_s).call_timeout_s

    async def end_session(self, namespace: str, session: str) -> None:
        """See ``ElectionService.end_session``."""
        await self._call(lambda service: service.end_session(namespace, session), repeatable=False)

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        await self._call(lambda service: service.create(call), repeatable=call.operation is not None)

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        await self._call(lambda service: service.close(call), repeatable=call.operation is not None)

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        return await self._write(call, lambda service: service.enter(call, candidate_id))

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        return await self._write(call, lambda service: service.withdraw(call, candidate_id))

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        return await self._write(call, lambda service: service.anoint(call, candidate_id))

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        return await self._write(call, lambda service: service.promote(call, candidate_id))

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        return await self._write(call, lambda service: service.evict(call, candidate_id))

    async def forget(self, call: Call) -> Term:
        """See ``ElectionService.forget``."""
        return await self._write(call, lambda service: service.forget(call))

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        return await self._read(lambda service: service.get_term(call))

    async def list_elections(self, namespace: str, *, page_size: int = PAGE_SIZE, page_token: str = "") -> ElectionPage:
        """See ``InspectionService.list_elections``."""
        return await self._read(
            lambda service: service.list_elections(namespace, page_size=page_size, page_token=page_token)
        )

    async def describe(self, call: Call) -> ElectionDescription:
        """See ``InspectionService.describe``."""
        return await self._read(lambda service: service.describe(call))

    async def _read(self, send: Callable[[Service], Awaitable[_ResultT]]) -> _ResultT:
        return await self._call(send, repeatable=False, write=False)

    async def _write(self, call: Call, send: Callable[[Service], Awaitable[Term]]) -> Term:
        return await self._call(send, repeatable=call.operation is not None)

    async def _call(
        self, send: Callable[[Service], Awaitable[_ResultT]], *, repeatable: bool, write: bool = True
    ) -> _ResultT:
        """Try as ``RpcClient`` does: a read once more, a write that can be recognised until the time is over."""
        deadline = anyio.current_time() + self._call_timeout_s
        was_sent = False
        for attempt in count():
            try:
                return await self._try(send, deadline, repeatable=repeatable, write=write)
            except (Unavailable, OutcomeUnknown) as error:
                was_sent = was_sent or isinstance(error, OutcomeUnknown)
                pause_s = self._pauses.after(attempt)
                again = repeatable or (not was_sent and not attempt)
                if self.link.dead or not again or anyio.current_time() + pause_s >= deadline:
                    if isinstance(error, Unavailable):
                        doubt(error, tried_before=was_sent)
                    raise
            except (SessionEnded, StoreError, LimitExceeded, Unauthenticated, PermissionDenied) as error:
                doubt(error, tried_before=was_sent)
                raise
            await anyio.sleep(pause_s)
        raise AssertionError("the tries end with an answer or an error")

    async def _try(
        self,
        send: Callable[[Service], Awaitable[_ResultT]],
        deadline: float,
        *,
        repeatable: bool,
        write: bool,
    ) -> _ResultT:
        if self.link.dead or self._happens(self.faults.lost_request):
            await anyio.lowlevel.checkpoint()
            raise Unavailable("the connection was lost before the call was sent")
        with anyio.move_on_after(deadline - anyio.current_time()):
            await self._connect()
        if not self._is_connected:
            raise Unavailable("no server could be reached")
        reply = _Reply()
        self._start(self._tasks.start_soon, self._deliver, send, reply, self._delay_s())
        if repeatable and self._happens(self.faults.duplicate):
            late_s = self._chance.uniform(0, 10 * self.faults.delay_s)
            self._start(self._tasks.start_soon, self._deliver, send, _Reply(), late_s)
        patience_s = self._delay_s() if self._happens(self.faults.lost_reply) else deadline - anyio.current_time()
        with anyio.move_on_after(patience_s):
            await reply.came.wait()
        if isinstance(reply.outcome, ElectionError):
            raise reply.outcome
        if reply.came.is_set():
            return reply.outcome
        raise OutcomeUnknown("no answer came") if write else Unavailable("no answer came")

    async def _deliver(self, send: Callable[[Service], Awaitable[object]], reply: _Reply, delay_s: float) -> None:
        """The way there, what the server does, and the way back."""
        await anyio.sleep(delay_s)
        await self.link.passable(Direction.THERE)
        try:
            outcome = await send(self._server())
        except ElectionError as error:
            outcome = error
        await anyio.sleep(self._delay_s())
        await self.link.passable(Direction.BACK)
        reply.set(outcome)

    @asynccontextmanager
    async def _open(self, serve: Callable[[Pipe], Awaitable[None]]) -> AsyncGenerator[Pipe]:
        if self.link.dead or self._happens(self.faults.lost_request):
            await anyio.lowlevel.checkpoint()
            raise Unavailable("the connection was lost before the call was sent")
        pipe = Pipe(self.link, self._delay_s, lambda: self._happens(self.faults.broken_stream))
        self._pipes.add(pipe)
        self._start(self._tasks.start_soon, self._serve, serve, pipe)
        try:
            yield pipe
        finally:
            pipe.hang_up()

    async def _serve(self, serve: Callable[[Pipe], Awaitable[None]], pipe: Pipe) -> None:
        try:
            with pipe.scope:
                await self._connect()
                await self.link.passable(Direction.THERE)
                await serve(pipe)
        except ElectionError as error:
            pipe.break_off(error)
        finally:
            pipe.break_off(Unavailable("the connection was lost"))
            self._pipes.discard(pipe)

    async def _connect(self) -> None:
        """Wait for a server if this connection is a new one: nothing is sent before it has begun to speak HTTP/2.

        Raises:
            Unavailable: there is no server.
        """
        if not self._is_connected:
            await anyio.lowlevel.checkpoint()
            await self.link.passable(Direction.THERE, Direction.BACK)
            self._server()
            self._is_connected = True

    def _happens(self, likelihood: float) -> bool:
        return likelihood > 0 and self._chance.random() < likelihood

    def _delay_s(self) -> float:
        return self._chance.uniform(0, self.faults.delay_s)


def _start(start_soon: Callable[..., object], *args: Any) -> None:
    start_soon(*args)


async def _nothing_to_send(_: Renewal) -> None:
    raise AssertionError("a watch sends nothing")
