"""What is known here of a store in etcd, as far as its changes were taken, and what each change means. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.core.steps import Step, replay
from atomix_election.errors import StoreError
from atomix_election.etcd import Change as KeyChange
from atomix_election.etcd import KeyValue, WatchEvent
from atomix_election.model import ElectionId, SessionId, Term
from atomix_election.stores.base import Change, ElectionChanged, Record, SessionGone, SessionOpened, StoredSession
from atomix_election.stores.etcd_keys import (
    Layout,
    NamespaceFloors,
    decode_envelope,
    decode_floor,
    decode_floors,
    decode_hold,
    decode_stored,
)

MAX_NEWER = 1_000
"""Elections that are remembered as they were read or written ahead of the changes; others are read again."""
MAX_GONE = 10_000
"""Sessions that are remembered to be gone; whether others are open is asked of etcd."""
_NO_FLOORS: Mapping[str, NamespaceFloors] = MappingProxyType({})


class Place(NamedTuple):
    """Where a session is in etcd.

    Args:
        key: its key.
        lease: what it lives as long as.
        stored: what it is.
    """

    key: bytes
    lease: int
    stored: StoredSession


class Kept(NamedTuple):
    """An election, and for each server that has written it the number of its last write."""

    record: Record
    batches: Mapping[str, int] = MappingProxyType({})


class Hold(NamedTuple):
    """Nobody may be admitted yet: for how many seconds at least, and since which revision."""

    hold_s: float
    version: int


@dataclass(frozen=True, slots=True)
class News:
    """What one revision changed.

    Args:
        revision: which.
        changes: what that means, for those who take them.
        places: of the sessions that were opened.
        batches: of the elections that were written.
    """

    revision: int
    changes: Sequence[Change]
    places: Mapping[SessionId, Place]
    batches: Mapping[ElectionId, Mapping[str, int]]


class Mirror:
    """Elections and sessions as the changes that were taken left them.

    Floors, servers and the hold are known as soon as they are heard of: nothing is in an order with them.

    Args:
        layout: the names of the keys.
        store_floors: below what no election begins that has no record.
    """

    def __init__(self, layout: Layout, store_floors: Floors) -> None:
        self._layout = layout
        self._store_floors = store_floors
        self._floors: dict[str, NamespaceFloors] = {}
        self._sessions_by_key: dict[bytes, SessionId] = {}
        self._gone: dict[SessionId, None] = {}
        self.revision: int = 0
        self.elections: dict[ElectionId, Kept] = {}
        self._newer: dict[ElectionId, tuple[int, Kept]] = {}
        self.sessions: dict[SessionId, Place] = {}
        self.servers: dict[str, int] = {}
        self.hold: Hold | None = None
        self.operator_floor: int = 0

    def clear(self) -> None:
        """Begin anew: nothing of elections and sessions is known."""
        self.revision = 0
        self.elections.clear()
        self.sessions.clear()
        self._sessions_by_key.clear()
        self._newer.clear()

    def newest(self, election_id: ElectionId) -> Kept:
        """Return the newest that is known of an election, also from reads and writes ahead of the changes.

        One without a record begins where the floors are by now, whatever they were when it was read.
        """
        revision, kept = self._newer.get(election_id, (0, None))
        if kept is None:
            kept = self.elections.get(election_id)
        if kept is None or not kept.record.version:
            kept = Kept(self.absent(election_id))
        return kept._replace(record=replace(kept.record, floor=self.floor(max(revision, self.revision))))

    def floor(self, revision: int) -> int:
        """Return the least number of a term that begins from what was read at a revision."""
        return max(revision, self.operator_floor)

    def found(self, election_id: ElectionId, revision: int, items: Sequence[KeyValue]) -> Kept:
        """Take note of an election as it was just read, and return it. Floors are to be told first."""
        if items:
            envelope = decode_envelope(items[0].value)
            kept = Kept(Record(envelope.election, items[0].mod_revision, self.floor(revision)), envelope.batches)
        else:
            kept = Kept(replace(self.absent(election_id), floor=self.floor(revision)))
        self.wrote(election_id, revision, kept)
        return kept

    def wrote(self, election_id: ElectionId, revision: int, kept: Kept) -> None:
        """Take note of an election as it was just read or written."""
        if revision > max(self.revision, self._newer.get(election_id, (0, None))[0]):
            self._newer.pop(election_id, None)
            self._newer[election_id] = revision, kept
            if len(self._newer) > MAX_NEWER:
                del self._newer[next(iter(self._newer))]

    def absent(self, election_id: ElectionId, then: Mapping[str, NamespaceFloors] = _NO_FLOORS) -> Record:
        """Return an election that has no record.

        Args:
            election_id: which.
            then: the floors of namespaces at the moment that this is about; by default the newest that are known.
        """
        floors = then.get(election_id.namespace) or self.floors(election_id.namespace)
        return Record(floors.floors.over(self._store_floors).begin(), 0)

    def floors(self, namespace: str) -> NamespaceFloors:
        """Return the newest floors of a namespace that are known."""
        return self._floors.get(namespace, NamespaceFloors())

    def found_floors(self, namespace: str, items: Sequence[KeyValue]) -> NamespaceFloors:
        """Take note of the floors of a namespace as they were just read, and return them."""
        found = decode_floors(items[0]) if items else NamespaceFloors()
        self.knows_floors(namespace, found)
        return found

    def knows_floors(self, namespace: str, floors: NamespaceFloors) -> None:
        """Take note of the floors of a namespace."""
        if floors.version > self.floors(namespace).version:
            self._floors[namespace] = floors

    def found_operator_floor(self, items: Sequence[KeyValue]) -> int:
        """Take note of the operator's floor as it was just read, and return the highest that is known."""
        for item in items:
            self.operator_floor = max(self.operator_floor, decode_floor(item.value))
        return self.operator_floor

    def is_gone(self, session: SessionId) -> bool:
        """Whether a session is known to be gone. Then it is so for ever."""
        return session in self._gone

    def found_gone(self, session: SessionId) -> None:
        """Take note that a session is gone."""
        self._gone[session] = None
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def news(self, revision: int, events: Iterable[WatchEvent], *, complete: bool = True) -> News:
        """Return what the changes of one revision mean.

        Args:
            revision: which.
            events: its changes.
            complete: whether all changes before it are known.
        """
        events = tuple(events)
        floors = self._floors_among(each.item for each in events if each.change is KeyChange.PUT)
        rest = [each for each in events if not self._know(each)]
        changes: list[Change] = []
        batches: dict[ElectionId, Mapping[str, int]] = {}
        places: dict[SessionId, Place] = {}
        for event in rest:
            key, item = event.item.key, event.item
            if key.startswith(self._layout.all_elections):
                changes.append(self._election(event, floors, batches, complete=complete))
            elif key.startswith(self._layout.all_sessions):
                if event.change is KeyChange.PUT:
                    place = Place(key, item.lease, decode_stored(item))
                    places[place.stored.session] = place
                    changes.append(SessionOpened(place.stored))
                elif key in self._sessions_by_key:
                    changes.append(SessionGone(self._sessions_by_key[key]))
        return News(revision, changes, places, batches)

    def all_news(self, revision: int, items: Sequence[KeyValue]) -> News:
        """Return what differs between what is known and all that there was at one revision."""
        self._forget_side_keys(items)
        floors = self._floors_among(items)
        differing = [WatchEvent(KeyChange.PUT, each) for each in items if self._differs(each)]
        news = self.news(revision, differing, complete=False)
        present = {each.key for each in items}
        gone: list[Change] = []
        for election_id, (before, _) in self.elections.items():
            if self._layout.election(election_id) not in present:
                after = replace(self.absent(election_id, floors), floor=revision)
                gone.append(ElectionChanged(election_id, before, after, (after.election.term,)))
        gone += [SessionGone(session) for key, session in self._sessions_by_key.items() if key not in present]
        opened = [each for each in news.changes if isinstance(each, SessionOpened)]
        changed = [each for each in news.changes if isinstance(each, ElectionChanged)]
        return replace(news, changes=[*opened, *changed, *gone])

    def take(self, news: News) -> None:
        """The changes were taken: from now on this is what is known."""
        for change in news.changes:
            match change:
                case SessionOpened(stored):
                    place = news.places[stored.session]
                    self.sessions[stored.session] = place
                    self._sessions_by_key[place.key] = stored.session
                case SessionGone(session):
                    self._sessions_by_key.pop(self.sessions.pop(session).key, None)
                    self.found_gone(session)
                case ElectionChanged(election_id, _, after, _):
                    if after.version:
                        self.elections[election_id] = Kept(after, news.batches[election_id])
                    else:
                        self.elections.pop(election_id, None)
                    if self._newer.get(election_id, (news.revision + 1, None))[0] <= news.revision:
                        del self._newer[election_id]
        self.revision = news.revision

    def _floors_among(self, items: Iterable[KeyValue]) -> Mapping[str, NamespaceFloors]:
        """Return the floors of namespaces that are among keys."""
        found = [each for each in items if each.key.startswith(self._layout.all_floors)]
        return {self._layout.namespace(each.key): decode_floors(each) for each in found}

    def _election(
        self,
        event: WatchEvent,
        floors: Mapping[str, NamespaceFloors],
        batches: dict[ElectionId, Mapping[str, int]],
        *,
        complete: bool,
    ) -> ElectionChanged:
        """Return what a change of an election's key means. What floors are read ahead of it say nothing about it."""
        election_id, revision = self._layout.election_id(event.item.key), event.item.mod_revision
        absent = self.absent(election_id) if complete else Record(Election(), 0)
        before = self.elections.get(election_id, Kept(absent)).record
        if event.change is KeyChange.DELETE:
            after = replace(self.absent(election_id, floors), floor=revision)
            return ElectionChanged(election_id, before, after, _terms(before, after, None))
        envelope = decode_envelope(event.item.value)
        batches[election_id] = envelope.batches
        after = Record(envelope.election, revision, self.floor(revision))
        follows = envelope.start == before.version and (complete or before.version)
        steps = envelope.steps if follows else None
        return ElectionChanged(election_id, before, after, _terms(before, after, steps))

    def _know(self, event: WatchEvent) -> bool:
        """Take note of what is neither an election nor a session; return whether it was something else."""
        layout, key, item = self._layout, event.item.key, event.item
        is_put = event.change is KeyChange.PUT
        if key.startswith((layout.all_elections, layout.all_sessions)):
            return False
        if key.startswith(layout.all_servers):
            if is_put:
                self.servers[layout.server_id(key)] = item.create_revision
            else:
                self.servers.pop(layout.server_id(key), None)
        elif key.startswith(layout.all_floors) and is_put:
            self.found_floors(layout.namespace(key), [item])
        elif key == layout.hold:
            self.hold = Hold(decode_hold(item.value), item.mod_revision) if is_put else None
        elif key == layout.floor and is_put:
            self.found_operator_floor([item])
        return True

    def _differs(self, item: KeyValue) -> bool:
        """Whether a key is new, or holds something else than is known."""
        if item.key.startswith(self._layout.all_sessions):
            return self._sessions_by_key.get(item.key) is None
        if item.key.startswith(self._layout.all_elections):
            known = self.elections.get(self._layout.election_id(item.key))
            return known is None or known.record.version != item.mod_revision
        return True

    def _forget_side_keys(self, items: Sequence[KeyValue]) -> None:
        """Servers and the hold are to be as they are now: what is not among the keys is gone."""
        self.servers.clear()
        if all(each.key != self._layout.hold for each in items):
            self.hold = None


def _terms(before: Record, after: Record, steps: Sequence[Step] | None) -> tuple[Term, ...]:
    """Return the terms from one state to the other; only the last one where the steps are not from the first one."""
    term = after.election.term
    if steps is not None:
        try:
            terms = replay(before.election.term, steps)
        except ValueError as error:
            raise StoreError(f"a record is damaged: {error}; restore a backup") from error
        if terms and terms[-1] == term:
            return terms
    return () if term == before.election.term else (term,)
