"""A server that cannot use its store: a client goes to another target, and one that has no other hears of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from atomix_election import LeaderElection, StoreError, connect
from atomix_election.core.election import Election
from atomix_election.engine import Connection, Engine
from atomix_election.model import ElectionId, SessionId
from atomix_election.rpc.server import RpcServer
from atomix_election.stores.base import Record
from atomix_election.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio


class BrokenStore(MemoryStore):
    """Refuses everything."""

    def read_now(self, election_id: ElectionId) -> Record | None:
        """See ``Store.read_now``."""

    async def read(self, election_id: ElectionId) -> Record:
        """See ``Store.read``."""
        raise StoreError("the store cannot be reached")

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``."""
        raise StoreError("the store cannot be reached")

    async def open_session(
        self, namespace: str, session_id: str, *, ttl_s: float, kept_alive: bool, owner: str = ""
    ) -> SessionId:
        """See ``Store.open_session``."""
        raise StoreError("the store cannot be reached")


@asynccontextmanager
async def _serving(store: MemoryStore) -> AsyncGenerator[str]:
    engine = Engine(store)
    async with engine.running():
        rpc = RpcServer(partial(Connection, engine))
        try:
            host, port = await rpc.start("127.0.0.1", 0)
            yield f"{host}:{port}"
        finally:
            await rpc.close()


async def test_a_session_is_kept_by_a_server_that_can() -> None:
    """The first renewal is refused by the one, and answered by the other, and so is what comes after it."""
    async with (
        _serving(BrokenStore()) as broken,
        _serving(MemoryStore()) as sound,
        LeaderElection("e", target=f"grpc://{broken},{sound}", candidate_id="a", session_ttl=5.0) as election,
    ):
        assert (await election.enter()).leader == "a"


async def test_a_call_without_a_session_is_answered_by_a_server_that_can() -> None:
    """Reads, watches and writes alike: what is refused so has changed nothing."""
    async with (
        _serving(BrokenStore()) as broken,
        _serving(MemoryStore()) as sound,
        connect(f"grpc://{sound}") as other,
        connect(f"grpc://{broken},{sound}") as client,
    ):
        await other.election("e", candidate_id="a").enter()
        await other.election("e", candidate_id="b").enter()
        assert (await client.election("e").get_term()).leader == "a"
    async with (
        _serving(BrokenStore()) as broken,
        _serving(MemoryStore()) as sound,
        connect(f"grpc://{sound}") as other,
        connect(f"grpc://{broken},{sound}") as client,
    ):
        await other.election("e", candidate_id="a").enter()
        assert (await client.election("e").evict("a")).leader is None


async def test_without_another_target_the_error_is_told_at_once() -> None:
    """Trying on would only keep the caller waiting."""
    async with _serving(BrokenStore()) as broken, connect(f"grpc://{broken}") as client:
        with pytest.raises(StoreError, match="cannot be reached"):
            await client.election("e").get_term()
