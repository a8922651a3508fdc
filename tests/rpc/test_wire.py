"""What is decoded, and what is refused, compared with protobuf's own parser and with betterproto2's."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import betterproto2
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.errors import InvalidRequest
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix.time import v1 as time_v1
from tests.rpc.messages import fields, mutated, varint

CALM = settings(deadline=None, print_blob=True)
PROTO = Path(__file__).parents[2] / "proto"
FILE = "atomix/election/v1/election.proto"
KINDS: dict[str, type[betterproto2.Message]] = {
    **{
        f"atomix.election.v1.{name}": getattr(v1, name) for name in v1.__all__ if name.endswith(("Request", "Response"))
    },
    "atomix.election.v1.Term": v1.Term,
    "atomix.election.v1.Event": v1.Event,
    "atomix.time.v1.Timestamp": time_v1.Timestamp,
}


@cache
def published_kinds() -> dict[str, type[Message]]:
    """Return protobuf's own classes of the published files, in a pool of their own."""
    include = Path(__import__("grpc_tools").__file__).parent / "_proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"-I{include}", "--include_imports"]
    out = subprocess.run([*command, "--descriptor_set_out=/dev/stdout", FILE], check=True, capture_output=True).stdout
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out).file:
        pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in KINDS}


def said(message: Any, field: Any) -> Any:
    """Return the value of a field of either library's message as plain data."""
    value = getattr(message, field.name)
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.is_repeated:
        return [content(each, field.message_type) for each in value]
    if isinstance(message, Message):
        return content(value, field.message_type) if message.HasField(field.name) else None
    return None if value is None else content(value, field.message_type)


def content(message: Any, descriptor: Any) -> Any:
    """Return all that a message says."""
    return {field.name: said(message, field) for field in descriptor.fields}


STRICTER = re.compile(r"a field with number 0|has wire type|a field of wire type [34]|twice, which|is beyond 32 bits")
"""What protobuf's parser takes or passes over, and ours refuses, because nobody sends it who means well."""
BEYOND_64_BITS = re.compile(rb"[\x80-\xff]{9}[\x02-\x7f]")


def compare(name: str, data: bytes, *, odd: bool = False) -> None:
    """Fail unless what our decoder takes protobuf's takes too, and reads the same in it; see STRICTER for the rest.

    Args:
        name: the message.
        data: its bytes.
        odd: they may hold what ``ODD`` shows, so that what was read is compared for requests alone.
    """
    published = published_kinds()[name]
    try:
        theirs = published.FromString(data)
    except DecodeError:
        with pytest.raises(InvalidRequest):
            wire.decode(data, KINDS[name])
        return
    try:
        ours = wire.decode(data, KINDS[name])
    except InvalidRequest as error:
        assert STRICTER.search(str(error)) or BEYOND_64_BITS.search(data), error  # noqa: PT017
        return
    if not odd or name.endswith("Request"):
        assert content(ours, published.DESCRIPTOR) == content(theirs, published.DESCRIPTOR)


identifiers = st.text(max_size=8) | st.text(min_size=100, max_size=300, alphabet="aé\N{SNOWMAN}")
numbers = st.integers(0, (1 << 64) - 1)
timestamps = st.one_of(
    st.builds(time_v1.Timestamp),
    st.builds(lambda time: time_v1.Timestamp(logical_timestamp=time_v1.LogicalTimestamp(time=time)), numbers),
    st.builds(
        lambda time: time_v1.Timestamp(vector_timestamp=time_v1.VectorTimestamp(time=time)),
        st.lists(numbers, max_size=3),
    ),
    st.builds(
        lambda epoch, time: time_v1.Timestamp(epoch_timestamp=time_v1.EpochTimestamp(epoch=epoch, time=time)),
        numbers,
        numbers,
    ),
)
terms = st.builds(
    v1.Term,
    leader_id=identifiers,
    candidates=st.lists(identifiers, max_size=4),
    timestamp=st.none()
    | timestamps
    | st.builds(
        lambda each: time_v1.Timestamp(composite_timestamp=time_v1.CompositeTimestamp(timestamps=each)),
        st.lists(timestamps, max_size=3),
    ),
)
events = st.builds(v1.Event, type=st.sampled_from(v1.EventType), term=st.none() | terms)
messages = st.one_of(
    st.builds(v1.EnterRequest, candidate_id=identifiers),
    st.builds(v1.CreateRequest, config=st.none() | st.builds(v1.LeaderElectionConfig)),
    st.builds(v1.GetTermResponse, term=st.none() | terms),
    st.builds(v1.EventsResponse, event=st.none() | events),
    terms,
    timestamps,
)


