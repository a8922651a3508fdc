"""The kinds of stores that there are, as the rules of the contract need them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from atomix_election.clock import wall_clock_s
from atomix_election.core.floors import Floors
from atomix_election.etcd.interface import Etcd
from atomix_election.model import ElectionId
from atomix_election.stores import SharedStore, Store
from atomix_election.stores.etcd import EtcdStore, open_etcd_store
from atomix_election.stores.etcd_restore import recover
from atomix_election.stores.memory import MemoryStore
from atomix_election.stores.sqlite import Executor, Inline, open_sqlite_store
from atomix_election.stores.sqlite_backup import back_up, restore
from atomix_election.testing import VirtualClock
from atomix_election.testing.contract.elections import ELECTION
from atomix_election.testing.etcd import SimulatedEtcd
from atomix_election.testing.sqlite_host import directory_in_memory
from tests.etcd.cluster import Cluster

running: list[Cluster] = []
"""The real etcd, once a test has asked for it."""


class Memories:
    """Stores that keep nothing."""

    reopen = None
    open_restored = None

    @asynccontextmanager
    async def open_store(self) -> AsyncGenerator[Store]:
        """Open one that is new."""
        yield MemoryStore()


class SqliteFiles:
    """Stores in files.

    Args:
        directory: where they are.
        executor: makes what runs what blocks; None for what the store makes itself.
    """

    def __init__(self, directory: Path, executor: Callable[[], Executor] | None = None) -> None:
        self._directory = directory
        self._executor = executor
        self._numbers = count()
        self._paths: dict[Store, Path] = {}

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        """Open one that is new."""
        return self._open(self._new_path())

    def reopen(self, store: Store) -> AbstractAsyncContextManager[Store]:
        """Open one that was closed."""
        return self._open(self._paths[store])

    @asynccontextmanager
    async def open_restored(self) -> AsyncGenerator[Store]:
        """Open one that was just restored."""
        source, backup, restored = (self._new_path() for _ in range(3))
        async with self._open(source) as store:
            await fill(store)
        back_up(str(source), str(backup))
        restore(str(backup), str(restored), wall_clock=lambda: wall_clock_s() + 1)  # later than the backup
        async with self._open(restored) as store:
            yield store

    def _new_path(self) -> Path:
        return self._directory / f"{next(self._numbers)}.db"

    @asynccontextmanager
    async def _open(self, path: Path) -> AsyncGenerator[Store]:
        async with open_sqlite_store(str(path), execute=self._executor and self._executor()) as store:
            self._paths[store] = path
            yield store


class EtcdPrefixes:
    """Stores in one etcd.

    Args:
        client: opens a client of it.
        prefix: what all keys begin with.
    """

    def __init__(self, client: Callable[[], AbstractAsyncContextManager[Etcd]], prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._numbers = count()
        self._prefixes: dict[Store, str] = {}

    def open_store(self) -> AbstractAsyncContextManager[Store]:
        """Open one that is new."""
        return self._open(self._new_prefix())

    def reopen(self, store: Store) -> AbstractAsyncContextManager[Store]:
        """Open one that was closed."""
        return self._open(self._prefixes[store])

    @asynccontextmanager
    async def open_restored(self) -> AsyncGenerator[Store]:
        """Open one whose restore was just confirmed."""
        prefix = self._new_prefix()
        async with self._open(prefix) as store:
            await fill(store)
        async with self._client() as client:
            await recover(client, Floors(), hold_s=30.0, prefix=prefix)
        async with self._open(prefix) as store:
            yield store

    @asynccontextmanager
    async def open_stores(self) -> AsyncGenerator[tuple[SharedStore, SharedStore]]:
        """Open one that is new, twice, with a client for each."""
        prefix = self._new_prefix()
        async with self._open(prefix) as one, self._open(prefix) as other:
            yield one, other

    def _new_prefix(self) -> str:
        return f"{self._prefix}{next(self._numbers)}/"

    @asynccontextmanager
    async def _open(self, prefix: str) -> AsyncGenerator[EtcdStore]:
        async with self._client() as client, open_etcd_store(client, prefix=prefix) as store:
            self._prefixes[store] = prefix
            yield store


async def fill(store: Store) -> None:
    """Leave something in a store."""
    await store.write(ElectionId("default", "e"), ELECTION, expected=0)
    await store.open_session("default", "s", ttl_s=30.0, kept_alive=True)


@asynccontextmanager
async def memories(_: Path) -> AsyncGenerator[Memories]:
    """Stores in memory."""
    yield Memories()


@asynccontextmanager
async def sqlite_files(_: Path) -> AsyncGenerator[SqliteFiles]:
    """Stores in files, each with a thread of its own."""
    with directory_in_memory() as directory:
        yield SqliteFiles(directory)


@asynccontextmanager
async def sqlite_files_inline(_: Path) -> AsyncGenerator[SqliteFiles]:
    """Stores in files, without threads."""
    with directory_in_memory() as directory:
        yield SqliteFiles(directory, Inline)


@asynccontextmanager
async def simulated_etcd(_: Path) -> AsyncGenerator[EtcdPrefixes]:
    """Stores in a simulated etcd."""
    async with SimulatedEtcd(VirtualClock()) as etcd:

        @asynccontextmanager
        async def client() -> AsyncGenerator[Etcd]:
            yield etcd.client()

        yield EtcdPrefixes(client, "simulated/")


@asynccontextmanager
async def real_etcd(directory: Path) -> AsyncGenerator[EtcdPrefixes]:
    """Stores in the real etcd."""
    (cluster,) = running
    await cluster.ready()
    yield EtcdPrefixes(cluster.client, f"{directory}/")


KINDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Any]]] = {
    "memory": memories,
    "sqlite": sqlite_files,
    "sqlite-inline": sqlite_files_inline,
    "etcd-simulated": simulated_etcd,
    "etcd": real_etcd,
}
"""Each gives, within a directory, what opens stores of that kind."""
