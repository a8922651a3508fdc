"""Values on a command line."""

from math import inf
from typing import Any

import click

at_least_one: click.IntRange = click.IntRange(min=1)
"""A number of things, of which there is at least one."""


class Seconds(click.ParamType[float]):
    """A length of time that is not nothing, and ends.

    Args:
        most: the longest one.
    """

    name = "seconds"

    def __init__(self, most: float = inf) -> None:
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return it in seconds."""
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        if not 0 < seconds < inf:
            self.fail(f"{value} is no number of seconds above 0.", param, ctx)
        if seconds > self._most:
            self.fail(f"{value} is more than the most, {self._most:g} seconds.", param, ctx)
        return seconds


seconds: Seconds = Seconds()
