"""The values that everything else speaks in: frozen, without I/O, and checked where ids come in."""

from dataclasses import dataclass
from enum import Enum
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


class ElectionId(NamedTuple):
    """Names one election: its namespace and its name within it."""

    namespace: str
    name: str


class SessionId(NamedTuple):
    """Names one session for ever: ids may come back, an incarnation is never used twice."""

    namespace: str
    id: str
    incarnation: int


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
            or was cut off.
    """

    type: EventType
    term: Term
    skipped: bool = False


def check_candidate_id(candidate_id: str) -> str:
    """Return the id of a candidate if it is well-formed.

    Raises:
        InvalidRequest: it is empty, longer than MAX_ID_BYTES, not printable, or has white space at an end.
    """
    return _check_id("candidate id", candidate_id)


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
