"""Hand events to any number of watchers, none of which can hold up the others."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

import anyio

from atomix_election.errors import ElectionError
from atomix_election.model import Event, EventType, Term
from atomix_election.service import WATCH_BUFFER


class Broadcast:
    """The watchers of one election."""

    def __init__(self) -> None:
        self._subscriptions: dict[Subscription, None] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, buffer: int = WATCH_BUFFER) -> "Subscription":
        """Return a watcher that misses nothing that is published from now on. Leave its ``with`` block to end it."""
        return Subscription(self, buffer)

    def publish(self, event: Event, *, anew: bool = False) -> None:
        """Hand an event to every watcher.

        Args:
            event: what happened; watchers pass over a revision that is not newer than what they have.
            anew: revisions start anew with it, as the store is another one.
        """
        for subscription in self._subscriptions:
            subscription.put(event, anew=anew)

    def fail(self, error: ElectionError) -> None:
        """End every watcher: each gets the error after the events that still wait for it."""
        for subscription in self._subscriptions:
            subscription.fail(error)

    def add(self, subscription: "Subscription") -> None:
        """Begin to hand events to a watcher."""
        self._subscriptions[subscription] = None

    def remove(self, subscription: "Subscription") -> None:
        """Stop handing events to a watcher."""
        self._subscriptions.pop(subscription, None)


class Subscription:
    """One watcher: an iterator over events with a bounded buffer.

    A reader that has fallen behind by more than the buffer gets the newest event and skips those between; the
    revisions of the terms show the gap.
    """

    def __init__(self, broadcast: Broadcast, buffer: int) -> None:
        self._broadcast = broadcast
        self._buffer = buffer
        self._waiting: deque[Event] = deque()
        self._error: ElectionError | None = None
        self._wake: anyio.Event | None = None
        self._snapshot: Event | None = None
        self._newest: Term | None = None
        self._delivered = -1
        self._take: Callable[[Event], bool] | None = None

    def __enter__(self) -> Self:
        self._broadcast.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broadcast.remove(self)

    def begin(self, snapshot: Term) -> None:
        """Put the snapshot first, and leave out what it already contains."""
        self._snapshot = Event(EventType.NONE, snapshot)
        self._waiting = deque(event for event in self._waiting if event.term.revision > snapshot.revision)
        if self._newest is None or snapshot.revision >= self._newest.revision:
            self._newest = snapshot

    def put(self, event: Event, *, anew: bool = False) -> None:
        """Add an event for the reader, unless it shows nothing newer than what it already was given."""
        newest = self._newest
        if newest is not None and (event.term == newest if anew else event.term.revision <= newest.revision):
            return
        self._newest = event.term
        if self._take is not None and self._snapshot is None and not self._waiting and self._take(event):
            self._delivered = event.term.revision
            return
        if len(self._waiting) >= self._buffer:
            self._waiting.clear()
        self._waiting.append(event)
        self._notify()

    def offer_to(self, take: Callable[[Event], bool]) -> None:
        """Offer each event first to somebody who takes it at once, or says that the reader is to have it.

        Nothing is offered while others wait for the reader. What it takes it is not told whether any were skipped.

        Args:
            take: is told the event, and returns whether it has taken it; must not wait, and must not raise.
        """
        self._take = take

    def fail(self, error: ElectionError) -> None:
        """Raise the error in the reader once it has taken what waits."""
        self._error = error
        self._notify()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._snapshot is not None:
            snapshot, self._snapshot = self._snapshot, None
            self._delivered = snapshot.term.revision
            return snapshot
        while not self._waiting:
            if self._error is not None:
                raise self._error
            self._wake = anyio.Event()
            await self._wake.wait()
        event = self._waiting.popleft()
        expected, self._delivered = self._delivered + 1, event.term.revision
        return event if event.term.revision == expected else replace(event, skipped=True)

    def _notify(self) -> None:
        if self._wake is not None:
            self._wake.set()
