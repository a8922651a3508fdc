"""What a simulated etcd holds: keys in all their versions, leases, and the changes of each revision. Pure."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from atomix_election.etcd import (
    Change,
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    EtcdRefused,
    FutureRevision,
    Get,
    GetResult,
    Header,
    KeyValue,
    LeaseExists,
    LeaseNotFound,
    Operation,
    OperationResult,
    Put,
    PutResult,
    Relation,
    Target,
    TxnResult,
    WatchEvent,
)
from atomix_election.etcd.values import END_OF_KEYS


@dataclass(slots=True)
class HeldLease:
    """A lease: what was granted, until when it lasts, when it is ended at the latest, and what lives as long."""

    ttl_s: int
    until: float
    ends_by: float | None = None
    keys: set[bytes] = field(default_factory=set[bytes])


class EtcdState:
    """Keys, leases and revisions. A copy of it is a snapshot.

    Args:
        cluster_id: of all headers.

    Attributes:
        is_full: whether its space is used up: nothing is written until somebody makes room, but leases go on and end.
    """

    def __init__(self, cluster_id: int) -> None:
        self.cluster_id = cluster_id
        self.revision: int = 1
        self.raft_term = 2
        self.compacted: int = 0
        self.is_full = False
        self.leases: dict[int, HeldLease] = {}
        self._versions: dict[bytes, list[KeyValue]] = {}
        self._keys: list[bytes] = []
        self._events: dict[int, list[WatchEvent]] = {}

    @property
    def header(self) -> Header:
        """What every answer says now."""
        return Header(self.cluster_id, 1, self.revision, self.raft_term)

    def get(self, get: Get, now: int = 0) -> GetResult:
        """Read.

        Args:
            get: what.
            now: the revision that a transaction is about to make, which sees what it has written itself.
        """
        revision = get.revision or now or self.revision
        if revision > max(now, self.revision):
            raise FutureRevision(f"revision {revision} is still to come")
        if revision < self.compacted:
            raise Compacted(f"revision {revision} is compacted away", compact_revision=self.compacted)
        found = [item for key in self._range(get.key, get.end) if (item := self._at(key, revision)) is not None]
        kept = found[: get.limit] if get.limit else found
        if get.keys_only:
            kept = [replace(each, value=b"") for each in kept]
        items = () if get.count_only else tuple(kept)
        return GetResult(self.header, items, len(kept) < len(found), len(found))

    def txn(self, compares: Iterable[Compare], success: Iterable[Operation], failure: Iterable[Operation]) -> TxnResult:
        """Carry out a transaction. Where there is no space, none that could write a key is looked at."""
        success, failure = tuple(success), tuple(failure)
        if any(isinstance(each, Put) for each in (*success, *failure)):
            self._check_space()
        succeeded = all(self._holds(each) for each in compares)
        operations = success if succeeded else failure
        for each in operations:
            if isinstance(each, Put) and each.lease and each.lease not in self.leases:
                raise LeaseNotFound(f"there is no lease {each.lease:x}")
        events: list[WatchEvent] = []
        writes = any(self._would_write(each) for each in operations)
        revision = self.revision + writes
        responses = [self._carry_out(each, revision, events) for each in operations]
        if writes:
            self._commit(events)
        header = self.header
        return TxnResult(header, succeeded, tuple(replace(each, header=header) for each in responses))

    def grant(self, lease_id: int, ttl_s: int, now: float) -> None:
        """Open a lease."""
        self._check_space()
        if lease_id in self.leases:
            raise LeaseExists(f"there is a lease {lease_id:x}")
        self.leases[lease_id] = HeldLease(ttl_s, now + ttl_s)

    def revoke(self, lease_id: int) -> None:
        """End a lease, and delete its keys at one revision."""
        if lease_id not in self.leases:
            raise LeaseNotFound(f"there is no lease {lease_id:x}")
        keys = sorted(self.leases.pop(lease_id).keys)
        self._commit([self._delete(each, self.revision + 1) for each in keys])

    def renew(self, lease_id: int, now: float) -> int | None:
        """Let a lease begin anew.

        Returns:
            Its time-to-live; 0 where it is gone; None where its time is over, and what becomes of it is still to come.
        """
        lease = self.leases.get(lease_id)
        if lease is None:
            return 0
        if lease.until <= now:
            return None
        lease.until = now + lease.ttl_s
        return lease.ttl_s

    def renew_all(self, now: float, more_s: float) -> None:
        """Let each lease begin anew, and last a little longer, as the next leader does: also one whose time is over."""
        for lease in self.leases.values():
            lease.until, lease.ends_by = now + lease.ttl_s + more_s, None

    def expire(self, now: float, late_s: Callable[[], float]) -> bool:
        """End the leases whose time is over.

        Args:
            now: the time.
            late_s: returns how much later one ends, that is just seen to be over.

        Returns:
            Whether there were any.
        """
        before = len(self.leases)
        for lease_id, lease in list(self.leases.items()):
            if lease.until <= now:
                lease.ends_by = now + late_s() if lease.ends_by is None else lease.ends_by
                if lease.ends_by <= now:
                    self.revoke(lease_id)
        return len(self.leases) < before

    def compact(self, revision: int) -> None:
        """Forget all that was there before a revision, but for what is still there in it.

        Raises:
            Compacted: that has been done.
            FutureRevision: there is no such revision yet.
        """
        if revision > self.revision:
            raise FutureRevision(f"revision {revision} is still to come")
        if revision <= self.compacted:
            raise Compacted(f"revision {revision} is compacted away", compact_revision=self.compacted)
        self.compacted = revision
        self._events = {each: events for each, events in self._events.items() if each >= revision}
        for versions in self._versions.values():
            while len(versions) > 1 and versions[1].mod_revision <= revision:
                del versions[0]

    def events_from(self, revision: int, key: bytes, end: bytes, revisions: int = 1) -> Sequence[WatchEvent]:
        """Return the changes of a range from a revision on, of the first revisions that have any."""
        if revision < self.compacted:
            raise Compacted(f"revision {revision} is compacted away", compact_revision=self.compacted)
        found: list[WatchEvent] = []
        for each in range(revision, self.revision + 1):
            events = [event for event in self._events.get(each, []) if _is_in(event.item.key, key, end)]
            found += events
            revisions -= bool(events)
            if not revisions:
                break
        return found

    def events_at(self, revision: int) -> Sequence[WatchEvent]:
        """Return the changes of a revision; none where it is compacted away."""
        return self._events.get(revision, ())

    def _check_space(self) -> None:
        if self.is_full:
            raise EtcdRefused("etcd refused it, mvcc: database space exceeded: compact and defragment etcd")

    def _carry_out(self, operation: Operation, revision: int, events: list[WatchEvent]) -> OperationResult:
        match operation:
            case Get():
                return self.get(operation, revision)
            case Put():
                former = self._at(operation.key, self.revision)
                events.append(self._put(operation, revision, former))
                return PutResult(self.header, former if operation.previous else None)
            case Delete():
                items = [self._at(key, self.revision) for key in self._range(operation.key, operation.end)]
                gone = [each for each in items if each is not None]
                events += [self._delete(each.key, revision) for each in gone]
                return DeleteResult(self.header, len(gone), tuple(gone) if operation.previous else ())

    def _would_write(self, operation: Operation) -> bool:
        if isinstance(operation, Delete):
            return any(self._at(each, self.revision) is not None for each in self._range(operation.key, operation.end))
        return isinstance(operation, Put)

    def _put(self, put: Put, revision: int, former: KeyValue | None) -> WatchEvent:
        created, version = (former.create_revision, former.version) if former else (revision, 0)
        item = KeyValue(put.key, put.value, created, revision, version + 1, put.lease)
        self._attach(former, item)
        return self._add(Change.PUT, item)

    def _delete(self, key: bytes, revision: int) -> WatchEvent:
        item = KeyValue(key, b"", 0, revision, 0, 0)
        self._attach(self._at(key, self.revision), item)
        return self._add(Change.DELETE, item)

    def _attach(self, former: KeyValue | None, item: KeyValue) -> None:
        if former is not None and former.lease in self.leases:
            self.leases[former.lease].keys.discard(item.key)
        if item.lease:
            self.leases[item.lease].keys.add(item.key)

    def _add(self, change: Change, item: KeyValue) -> WatchEvent:
        if item.key not in self._versions:
            insort(self._keys, item.key)
        self._versions.setdefault(item.key, []).append(item)
        return WatchEvent(change, item)

    def _commit(self, events: list[WatchEvent]) -> None:
        if events:
            self.revision += 1
            self._events[self.revision] = events

    def _at(self, key: bytes, revision: int) -> KeyValue | None:
        """Return what a key held at a revision."""
        for item in reversed(self._versions.get(key, [])):
            if item.mod_revision <= revision:
                return item if item.version else None
        return None

    def _range(self, key: bytes, end: bytes) -> list[bytes]:
        if not end:
            return [key]
        start = bisect_left(self._keys, key)
        return self._keys[start:] if end == END_OF_KEYS else self._keys[start : bisect_left(self._keys, end)]

    def _holds(self, compare: Compare) -> bool:
        found = [self._at(key, self.revision) for key in self._range(compare.key, compare.end)]
        there = [item for item in found if item is not None]
        return all(self._holds_for(item, compare) for item in there or [None])

    def _holds_for(self, item: KeyValue | None, compare: Compare) -> bool:
        if compare.target is Target.VALUE:
            return item is not None and _relates(item.value, compare.relation, compare.operand)
        number = 0 if item is None else getattr(item, compare.target.name.lower())
        return _relates(number, compare.relation, compare.operand)


def _relates(one: Any, relation: Relation, other: Any) -> bool:
    match relation:
        case Relation.EQUAL:
            return one == other
        case Relation.NOT_EQUAL:
            return one != other
        case Relation.GREATER:
            return one > other
        case Relation.LESS:
            return one < other


def _is_in(item: bytes, key: bytes, end: bytes) -> bool:
    return key <= item and (end == END_OF_KEYS or item < end) if end else item == key
