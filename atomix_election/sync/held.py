"""Asynchronous contexts that a task of the event loop is in for as long as a thread's ``with`` block lasts."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import anyio

from atomix_election.errors import InvalidRequest
from atomix_election.sync.event_loop import EventLoop, Job, begin

_T = TypeVar("_T")


class Held(Generic[_T]):
    """A context that one task enters and leaves, in the event loop, when a thread says so.

    Whatever cancels the task meanwhile does not make it leave: the thread's block cannot be cancelled, and what it
    relies on must be there until it has ended.

    Args:
        make: returns the context.
        event_loop: where; None for that of this process, started if need be.
    """

    def __init__(
        self, make: Callable[[], AbstractAsyncContextManager[_T]], event_loop: EventLoop | None = None
    ) -> None:
        self._make = make
        self._event_loop = event_loop
        self._job = Job(self._hold)
        self._entered: Future[_T] = Future()
        self._was_used = False
        self._is_left = False
        self._left: anyio.Event | None = None

    @property
    def event_loop(self) -> EventLoop:
        """Where the task is, once it was entered."""
        if self._event_loop is None:
            raise InvalidRequest("this block has not begun: use it inside its `with` block")
        return self._event_loop

    def use(self) -> None:
        """See that it is entered once only, for who hands it out as a context manager.

        Raises:
            InvalidRequest: it was entered before.
        """
        if self._was_used:
            raise InvalidRequest("this block was entered before: call the method that returned it again")
        self._was_used = True

    def enter(self) -> _T:
        """Enter the context, and return what it gives, or raise what it raises: ``drop`` it then."""
        if self._event_loop is None:
            begin(self._job, self._use)
        else:
            self._event_loop.add(self._job)
        return self._entered.result()

    def drop(self) -> None:
        """Undo what was done of entering, after that failed or was interrupted, and wait until it is undone.

        A second interruption does not wait for it.
        """
        if self._event_loop is not None:
            self._event_loop.give_up(self._job, self._cancel)

    def leave(self) -> None:
        """Leave the context, and raise what that raises. Nothing happens in a forked child."""
        if self.event_loop.is_forked:
            return
        try:
            self.event_loop.post(self._leave)
            self._job.wait()
        except BaseException:
            self.event_loop.give_up(self._job, self._leave)
            raise
        self.event_loop.join_if_over()
        self._job.result()

    def _use(self, event_loop: EventLoop) -> None:
        self._event_loop = event_loop

    async def _hold(self) -> None:
        try:
            async with self._make() as value:
                with anyio.CancelScope(shield=True):
                    self._left = anyio.Event()
                    self._entered.set_result(value)
                    if not self._is_left:
                        await self._left.wait()
        except BaseException as error:
            if not self._entered.done():
                self._entered.set_exception(error)
            raise

    def _leave(self) -> None:
        self._is_left = True
        if self._left is not None:
            self._left.set()

    def _cancel(self) -> None:
        self._leave()
        self._job.cancel()
