"""The model as messages of the published protocol, and back."""

from atomix_election.errors import Unavailable
from atomix_election.model import Event, EventType, Term
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix.time import v1 as time_v1


def term_message(term: Term) -> v1.Term:
    """Return the message of a term. It always has an epoch timestamp: published clients cannot do without."""
    epoch = time_v1.EpochTimestamp(epoch=term.number, time=term.revision)
    return v1.Term(
        leader_id=term.leader or "",
        candidates=list(term.candidates),
        timestamp=time_v1.Timestamp(epoch_timestamp=epoch),
    )


def term_of(message: v1.Term | None) -> Term:
    """Return the term of a message.

    Raises:
        Unavailable: the message is none that a server of this protocol with epoch timestamps sends.
    """
    timestamp = None if message is None else message.timestamp
    epoch = None if timestamp is None else timestamp.epoch_timestamp
    if message is None or epoch is None:
        raise Unavailable("the server sent a term without epoch timestamp: it is not a server of this package")
    term = Term(tuple(message.candidates), epoch.epoch, epoch.time)
    if message.leader_id != (term.leader or ""):
        raise Unavailable(f"the server sent a term whose leader {message.leader_id!r} is not its first candidate")
    return term


def event_message(event: Event) -> v1.EventsResponse:
    """Return the message of an event."""
    return v1.EventsResponse(event=v1.Event(type=v1.EventType(event.type.value), term=term_message(event.term)))


def event_of(message: v1.EventsResponse) -> Event:
    """Return the event of a message.

    Raises:
        Unavailable: as for a term.
    """
    if message.event is None:
        raise Unavailable("the server sent an empty event: it is not a server of this package")
    return Event(EventType(message.event.type.value), term_of(message.event.term))
