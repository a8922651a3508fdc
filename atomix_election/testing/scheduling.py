"""Trio's scheduler made to repeat itself, and to leave out the tasks of a machine that stands still.

Trio has no public way to either. It shuffles each batch of runnable tasks by ``trio._core._run._r``, in an order that
repeats itself only where ``_ALLOW_DETERMINISTIC_SCHEDULING`` is set; Hypothesis and pytest-trio set the same two. The
queue of runnable tasks is replaced, for one run, by one that keeps back what must not run. Both are undone at the end.
"""

import random
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, cast

import trio
from trio.lowlevel import Task

PROCESS: ContextVar[str] = ContextVar("atomix_election_process", default="")
"""Which of the simulated processes a task belongs to; each task inherits it from the one that started it."""


def outside(start: Callable[..., object], *args: Any) -> None:
    """Start a task that belongs to no process, whoever calls: what the network and the servers do."""
    Context().run(start, *args)


class Machines:
    """Which processes stand still. Their time goes on, and when they go on everything that is due happens at once."""

    def __init__(self) -> None:
        self._still: set[str] = set()

    def hold(self, process: str) -> None:
        """Let nothing of a process run from now on, as if its event loop were blocked."""
        self._still.add(process)

    def release(self, process: str) -> None:
        """Let a process go on."""
        self._still.discard(process)

    def stands_still(self, process: str) -> bool:
        """Return whether a process stands still."""
        return process in self._still

    def may_run(self, task: Task) -> bool:
        """Return whether a task belongs to a process that goes on."""
        return not self._still or task.context.get(PROCESS, "") not in self._still


class _RunQueue(deque[Task]):
    """Trio's queue of runnable tasks, as Trio uses it: emptied in one go, but for those that are held."""

    def __init__(self, machines: Machines, tasks: Iterable[Task]) -> None:
        super().__init__(tasks)
        self._machines = machines

    def __bool__(self) -> bool:
        return any(self._machines.may_run(task) for task in super().__iter__())

    def __iter__(self) -> Iterator[Task]:
        return iter([task for task in super().__iter__() if self._machines.may_run(task)])

    def everything(self) -> deque[Task]:
        """Return a plain queue of all tasks, also of those that are held."""
        return deque(super().__iter__())

    def clear(self) -> None:
        held = [task for task in super().__iter__() if not self._machines.may_run(task)]
        super().clear()
        self.extend(held)


class _Steps(trio.abc.Instrument):
    """Calls back after every step of any task, with the process that it belongs to; "" for none."""

    def __init__(self, after_step: Callable[[str], None]) -> None:
        self._after_step = after_step

    def after_task_step(self, task: Task) -> None:
        self._after_step(task.context.get(PROCESS, ""))


def tasks_of(process: str) -> list[str]:
    """Return the tasks of a process that have not ended. To be used inside a run of Trio."""
    found: list[str] = []
    root = trio.lowlevel.current_root_task()
    to_visit = [root] if root is not None else []
    while to_visit:
        task = to_visit.pop()
        to_visit += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        if task.context.get(PROCESS, "") == process:
            found.append(task.name)
    return found


@contextmanager
def repeatable(seed: int) -> Generator[None]:
    """Let Trio's scheduler depend on the seed alone, for the runs inside this block."""
    run: Any = trio._core._run  # type: ignore[attr-defined]  # noqa: SLF001 - see the top of this file
    allowed, state = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()  # noqa: SLF001
    run._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    run._r.seed(random.Random(seed).random())  # noqa: SLF001
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # noqa: SLF001
        run._r.setstate(state)  # noqa: SLF001


@contextmanager
def watched(machines: Machines, after_step: Callable[[str], None]) -> Generator[None]:
    """Hold the tasks that ``machines`` says, and call back after every step of a process; "" stands for all else.

    To be used inside a run of Trio.
    """
    runner = cast("Any", trio.lowlevel.current_task()._runner)  # type: ignore[reportPrivateUsage]  # noqa: SLF001
    steps = _Steps(after_step)
    tasks: deque[Task] = runner.runq
    runner.runq = queue = _RunQueue(machines, tasks)
    trio.lowlevel.add_instrument(steps)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(steps)
        runner.runq = queue.everything()
