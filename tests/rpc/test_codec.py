"""The compiled codec against betterproto2 and the strict parser, for every class of message."""

import traceback
from typing import Any

import betterproto2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.rpc import codec_source, strict, wire
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix.time import v1 as time_v1
from atomix_election.rpc.codec import decoders, encoders
from tests.rpc.messages import FILLED, KINDS, content, fields, full, messages_of, mutated, outcome

CALM = settings(deadline=None, print_blob=True)
PLAIN = {
    "atomix.time.v1.VectorTimestamp",
    "grpc.reflection.v1.ExtensionNumberResponse",
    "grpc.reflection.v1alpha.ExtensionNumberResponse",
}
"""Classes that have repeated numbers, which are not compiled: nobody sends them."""
names = st.sampled_from(sorted(FILLED))


def test_all_classes_but_three_are_compiled() -> None:
    """One that is no more, or is for the first time, is noticed here."""
    assert {name for name, kind in KINDS.items() if not codec_source.is_known(kind)} == PLAIN


@settings(CALM, max_examples=400)
@given(names.flatmap(lambda name: messages_of(KINDS[name])))
def test_bytes_are_those_of_betterproto2(message: betterproto2.Message) -> None:
    """Unknown fields and values without names included."""
    assert wire.encode(message) == bytes(message)


@settings(CALM, max_examples=400)
@given(names.flatmap(lambda name: messages_of(KINDS[name])))
def test_messages_are_those_of_the_strict_parser(message: betterproto2.Message) -> None:
    """In all that they are made of, which betterproto2's own comparison does not look at."""
    data = bytes(message)
    assert content(wire.decode(data, type(message))) == content(strict.decode(data, type(message)))


@settings(CALM, max_examples=200)
@given(names.flatmap(lambda name: messages_of(KINDS[name], usual=True)))
def test_usual_messages_are_left_to_nobody(message: betterproto2.Message) -> None:
    """The compiled decoder takes what an encoder writes, so that the tests above have tested it."""
    assert content(decoders[type(message)](bytes(message), 32)) == content(message)


@settings(CALM, max_examples=800)
@given(
    names.flatmap(
        lambda name: st.tuples(st.just(KINDS[name]), mutated(messages_of(KINDS[name], usual=True).map(bytes)))
    )
)
def test_what_is_nearly_a_message_is_judged_as_by_the_strict_parser(case: tuple[type[Any], bytes]) -> None:
    """Taken as the same message, or refused with the same words."""
    kind, data = case
    assert outcome(wire.decode, data, kind) == outcome(strict.decode, data, kind)


@settings(CALM, max_examples=400)
@given(names.map(KINDS.__getitem__), st.lists(fields(st.integers(0, 8)), max_size=4).map(b"".join))
def test_any_fields_are_judged_as_by_the_strict_parser(kind: type[betterproto2.Message], data: bytes) -> None:
    """Known and unknown ones, of right and wrong wire types, repeated and in any order."""
    assert outcome(wire.decode, data, kind) == outcome(strict.decode, data, kind)


@settings(CALM, max_examples=400)
@given(names.map(KINDS.__getitem__), st.binary(max_size=24))
def test_any_bytes_are_judged_as_by_the_strict_parser(kind: type[betterproto2.Message], data: bytes) -> None:
    """Taken as the same message, or refused with the same words."""
    assert outcome(wire.decode, data, kind) == outcome(strict.decode, data, kind)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_message_that_is_cut_off_is_judged_as_by_the_strict_parser(kind: type[betterproto2.Message]) -> None:
    """At each of its bytes, with each member of its groups."""
    for member in range(5):
        message = full(kind, member)
        data = wire.encode(message)
        assert data == bytes(message)
        for size in range(len(data) + 1):
            assert outcome(wire.decode, data[:size], kind) == outcome(strict.decode, data[:size], kind)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_said_twice_is_judged_as_by_the_strict_parser(kind: type[betterproto2.Message]) -> None:
    """Each field again after all others, and another member of its group."""
    for member in range(5):
        for other in range(5):
            data = bytes(full(kind, member)) + bytes(full(kind, other))
            assert outcome(wire.decode, data, kind) == outcome(strict.decode, data, kind)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_sizes_on_either_side_of_another_byte(size: int) -> None:
    """Of text, and of the message that it is in."""
    message = v1.GetTermResponse(term=v1.Term(leader_id="a" * size, candidates=["b" * size, "c"]))
    data = wire.encode(message)
    assert data == bytes(message)
    assert decoders[v1.GetTermResponse](data, 32) == message


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16_383, 16_384, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_numbers_on_either_side_of_another_byte(number: int) -> None:
    """Twice, as the second time they may be looked up."""
    message = time_v1.EpochTimestamp(epoch=number, time=number)
    for _ in range(2):
        data = wire.encode(message)
        assert data == bytes(message)
        assert decoders[time_v1.EpochTimestamp](data, 32) == message


@pytest.mark.parametrize("depth", [30, 31, 32, 33])
def test_messages_may_be_as_deep_as_in_the_strict_parser(depth: int) -> None:
    """And no deeper."""
    stamp = time_v1.Timestamp(epoch_timestamp=time_v1.EpochTimestamp(epoch=1))
    for _ in range((depth - 2) // 2):
        stamp = time_v1.Timestamp(composite_timestamp=time_v1.CompositeTimestamp(timestamps=[stamp]))
    message = v1.Term(timestamp=stamp) if depth % 2 else stamp
    data = wire.encode(message)
    assert outcome(wire.decode, data, type(message)) == outcome(strict.decode, data, type(message))
    assert ("deep" in str(outcome(wire.decode, data, type(message)))) is (depth > 32)


def test_what_betterproto2_cannot_encode_is_not_encoded() -> None:
    """Numbers below 64 bits, and half of a surrogate pair."""
    with pytest.raises(ValueError, match="64-bit"):
        wire.encode(time_v1.EpochTimestamp(epoch=-(1 << 63) - 1))
    with pytest.raises(UnicodeEncodeError):
        wire.encode(v1.EnterRequest(candidate_id="\ud800"))


def test_a_traceback_shows_the_compiled_line() -> None:
    """Nobody has to guess what was compiled."""
    broken: Any = v1.Term(leader_id=5)  # type: ignore[arg-type]
    with pytest.raises(AttributeError) as caught:
        encoders[v1.Term](broken)
    assert "data = value.encode()" in "".join(traceback.format_exception(caught.value))
