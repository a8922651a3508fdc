"""A limit on the time of asynchronous tests, by the event loop's own time, which may be virtual."""

import functools
import inspect
from typing import Any

import anyio
import pytest


def limit(item: pytest.Item, longest_s: float) -> None:
    """Let an asynchronous test fail that takes longer, for ``pytest_itemcollected``."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _limited(item.obj, longest_s)


def _limited(test: Any, longest_s: float) -> Any:
    @functools.wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        with anyio.fail_after(longest_s):
            await test(*args, **kwargs)

    return limited
