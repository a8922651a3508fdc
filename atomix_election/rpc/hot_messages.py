"""The hot messages, those of calls, events and renewals: from the model to bytes, and back.

Each function does what ``convert`` and ``wire`` do together: the bytes, the values and the errors are theirs. Terms,
which are in all answers and events, are written and read without message objects in between. What is read that way is
what a server of this package writes, in the order of the fields; anything else is left to ``convert`` and ``wire``.

A term or event that is sent more than once is encoded once. The newest are kept, by what they say and not by which
object they are, as each read of an election makes a new object: looking one up takes a hash of its candidates, which
is a fortieth of encoding them.
"""

from functools import lru_cache
from typing import cast

import betterproto2

from atomix_election.core.campaign import Answer
from atomix_election.model import Event, EventType, Term
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix.time import v1 as time_v1
from atomix_election.rpc._generated.atomix_election import v1 as sessions_v1
from atomix_election.rpc.codec import UNUSUAL
from atomix_election.rpc.convert import answer_message, answer_of, event_of, renewal_message, renewal_of, term_of
from atomix_election.rpc.schema import key_of
from atomix_election.rpc.varints import Prefixed, Unusual, read_varint
from atomix_election.service import Renewal

KEPT_TERMS = 32
"""How many encoded terms are kept, and how many events. Were each of another election with 1,000 candidates, all would
take 4 MB with ids of 20 bytes, and 27 MB with the longest ids."""

CANDIDATE_REQUESTS = (v1.EnterRequest, v1.WithdrawRequest, v1.AnointRequest, v1.PromoteRequest, v1.EvictRequest)
"""Requests that have a candidate id and nothing else, and so are the same bytes."""
TERM_RESPONSES = (
    v1.EnterResponse,
    v1.WithdrawResponse,
    v1.AnointResponse,
    v1.PromoteResponse,
    v1.EvictResponse,
    v1.GetTermResponse,
)
"""Responses that have a term and nothing else, and so are the same bytes."""

# The keys of fields, as bytes say them, and below the same with a number after them.
(_RESPONSE_TERM,) = {key_of(kind, "term") for kind in TERM_RESPONSES}
_EVENT, _EVENT_TYPE, _EVENT_TERM = (
    key_of(v1.EventsResponse, "event"),
    key_of(v1.Event, "type"),
    key_of(v1.Event, "term"),
)
_LEADER, _CANDIDATE, _TIMESTAMP = (key_of(v1.Term, name) for name in ("leader_id", "candidates", "timestamp"))
_EPOCH = key_of(time_v1.Timestamp, "epoch_timestamp")
_NUMBER, _REVISION = key_of(time_v1.EpochTimestamp, "epoch"), key_of(time_v1.EpochTimestamp, "time")

_response_term = Prefixed(_RESPONSE_TERM)
_event, _event_type, _event_term = Prefixed(_EVENT), Prefixed(_EVENT_TYPE), Prefixed(_EVENT_TERM)
_leader, _candidate, _timestamp = Prefixed(_LEADER), Prefixed(_CANDIDATE), Prefixed(_TIMESTAMP)
_epoch, _number, _revision = Prefixed(_EPOCH), Prefixed(_NUMBER), Prefixed(_REVISION)
_event_types = {each.value: each for each in EventType}


def candidate_request_bytes(candidate_id: str) -> bytes:
    """Return a request of CANDIDATE_REQUESTS."""
    return wire.encode(v1.EnterRequest(candidate_id))


def candidate_id_of(data: bytes, kind: type[betterproto2.Message]) -> str:
    """Return the candidate id of a request, ``kind``, of CANDIDATE_REQUESTS.

    Raises:
        InvalidRequest: the bytes are not such a message.
    """
    return cast(v1.EnterRequest, wire.decode(data, kind)).candidate_id


@lru_cache(maxsize=KEPT_TERMS)
def term_bytes(term: Term) -> bytes:
    """Return the message of a term."""
    parts: list[bytes] = []
    if leader := term.leader:
        data = leader.encode()
        parts += _leader[len(data)], data
    for candidate in term.candidates:
        data = candidate.encode()
        parts.append(_candidate[len(data)])
        parts.append(data)
    number = _number[term.number] if term.number else b""
    revision = _revision[term.revision] if term.revision else b""
    epoch = _epoch[len(number) + len(revision)]
    parts += _timestamp[len(epoch) + len(number) + len(revision)], epoch, number, revision
    return b"".join(parts)


