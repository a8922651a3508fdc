"""A server with elections of which each has a leader: ``python -m benchmarks.filled_server STORE ELECTIONS``.

It prints its target when all of them are there. Their sessions last as long as it runs.
"""

import sys

import anyio

from atomix_election import ElectionLimits, ElectionServer, connect
from atomix_election.service import Call, ElectionService

SESSIONS = 100
"""Which have entered all of them."""
AT_ONCE = 500

_UNLIMITED = ElectionLimits(None, None, None, None, None)


async def fill(service: ElectionService, elections: int) -> None:
    """Enter so many elections."""

    async def enter(each: int) -> None:
        await service.enter(Call(f"filler-{each:08}", session=f"filler-{each % SESSIONS}"), f"node-{each}")

    for each in range(SESSIONS):
        await service.create(Call("filler-00000000", session=f"filler-{each}"))
    for first in range(0, elections, AT_ONCE):
        async with anyio.create_task_group() as tasks:
            for each in range(first, min(first + AT_ONCE, elections)):
                tasks.start_soon(enter, each)


async def main(store: str, elections: int) -> None:
    """See the module."""
    async with ElectionServer(store, limits=_UNLIMITED) as server, connect(store) as client:
        await fill(client.service, elections)
        print(server.target, flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
