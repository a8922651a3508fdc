"""The values that everything else speaks in: frozen, without I/O, and checked where ids come in."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from atomix_election.errors import InvalidRequest

DEFAULT_NAMESPACE = "default"
DEFAULT_SESSION_TTL_S = 10.0
"""Seconds that a session lasts without a sign of life, unless asked otherwise."""
MIN_SESSION_TTL_S = 1.0
"""The least that a server grants, unless told otherwise."""
MAX_SESSION_TTL_S = 300.0
"""The most that a server grants, unless told otherwise."""
MAX_ID_BYTES = 256
"""Longest name of an election, namespace, session or candidate, in bytes of UTF-8."""

_DIGEST_DIGITS = 16
_REMEMBERED_IDS = 4096
"""Ids that were found to be well-formed and are not looked at again."""


class ElectionId(NamedTuple):
    """Names one election: its namespace and its name within it."""

    namespace: str
    name: str


class SessionId(NamedTuple):
    """Names one session for ever: ids may come back, an incarnation is never used twice."""

    namespace: str
    id: str
    incarnation: int

    @property
    def digest(self) -> str:
        """What may be shown and logged of a session: its id is a secret, as whoever knows it can act for it."""
        return session_digest(self.namespace, self.id)


class Candidate(NamedTuple):
    """Somebody who stands in the queue, and the session that entered it."""

    id: str
    session: SessionId


@dataclass(frozen=True, slots=True)
class Term:
    """An election as its users see it.

    Args:
        candidates: ids in order of priority, the leader first.
        number: the term number, which is the fencing token: rises with every new leadership and never falls.
            0 as long as nobody has ever entered.
        revision: rises by one with every visible change; of two terms of one store the higher is the newer.
    """

    candidates: tuple[str, ...] = ()
    number: int = 0
    revision: int = 0

    @property
    def leader(self) -> str | None:
        """The first candidate, or None when there is none. There is no other notion of leader."""
        return self.candidates[0] if self.candidates else None


class EventType(Enum):
    """What an event says; the names are those of the published protocol."""

    NONE = 0
    """The snapshot that every watch begins with."""
    CHANGED = 1
    """The term changed."""


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a watch.

    Args:
        type: whether it is the snapshot at the beginning (NONE), or a change (CHANGED).
        term: the term then.
        skipped: whether changes between the event before and this one were left out, as the watcher had fallen behind
            or was cut off. A gap in the revisions tells, and so it is also said of the first change of an election
            that was not used, if another one of its namespace has been forgotten since the snapshot.
    """

    type: EventType
    term: Term
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class ElectionSummary:
    """One election of a list.

    Args:
        name: the election.
        leader: its first candidate, or None when there is none.
        candidate_count: how many stand in it, the leader included.
        number: the term number.
        revision: the revision of the term.
        began_at: when the term began by the server's wall clock; None when nobody leads, or it is not known.
    """

    name: str
    leader: str | None
    candidate_count: int
    number: int
    revision: int
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ElectionPage:
    """A part of the list of a namespace's elections.

    Args:
        elections: in order of their names.
        next_page_token: asks for the page after this one; "" when this is the last one.
    """

    elections: tuple[ElectionSummary, ...]
    next_page_token: str = ""


class SessionKind(Enum):
    """What keeps a session open."""

    ENDED = 0
    """Nothing: it has ended, and what it left behind is being removed."""
    RENEWALS = 1
    """Its client renews it, as clients of this package do."""
    CONNECTIONS = 2
    """The connections that it was used on, as published clients know nothing else."""


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """What may be known of a session.

    Args:
        digest: stands for its id, which is a secret; of the same id always the same.
        kind: what keeps it open.
        ttl_s: its time-to-live in seconds; 0 when it has ended.
        lease_left_s: seconds until it ends unless something keeps it; None when it has ended, or a connection keeps it.
        peer: the address that its client was last seen at; "" when that is not known.
    """

    digest: str
    kind: SessionKind
    ttl_s: float = 0.0
    lease_left_s: float | None = None
    peer: str = ""


@dataclass(frozen=True, slots=True)
class CandidateDescription:
    """A candidate in the queue of an election.

    Args:
        id: who stands.
        session: the session that entered it.
        entered_at: when, by the server's wall clock; None when it is not known.
    """

    id: str
    session: SessionDescription
    entered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DisplacedDescription:
    """A former leader from whom the lead was taken, and whose step-down the leader waits for.

    Args:
        id: who led.
        number: the number of the term that it led.
        session: the session that entered it.
    """

    id: str
    number: int
    session: SessionDescription


@dataclass(frozen=True, slots=True)
class ElectionDescription:
    """One election, as an operator sees it.

    Args:
        term: the current term.
        candidates: in order, the leader first.
        displaced: whom the leader waits for before it may act.
        began_at: when the term began by the server's wall clock; None when nobody leads, or it is not known.
    """

    term: Term
    candidates: tuple[CandidateDescription, ...] = ()
    displaced: tuple[DisplacedDescription, ...] = ()
    began_at: datetime | None = None


def session_digest(namespace: str, session_id: str) -> str:
    """Return what may be shown and logged of a session instead of its id: of the same id always the same."""
    import hashlib  # who looks at no session does not pay for it

    return hashlib.sha256(f"{namespace}\0{session_id}".encode()).hexdigest()[:_DIGEST_DIGITS]


@lru_cache(_REMEMBERED_IDS)
def check_candidate_id(candidate_id: str) -> str:
    """Return the id of a candidate if it is well-formed.

    Raises:
        InvalidRequest: it is empty, longer than MAX_ID_BYTES, not printable, or has white space at an end.
    """
    return _check_id("candidate id", candidate_id)


@lru_cache(_REMEMBERED_IDS)
def check_metadata_id(what: str, value: str) -> str:
    """Return an id that travels as gRPC metadata (election, namespace, session) if it is well-formed.

    Such values are limited to printable ASCII by the gRPC protocol over HTTP/2 ("ASCII-Value").

    Raises:
        InvalidRequest: as for a candidate id, or it has a character outside ASCII; the message begins with ``what``.
    """
    _check_id(what, value)
    if not value.isascii():
        raise InvalidRequest(f"{what} {value!a} has characters outside ASCII, which gRPC metadata cannot carry")
    return value


def _check_id(what: str, value: str) -> str:
    if not value:
        raise InvalidRequest(f"{what} is empty: give it a name")
    if len(value) > MAX_ID_BYTES:
        raise InvalidRequest(f"{what} has {len(value)} characters, the limit is {MAX_ID_BYTES} bytes")
    if not value.isprintable() or value != value.strip():
        raise InvalidRequest(f"{what} {value!a} has unprintable characters or white space at an end")
    size = len(value.encode())
    if size > MAX_ID_BYTES:
        raise InvalidRequest(f"{what} has {size} bytes, the limit is {MAX_ID_BYTES}")
    return value
