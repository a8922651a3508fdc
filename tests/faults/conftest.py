"""A stage for each test. What the candidates said is checked at its end: never two at a time, tokens that grow."""

from collections.abc import AsyncGenerator

import pytest

from tests.faults.proxy import Proxy
from tests.faults.stage import Server, Stage, staged


@pytest.fixture
def anyio_backend() -> str:
    """gRPC needs asyncio."""
    return "asyncio"


@pytest.fixture
async def stage(anyio_backend: str) -> AsyncGenerator[Stage]:
    """Starts processes and clients, and ends them."""
    async with staged() as found:
        yield found


@pytest.fixture
async def server(stage: Stage) -> Server:
    """A server process."""
    return await stage.server()


@pytest.fixture
async def proxy(stage: Stage, server: Server) -> Proxy:
    """A proxy before it."""
    return await stage.proxy(server.target)
