"""One call of each kind, and the error that it ends with."""

from functools import partial

import anyio
import pytest

from atomix_election.errors import ElectionError
from atomix_election.rpc.client import RpcClient
from atomix_election.service import Call

CALL = Call("e", session="s")
TIMEOUT_S = 0.3
"""How long a call may take that nobody answers."""
SOON_S = 5.0


async def outcomes(client: RpcClient) -> tuple[ElectionError, ElectionError, ElectionError]:
    """Return the errors of a read, a write and a watch, each of which must end in time."""
    errors: list[ElectionError] = []
    for attempt in (client.get_term, partial(client.enter, candidate_id="a"), partial(watch, client)):
        with anyio.fail_after(SOON_S), pytest.raises(ElectionError) as raised:
            await attempt(CALL)
        errors.append(raised.value)
    read, write, watched = errors
    return read, write, watched


async def watch(client: RpcClient, call: Call) -> None:
    """Read events for ever."""
    async with client.events(call) as events:
        async for _ in events:
            pass
