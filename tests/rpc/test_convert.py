"""The model as messages, there and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.errors import Unavailable
from atomix_election.model import Event, EventType, Term
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix.time import v1 as time_v1
from atomix_election.rpc.convert import event_of, term_message, term_of
from atomix_election.rpc.frames import frame
from tests.rpc.messages import event_message

CALM = settings(deadline=None, print_blob=True)
numbers = st.integers(0, (1 << 64) - 1)
terms = st.builds(Term, st.lists(st.text(min_size=1, max_size=9), max_size=5, unique=True).map(tuple), numbers, numbers)


@CALM
@given(terms)
def test_a_term_comes_out_as_it_went_in(term: Term) -> None:
    """Over bytes; it always has an epoch timestamp of number and revision."""
    message = wire.decode(wire.encode(term_message(term)), v1.Term)
    assert term_of(message) == term
    assert message.leader_id == (term.candidates[0] if term.candidates else "")
    assert message.timestamp == time_v1.Timestamp(
        epoch_timestamp=time_v1.EpochTimestamp(epoch=term.number, time=term.revision)
    )


@CALM
@given(st.builds(Event, st.sampled_from(EventType), terms))
def test_an_event_comes_out_as_it_went_in(event: Event) -> None:
    """Over bytes."""
    assert event_of(wire.decode(wire.encode(event_message(event)), v1.EventsResponse)) == event


def test_the_term_of_an_election_that_nobody_entered_has_a_timestamp() -> None:
    """Empty, and present: published clients cannot do without."""
    assert wire.encode(term_message(Term())) == b"\x1a\x02\x22\x00"


EPOCH = time_v1.Timestamp(epoch_timestamp=time_v1.EpochTimestamp(epoch=1, time=1))
FOREIGN = {
    "no term": None,
    "no timestamp": v1.Term(leader_id="a", candidates=["a"]),
    "empty timestamp": v1.Term(timestamp=time_v1.Timestamp()),
    "logical timestamp": v1.Term(timestamp=time_v1.Timestamp(logical_timestamp=time_v1.LogicalTimestamp(time=1))),
    "leader that is not first": v1.Term(leader_id="b", candidates=["a", "b"], timestamp=EPOCH),
    "leader of nobody": v1.Term(leader_id="b", timestamp=EPOCH),
    "no leader": v1.Term(candidates=["a"], timestamp=EPOCH),
}


@pytest.mark.parametrize("message", FOREIGN.values(), ids=FOREIGN)
def test_a_term_of_another_protocol_is_no_answer(message: v1.Term | None) -> None:
    """In a response and in an event."""
    with pytest.raises(Unavailable):
        term_of(message)
    with pytest.raises(Unavailable):
        event_of(v1.EventsResponse(event=v1.Event(type=v1.EventType.CHANGED, term=message)))


def test_an_event_of_another_protocol_is_no_answer() -> None:
    """None at all, and one of a type that is not known."""
    with pytest.raises(Unavailable):
        event_of(v1.EventsResponse())
    with pytest.raises(Unavailable):
        event_of(wire.decode(b"\n\x08\x08\x07\x12\x04\x1a\x02\x22\x00", v1.EventsResponse))


@CALM
@given(st.binary(max_size=300))
def test_a_frame_is_a_flag_a_length_and_the_message(data: bytes) -> None:
    """As gRPC's protocol over HTTP/2 has it."""
    assert frame(data) == b"\0" + len(data).to_bytes(4, "big") + data
