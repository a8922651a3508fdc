"""SIGTERM as a cancellation or an exception, so that a leader steps down before the process ends."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import anyio


class _Sigterm:
    """What SIGTERM does in this process while there are blocks that it is to cancel."""

    def __init__(self) -> None:
        self._cancels: list[Callable[[], object]] = []
        self._was_received = False

    def handle(self, _: int, __: FrameType | None) -> None:
        """SIGTERM was received. Once is enough: blocks that begin later are told when they do."""
        if self._was_received:
            return
        self._was_received = True
        for cancel in self._cancels:
            cancel()

    def begin(self, cancel: Callable[[], object]) -> None:
        """A block begins; one that comes after the signal is cancelled at once."""
        signal.signal(signal.SIGTERM, self.handle)
        self._cancels.append(cancel)
        if self._was_received:
            cancel()

    def end(self, cancel: Callable[[], object]) -> None:
        """A block has ended. After the last one the process goes the way that the signal meant."""
        self._cancels.remove(cancel)
        if self._cancels:
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._was_received:
            self._was_received = False
            signal.raise_signal(signal.SIGTERM)


_sigterm = _Sigterm()


@contextmanager
def cancelled_by_sigterm() -> Generator[None]:
    """Let SIGTERM cancel the block, and all others that say so; after the last one the former action is restored.

    If there was a signal it is raised again then. Nothing is done outside the main thread, and where SIGTERM has
    another action than the default one or this one.
    """
    if not _may_handle():
        yield
        return
    scope = anyio.CancelScope()
    cancel = partial(_call_soon(), scope.cancel)
    _sigterm.begin(cancel)
    try:
        with scope:
            yield
    finally:
        _sigterm.end(cancel)


class Terminated(SystemExit):
    """SIGTERM was received: leave the blocks that it is to end."""


class RaisedBySigterm:
    """Lets SIGTERM raise ``Terminated`` in the main thread from ``begin`` until ``leave``, on the same terms."""

    def __init__(self) -> None:
        self._is_handled = False
        self._is_left = False

    def begin(self) -> None:
        """A block begins."""
        if _may_handle():
            self._is_handled = True
            _sigterm.begin(self._terminate)

    def leave(self) -> None:
        """The block is on its way out, which nothing has to interrupt."""
        self._is_left = True

    def end(self) -> None:
        """The block has ended. After the last one the former action is restored; a signal is raised again."""
        if self._is_handled:
            self._is_handled = False
            _sigterm.end(self._terminate)

    def _terminate(self) -> None:
        if not self._is_left:
            raise Terminated(128 + signal.SIGTERM)


def _may_handle() -> bool:
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _sigterm.handle)


def _call_soon() -> Callable[[Callable[[], None]], object]:
    """Return what calls a function in this event loop, and can itself be called in a signal handler."""
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        trio = sys.modules["trio"]  # the other event loop that anyio runs on, and this is it
        return trio.lowlevel.current_trio_token().run_sync_soon
