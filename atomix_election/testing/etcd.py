"""An etcd in memory, for tests of what uses one: it has etcd's ways, the bad ones too, and no sockets.

    async with SimulatedEtcd(VirtualClock(), seed=1) as etcd:
        client = etcd.client()
        async with open_etcd_store(client) as store:
            client.next_writes.append(Outcome.LATE)
            ...

Equal seeds give equal runs, under Trio's ``MockClock`` also in time. It runs on asyncio and Trio.
"""

from atomix_election.testing.etcd_client import Outcome, SimulatedClient
from atomix_election.testing.etcd_cluster import EtcdCluster, EtcdFaults

__all__ = ["EtcdFaults", "Outcome", "SimulatedClient", "SimulatedEtcd"]


class SimulatedEtcd(EtcdCluster):
    """An etcd, as its clients see it: see ``EtcdCluster`` for what can be done to it."""

    def client(self) -> SimulatedClient:
        """Return a client of it: an ``Etcd``."""
        return SimulatedClient(self)
