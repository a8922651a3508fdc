"""What goes into calls and comes out of them: frozen values, which outlive their messages."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

END_OF_KEYS = b"\x00"
"""As the end of a range: there is none."""


class Endpoint(NamedTuple):
    """Where a member of etcd listens for clients."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Header:
    """What every answer says of the store.

    Args:
        cluster_id: which cluster; the same after a restore that kept its name and members.
        member_id: which member answered.
        revision: that of the store when it answered; after a write, that of the write.
        raft_term: rises with each of etcd's own elections.
    """

    cluster_id: int
    member_id: int
    revision: int
    raft_term: int


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key and what it holds.

    Args:
        key: the key.
        value: empty where only keys were asked for, and for one that is deleted.
        create_revision: when the key came into being, since it was last absent.
        mod_revision: when it was last written, or was deleted.
        version: how often it was written since it was last absent; 0 for one that is deleted.
        lease: the lease that it lives as long as; 0 for none.
    """

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


class Target(Enum):
    """What of a key is compared. A key that is absent has 0 for each number; its value equals nothing."""

    VERSION = 0
    CREATE_REVISION = 1
    MOD_REVISION = 2
    VALUE = 3
    LEASE = 4


class Relation(Enum):
    """How it has to relate to the operand."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction. See also ``exists``, ``absent``, ``none_of`` and ``unchanged``.

    Args:
        key: which key, or where a range of them begins, each of which has to fulfil it; one without keys is as a key
            that is absent.
        target: what of it.
        relation: how that has to relate to the operand.
        operand: bytes for ``Target.VALUE``, else a number.
        end: where the range ends, as in ``Get``; b"" for the one key.
    """

    key: bytes
    target: Target
    relation: Relation
    operand: int | bytes
    end: bytes = b""

    def __post_init__(self) -> None:
        if isinstance(self.operand, bytes) != (self.target is Target.VALUE):
            raise ValueError(f"{self.target.name} is compared with a {type(self.operand).__name__}: {self.operand!r}")


def exists(key: bytes) -> Compare:
    """Return the condition that there is such a key."""
    return Compare(key, Target.CREATE_REVISION, Relation.GREATER, 0)


def absent(key: bytes) -> Compare:
    """Return the condition that there is no such key."""
    return Compare(key, Target.CREATE_REVISION, Relation.EQUAL, 0)


def none_of(key: bytes, end: bytes) -> Compare:
    """Return the condition that there is no key in a range."""
    return Compare(key, Target.CREATE_REVISION, Relation.EQUAL, 0, end)


def unchanged(key: bytes, mod_revision: int) -> Compare:
    """Return the condition that the key was last written at this revision; 0: that there is no such key."""
    return Compare(key, Target.MOD_REVISION, Relation.EQUAL, mod_revision)


def prefix_end(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin so."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else END_OF_KEYS


@dataclass(frozen=True, slots=True)
class Get:
    """Read one key, or a range of them in the order of their keys.

    Args:
        key: the key, or where the range begins.
        end: where it ends, itself left out: see ``prefix_end``; b"" for the one key.
        revision: as of when; 0 for now. Older ones may be compacted away.
        limit: the most keys to return; 0 for all.
        keys_only: leave the values out.
        count_only: leave the keys out, too: only count them.
        serializable: answered by any member from what it has, without asking the others: it may be old. Not in a
            transaction.
    """

    key: bytes
    end: bytes = b""
    revision: int = 0
    limit: int = 0
    keys_only: bool = False
    count_only: bool = False
    serializable: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key.

    Args:
        key: the key.
        value: what it is to hold.
        lease: the lease that it lives as long as; 0 for none, also where it had one.
        previous: whether to return what it held.
    """

    key: bytes
    value: bytes
    lease: int = 0
    previous: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one key, or a range of them.

    Args:
        key: the key, or where the range begins.
        end: as in ``Get``.
        previous: whether to return what they held.
    """

    key: bytes
    end: bytes = b""
    previous: bool = False


Operation = Get | Put | Delete


@dataclass(frozen=True, slots=True)
class GetResult:
    """What was read.

    Args:
        header: the store; in a transaction, only its revision is known.
        items: the keys.
        more: whether the limit left some out.
        count: how many keys there are in the range, whatever the limit.
    """

    header: Header
    items: tuple[KeyValue, ...]
    more: bool
    count: int


@dataclass(frozen=True, slots=True)
class PutResult:
    """A key was written, at the header's revision; what it held, if that was asked for."""

    header: Header
    previous: KeyValue | None


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """How many keys were deleted, at the header's revision; what they held, if that was asked for."""

    header: Header
    deleted: int
    previous: tuple[KeyValue, ...]


OperationResult = GetResult | PutResult | DeleteResult


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What became of a transaction.

    Args:
        header: the store after it.
        succeeded: whether all conditions held, and so which operations were carried out.
        responses: one for each of those operations, in order.
    """

    header: Header
    succeeded: bool
    responses: tuple[OperationResult, ...]

    @property
    def revision(self) -> int:
        """That of the store after it; if it wrote, what it wrote has this mod_revision."""
        return self.header.revision


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was granted.

    Args:
        header: the store.
        id: its number, never 0.
        ttl_s: the time-to-live that etcd granted, which may be longer than what was asked for.
    """

    header: Header
    id: int
    ttl_s: int


@dataclass(frozen=True, slots=True)
class LeaseState:
    """How a lease is.

    Args:
        header: the store.
        id: its number.
        ttl_s: how long it has left; less than 1 where it is gone, or about to be.
        granted_ttl_s: what was granted; 0 where it is gone.
        keys: those that live as long as it, if they were asked for.
    """

    header: Header
    id: int
    ttl_s: int
    granted_ttl_s: int
    keys: tuple[bytes, ...] = ()

    @property
    def is_gone(self) -> bool:
        """Whether there is no such lease."""
        return not self.granted_ttl_s


class Change(Enum):
    """What was done to a key."""

    PUT = 0
    DELETE = 1


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A change of one key.

    Args:
        change: what was done.
        item: the key after it; of a deleted one, key and mod_revision.
        previous: what it held, if that was asked for and is not compacted away.
    """

    change: Change
    item: KeyValue
    previous: KeyValue | None = None


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Changes in the order of their revisions; those of one revision are never in two batches.

    Args:
        header: the store, as the member that sent it knew it; its revision may be ahead of the events.
        events: the changes, at least one.
    """

    header: Header
    events: tuple[WatchEvent, ...]

    @property
    def revision(self) -> int:
        """That of the last change."""
        return self.events[-1].item.mod_revision


@dataclass(frozen=True, slots=True)
class Status:
    """How a member is.

    Args:
        header: the store.
        version: of etcd, as in "3.5.18".
        leader: the id of the member that leads; 0 for none.
        db_size_bytes: how large its file is.
        errors: alarms, such as that of a full store.
    """

    header: Header
    version: str
    leader: int
    db_size_bytes: int
    errors: tuple[str, ...]

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version, to be compared: what follows the numbers is left out."""
        numbers: list[int] = []
        for part in self.version.partition("-")[0].split("."):
            if not part.isdigit():
                break
            numbers.append(int(part))
        return tuple(numbers)
