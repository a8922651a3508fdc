"""This server among those that use a store in etcd: a key of its own, on a lease that it keeps alive.

The key says for how long the numbers of this server's writes stay in the records: as long as it is there, nobody takes
them out. It says nothing of any session.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import anyio

from atomix_election.errors import StoreError
from atomix_election.etcd import EtcdError, EtcdOutcomeUnknown, Get, KeyValue, Put, absent
from atomix_election.stores.etcd_access import MAX_GETS, READ_S, Access
from atomix_election.stores.etcd_mirror import Mirror

SERVER_TTL_S = 10
"""How long after its end a server still counts."""
KEEP_S = SERVER_TTL_S / 3
"""How often it renews its lease."""
LEAVE_S = 1.0
"""How long a server that ends may take to say so."""

log: logging.Logger = logging.getLogger(__name__)


class Own(NamedTuple):
    """A server: its id, which never comes back, and the revision that wrote its key."""

    id: str
    version: int


class Servers:
    """Keeps this server's key, and knows which others are gone.

    Args:
        access: calls to etcd.
        mirror: what is known.
        unique: returns ids that nobody else has.
    """

    def __init__(self, access: Access, mirror: Mirror, unique: Callable[[], str]) -> None:
        self._access = access
        self._mirror = mirror
        self._unique = unique
        self._lease = 0
        self._batches = 0
        self.own: Own = Own("", 0)

    def next_batch(self) -> int:
        """Return a number for a write, higher than all before."""
        self._batches += 1
        return self._batches

    def is_there(self, own: Own, items: Iterable[KeyValue]) -> bool:
        """Whether a server's key is what it was, so that nobody has taken anything of it for over."""
        return any(each.create_revision == own.version for each in items)

    async def register(self) -> None:
        """Make a key for this server.

        Raises:
            StoreError: etcd cannot be reached, or refuses it.
        """
        server_id = self._unique()
        key = self._access.layout.server(server_id)
        try:
            lease = await self._access.call(self._access.etcd.grant(SERVER_TTL_S, timeout_s=READ_S))
            answer, _ = await self._access.write([absent(key)], [Put(key, b"", lease.id)], timeout_s=READ_S)
        except EtcdOutcomeUnknown as error:
            raise StoreError(f"this server could not register in etcd: {error}") from error
        if not answer.succeeded:
            raise StoreError(f"another server registered as {server_id} in etcd: start again")
        self._lease, self.own = lease.id, Own(server_id, answer.revision)

    async def keep(self) -> None:
        """Keep the key, and make another one when it is lost, until cancelled."""
        while True:
            await anyio.sleep(KEEP_S)
            try:
                lease = await self._access.etcd.keep_alive(self._lease, timeout_s=KEEP_S)
                if not lease.ttl_s:
                    await self.register()
            except (EtcdError, StoreError) as error:
                log.warning("this server is not known to be there in etcd: %s", error)

    async def leave(self) -> None:
        """Say that this server ends, if that is possible at once; else its lease expires."""
        with anyio.move_on_after(LEAVE_S, shield=True):
            try:
                await self._access.etcd.revoke(self._lease, timeout_s=LEAVE_S)
            except EtcdError as error:
                log.debug("the server's lease in etcd is left to expire: %s", error)

    async def pruned(self, batches: Mapping[str, int]) -> dict[str, int]:
        """Return the numbers without those of servers that are gone.

        A server is there before it writes: so one whose key is absent when its number was seen before is gone.
        """
        doubtful = [each for each in batches if each != self.own.id and each not in self._mirror.servers][:MAX_GETS]
        if not doubtful:
            return dict(batches)
        gets = [Get(self._access.layout.server(each), keys_only=True) for each in doubtful]
        _, results = await self._access.read(gets)
        gone = {each for each, result in zip(doubtful, results, strict=True) if not result.items}
        return {each: number for each, number in batches.items() if each not in gone}
