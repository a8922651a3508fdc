"""How far long work is, on a terminal."""

import sys
import time
from types import TracebackType
from typing import Self

QUIET_S = 1.0
"""Work that takes no longer is not reported."""
PAUSE_S = 0.2
"""Between two reports."""


class Report:
    """Writes on standard error how much has been done, where that is a terminal. Leave its block to end the line.

    Args:
        done: what is done to
        units: what is counted.
    """

    def __init__(self, done: str = "copied", units: str = "pages") -> None:
        self._done = done
        self._units = units
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + QUIET_S
        self._written = False

    def __call__(self, done: int, total: int) -> None:
        """So many of so many are done."""
        if not self._terminal or not total or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PAUSE_S
        self._written = True
        line = f"\r{self._done} {done:,} of {total:,} {self._units} ({100 * done // total} %)"
        print(line, end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._written:
            print(file=sys.stderr)
