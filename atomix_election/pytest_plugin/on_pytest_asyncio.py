"""Fixtures for pytest-asyncio, which in its strict mode runs those alone that its own decorator has made.

One for each scope of its event loops, as a client has to live in the loop of its test. Where pytest-asyncio is in use
this is imported whenever pytest starts, so that what they need is imported later.
"""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Literal

import pytest_asyncio

if TYPE_CHECKING:
    from atomix_election import Client
    from atomix_election.pytest_plugin.server import BackgroundServer


def _client_on(loop_scope: Literal["function", "class", "module", "package", "session"]) -> Any:
    """Return the fixture for tests that run in an event loop of a scope."""

    @pytest_asyncio.fixture(loop_scope=loop_scope, name=f"_election_client_on_{loop_scope}_loop")
    async def client(
        election_server: "BackgroundServer", election_client_options: dict[str, Any]
    ) -> "AsyncGenerator[Client]":
        from atomix_election.pytest_plugin.clients import client_in_a_task

        async with client_in_a_task(election_server.target, election_client_options) as client:
            yield client

    return client


_on_function_loop = _client_on("function")
_on_class_loop = _client_on("class")
_on_module_loop = _client_on("module")
_on_package_loop = _client_on("package")
_on_session_loop = _client_on("session")
