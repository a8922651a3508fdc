"""Log lines that a peer can cause as often as it likes, and that are written seldom all the same."""

import logging

NOTICE_INTERVAL_S = 10.0
"""How often one of them is written at most; the next one says how many were left out."""


class Notices:
    """Lines of one log.

    Args:
        log: where they go.
        level: how bad they are.
    """

    def __init__(self, log: logging.Logger, level: int) -> None:
        self._log = log
        self._level = level
        self._next_at = float("-inf")
        self._left_out = 0

    def write(self, message: str, *, now: float) -> None:
        """Write a line, unless another one was written a short while ago."""
        if now < self._next_at:
            self._left_out += 1
            return
        more = f" ({self._left_out} such lines before it were left out)" if self._left_out else ""
        self._log.log(self._level, "%s%s", message, more)
        self._next_at = now + NOTICE_INTERVAL_S
        self._left_out = 0
