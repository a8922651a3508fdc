"""Background tasks that belong to a block of the caller's."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[TaskGroup]:
    """Run tasks for as long as the block lasts, and cancel them at its end.

    Other than with a plain task group, an exception of the block comes out as itself, not inside a group. A task that
    fails cancels the block, and its exception comes out in a group, as it is a fault of this package.
    """
    error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as raised:  # noqa: BLE001 - it is raised again below
            error = raised
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
