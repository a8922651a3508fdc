"""Background tasks end with their block, and the block's own end comes out unchanged."""

import asyncio
import contextlib
import threading

import anyio
import anyio.lowlevel
import pytest

from atomix_election.tasks import Callbacks, background_tasks, see_through

pytestmark = pytest.mark.anyio


class Mishap(Exception):
    """What goes wrong in a block."""


async def test_tasks_are_cancelled_at_the_end_of_the_block() -> None:
    """And the block's end waits until they have ended."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            ended.append("work")

    with anyio.fail_after(5):
        async with background_tasks() as tasks:
            tasks.start_soon(work)
            await anyio.wait_all_tasks_blocked()
    assert ended == ["work"]


@pytest.mark.parametrize(
    "error",
    [Mishap(), TimeoutError(), StopIteration(), StopAsyncIteration(), SystemExit(3), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
async def test_the_blocks_exception_comes_out_as_itself(error: BaseException) -> None:
    """Not in a group, and the tasks have ended."""
    with pytest.raises(type(error)) as raised:  # noqa: PT012 - its end is what is tested
        async with background_tasks() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise error
    assert raised.value is error
    assert raised.value.__cause__ is None


async def test_the_blocks_group_comes_out_as_itself() -> None:
    """Exception groups of its own are not taken apart."""
    group = BaseExceptionGroup("of the block", [Mishap(), KeyboardInterrupt()])
    with pytest.raises(BaseExceptionGroup) as raised:
        async with background_tasks():
            raise group
    assert raised.value is group


async def test_a_failing_task_ends_the_block() -> None:
    """Its exception comes out in a group, as it is a fault of this package."""

    async def fail() -> None:
        raise Mishap

    with anyio.fail_after(5), pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - its end is what is tested
        async with background_tasks() as tasks:
            tasks.start_soon(fail)
            await anyio.sleep_forever()
    assert [type(each) for each in raised.value.exceptions] == [Mishap]


async def test_an_outer_cancellation_goes_through() -> None:
    """The scope that was cancelled catches it."""
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with background_tasks() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancellation_goes_through() -> None:
    """The task counts one, and is cancelled."""
    counts: list[int] = []

    async def stay() -> None:
        try:
            async with background_tasks() as tasks:
                tasks.start_soon(anyio.sleep_forever)
                await asyncio.sleep(60)
        finally:
            task = asyncio.current_task()
            assert task is not None
            counts.append(task.cancelling())

    task = asyncio.create_task(stay())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert task.cancelled()
    assert counts == [1]


async def test_a_block_that_returns_ends_quietly() -> None:
    """No scope of the caller is cancelled by it."""
    async with background_tasks():
        pass
    await anyio.lowlevel.checkpoint()


async def test_what_is_seen_through_raises_its_own_error() -> None:
    """Not in a group."""

    async def fail() -> None:
        raise Mishap

    with pytest.raises(Mishap):
        await see_through(fail)


async def test_what_is_seen_through_is_not_cancelled_with_its_caller() -> None:
    """The caller's scope waits for it."""
    done: list[int] = []

    async def work() -> None:
        for number in range(3):
            await anyio.lowlevel.checkpoint()
            done.append(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(see_through, work)
        tasks.cancel_scope.cancel()
    assert done in ([], [0, 1, 2])  # a task that has not begun need not begin
    with anyio.CancelScope() as scope:
        scope.cancel()
        await see_through(work)
    assert done[-3:] == [0, 1, 2]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncios_cancellation_does_not_reach_what_is_seen_through() -> None:
    """However often it comes; then the caller is cancelled."""
    going_on, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await going_on.wait()
        done.set()

    task = asyncio.create_task(see_through(work))
    for _ in range(3):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    going_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert done.is_set()


async def test_functions_are_called_without_a_task() -> None:
    """After what is ready to run, in order; from another thread too."""
    callbacks, called, all_called = Callbacks(), list[object](), anyio.Event()
    callbacks.soon(called.append, 1)
    callbacks.soon(called.append, 2)
    assert not called

    def from_thread() -> None:
        callbacks.soon_from_thread(lambda: called.append(threading.get_ident()))
        callbacks.soon_from_thread(all_called.set)

    thread = threading.Thread(target=from_thread)
    thread.start()
    with anyio.fail_after(5):
        await all_called.wait()
    thread.join()
    assert called == [1, 2, threading.get_ident()]


async def _start_in_a_callback() -> None:
    ended = anyio.Event()

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        ended.set()

    async with background_tasks() as tasks:
        event_loop = asyncio.get_running_loop()
        event_loop.call_later(0, tasks.start_soon, work)
        with anyio.fail_after(5):
            await ended.wait()
        times: list[float] = []
        Callbacks().soon(lambda: times.append(anyio.current_time()))
        await asyncio.sleep(0)
        assert times


def test_tasks_can_be_started_where_there_is_no_task() -> None:
    """As in a callback of a transport, in an event loop that anyio did not start."""
    asyncio.run(_start_in_a_callback())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_may_outlive_the_event_loop(backend: str) -> None:
    """What it would tell is told to nobody."""

    async def make() -> Callbacks:
        return Callbacks()

    anyio.run(make, backend=backend).soon_from_thread(pytest.fail)
