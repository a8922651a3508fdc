"""Stores in etcd: in a real one, which all tests of this folder share, and in simulated ones."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from atomix_election.stores.etcd import EtcdStore, open_etcd_store
from atomix_election.testing import VirtualClock
from atomix_election.testing.etcd import SimulatedEtcd
from tests.etcd.cluster import Cluster

running: list[Cluster] = []
"""The real etcd, once a test has asked for it."""


@asynccontextmanager
async def open_simulated() -> AsyncGenerator[EtcdStore]:
    """Open a store in an etcd of its own."""
    async with SimulatedEtcd(VirtualClock()) as etcd, open_etcd_store(etcd.client()) as store:
        yield store


@asynccontextmanager
async def open_real(prefix: str) -> AsyncGenerator[EtcdStore]:
    """Open a store in the real etcd."""
    (cluster,) = running
    await cluster.ready()
    async with cluster.client() as client, open_etcd_store(client, prefix=prefix) as store:
        yield store


@asynccontextmanager
async def open_simulated_pair() -> AsyncGenerator[tuple[EtcdStore, EtcdStore]]:
    """Open one store twice, in an etcd of its own."""
    async with (
        SimulatedEtcd(VirtualClock()) as etcd,
        open_etcd_store(etcd.client()) as one,
        open_etcd_store(etcd.client()) as other,
    ):
        yield one, other


@asynccontextmanager
async def open_real_pair(prefix: str) -> AsyncGenerator[tuple[EtcdStore, EtcdStore]]:
    """Open one store twice, in the real etcd, each with a client of its own."""
    async with open_real(prefix) as one, open_real(prefix) as other:
        yield one, other
