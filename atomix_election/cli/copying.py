"""How far a long copy is, on a terminal."""

import sys
import time
from types import TracebackType
from typing import Self

QUIET_S = 1.0
"""A copy that takes no longer is not reported."""
PAUSE_S = 0.2
"""Between two reports."""


class Report:
    """Writes on standard error how much has been copied, where that is a terminal. Leave its block to end the line."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + QUIET_S
        self._written = False

    def __call__(self, done: int, pages: int) -> None:
        """So many pages of so many have been copied."""
        if not self._terminal or not pages or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PAUSE_S
        self._written = True
        print(f"\rcopied {done:,} of {pages:,} pages ({100 * done // pages} %)", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._written:
            print(file=sys.stderr)
