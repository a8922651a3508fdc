"""What a store is made of in etcd: the names of its keys, and what each holds. Nothing here talks to etcd.

All of it begins with one prefix, so that one watch sees everything, and one rule of etcd's access control allows it:

    store                               what store this is; written once, and again by a restore
    origin                              for elections of which store elsewhere the prefix is kept, if they move here
    elections/<namespace>\\0<name>       one record each
    sessions/<namespace>\\0<id>\\0<any>   one for each incarnation, on a lease of its own; incarnation = create_revision
    servers/<id>                        the servers that run, each on a lease of its own
    floors/<namespace>                  below what nothing begins there that was forgotten
    head                                written with every change of an election and every new session
    floor                               the least number of a new term, if an operator has set one
    hold                                nobody may be admitted yet, after a restore

Neither names nor namespaces can contain a zero byte, so that the order of keys is the order of names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.core.steps import Step
from atomix_election.etcd import KeyValue, prefix_end
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import StoredSession
from atomix_election.stores.codec import (
    Fields,
    count_of,
    damaged,
    decode_election,
    decode_session,
    dump,
    encode_election,
    encode_session,
    items_of,
    load,
    text_of,
)

DEFAULT_PREFIX = "atomix_election/"
LAYOUT_VERSION = 1
"""Of all these keys and what they hold, but for the records of elections and sessions, which have one of their own."""

_NO_BATCHES: Mapping[str, int] = MappingProxyType({})


class Layout:
    """The names of the keys of one store.

    Args:
        prefix: what they begin with.
    """

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        self.prefix: bytes = prefix.encode()
        self.end: bytes = prefix_end(self.prefix)
        self.store: bytes = self.prefix + b"store"
        self.origin: bytes = self.prefix + b"origin"
        self.head: bytes = self.prefix + b"head"
        self.floor: bytes = self.prefix + b"floor"
        self.hold: bytes = self.prefix + b"hold"
        self.all_elections: bytes = self.prefix + b"elections/"
        self.all_sessions: bytes = self.prefix + b"sessions/"
        self.all_servers: bytes = self.prefix + b"servers/"
        self.all_floors: bytes = self.prefix + b"floors/"

    def election(self, election_id: ElectionId) -> bytes:
        """Return the key of an election."""
        return self.elections(election_id.namespace) + election_id.name.encode()

    def elections(self, namespace: str) -> bytes:
        """Return what the keys of a namespace's elections begin with."""
        return self.all_elections + namespace.encode() + b"\0"

    def election_id(self, key: bytes) -> ElectionId:
        """Return the election that has this key."""
        namespace, _, name = key.removeprefix(self.all_elections).partition(b"\0")
        return ElectionId(_decoded(namespace), _decoded(name))

    def sessions(self, namespace: str, session_id: str) -> bytes:
        """Return what the keys of the sessions with one id begin with."""
        return self.all_sessions + f"{namespace}\0{session_id}\0".encode()

    def server(self, server_id: str) -> bytes:
        """Return the key of a server."""
        return self.all_servers + server_id.encode()

    def server_id(self, key: bytes) -> str:
        """Return the server that has this key."""
        return _decoded(key.removeprefix(self.all_servers))

    def floors(self, namespace: str) -> bytes:
        """Return the key of a namespace's floors."""
        return self.all_floors + namespace.encode()

    def namespace(self, key: bytes) -> str:
        """Return the namespace whose floors have this key."""
        return _decoded(key.removeprefix(self.all_floors))


class Identity(NamedTuple):
    """What store this is.

    Args:
        id: made with it.
        floors: below what no election begins that has no record.
        version: the revision that wrote it down.
    """

    id: str
    floors: Floors
    version: int


