"""What is read of the message classes, against what protoc says of the same files."""

import dataclasses
from functools import cache
from importlib.resources import files
from typing import Any

import betterproto2
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc.schema import Field, fields_of, key_of
from tests.rpc.messages import KINDS

FULL_NAMES = {kind: name for name, kind in KINDS.items()}
METADATA = {"number", "proto_type", "map_meta", "group", "unwrap", "optional", "repeated"}
TYPES = {
    getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}"): name
    for name in ("enum", "bool", "int32", "int64", "uint32", "uint64", "string", "bytes", "message")
}


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """Return what protoc says of our files."""
    found = descriptor_pool.DescriptorPool()
    data = (files("atomix_election.rpc._generated") / "descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        found.Add(file)
    return found


def published(field: Any) -> dict[str, Any]:
    """Return what protoc says of a field, in the words of ``said``."""
    message: Any = field.message_type
    entry = message is not None and message.GetOptions().map_entry
    group = field.containing_oneof if field.containing_oneof and len(field.containing_oneof.fields) > 1 else None
    alone = field.name if message is not None and not field.is_repeated else ""
    return {
        "name": field.name,
        "number": field.number,
        "type": "map" if entry else TYPES[field.type],
        "repeated": field.is_repeated and not entry,
        "presence": field.has_presence,
        "alone": group.name if group else alone,
        "message": message.full_name if message is not None and not entry else None,
        "values": {each.number for each in field.enum_type.values} if field.enum_type else None,
    }


def said(field: Field) -> dict[str, Any]:
    """Return what was read of a field."""
    return {
        "name": field.name,
        "number": field.number,
        "type": field.proto_type,
        "repeated": field.repeated,
        "presence": field.presence,
        "alone": field.alone,
        "message": FULL_NAMES[field.message] if field.message and field.proto_type != "map" else None,
        "values": {each.value for each in field.enumeration} if field.enumeration else None,
    }


@pytest.mark.parametrize("name", KINDS)
def test_fields_are_read_as_protoc_has_them(name: str) -> None:
    """In the order in which both encode them."""
    theirs = [published(each) for each in pool().FindMessageTypeByName(name).fields]
    assert [said(each) for each in fields_of(KINDS[name]).values()] == theirs


@pytest.mark.parametrize("name", KINDS)
def test_a_message_has_its_fields_and_the_unknown_ones(name: str) -> None:
    """Its class takes them in that order, and nothing else is in it."""
    kind = KINDS[name]
    assert list(vars(kind())) == [*(field.name for field in fields_of(kind).values()), "_unknown_fields"]
    assert [field.name for field in dataclasses.fields(kind) if field.init] == list(vars(kind()))[:-1]  # type: ignore[arg-type]


def test_entries_of_a_map_have_a_key_and_a_value() -> None:
    """As protoc has them."""
    (statuses,) = fields_of(KINDS["grpc.health.v1.HealthListResponse"]).values()
    assert statuses.message is not None
    theirs = pool().FindMessageTypeByName("grpc.health.v1.HealthListResponse.StatusesEntry").fields
    ours = [(each.name, each.number, each.proto_type) for each in fields_of(statuses.message).values()]
    assert ours == [(each.name, each.number, TYPES[each.type]) for each in theirs]


def test_wrapped_values_are_times() -> None:
    """There is no other kind of them."""
    wrapped = {field.message for kind in KINDS.values() for field in fields_of(kind).values() if field.unwrapped}
    assert wrapped == {KINDS["google.protobuf.Timestamp"]}


def test_the_metadata_says_nothing_more() -> None:
    """Should betterproto2 one day say more of a field, somebody has to see whether it matters."""
    assert {each.name for each in dataclasses.fields(betterproto2.FieldMetadata)} == METADATA


def test_a_key_is_number_and_wire_type() -> None:
    """Of text and of an enumeration."""
    assert (key_of(v1.Term, "candidates"), key_of(v1.Event, "type")) == (0x12, 0x08)
