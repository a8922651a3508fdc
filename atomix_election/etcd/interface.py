"""What the rest of this package asks of a client of etcd: ``EtcdClient`` is one, the simulated etcd another."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from atomix_election.etcd.values import (
    Compare,
    Get,
    GetResult,
    Header,
    Lease,
    LeaseState,
    Operation,
    Status,
    TxnResult,
    WatchBatch,
)


class Etcd(Protocol):
    """See the methods of ``EtcdClient``, which raise the same errors."""

    async def get(self, get: Get, *, timeout_s: float | None = None) -> GetResult:
        """See ``EtcdClient.get``."""
        ...

    async def txn(
        self,
        compares: Iterable[Compare],
        success: Iterable[Operation],
        failure: Iterable[Operation] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        """See ``EtcdClient.txn``."""
        ...

    async def grant(self, ttl_s: int, lease_id: int = 0, *, timeout_s: float | None = None) -> Lease:
        """See ``EtcdClient.grant``."""
        ...

    async def revoke(self, lease_id: int, *, timeout_s: float | None = None) -> Header:
        """See ``EtcdClient.revoke``."""
        ...

    async def keep_alive(self, lease_id: int, *, timeout_s: float | None = None) -> Lease:
        """See ``EtcdClient.keep_alive``."""
        ...

    async def time_to_live(self, lease_id: int, *, keys: bool = False, timeout_s: float | None = None) -> LeaseState:
        """See ``EtcdClient.time_to_live``."""
        ...

    async def status(self, *, timeout_s: float | None = None) -> Status:
        """See ``EtcdClient.status``."""
        ...

    def watch(
        self, key: bytes, end: bytes = b"", *, start_revision: int, previous: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchBatch]]:
        """See ``EtcdClient.watch``."""
        ...
