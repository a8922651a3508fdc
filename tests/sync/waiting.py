"""Waiting in threads for what must come."""

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")

WAIT_S = 15.0
"""How long anything that must happen may take on a slow machine."""


def eventually(is_so: Callable[[], _T]) -> _T:
    """Ask until something is so, and return the answer."""
    until = time.monotonic() + WAIT_S
    while not (answer := is_so()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.005)
    return answer


@contextmanager
def in_thread(call: Callable[[], _T]) -> Generator[Future[_T]]:
    """Make a call in a thread that has ended when the block has."""
    result: Future[_T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            result.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield result
    finally:
        thread.join(WAIT_S)
        assert not thread.is_alive()