@CALM
@given(messages)
def test_what_is_encoded_is_decoded(message: betterproto2.Message) -> None:
    """As betterproto2 reads it, and as protobuf does; the bytes are betterproto2's."""
    data = wire.encode(message)
    assert data == bytes(message)
    assert wire.decode(data, type(message)) == type(message).parse(data) == message
    package = "time" if isinstance(message, time_v1.Timestamp) else "election"
    compare(f"atomix.{package}.v1.{type(message).__name__}", data)


@CALM
@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=24) | mutated(messages.map(bytes)))
def test_the_decoder_takes_what_protobuf_takes(name: str, data: bytes) -> None:
    """Nothing else, and it reads the same in it."""
    compare(name, data, odd=True)


@CALM
@given(st.sampled_from(sorted(KINDS)), st.lists(fields(st.integers(0, 20)), max_size=4).map(b"".join))
def test_the_decoder_reads_any_fields_as_protobuf_does(name: str, data: bytes) -> None:
    """Known and unknown ones, of right and wrong wire types, repeated and in any order."""
    compare(name, data, odd=True)


EDGES = {
    "varint of ten bytes, all ones": b"\x10" + b"\xff" * 9 + b"\x01",
    "varint of ten bytes beyond 64 bits": b"\x10" + b"\xff" * 9 + b"\x02",
    "varint of eleven bytes": b"\x10" + b"\x80" * 10 + b"\x00",
    "number in more bytes than it needs": b"\x0a\x81\x00a",
    "key in more bytes than it needs": b"\x8a\x00\x01a",
    "key beyond 32 bits": b"\x8a\x80\x80\x80\x80\x01\x01a",
    "field number 2 to the 29 minus 1": b"\xfa\xff\xff\xff\x0f\x00",
    "unknown group": b"\x13\x08\x01\x14",
    "unknown group that does not end": b"\x13\x08\x01",
    "field given twice": b"\x0a\x01a\x0a\x01b",
    "field given as varint, then as text": b"\x08\x05\x0a\x01b",
    "nul": b"\x0a\x01\x00",
}


@pytest.mark.parametrize("data", EDGES.values(), ids=EDGES)
def test_the_edges_of_the_encoding_are_where_protobuf_has_them(data: bytes) -> None:
    """On either side of each limit."""
    compare("atomix.election.v1.EnterRequest", data)


ODD = {
    "two of a oneof": ("atomix.time.v1.Timestamp", b"\n\0\x12\0"),
    "one message in two parts": ("atomix.election.v1.GetTermResponse", b"\n\3\n\1a\n\3\x12\1b"),
    "one of a oneof in two parts": ("atomix.time.v1.Timestamp", b"\x22\2\x08\1\x22\2\x10\2"),
    "enumeration beyond 32 bits": ("atomix.election.v1.Event", b"\x08\x80\x80\x80\x80\x10"),
}


@pytest.mark.parametrize(("name", "data"), ODD.values(), ids=ODD)
def test_odd_messages_are_read_as_protobuf_reads_them_or_refused(name: str, data: bytes) -> None:
    """Legal, although no encoder writes them: to be refused, or read in the way that protobuf's description says."""
    try:
        wire.decode(data, KINDS[name])
    except InvalidRequest:
        return
    compare(name, data)


REFUSED = {
    "field number 0": b"\x02\x00",
    "wrong wire type": b"\x08\x05",
    "group": b"\x13\x08\x01\x14",
    "number beyond 64 bits": b"\x10" + b"\xff" * 9 + b"\x02",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_no_encoder_writes_is_refused(data: bytes) -> None:
    """Although protobuf's parser is more patient."""
    with pytest.raises(InvalidRequest):
        wire.decode(data, v1.EnterRequest)


@pytest.mark.parametrize("depth", [33, 1_000, 20_000])
def test_nesting_without_end_is_refused(depth: int) -> None:
    """However deep it is, no stack is used up."""
    data = b""
    for _ in range(depth):
        data = b"\x2a" + varint(len(data) + 1 + len(varint(len(data)))) + b"\x0a" + varint(len(data)) + data
    with pytest.raises(InvalidRequest, match="deep"):
        wire.decode(data, time_v1.Timestamp)
