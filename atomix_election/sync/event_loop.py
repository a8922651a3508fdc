"""The event loop behind all blocking objects of a process, in a thread of its own, and the jobs that it is given.

There is one, so that ``memory://name`` and files can be shared by objects of different threads. It is started for the
first block that is entered, and ends with the last job; a block that is entered is a job too (``held``).
"""

import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from atomix_election.errors import InvalidRequest
from atomix_election.leadership import closed
from atomix_election.tasks import Callbacks

_ResultT = TypeVar("_ResultT")


class Job(Generic[_ResultT]):
    """Work for the event loop that a thread waits for.

    Args:
        work: what to do.
    """

    def __init__(self, work: Callable[[], Awaitable[_ResultT]]) -> None:
        self._work = work
        self._scope: anyio.CancelScope | None = None
        self._is_cancelled = False
        self._done: Future[_ResultT] = Future()
        self.has_begun = False

    async def run(self, ended: Callable[[], None]) -> None:
        """Do it, in the event loop.

        Args:
            ended: is called when it is over, before anybody who waits for it goes on.
        """
        tell: Callable[[], None] = partial(self._done.set_exception, CancelledError())
        try:
            with anyio.CancelScope() as self._scope:
                if self._is_cancelled:
                    self._scope.cancel()
                tell = partial(self._done.set_result, await self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            tell = partial(self._done.set_exception, error)
        ended()
        tell()

    def cancel(self) -> None:
        """Cancel it, in the event loop. It goes on with what it has to do on its way out."""
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def wait(self) -> None:
        """Wait in a thread until it is over."""
        self._done.exception()

    def result(self) -> _ResultT:
        """Wait in a thread until it is over, and return what it returned, or raise what it raised."""
        return self._done.result()


class EventLoop:
    """An event loop in a thread. Made by ``begin``."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._to_do: deque[Job[Any] | Callable[[], object]] = deque()
        self._running = 0
        self._is_over = False
        self._callbacks: Callbacks | None = None
        # A daemon, so that a process can end while an object is open: the session then ends with its time-to-live.
        self._thread = threading.Thread(target=self._run, name="atomix_election-sync", daemon=True)

    @property
    def is_forked(self) -> bool:
        """Whether this is a forked child of the process that the event loop is in."""
        return os.getpid() != self._process

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def check(self) -> None:
        """See that this process and this thread can wait for the event loop.

        Raises:
            InvalidRequest: they cannot.
        """
        if self.is_forked:
            raise InvalidRequest("this client was connected by a parent process: connect anew in the child")
        if threading.current_thread() is self._thread:
            raise InvalidRequest("a blocking call in the thread of its event loop would wait for itself")

    def run(self, work: Callable[[], Awaitable[_ResultT]]) -> _ResultT:
        """Have work done, wait for it, and return its result or raise its error.

        What interrupts the thread meanwhile, as Ctrl-C does, cancels the work and is raised when that has ended; a
        second interruption does not wait for it.
        """
        job = Job(work)
        try:
            self.add(job)
            job.wait()
        except BaseException:
            self.give_up(job, job.cancel)
            raise
        self.join_if_over()
        return job.result()

    def add(self, job: Job[Any]) -> None:
        """Have a job done.

        Raises:
            InvalidRequest: it could not be waited for here, see ``check``.
            Unavailable: the event loop is over, as all that used it were left.
        """
        self.check()
        with _shared.lock:
            if self._is_over:
                raise closed()
            self._to_do.append(job)
        self._wake()

    def add_first(self, job: Job[Any]) -> None:
        """The same for one who has the lock, and has seen that it is not over."""
        self._to_do.append(job)
        self._wake()

    def give_up(self, job: Job[Any], end: Callable[[], object]) -> None:
        """Have a job ended, and wait until it is. It may be that it never was to be done.

        Args:
            job: the job.
            end: how, in the event loop.
        """
        if self.is_forked:
            return
        with _shared.lock:
            is_known = job.has_begun or job in self._to_do
        if is_known:
            try:
                self.post(end)
                job.wait()
            except BaseException:
                self.post(end)
                raise
            self.join_if_over()

    def post(self, call: Callable[[], object]) -> None:
        """Have a function called in the event loop. Nothing happens if that is over."""
        with _shared.lock:
            if not self._is_over:
                self._to_do.append(call)
        self._wake()

    def join_if_over(self) -> None:
        """Wait for the thread to end, if it is about to."""
        if self._is_over:
            self._thread.join()

    def _wake(self) -> None:
        if self._callbacks is not None:
            self._callbacks.soon_from_thread(self._rouse)

    def _run(self) -> None:
        anyio.run(self._serve, backend="asyncio")

    async def _serve(self) -> None:
        self._something = anyio.Event()
        self._callbacks = Callbacks()
        async with anyio.create_task_group() as tasks:
            while not self._is_over:
                self._carry_out(tasks)
                if not self._is_over:
                    await self._something.wait()
                    self._something = anyio.Event()

    def _carry_out(self, tasks: TaskGroup) -> None:
        """Do what there is to do."""
        while True:
            with _shared.lock:
                self._end_if_idle()
                if not self._to_do:
                    return
                next_one = self._to_do.popleft()
                if isinstance(next_one, Job):
                    self._running += 1
                    next_one.has_begun = True
            if isinstance(next_one, Job):
                tasks.start_soon(next_one.run, self._ended)
            else:
                next_one()

    def _ended(self) -> None:
        with _shared.lock:
            self._running -= 1
            self._end_if_idle()
        self._rouse()

    def _end_if_idle(self) -> None:
        if not self._running and not self._to_do:
            self._is_over = True
            _shared.forget(self)

    def _rouse(self) -> None:
        self._something.set()


class _Shared:
    """The event loop of this process, and the lock that all who use one share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._event_loop: EventLoop | None = None

    def begin(self, job: Job[Any], use: Callable[[EventLoop], None]) -> None:
        """Have a job done in the event loop of this process, which is started if there is none."""
        with self.lock:
            event_loop = self._event_loop
            if event_loop is None:
                event_loop = EventLoop()
                event_loop.start()  # it finds nothing to do, and ends, if this is interrupted here
                self._event_loop = event_loop
            use(event_loop)
            event_loop.add_first(job)

    def forget(self, event_loop: EventLoop) -> None:
        """An event loop is over; the lock is held."""
        if self._event_loop is event_loop:
            self._event_loop = None

    def begin_anew(self) -> None:
        """This is a forked child: neither the thread nor who may hold the lock is here."""
        self.lock = threading.Lock()
        self._event_loop = None


_shared = _Shared()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.begin_anew)


def begin(job: Job[Any], use: Callable[[EventLoop], None]) -> None:
    """Have a job done in the event loop of this process.

    Args:
        job: the job.
        use: is told the event loop first, so that it is known wherever the caller is interrupted.
    """
    _shared.begin(job, use)
