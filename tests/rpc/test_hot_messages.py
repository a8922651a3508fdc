"""The hot messages against the plain way: message objects, betterproto2's bytes and the strict parser."""

from collections.abc import Callable
from typing import Any

import betterproto2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atomix_election.core.campaign import Answer, Granted, Revoked
from atomix_election.errors import ElectionError
from atomix_election.model import Event, EventType, Term
from atomix_election.rpc import convert, hot_messages, strict
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix_election import v1 as ours_v1
from atomix_election.rpc.hot_messages import (
    CANDIDATE_REQUESTS,
    KEPT_TERMS,
    TERM_RESPONSES,
    answer_bytes,
    answer_of_bytes,
    candidate_id_of,
    candidate_request_bytes,
    event_bytes,
    event_of_response,
    renewal_bytes,
    renewal_of_bytes,
    term_bytes,
    term_of_response,
    term_response_bytes,
)
from atomix_election.rpc.schema import fields_of
from atomix_election.service import Renewal
from tests.rpc.messages import event_message, fields, full, messages_of, mutated, texts, unsigned, varint

CALM = settings(deadline=None, print_blob=True)
THOROUGH = settings(CALM, max_examples=400)

terms = st.builds(Term, st.lists(texts, max_size=5).map(tuple), unsigned, unsigned)
events = st.builds(Event, st.sampled_from(EventType), terms, skipped=st.booleans())
granted = st.builds(Granted, texts, unsigned, texts)
seconds = st.integers(0, 1 << 40).map(lambda ms: ms / 1000)
renewals = st.builds(
    Renewal,
    unsigned,
    open=st.booleans(),
    ttl_s=st.none() | seconds,
    stepped_down=st.lists(granted, max_size=3).map(tuple),
    release_on_disconnect=st.booleans(),
)
answers = st.builds(
    Answer,
    unsigned,
    texts,
    ttl_s=seconds,
    longest_failover_s=seconds,
    leaderships=st.lists(granted, max_size=3).map(tuple),
    revoked=st.lists(st.builds(Revoked, granted, st.booleans()), max_size=2).map(tuple),
    ended=st.booleans(),
)
big_term = Term(tuple(f"candidate-{number}" for number in range(1_000)), 1 << 40, 1 << 50)

Read = Callable[[bytes], Any]
PLAIN: dict[str, tuple[type[betterproto2.Message], Read, Read]] = {
    **{
        kind.__name__: (
            kind,
            lambda data, kind=kind: candidate_id_of(data, kind),
            lambda data, kind=kind: strict.decode(data, kind).candidate_id,
        )
        for kind in CANDIDATE_REQUESTS
    },
    **{
        kind.__name__: (
            kind,
            lambda data, kind=kind: term_of_response(data, kind),
            lambda data, kind=kind: convert.term_of(strict.decode(data, kind).term),
        )
        for kind in TERM_RESPONSES
    },
    "EventsResponse": (
        v1.EventsResponse,
        event_of_response,
        lambda data: convert.event_of(strict.decode(data, v1.EventsResponse)),
    ),
    "KeepAliveRequest": (
        ours_v1.KeepAliveRequest,
        renewal_of_bytes,
        lambda data: convert.renewal_of(strict.decode(data, ours_v1.KeepAliveRequest)),
    ),
    "KeepAliveResponse": (
        ours_v1.KeepAliveResponse,
        answer_of_bytes,
        lambda data: convert.answer_of(strict.decode(data, ours_v1.KeepAliveResponse)),
    ),
}
"""Each hot message, how it is read, and how it is read the plain way."""
names = st.sampled_from(sorted(PLAIN))


def outcome(read: Read, data: bytes) -> Any:
    """Return what was read, or how it was refused."""
    try:
        value = read(data)
    except ElectionError as error:
        return type(error), str(error)
    return type(value), value


def same(name: str, data: bytes) -> None:
    """Fail unless a message is read, or refused, as the plain way does."""
    _, hot, plain = PLAIN[name]
    assert outcome(hot, data) == outcome(plain, data)


@CALM
@given(texts)
def test_requests_of_a_candidate(candidate_id: str) -> None:
    """One for all of them."""
    data = candidate_request_bytes(candidate_id)
    for kind in CANDIDATE_REQUESTS:
        assert data == bytes(kind(candidate_id=candidate_id))
        assert candidate_id_of(data, kind) == candidate_id


@THOROUGH
@given(terms)
def test_responses_with_a_term(term: Term) -> None:
    """One for all of them, also of terms with ids that no server takes."""
    message = convert.term_message(term)
    assert term_bytes(term) == bytes(message)
    data = term_response_bytes(term)
    for kind in TERM_RESPONSES:
        assert data == bytes(kind(term=message))
        assert term_of_response(data, kind) == term


@THOROUGH
@given(events)
def test_events(event: Event) -> None:
    """What a watcher skipped is not on the wire."""
    data = event_bytes(event)
    assert data == bytes(event_message(event))
    assert event_of_response(data) == Event(event.type, event.term)


@CALM
@given(renewals)
def test_renewals(renewal: Renewal) -> None:
    """There and back, but for times below a millisecond."""
    data = renewal_bytes(renewal)
    assert data == bytes(convert.renewal_message(renewal))
    assert renewal_of_bytes(data) == convert.renewal_of(strict.decode(data, ours_v1.KeepAliveRequest))


@CALM
@given(answers)
def test_answers(answer: Answer) -> None:
    """There and back, but for times below a millisecond."""
    data = answer_bytes(answer)
    assert data == bytes(convert.answer_message(answer))
    assert answer_of_bytes(data) == convert.answer_of(strict.decode(data, ours_v1.KeepAliveResponse))