def term_response_bytes(term: Term) -> bytes:
    """Return a response of TERM_RESPONSES."""
    data = term_bytes(term)
    return _response_term[len(data)] + data


def term_of_response(data: bytes, kind: type[betterproto2.Message]) -> Term:
    """Return the term of a response, ``kind``, of TERM_RESPONSES.

    Raises:
        InvalidRequest: the bytes are not such a message.
        Unavailable: it is none that a server of this protocol with epoch timestamps sends.
    """
    try:
        return _read_term(data, _read_head(data, 0, _RESPONSE_TERM))
    except UNUSUAL:
        return term_of(cast(v1.GetTermResponse, wire.decode(data, kind)).term)


@lru_cache(maxsize=KEPT_TERMS)
def event_bytes(event: Event) -> bytes:
    """Return the response that has an event."""
    data = term_bytes(event.term)
    kind = event.type.value
    head = (_event_type[kind] if kind else b"") + _event_term[len(data)]
    return _event[len(head) + len(data)] + head + data


def event_of_response(data: bytes) -> Event:
    """Return the event of a response.

    Raises:
        InvalidRequest: the bytes are not such a message.
        Unavailable: as for a term.
    """
    try:
        position = _read_head(data, 0, _EVENT)
        kind = EventType.NONE
        if data[position] == _EVENT_TYPE:
            kind, position = _event_types[data[position + 1]], position + 2
        return Event(kind, _read_term(data, _read_head(data, position, _EVENT_TERM)))
    except UNUSUAL:
        return event_of(wire.decode(data, v1.EventsResponse))


def renewal_bytes(renewal: Renewal) -> bytes:
    """Return the message of a renewal."""
    return wire.encode(renewal_message(renewal))


def renewal_of_bytes(data: bytes) -> Renewal:
    """Return the renewal of a message.

    Raises:
        InvalidRequest: the bytes are not such a message.
    """
    return renewal_of(wire.decode(data, sessions_v1.KeepAliveRequest))


def answer_bytes(answer: Answer) -> bytes:
    """Return the message of an answer."""
    return wire.encode(answer_message(answer))


def answer_of_bytes(data: bytes) -> Answer:
    """Return the answer of a message.

    Raises:
        InvalidRequest: the bytes are not such a message.
    """
    return answer_of(wire.decode(data, sessions_v1.KeepAliveResponse))


def _read_head(data: bytes, position: int, key: int) -> int:
    """Return where a message begins that is the field with that key, and the last one in the data."""
    if data[position] != key:
        raise Unusual
    size, start = data[position + 1], position + 2
    if size > 127:
        size, start = read_varint(data, position + 1)
    if start + size != len(data):
        raise Unusual
    return start


def _read_term(data: bytes, position: int) -> Term:
    """Return the term that reaches from a position to the end."""
    leader = ""
    candidates: list[str] = []
    while (key := data[position]) != _TIMESTAMP:
        size, start = data[position + 1], position + 2
        if size > 127:
            size, start = read_varint(data, position + 1)
        position = start + size
        if key == _CANDIDATE:
            candidates.append(data[start:position].decode())
        elif key == _LEADER and not leader:
            leader = data[start:position].decode()
        else:
            raise Unusual
    position = _read_head(data, _read_head(data, position, _TIMESTAMP), _EPOCH)
    number, position = _read_number(data, position, _NUMBER)
    revision, position = _read_number(data, position, _REVISION)
    term = Term(tuple(candidates), number, revision)
    if position != len(data) or leader != (term.leader or ""):
        raise Unusual
    return term


def _read_number(data: bytes, position: int, key: int) -> tuple[int, int]:
    """Return the number in the field with that key, if it is there; else 0."""
    if position == len(data) or data[position] != key:
        return 0, position
    number = data[position + 1]
    return (number, position + 2) if number < 128 else read_varint(data, position + 1)
