"""Elections and sessions as bytes, for stores that keep them outside of the process: versioned JSON, read strictly.

A record says which version of this format it has. A newer one is refused by name, as what this code does not know would
be lost with the next write. How to add a field:

- Write it only where it differs from its default, and take it with that default where it is missing: older records
  stay readable, and older code goes on as long as nobody uses the field (it refuses a record with a field that it does
  not know).
- A change that older code would read wrongly raises ``RECORD_VERSION``.
"""

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn, cast

from atomix_election.core.election import Displaced, Election
from atomix_election.errors import StoreError
from atomix_election.model import Candidate, SessionId
from atomix_election.stores.base import StoredSession

RECORD_VERSION = 1
"""The version that is written, and the newest that is read."""

_REQUIRED = object()
_quote = json.encoder.encode_basestring
_JSON = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


def encode_election(election: Election) -> bytes:
    """Return an election as a record. Equal elections have equal records."""
    sessions = sorted(election.sessions())
    place = {session: index for index, session in enumerate(sessions)}
    fields: dict[str, Any] = {}
    if election.registered:
        fields["registered"] = sorted(place[each] for each in election.registered)
    if election.operations:
        fields["operations"] = sorted((place[session], number) for session, number in election.operations.items())
    if election.displaced:
        fields["displaced"] = [
            {"id": each.candidate.id, "session": place[each.candidate.session], "number": each.number}
            for each in election.displaced
        ]
    if election.began_at:
        fields["began_at"] = election.began_at
    # What there may be a thousand of is written by hand, three times as fast; tests compare it with json's own.
    text = (
        f'{{"version":{RECORD_VERSION},"number":{election.number},"revision":{election.revision},"sessions":['
        + ",".join([f"[{_quote(namespace)},{_quote(id_)},{incarnation}]" for namespace, id_, incarnation in sessions])
        + '],"candidates":['
        + ",".join([_candidate_text(each, place, election.entered_at) for each in election.candidates])
        + ("]," + _JSON.encode(fields)[1:] if fields else "]}")
    )
    return text.encode()


def decode_election(record: bytes) -> Election:
    """Return the election in a record.

    Raises:
        StoreError: the record is of a newer version, or damaged.
    """
    fields = load(record, "an election")
    number, revision = fields.count("number"), fields.count("revision")
    sessions = [_session_id(each) for each in fields.items("sessions")]
    entered_at: dict[Candidate, float] = {}
    candidates = tuple(_candidate(Fields(each), sessions, entered_at) for each in fields.items("candidates"))
    registered = frozenset(_at(sessions, each) for each in fields.items("registered", []))
    operations = dict(_operation(each, sessions) for each in fields.items("operations", []))
    displaced = tuple(_displaced(Fields(each), sessions) for each in fields.items("displaced", []))
    began_at = fields.time("began_at", 0.0)
    fields.end()
    if len({each.id for each in candidates}) != len(candidates):
        damaged("a candidate stands in it twice")
    return Election(
        candidates,
        number,
        revision,
        registered,
        MappingProxyType(operations),
        displaced,
        MappingProxyType(entered_at),
        began_at,
    )


def encode_session(stored: StoredSession) -> bytes:
    """Return a session as a record."""
    fields: dict[str, Any] = {"version": RECORD_VERSION, "session": stored.session, "ttl_s": stored.ttl_s}
    if stored.kept_alive:
        fields["kept_alive"] = True
    if stored.owner:
        fields["owner"] = stored.owner
    return dump(fields)


def decode_session(record: bytes) -> StoredSession:
    """Return the session in a record.

    Raises:
        StoreError: the record is of a newer version, or damaged.
    """
    fields = load(record, "a session")
    session = _session_id(fields.take("session"))
    kept_alive, owner = fields.flag("kept_alive", default=False), fields.text("owner", "")
    stored = StoredSession(session, fields.seconds("ttl_s"), kept_alive, owner)
    fields.end()
    return stored


