"""Watching an election from a thread."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Self

import anyio

from atomix_election.errors import InvalidRequest
from atomix_election.model import Event
from atomix_election.sync.event_loop import EventLoop
from atomix_election.sync.held import Held


class Events:
    """The events of an election: an iterator that waits for the next one. Made by ``LeaderElection.events``.

    Several threads may take events from it; each event goes to one of them.
    """

    def __init__(self, watch: Callable[[], AbstractAsyncContextManager[AsyncIterator[Event]]], loop: EventLoop) -> None:
        self._event_loop = loop
        self._held = Held(watch, loop)
        self._events: AsyncIterator[Event]
        self._turn = anyio.Lock()
        self._waiting: set[anyio.CancelScope] = set()
        self._is_over = True

    def __enter__(self) -> Self:
        self._held.use()
        try:
            self._events = self._held.enter()
            self._is_over = False
            return self
        except BaseException:
            self._held.drop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if not self._event_loop.is_forked:
            self._event_loop.post(self._stop_waiting)
        self._held.leave()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return self.next()

    def next(self, *, timeout_s: float | None = None) -> Event:
        """Wait for the next event, and return it.

        Args:
            timeout_s: how long to wait at most, in seconds; by default for as long as it takes. No event is lost by it.

        Raises:
            TimeoutError: there was none in time.
            InvalidRequest: the ``with`` block has ended, maybe meanwhile in another thread.
            Unavailable: the connection is lost, or the client was closed.
        """
        return self._event_loop.run(partial(self._take, timeout_s))

    async def _take(self, timeout_s: float | None) -> Event:
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                if not self._is_over:
                    with anyio.fail_after(timeout_s):
                        async with self._turn:
                            return await anext(self._events)
            finally:
                self._waiting.discard(scope)
        raise InvalidRequest("this watch is over: take events inside its `with` block")

    def _stop_waiting(self) -> None:
        for scope in self._waiting:
            scope.cancel()
