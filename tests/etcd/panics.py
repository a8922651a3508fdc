"""Members of etcd that die of what is etcd's own fault."""

from collections.abc import Callable

import anyio

from atomix_election.testing.history import now
from tests.etcd.cluster import Cluster

LOOK_S = 0.1
"""Between two looks whether all members are there."""


class Panics:
    """Starts members again that die of what is etcd's own fault, and known; any other death fails the run.

    Before 3.4.22 and 3.5.6 a member dies when a read of several keys is cancelled at the wrong moment, as by a
    connection that is cut (etcd-io/etcd#14110).
    """

    KNOWN = b"panic: unexpected error during txn"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def watch(self, happened: Callable[[float, float], None]) -> None:
        """Look for them for ever.

        Args:
            happened: is told from when to when a member was away.
        """
        while True:
            looked_at = now()
            await anyio.sleep(LOOK_S)
            for member in self._cluster.members:
                if member.has_died:
                    assert self.KNOWN in member.log.read_bytes(), f"{member.name} died:\n{member.last_words()}"
                    member.log.rename(member.log.with_suffix(f".{looked_at:.0f}.panic"))
                    member.start()
                    await self._cluster.ready(member)
                    happened(looked_at, now())