class Origin(NamedTuple):
    """Where elections came from, or come from.

    Args:
        source: the identity of that store.
        store_id: that of this one; "" as long as not all are here.
    """

    source: str
    store_id: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the key of an election holds.

    Args:
        election: its state.
        batches: for each server that has written it, the number of its last write.
        start: the version that it took the place of, and
        steps: how the terms followed each other from there.
    """

    election: Election
    batches: Mapping[str, int] = field(default_factory=lambda: _NO_BATCHES)
    start: int = 0
    steps: tuple[Step, ...] = ()


class NamespaceFloors(NamedTuple):
    """What the key of a namespace's floors holds.

    Args:
        floors: they.
        batches: for each server that has raised them, the number of the last time.
        version: the revision that wrote them; 0 where nothing was forgotten yet.
    """

    floors: Floors = Floors()
    batches: Mapping[str, int] = _NO_BATCHES
    version: int = 0


def encode_identity(store_id: str, floors: Floors) -> bytes:
    """Return what the key of the store holds."""
    return dump({"version": LAYOUT_VERSION, "id": store_id, **floors._asdict()})


def decode_identity(item: KeyValue) -> Identity:
    """Return what store this is.

    Raises:
        StoreError: it is of a newer version, or damaged; so do all below.
    """
    fields = load(item.value, "the store in etcd", LAYOUT_VERSION)
    identity = Identity(fields.text("id"), _floors(fields), item.mod_revision)
    fields.end()
    return identity


def encode_origin(origin: Origin) -> bytes:
    """Return what the key of the origin holds."""
    return dump({"version": LAYOUT_VERSION, "source": origin.source, "store": origin.store_id})


def decode_origin(value: bytes) -> Origin:
    """Return where elections came from."""
    fields = load(value, "the origin in etcd", LAYOUT_VERSION)
    origin = Origin(fields.text("source"), fields.text("store"))
    fields.end()
    return origin


def encode_envelope(envelope: Envelope) -> bytes:
    """Return what the key of an election holds: a line of ours, and its record."""
    fields: dict[str, Any] = {"version": LAYOUT_VERSION}
    if envelope.batches:
        fields["batches"] = dict(envelope.batches)
    if envelope.steps:
        fields["start"] = envelope.start
        fields["steps"] = envelope.steps
    return dump(fields) + b"\n" + encode_election(envelope.election)


def decode_envelope(value: bytes) -> Envelope:
    """Return what the key of an election holds."""
    line, _, record = value.partition(b"\n")
    fields = load(line, "an election in etcd", LAYOUT_VERSION)
    batches, start = _batches(fields), count_of(fields.take("start", 0), "start")
    steps = tuple(_step(each) for each in fields.items("steps", []))
    fields.end()
    return Envelope(decode_election(record), batches, start, steps)


def encode_floors(floors: NamespaceFloors) -> bytes:
    """Return what the key of a namespace's floors holds."""
    return dump({"version": LAYOUT_VERSION, **floors.floors._asdict(), "batches": dict(floors.batches)})


def decode_floors(item: KeyValue) -> NamespaceFloors:
    """Return the floors of a namespace."""
    fields = load(item.value, "the floors of a namespace in etcd", LAYOUT_VERSION)
    floors = NamespaceFloors(_floors(fields), _batches(fields), item.mod_revision)
    fields.end()
    return floors


def encode_stored(namespace: str, session_id: str, ttl_s: float, *, kept_alive: bool, owner: str) -> bytes:
    """Return what the key of a session holds. Which incarnation it is, is known only when it is written."""
    return encode_session(StoredSession(SessionId(namespace, session_id, 0), ttl_s, kept_alive, owner))


def decode_stored(item: KeyValue) -> StoredSession:
    """Return a session."""
    stored = decode_session(item.value)
    session = stored.session._replace(incarnation=item.create_revision)
    return StoredSession(session, stored.ttl_s, stored.kept_alive, stored.owner)


def encode_floor(number: int) -> bytes:
    """Return what the key of the operator's floor holds."""
    return dump({"version": LAYOUT_VERSION, "number": number})


def decode_floor(value: bytes) -> int:
    """Return the operator's floor."""
    fields = load(value, "the floor in etcd", LAYOUT_VERSION)
    number = fields.count("number")
    fields.end()
    return number


def encode_hold(hold_s: float) -> bytes:
    """Return what the key of a hold holds."""
    return dump({"version": LAYOUT_VERSION, "hold_s": hold_s})


def decode_hold(value: bytes) -> float:
    """Return how long a hold lasts at least, in seconds."""
    fields = load(value, "the hold in etcd", LAYOUT_VERSION)
    hold_s = fields.seconds("hold_s")
    fields.end()
    return hold_s


def _floors(fields: Fields) -> Floors:
    return Floors(fields.count("number"), fields.count("revision"))


def _batches(fields: Fields) -> Mapping[str, int]:
    return {text_of(server, "a server"): count_of(number, "a batch") for server, number in fields.pairs("batches")}


def _step(value: object) -> Step:
    number, revision, removed, inserted = items_of(value, "a step", length=4)
    return Step(
        count_of(number, "a step's number"),
        count_of(revision, "a step's revision"),
        tuple(count_of(each, "a place") for each in items_of(removed, "who left")),
        tuple(_inserted(each) for each in items_of(inserted, "who came")),
    )


def _inserted(value: object) -> tuple[int, str]:
    place, candidate_id = items_of(value, "who came", length=2)
    return count_of(place, "a place"), text_of(candidate_id, "a candidate")


def _decoded(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        damaged(f"the key has {part!r} in it")
