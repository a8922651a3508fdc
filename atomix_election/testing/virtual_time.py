"""Time that passes at once: a function is run in an event loop that never waits."""

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, TypeVarTuple

import anyio

_Args = TypeVarTuple("_Args")
_ResultT = TypeVar("_ResultT")

LIMIT_S = 3600.0
"""Virtual seconds after which a run is taken for stuck, unless asked otherwise."""


def run_virtually(
    main: Callable[[*_Args], Awaitable[_ResultT]],
    *args: *_Args,
    seed: int = 0,
    limit_s: float = LIMIT_S,
    backend: Literal["trio", "asyncio"] = "trio",
) -> _ResultT:
    """Run an async function in virtual time, and return what it returns.

    Whenever everything waits, the time of the event loop jumps to when the first of it is due: minutes pass at once,
    and what happens does not depend on how fast the machine is. What waits for anything but time (a thread, a socket,
    another process) is overtaken by all time-outs: there must be nothing of the kind in it.

    With Trio each seed is one order in which tasks run that could run at the same time, so that different seeds try out
    different ones, and equal ones repeat a run exactly. Asyncio has only one order. The module ``random`` is seeded
    too, for as long as it lasts.

    Args:
        main: what to run. With Trio it must not use asyncio; anyio runs on both.
        args: what it is called with.
        seed: decides the order of tasks and ``random``.
        limit_s: how long it may take, in virtual seconds. It costs no time to wait, so what hangs has soon failed.
        backend: the event loop; "asyncio" is for code that runs on nothing else.

    Raises:
        TimeoutError: it took longer than that.
        ImportError: Trio is not installed.
    """

    async def limited() -> _ResultT:
        with anyio.move_on_after(limit_s) as limit:
            result = await main(*args)
            if not limit.cancel_called:
                return result
        raise TimeoutError(
            f"it was not over after {limit_s:g} s of virtual time: something waits for ever, or for a thread, a socket "
            "or another process, which this time does not stop for"
        )

    with _random_seeded(seed):
        if backend == "asyncio":
            options: dict[str, Any] = {"loop_factory": VirtualEventLoop}
            return anyio.run(limited, backend="asyncio", backend_options=options)
        try:
            import trio.testing
        except ModuleNotFoundError as error:
            message = "virtual time on Trio needs Trio: `pip install trio`, or run_virtually(..., backend='asyncio')"
            raise ImportError(message, name="trio") from error
        from atomix_election.testing.scheduling import repeatable

        with repeatable(seed):
            options = {"clock": trio.testing.MockClock(autojump_threshold=0)}
            return anyio.run(limited, backend="trio", backend_options=options)


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio's whose time jumps to when something is due, as Trio's ``MockClock`` does.

    For anyio's pytest plugin: ``anyio_backend`` returns ``("asyncio", {"loop_factory": VirtualEventLoop})``.
    """

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time in seconds, which begins at 0."""
        return self._virtual.now


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that does not wait for what is due later, and counts the time that it would have waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready. With nothing due at any time there is only the outside to wait for."""
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += timeout
        return ready


@contextmanager
def _random_seeded(seed: int) -> Generator[None]:
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