class Fields:
    """An object in a record. Each field is taken once, and in the end none may be left."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            damaged(f"{value!r:.80} stands where fields should be")
        self._left = cast("dict[str, object]", value)

    def has(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, default: object = _REQUIRED) -> object:
        value = self._left.pop(name, default)
        return damaged(f"field {name!r} is missing") if value is _REQUIRED else value

    def count(self, name: str) -> int:
        return count_of(self.take(name), name)

    def text(self, name: str, default: object = _REQUIRED) -> str:
        return text_of(self.take(name, default), name)

    def items(self, name: str, default: object = _REQUIRED) -> list[object]:
        return items_of(self.take(name, default), name)

    def pairs(self, name: str) -> list[tuple[str, object]]:
        """Return what an object holds that may be missing."""
        value = self.take(name, {})
        return (
            list(cast("dict[str, object]", value).items())
            if isinstance(value, dict)
            else damaged(f"{name} is {value!r:.80}")
        )

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.take(name, default)
        return value if isinstance(value, bool) else damaged(f"{name} is {value!r:.80}")

    def seconds(self, name: str) -> float:
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            damaged(f"{name} is {value!r:.80}")
        return float(value)

    def time(self, name: str, default: object = _REQUIRED) -> float:
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            damaged(f"{name} is {value!r:.80}")
        return float(value)

    def end(self) -> None:
        if self._left:
            damaged(f"it has fields that are not known: {', '.join(sorted(self._left))}")


def dump(fields: dict[str, Any]) -> bytes:
    return _JSON.encode(fields).encode()


def load(record: bytes, what: str, newest: int = RECORD_VERSION) -> Fields:
    """Return the fields of a record whose version is known.

    Raises:
        StoreError: the record is of a newer version, or damaged.
    """
    try:
        fields = Fields(json.loads(record, parse_constant=damaged))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"a record is damaged: {error}; restore a backup") from error
    version = fields.count("version")
    if version > newest:
        raise StoreError(
            f"the record of {what} has version {version}, and this release of atomix_election knows none newer than "
            f"{newest}: run the release that wrote it, or a newer one"
        )
    if version == 0:
        damaged("version is 0")
    return fields


def _session_id(value: object) -> SessionId:
    namespace, session_id, incarnation = items_of(value, "a session", length=3)
    return SessionId(
        text_of(namespace, "a namespace"), text_of(session_id, "a session id"), count_of(incarnation, "an incarnation")
    )


def _candidate_text(candidate: Candidate, place: Mapping[SessionId, int], entered_at: Mapping[Candidate, float]) -> str:
    at = entered_at.get(candidate)
    time = "" if at is None else f',"entered_at":{at!r}'
    return f'{{"id":{_quote(candidate.id)},"session":{place[candidate.session]}{time}}}'


def _candidate(fields: Fields, sessions: list[SessionId], entered_at: dict[Candidate, float]) -> Candidate:
    """Return a candidate, and note when it entered, where that is known."""
    candidate = Candidate(fields.text("id"), _at(sessions, fields.take("session")))
    if fields.has("entered_at"):
        entered_at[candidate] = fields.time("entered_at")
    fields.end()
    return candidate


def _displaced(fields: Fields, sessions: list[SessionId]) -> Displaced:
    displaced = Displaced(
        Candidate(fields.text("id"), _at(sessions, fields.take("session"))), number=fields.count("number")
    )
    fields.end()
    return displaced


def _operation(value: object, sessions: list[SessionId]) -> tuple[SessionId, int]:
    session, number = items_of(value, "an operation", length=2)
    return _at(sessions, session), count_of(number, "an operation's number")


def _at(sessions: list[SessionId], value: object) -> SessionId:
    place = count_of(value, "a session's place")
    return sessions[place] if place < len(sessions) else damaged(f"there is no session {place}")


def count_of(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        damaged(f"{what} is {value!r:.80}")
    return value


def text_of(value: object, what: str) -> str:
    return value if isinstance(value, str) else damaged(f"{what} is {value!r:.80}")


def items_of(value: object, what: str, *, length: int | None = None) -> list[object]:
    if not isinstance(value, list):
        damaged(f"{what} is {value!r:.80}")
    items = cast("list[object]", value)
    if length is not None and len(items) != length:
        damaged(f"{what} has {len(items)} parts, not {length}")
    return items


def damaged(why: str) -> NoReturn:
    raise StoreError(f"a record is damaged: {why}; restore a backup")
