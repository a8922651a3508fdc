"""What runs a test: nothing, anyio's plugin, or pytest-asyncio."""

from enum import Enum, auto
from inspect import iscoroutinefunction
from typing import Any

import pytest


class Kind(Enum):
    """What runs a test."""

    BLOCKING = auto()
    """pytest itself: it is a plain function."""
    ANYIO = auto()
    """The plugin that anyio brings."""
    PYTEST_ASYNCIO = auto()
    """pytest-asyncio."""
    UNKNOWN = auto()
    """Something else, which runs async functions."""
    NOT_INSTALLED = auto()
    """What it is marked for, pytest-asyncio, is not there."""


_PYTEST_ASYNCIO = ("asyncio", "pytest_asyncio")
"""What pytest-asyncio is called when it was found by itself, and when it was named by ``-p``."""


def has_pytest_asyncio(config: pytest.Config) -> bool:
    """Return whether pytest-asyncio is in use: it is installed, and was not switched off."""
    return any(config.pluginmanager.has_plugin(name) for name in _PYTEST_ASYNCIO)


def kind_of(item: pytest.Item) -> Kind:
    """Return what runs a test. Where both could, pytest-asyncio does."""
    if not iscoroutinefunction(getattr(item, "obj", None)):
        return Kind.BLOCKING
    if item.get_closest_marker("asyncio") is not None:
        return Kind.PYTEST_ASYNCIO if has_pytest_asyncio(item.config) else Kind.NOT_INSTALLED
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return Kind.ANYIO if "anyio_backend" in fixtures else Kind.UNKNOWN


def loop_scope_of(item: pytest.Item) -> str:
    """Return how long pytest-asyncio keeps the event loop that it runs a test in: "function", "class", ..."""
    marker = item.get_closest_marker("asyncio")
    arguments: dict[str, Any] = {} if marker is None else dict(marker.kwargs)
    chosen = arguments.get("loop_scope") or arguments.get("scope")  # the latter is what it was called before
    return chosen or item.config.getini("asyncio_default_test_loop_scope")
