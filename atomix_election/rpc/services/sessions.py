"""Our service ``atomix_election.v1.Sessions``: sessions that their client keeps alive."""

import asyncio
from collections.abc import Callable
from functools import partial

import anyio

from atomix_election.core.campaign import Answer
from atomix_election.rpc._generated.atomix_election import v1
from atomix_election.rpc.call import ServerCall, session_of
from atomix_election.rpc.frames import frame
from atomix_election.rpc.hot_messages import answer_bytes, renewal_of_bytes
from atomix_election.rpc.methods import SESSION_METHODS
from atomix_election.rpc.services.base import ServedConnection, ServedMethod
from atomix_election.service import ImmediateKeepAlive


class _Renewals:
    """The renewals of one stream, which are taken in a task of their own beside the one that sends answers.

    There are many idle streams: a task group for each would cost more memory than all the rest.

    Args:
        stream: where they go.
        call: where they come from.
        done: called when no more come.
    """

    def __init__(self, stream: ImmediateKeepAlive, call: ServerCall, done: Callable[[], None]) -> None:
        self._stream = stream
        self._call = call
        self._done = done
        self._scope: anyio.CancelScope | None = None
        self._fault: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._news_waits = False
        self._over = False

    async def take(self) -> None:
        """Take them until the client ends the stream, or something is wrong with one."""
        with anyio.CancelScope() as self._scope:
            try:
                while (data := await self._call.read_next()) is not None:
                    await self._stream.send(renewal_of_bytes(data))
            except Exception as error:  # noqa: BLE001 - it is raised by ``end``
                self._fault = error
            self._done()

    def take_now(self, data: bytes) -> bool:
        """Take one without the task, and return whether that is possible."""
        answer = self._stream.renew_now(renewal_of_bytes(data))
        if answer is None:
            return False
        self._send(answer)
        return True

    def tell(self) -> None:
        """Send how it stands at the end of this turn of the event loop: a session may lead in many elections, of which
        more than one changes in a turn."""
        if not self._news_waits:
            self._news_waits = True
            self._loop.call_soon(self._send_newest)

    def _send_newest(self) -> None:
        self._news_waits = False
        if not self._over:
            answer = self._stream.newest()
            if answer.ended:
                self._stream.let_receive()
            else:
                self._send(answer)

    def _send(self, answer: Answer) -> None:
        if not self._call.send_now(_message(answer)):
            self._stream.let_receive()  # which is sent as soon as the peer reads

    async def end(self, task: asyncio.Task[None]) -> None:
        """Stop, and raise what was wrong, if anything was."""
        self._over = True
        if self._scope is None:
            task.cancel()  # it has not begun
        else:
            self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        if self._fault is not None:
            raise self._fault


def _message(answer: Answer) -> bytes:
    return frame(answer_bytes(answer))


async def _keep_alive(service: ServedConnection, call: ServerCall) -> None:
    """Take renewals and send answers, until the client ends the stream or the session has ended."""
    async with service.keep_alive(*session_of(call.headers)) as stream:
        with anyio.CancelScope() as answering:
            renewals = _Renewals(stream, call, answering.cancel)
            task = asyncio.create_task(renewals.take())
            stream.on_news(renewals.tell)
            try:
                with call.take_at_once(renewals.take_now):
                    ended = False
                    while not ended:
                        answer = await stream.receive()
                        await call.send_framed(partial(_message, answer))
                        ended = answer.ended
            finally:
                await renewals.end(task)


async def _end(service: ServedConnection, call: ServerCall) -> None:
    await call.read(v1.EndRequest)
    await service.end_session(*session_of(call.headers))
    await call.send(v1.EndResponse)


METHODS = (
    ServedMethod(SESSION_METHODS["KeepAlive"], _keep_alive, endless=True),
    ServedMethod(SESSION_METHODS["End"], _end, writes=True),
)