@pytest.mark.parametrize("term", [Term(), big_term], ids=["nobody", "a thousand"])
def test_terms_of_any_size(term: Term) -> None:
    """Alone, in a response and in an event."""
    message = v1.EnterResponse(term=convert.term_message(term))
    assert term_response_bytes(term) == bytes(message)
    assert term_of_response(bytes(message), v1.EnterResponse) == term
    event = Event(EventType.CHANGED, term)
    assert event_of_response(event_bytes(event)) == event


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_cut_off_is_judged_as_by_the_plain_way(name: str) -> None:
    """At each of its bytes."""
    whole = [bytes(full(PLAIN[name][0], member)) for member in range(5)]
    whole += [
        term_response_bytes(Term(("a" * 200, "b"), 300, 7)),
        event_bytes(Event(EventType.CHANGED, Term(("a",), 1, 1))),
    ]
    for data in whole:
        for size in range(len(data) + 1):
            same(name, data[:size])


@THOROUGH
@given(
    names,
    st.one_of(
        mutated(terms.map(term_response_bytes)),
        mutated(events.map(event_bytes)),
        mutated(renewals.map(renewal_bytes)),
        mutated(answers.map(answer_bytes)),
        st.binary(max_size=24),
    ),
)
def test_what_is_nearly_a_message_is_judged_as_by_the_plain_way(name: str, data: bytes) -> None:
    """Read as the same value, or refused with the same words."""
    same(name, data)


@THOROUGH
@given(names.flatmap(lambda name: st.tuples(st.just(name), messages_of(PLAIN[name][0]).map(bytes))))
def test_messages_of_others_are_judged_as_by_the_plain_way(case: tuple[str, bytes]) -> None:
    """A leader that is not the first candidate, timestamps of other kinds, unknown fields and types of events."""
    same(*case)


def nested(number: int, *parts: bytes) -> bytes:
    """Return a field that has these fields."""
    data = b"".join(parts)
    return varint(number << 3 | 2) + varint(len(data)) + data


@st.composite
def terms_with_more(draw: st.DrawFn) -> bytes:
    """A response or event as ours, but with something more here or there: a field again, or a foreign one."""
    more = st.just(b"") | st.just(b"") | fields(st.integers(1, 5))
    extra = [draw(more) for _ in range(7)]
    number, revision = (draw(st.just(b"") | unsigned.map(varint)) for _ in range(2))
    epoch = [b"\x08" + number if number else b"", extra[0], b"\x10" + revision if revision else b"", extra[1]]
    stamp = nested(3, nested(4, *epoch), extra[2])
    queue = draw(st.lists(st.sampled_from([b"a", b"b", b"\xff"]), max_size=3))
    leader = draw(st.sampled_from([b"a", b"", *queue]))
    candidates = b"".join(nested(2, each) for each in queue)
    term = [extra[3], nested(1, leader) if leader else b"", candidates, extra[4], stamp, extra[5]]
    if draw(st.booleans()):
        return nested(1, *term) + extra[6]
    return nested(1, draw(st.sampled_from([b"", b"\x08\x00", b"\x08\x01", b"\x08\x02"])), nested(2, *term)) + extra[6]


@THOROUGH
@given(st.sampled_from(["EnterResponse", "EventsResponse"]), terms_with_more())
@example("EnterResponse", nested(1, b"\x08\x00", nested(3, nested(4))))
@example("EnterResponse", nested(1, nested(3, nested(4, b"\x08\x01\x10\x01\x10\x02"))))
def test_terms_with_something_more_are_judged_as_by_the_plain_way(name: str, data: bytes) -> None:
    """Wherever it is."""
    same(name, data)


def test_terms_of_this_package_are_not_left_to_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what others write is."""

    def unexpected(*_: object) -> None:
        raise AssertionError("the plain way was taken")

    monkeypatch.setattr(hot_messages.wire, "decode", unexpected)
    for term in (Term(), Term((), 7, 300), Term(("é", "b"), 1, 1 << 63), Term(("a" * 256,), 1, 1), big_term):
        assert term_of_response(term_response_bytes(term), v1.EnterResponse) == term
        for kind in EventType:
            assert event_of_response(event_bytes(Event(kind, term))) == Event(kind, term)


def test_the_messages_have_nothing_else() -> None:
    """A field that is added to one of them would not be written."""
    for kind in CANDIDATE_REQUESTS:
        assert [field.name for field in fields_of(kind).values()] == ["candidate_id"]
    for kind in TERM_RESPONSES:
        assert [field.name for field in fields_of(kind).values()] == ["term"]
    assert [field.name for field in fields_of(v1.Term).values()] == ["leader_id", "candidates", "timestamp"]
    assert [field.name for field in fields_of(v1.Event).values()] == ["type", "term"]
    assert [field.name for field in fields_of(v1.EventsResponse).values()] == ["event"]


def test_a_term_is_encoded_once() -> None:
    """Also when each reader of an election has an object of its own, and whoever else it is sent to."""
    candidates = [f"encoded-once-{number}" for number in range(1_000)]
    data = term_bytes(Term(tuple(candidates), 1, 1))
    assert term_bytes(Term(tuple(candidates), 1, 1)) is data
    event = event_bytes(Event(EventType.CHANGED, Term(tuple(candidates), 1, 1)))
    assert event_bytes(Event(EventType.CHANGED, Term(tuple(candidates), 1, 1))) is event
    assert term_bytes(Term(tuple(candidates), 1, 2)) != data


def test_a_bounded_number_of_terms_is_kept() -> None:
    """However many there are."""
    for number in range(2 * KEPT_TERMS):
        event_bytes(Event(EventType.CHANGED, Term(("kept",), number, number)))
    assert term_bytes.cache_info().currsize == event_bytes.cache_info().currsize == KEPT_TERMS
