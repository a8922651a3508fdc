"""How a store learns what changes in etcd, and how it finds out whether it has learned enough."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import groupby

import anyio

from atomix_election.errors import StoreError
from atomix_election.etcd import Change as KeyChange
from atomix_election.etcd import Compacted, EtcdError, EtcdRefused, Get, KeyValue, WatchBatch, WatchEvent, WentBack
from atomix_election.stores.base import Change
from atomix_election.stores.etcd_access import Access
from atomix_election.stores.etcd_mirror import Mirror, News
from atomix_election.tasks import native_cancellations, raise_native_cancellation

CATCH_UP_S = 5.0
"""How long it may take until all is known that had happened when it was asked for."""
FOLLOW_AGAIN_S = 1.0
"""Pause before changes are followed again that could not be read."""
MAX_READ_ALL = 10
"""How often reading everything may be overtaken by a compaction."""

log: logging.Logger = logging.getLogger(__name__)


class Changes:
    """An iterator of what changes, one revision at a time, the first of them all that is there.

    What was handed out is taken, and so known, when the next one is asked for.

    Args:
        access: calls to etcd.
        mirror: what is known; empty.
        taken: called whenever it has grown.
        opened: holds what has to be closed with the store.
    """

    def __init__(self, access: Access, mirror: Mirror, taken: Callable[[], None], opened: AsyncExitStack) -> None:
        self._access = access
        self._mirror = mirror
        self._taken = taken
        self._opened = opened
        self._watch: AsyncIterator[WatchBatch] | None = None
        self._revisions: list[tuple[int, list[WatchEvent]]] = []
        self._handed_out: News | None = None
        self._is_over = False

    def __aiter__(self) -> "Changes":
        return self

    async def __anext__(self) -> Sequence[Change]:
        """Wait for the next changes.

        Raises:
            StoreError: the store has gone back in time, or is another one; or it could never be read.
        """
        while True:
            self._take()
            if self._is_over:
                raise StopAsyncIteration
            self._access.check()
            news = await self._next()
            self._handed_out = news
            if news.changes:
                return news.changes

    def end(self) -> None:
        """Another one has taken its place."""
        self._is_over = True

    def _take(self) -> None:
        news, self._handed_out = self._handed_out, None
        if news is not None and not self._is_over:
            self._mirror.take(news)
            self._taken()

    async def _next(self) -> News:
        if self._watch is None:
            return await self._read_all()
        if not self._revisions:
            batch = await self._next_batch(self._watch)
            if batch is None:
                self._watch = None
                return await self._read_all()
            self._access.saw(batch.revision)
            self._revisions = [(each, list(events)) for each, events in groupby(batch.events, _revision)][::-1]
        revision, events = self._revisions.pop()
        for event in events:
            if event.item.key == self._access.layout.store:
                self._access.check_identity([event.item] if event.change is KeyChange.PUT else [])
        return self._mirror.news(revision, events)

    async def _next_batch(self, watch: AsyncIterator[WatchBatch]) -> WatchBatch | None:
        """Wait for the next changes of the watch, and return None when they are compacted away.

        A refusal is not the end: operators change passwords and roles. Whoever calls meanwhile is told what is wrong.
        """
        while True:
            try:
                return await anext(watch)
            except Compacted:
                return None
            except WentBack as error:
                self._access.gone_back(str(error))
            except EtcdRefused as error:
                self._access.check()
                log.warning("what changes in etcd cannot be followed for a moment: %s", error)
                await anyio.sleep(FOLLOW_AGAIN_S)
            except EtcdError as error:
                raise StoreError(str(error)) from error

    async def _read_all(self) -> News:
        """Read everything at one revision, and watch from there."""
        for _ in range(MAX_READ_ALL):
            try:
                revision, items = await self._all_at_one_revision()
            except Compacted:
                continue
            await self._opened.aclose()
            self._watch = await self._opened.enter_async_context(
                self._access.etcd.watch(
                    self._access.layout.prefix, self._access.layout.end, start_revision=revision + 1
                )
            )
            return self._mirror.all_news(revision, items)
        raise StoreError(
            f"etcd was compacted {MAX_READ_ALL} times while everything was read: compact it less often "
            "(--auto-compaction-retention)"
        )

    async def _all_at_one_revision(self) -> tuple[int, list[KeyValue]]:
        """Read everything, and try that again while etcd is out of reach, once it was not."""
        while True:
            try:
                return await self._read_pages()
            except StoreError as error:
                self._access.check()
                if not self._mirror.revision:
                    raise
                log.warning("what changes in etcd cannot be followed for a moment: %s", error)
                await anyio.sleep(FOLLOW_AGAIN_S)

    async def _read_pages(self) -> tuple[int, list[KeyValue]]:
        layout, items = self._access.layout, list[KeyValue]()
        header, _ = await self._access.read([])
        async for page in self._access.read_all(layout.prefix, revision=header.revision):
            items += page
        return header.revision, items


@dataclass(slots=True)
class _Round:
    """One read of how far the store has got, for all who have asked before it began."""

    done: anyio.Event = field(default_factory=anyio.Event)
    revision: int = 0
    raft_term: int = 0
    failure: StoreError | None = None


class Progress:
    """Finds out how far the store has got, and waits until it is known here.

    One read at a time is under way; who comes meanwhile shares the next one. ``run`` makes them, in a task of its own,
    so that nobody's cancellation reaches the others.

    Args:
        access: calls to etcd.
        known: returns the revision up to which everything was taken.
    """

    def __init__(self, access: Access, known: Callable[[], int]) -> None:
        self._access = access
        self._known = known
        self._next = _Round()
        self._wanted = anyio.Event()
        self._waiting: dict[int, anyio.Event] = {}

    async def run(self) -> None:
        """Make the reads that are asked for, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            current, self._next = self._next, _Round()
            try:
                header, (head,) = await self._access.read([Get(self._access.layout.head, keys_only=True)])
                current.raft_term = header.raft_term
                # Where nothing was ever written, all that there is has to be taken once all the same.
                current.revision = max((each.mod_revision for each in head.items), default=1)
            except StoreError as error:
                current.failure = error
            current.done.set()

    async def catch_up(self) -> int:
        """Wait until what was there before this call is known here, and return the raft term of the read.

        Raises:
            StoreError: that took too long, or the store cannot be relied on any more.
        """
        native = native_cancellations()
        with anyio.move_on_after(CATCH_UP_S):
            current = self._next
            self._wanted.set()
            await current.done.wait()
            if current.failure is not None:
                raise StoreError(str(current.failure))
            while self._known() < current.revision:
                self._access.check()
                await self._waiting.setdefault(current.revision, anyio.Event()).wait()
            return current.raft_term
        raise_native_cancellation(native)
        raise StoreError(
            f"what happened in etcd was not heard of here within {CATCH_UP_S:g} s, and nothing was changed: is etcd "
            "overloaded, or this server?"
        )

    def advanced(self) -> None:
        """More is known: let those go on who wait for that."""
        known = self._known()
        for revision in [each for each in self._waiting if each <= known]:
            self._waiting.pop(revision).set()

    def failed(self) -> None:
        """The store cannot be relied on any more: let those find out who wait."""
        while self._waiting:
            self._waiting.popitem()[1].set()


def _revision(event: WatchEvent) -> int:
    return event.item.mod_revision
