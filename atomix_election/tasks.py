"""Background tasks that belong to a block of the caller's, and the pauses between tries."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import anyio
from anyio.abc import TaskGroup

_Args = TypeVarTuple("_Args")
_ResultT = TypeVar("_ResultT")


class Background:
    """Tasks that end with a block, and not before: what cancels the block does not reach them until it is left.

    So whatever a block has to do on its way out can count on them.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._context = _context_for_anyio()
        self._scopes: set[anyio.CancelScope] = set()
        self._over = False

    def start_soon(self, job: Callable[[*_Args], Coroutine[Any, Any, None]], *args: *_Args) -> None:
        """Start a task; no task is needed for that. If it fails, the block is cancelled, and the error comes out of it
        in a group.
        """
        self._context.copy().run(self._tasks.start_soon, self._run, job, args)

    @property
    def is_over(self) -> bool:
        """Whether the block is over: what is started now is cancelled at once, or cannot be started any more."""
        return self._over

    def cancel_block(self) -> None:
        """Cancel the block, and with it the tasks."""
        self._tasks.cancel_scope.cancel()

    def end(self) -> None:
        """Cancel the tasks; the block is over."""
        self._over = True
        for scope in self._scopes:
            scope.cancel()

    async def _run(self, job: Callable[..., Coroutine[Any, Any, None]], args: tuple[Any, ...]) -> None:
        with anyio.CancelScope(shield=True) as scope:
            self._scopes.add(scope)
            if self._over:
                scope.cancel()  # what the task shields is done all the same
            try:
                await job(*args)
            finally:
                self._scopes.discard(scope)


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[Background]:
    """Run tasks for as long as the block lasts, and cancel them at its end.

    Other than with a plain task group, an exception of the block comes out as itself, not inside a group.
    """
    error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        background = Background(tasks)
        try:
            yield background
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as raised:  # noqa: BLE001 - it is raised again below
            error = raised
        finally:
            background.end()
    if error is not None:
        raise error


def _context_for_anyio() -> Context:
    """Return the context of this task, made so that anyio knows the event loop where there is no task as well.

    It asks sniffio, where that is installed, and else takes it for asyncio.
    """
    context = copy_context()
    with suppress(ImportError):
        from sniffio import current_async_library, current_async_library_cvar

        context.run(current_async_library_cvar.set, current_async_library())
    return context


class Callbacks:
    """Has functions called by the event loop that it is made in, asyncio's or Trio's, without a task.

    A function must not wait, and must not raise: nobody is there to hear of it.
    """

    def __init__(self) -> None:
        try:
            event_loop = asyncio.get_running_loop()
        except RuntimeError:
            from trio.lowlevel import current_trio_token  # the other one that anyio knows

            self._soon: Callable[..., object] = current_trio_token().run_sync_soon
            self._soon_from_thread = self._soon
        else:
            context = _context_for_anyio()
            self._soon = partial(event_loop.call_soon, context=context)
            self._soon_from_thread = partial(event_loop.call_soon_threadsafe, context=context)

    def soon(self, call: Callable[[*_Args], object], *args: *_Args) -> None:
        """Have a function called after what is ready to run now."""
        self._soon(call, *args)

    def soon_from_thread(self, call: Callable[[*_Args], object], *args: *_Args) -> None:
        """The same from another thread. Nothing happens if the event loop has ended: nobody is left to be told."""
        with suppress(RuntimeError):
            self._soon_from_thread(call, *args)


async def shielded(awaitable: Awaitable[_ResultT]) -> _ResultT:
    """Wait for something that must not be left half done, whatever cancels this task meanwhile."""
    with anyio.CancelScope(shield=True):
        return await awaitable
    raise AssertionError("nobody cancels this scope")


async def see_through(job: Callable[[], Awaitable[None]]) -> None:
    """Run a job to its end, whatever cancels this task: asyncio's own cancellation too, which ``shielded`` lets by.

    For what works with a thread: that cannot be cancelled, and what it works on must not be touched meanwhile.
    """
    errors: list[Exception] = []

    async def run() -> None:
        with anyio.CancelScope(shield=True):
            try:
                await job()
            except Exception as error:  # noqa: BLE001 - it is raised again below, not in a group
                errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
    if errors:
        raise errors[0]


def native_cancellations() -> int:
    """Return how often asyncio's ``Task.cancel`` was called on this task and not taken back; 0 under Trio."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return task.cancelling() if task else 0


def raise_native_cancellation(before: int) -> None:
    """Go on with a native cancellation that a cancel scope of ours has swallowed together with its own.

    Args:
        before: what ``native_cancellations`` returned when the scope was entered.
    """
    if native_cancellations() > before:
        raise asyncio.CancelledError


FIRST_PAUSE_S = 0.05
"""The most before the second try."""
LONGEST_PAUSE_S = 1.0
"""The most between any two tries, unless told otherwise."""


class Pauses:
    """How long to wait between tries: up to twice as long each time, by chance, up to a limit.

    Args:
        longest_s: the limit.
        chance: returns numbers from 0 to 1.
    """

    def __init__(self, longest_s: float, chance: Callable[[], float]) -> None:
        self._longest_s = longest_s
        self._chance = chance

    def limit(self, longest_s: float) -> None:
        """Lower the limit, if it is higher."""
        self._longest_s = min(self._longest_s, longest_s)

    def after(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt; the first one has number 0."""
        return self._chance() * min(FIRST_PAUSE_S * 2 ** min(attempt, 20), self._longest_s)
