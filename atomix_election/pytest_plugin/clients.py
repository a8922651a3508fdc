"""Clients for tests of both kinds: in a task of its own for those that are async, in a thread of its own for others.

A fixture may be left in another task than it was entered in, which a client must not.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from atomix_election.client import Client, connect
from atomix_election.errors import InvalidRequest

_Params = ParamSpec("_Params")
_ResultT = TypeVar("_ResultT")


class BackgroundClient:
    """A client in a thread of its own: what the fixture ``election_client`` gives to a test that is not async.

    What it stands for and leads goes on between two calls of ``run``, as its session is renewed all the while.
    """

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client

    def run(
        self,
        function: Callable[Concatenate[Client, _Params], Awaitable[_ResultT]],
        /,
        *args: _Params.args,
        **kwargs: _Params.kwargs,
    ) -> _ResultT:
        """Call ``await function(client, ...)`` in the event loop of the client, and return what it returns.

        Args:
            function: an async function, as the ``scenario`` of a virtual_election is one; or
                ``lambda client: client.election("nightly").get_term()``.
            args: what else it is called with; and
            kwargs: by name.
        """

        async def with_the_client() -> _ResultT:
            return await function(self._client, *args, **kwargs)

        return self._portal.call(with_the_client)


@contextmanager
def client_in_a_thread(target: str, options: Mapping[str, Any]) -> Generator[BackgroundClient]:
    """Connect a client in the event loop of a thread that ends with the block.

    Args:
        target: see ``connect``; and
        options: its other arguments.

    Raises:
        InvalidRequest: what ``connect`` refuses.
    """
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(connect(target, **options)) as client,
    ):
        yield BackgroundClient(portal, client)


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
