"""A client that lives in a task of its own: fixtures are left in another task than they were entered in."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from atomix_election.client import Client, connect
from atomix_election.errors import InvalidRequest


@asynccontextmanager
async def client_in_a_task(target: str, options: Mapping[str, Any]) -> AsyncGenerator[Client]:
    """Connect a client, which may be left in another task than it was entered in.

    Args:
        target: see ``connect``; and
        options: its other arguments.

    Raises:
        InvalidRequest: this is not asyncio, or what ``connect`` refuses.
    """
    try:
        connected: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    except RuntimeError as error:
        raise InvalidRequest(
            "election_client needs asyncio, as grpclib does: under Trio, use virtual_election, or memory:// as a target"
        ) from error
    over = asyncio.Event()

    async def live() -> None:
        async with connect(target, **options) as client:
            connected.set_result(client)
            await over.wait()

    task = asyncio.create_task(live(), name="election_client")
    try:
        await asyncio.wait((task, connected), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            yield connected.result()
    finally:
        over.set()
        await task
