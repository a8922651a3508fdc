"""SIGTERM as a cancellation, so that a leader steps down before the process ends."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import anyio


@contextmanager
def cancelled_by_sigterm() -> Generator[None]:
    """Let SIGTERM cancel the block; at its end the former action is restored, and the signal raised again.

    Nothing is done outside the main thread, and where SIGTERM has another than its default action.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    scope = anyio.CancelScope()
    soon = _call_soon()
    received = False

    def cancel(_: int, __: FrameType | None) -> None:
        nonlocal received
        received = True
        soon(scope.cancel)

    signal.signal(signal.SIGTERM, cancel)
    try:
        with scope:
            yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if received:
            signal.raise_signal(signal.SIGTERM)


def _call_soon() -> Callable[[Callable[[], None]], object]:
    """Return what calls a function in this event loop, and can itself be called in a signal handler."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        trio = sys.modules["trio"]  # the other event loop that anyio runs on, and this is it
        return trio.lowlevel.current_trio_token().run_sync_soon
