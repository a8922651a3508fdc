"""The model as messages of the wire, and back."""

import math

from atomix_election.core.campaign import Answer, Granted, Revoked
from atomix_election.errors import Unavailable
from atomix_election.model import Event, EventType, Term
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix.time import v1 as time_v1
from atomix_election.rpc._generated.atomix_election import v1 as sessions_v1
from atomix_election.service import Renewal


def term_message(term: Term) -> v1.Term:
    """Return the message of a term. It always has an epoch timestamp: published clients cannot do without."""
    return v1.Term(
        leader_id=term.leader or "",
        candidates=list(term.candidates),
        timestamp=timestamp_message(term.number, term.revision),
    )


def term_of(message: v1.Term | None) -> Term:
    """Return the term of a message.

    Raises:
        Unavailable: the message is none that a server of this protocol with epoch timestamps sends.
    """
    if message is None:
        message = v1.Term()
    term = Term(tuple(message.candidates), *epoch_of(message.timestamp))
    if message.leader_id != (term.leader or ""):
        raise Unavailable(f"the server sent a term whose leader {message.leader_id!r} is not its first candidate")
    return term


def timestamp_message(number: int, revision: int) -> time_v1.Timestamp:
    """Return the timestamp of a term."""
    return time_v1.Timestamp(epoch_timestamp=time_v1.EpochTimestamp(epoch=number, time=revision))


def epoch_of(timestamp: time_v1.Timestamp | None) -> tuple[int, int]:
    """Return number and revision of the term with that timestamp.

    Raises:
        Unavailable: it is not there, or of another kind.
    """
    epoch = None if timestamp is None else timestamp.epoch_timestamp
    if epoch is None:
        raise Unavailable("the server sent a term without epoch timestamp: it is not a server of this package")
    return epoch.epoch, epoch.time


def event_of(message: v1.EventsResponse) -> Event:
    """Return the event of a message.

    Raises:
        Unavailable: as for a term.
    """
    if message.event is None:
        raise Unavailable("the server sent an empty event: it is not a server of this package")
    try:
        kind = EventType(message.event.type.value)
    except ValueError as error:
        raise Unavailable(f"the server sent an event of the unknown type {message.event.type.value}") from error
    return Event(kind, term_of(message.event.term))


def renewal_message(renewal: Renewal) -> sessions_v1.KeepAliveRequest:
    """Return the message of a renewal."""
    return sessions_v1.KeepAliveRequest(
        renewal=renewal.renewal,
        open=renewal.open,
        ttl_ms=0 if renewal.ttl_s is None else max(_ms(renewal.ttl_s), 1),
        stepped_down=[_leadership_message(granted) for granted in renewal.stepped_down],
        release_on_disconnect=renewal.release_on_disconnect,
    )


def renewal_of(message: sessions_v1.KeepAliveRequest) -> Renewal:
    """Return the renewal of a message."""
    return Renewal(
        message.renewal,
        open=message.open,
        ttl_s=message.ttl_ms / 1000 if message.ttl_ms else None,
        stepped_down=tuple(map(_granted_of, message.stepped_down)),
        release_on_disconnect=message.release_on_disconnect,
    )


def answer_message(answer: Answer) -> sessions_v1.KeepAliveResponse:
    """Return the message of an answer; a time-to-live is rounded down, a bound up."""
    return sessions_v1.KeepAliveResponse(
        renewal=answer.renewal,
        ended=answer.ended,
        ttl_ms=int(answer.ttl_s * 1000),
        longest_failover_ms=_ms(answer.longest_failover_s),
        store_id=answer.store_id,
        leaderships=[_leadership_message(granted) for granted in answer.leaderships],
        revoked=[
            sessions_v1.Revoked(leadership=_leadership_message(revoked.granted), evicted=revoked.evicted)
            for revoked in answer.revoked
        ],
    )


def answer_of(message: sessions_v1.KeepAliveResponse) -> Answer:
    """Return the answer of a message."""
    return Answer(
        message.renewal,
        message.store_id,
        ttl_s=message.ttl_ms / 1000,
        longest_failover_s=message.longest_failover_ms / 1000,
        leaderships=tuple(map(_granted_of, message.leaderships)),
        revoked=tuple(
            Revoked(_granted_of(revoked.leadership), revoked.evicted)
            for revoked in message.revoked
            if revoked.leadership
        ),
        ended=message.ended,
    )


def _leadership_message(granted: Granted) -> sessions_v1.Leadership:
    return sessions_v1.Leadership(election=granted.election, number=granted.number, candidate_id=granted.candidate_id)


def _granted_of(message: sessions_v1.Leadership) -> Granted:
    return Granted(message.election, message.number, message.candidate_id)


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
