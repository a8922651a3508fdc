"""Who takes the changes of a shared store, for the rules about them."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import anyio

from atomix_election.core.commands import Command
from atomix_election.core.election import apply
from atomix_election.model import ElectionId, SessionId, Term
from atomix_election.stores.base import Change, ElectionChanged, Record, SessionGone, SessionOpened, SharedStore
from atomix_election.testing.contract.expecting import closing, done, named

OWNER = "somebody"
"""Who opens sessions here."""
TTL_S = 60.0
"""Time-to-live of sessions that are not to expire here; what a store makes of it."""


class Follower:
    """Takes the changes of a store, and keeps them.

    Args:
        store: whose changes.
    """

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._heard = anyio.Event()
        self.changes: list[Change] = []

    async def run(self) -> None:
        """Take changes until cancelled."""
        async with closing(self._store.changes()) as batches:
            async for batch in batches:
                self.changes += batch
                self._heard.set()
                self._heard = anyio.Event()

    def of(self, election_id: ElectionId) -> list[ElectionChanged]:
        """Return the changes of one election."""
        return [each for each in self.changes if isinstance(each, ElectionChanged) and each.election_id == election_id]

    @property
    def open(self) -> set[SessionId]:
        """The sessions that are open by what was taken."""
        found: set[SessionId] = set()
        for each in self.changes:
            if isinstance(each, SessionOpened):
                found.add(each.stored.session)
            elif isinstance(each, SessionGone):
                found.discard(each.session)
        return found

    async def until_gone(self, session: SessionId) -> None:
        """Wait until a session is not open any more."""
        while session in self.open:
            await self._heard.wait()


@asynccontextmanager
async def following(*stores: SharedStore) -> AsyncGenerator[tuple[Follower, ...]]:
    """Follow stores for as long as the block lasts."""
    async with anyio.create_task_group() as tasks:
        followers = tuple(map(Follower, stores))
        for follower in followers:
            tasks.start_soon(follower.run)
        yield followers
        tasks.cancel_scope.cancel()


class OneByOne:
    """The changes of a store one at a time, each taken when the next one is asked for, if nothing came with it.

    Args:
        batches: what the store gives.
    """

    def __init__(self, batches: AsyncIterator[Sequence[Change]]) -> None:
        self._batches = batches
        self._left: Iterator[Change] = iter(())

    async def next(self) -> Change:
        """Wait for the next change."""
        while True:
            for change in self._left:
                return change
            self._left = iter(await anext(self._batches))

    async def take_all(self) -> None:
        """Take changes until cancelled."""
        while True:
            await self.next()


@asynccontextmanager
async def one_by_one(store: SharedStore) -> AsyncGenerator[OneByOne]:
    """Give the changes of a store one at a time."""
    async with closing(store.changes()) as batches:
        yield OneByOne(batches)


async def open_session(store: SharedStore, session_id: str = "s", ttl_s: float = TTL_S) -> SessionId:
    """Open a session that its client keeps alive."""
    return await store.open_session("default", session_id, ttl_s=store.ttl_s(ttl_s), kept_alive=True, owner=OWNER)


async def apply_all(store: SharedStore, election_id: ElectionId, *commands: Command) -> Record:
    """Apply commands in one write, as an engine does."""
    record = await store.read(election_id)
    election, terms = record.election, list[Term]()
    for each in commands:
        after = apply(election, each, floor=record.floor).election
        if after.revision != election.revision:
            terms.append(after.term)
        election = after
    written = await store.write(election_id, election, expected=record.version, terms=terms)
    return done(written, f"{named(election_id)} was written with version {record.version}")
