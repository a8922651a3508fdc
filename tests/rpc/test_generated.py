"""The checked-in message classes are fresh, and they are the published protocol."""

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import betterproto2
import pytest

from atomix_election.rpc._generated.atomix.election import v1 as election
from atomix_election.rpc._generated.atomix.time import v1 as time
from atomix_election.rpc._generated.google.protobuf import Timestamp

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "atomix_election"
GENERATED = ("rpc/_generated", "etcd/_generated")

CANDIDATE_ID = {"candidate_id": (1, "string")}
TERM = {"term": (1, "message")}

PUBLISHED_FIELDS: dict[type[betterproto2.Message], dict[str, tuple[int, str]]] = {
    election.CreateRequest: {"config": (1, "message")},
    election.CreateResponse: {},
    election.CloseRequest: {},
    election.CloseResponse: {},
    election.EnterRequest: CANDIDATE_ID,
    election.EnterResponse: TERM,
    election.WithdrawRequest: CANDIDATE_ID,
    election.WithdrawResponse: TERM,
    election.AnointRequest: CANDIDATE_ID,
    election.AnointResponse: TERM,
    election.PromoteRequest: CANDIDATE_ID,
    election.PromoteResponse: TERM,
    election.EvictRequest: CANDIDATE_ID,
    election.EvictResponse: TERM,
    election.GetTermRequest: {},
    election.GetTermResponse: TERM,
    election.EventsRequest: {},
    election.EventsResponse: {"event": (1, "message")},
    election.LeaderElectionConfig: {},
    election.Event: {"type": (1, "enum"), "term": (2, "message")},
    election.Term: {
        "leader_id": (1, "string"),
        "candidates": (2, "repeated string"),
        "timestamp": (3, "message"),
    },
    time.Timestamp: {
        "physical_timestamp": (1, "oneof timestamp message"),
        "logical_timestamp": (2, "oneof timestamp message"),
        "vector_timestamp": (3, "oneof timestamp message"),
        "epoch_timestamp": (4, "oneof timestamp message"),
        "composite_timestamp": (5, "oneof timestamp message"),
    },
    time.PhysicalTimestamp: {"time": (1, "message")},
    time.LogicalTimestamp: {"time": (1, "uint64")},
    time.VectorTimestamp: {"time": (1, "repeated uint64")},
    time.EpochTimestamp: {"epoch": (1, "uint64"), "time": (2, "uint64")},
    time.CompositeTimestamp: {"timestamps": (1, "repeated message")},
}


def content(directory: Path) -> Mapping[str, bytes]:
    """What each file in the directory holds, by its relative path; caches left out."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def declared_fields(message: type[betterproto2.Message]) -> dict[str, tuple[int, str]]:
    """Number and type of each field, in the words of a .proto file."""
    assert dataclasses.is_dataclass(message)
    described: dict[str, tuple[int, str]] = {}
    for field in dataclasses.fields(message):
        meta = betterproto2.FieldMetadata.get(field)
        words = (f"oneof {meta.group}" if meta.group else "", "repeated" if meta.repeated else "")
        described[field.name] = (meta.number, " ".join(filter(None, (*words, meta.proto_type))))
    return described


def test_regenerating_changes_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PROJECT / "proto" / "generate.py", tmp_path], check=True)
    for place in GENERATED:
        fresh, checked_in = content(tmp_path / place), content(PACKAGE / place)
        assert fresh.keys() == checked_in.keys(), "run `make proto`"
        stale = [path for path, text in fresh.items() if text != checked_in[path]]
        assert not stale, "run `make proto`"


@pytest.mark.parametrize("message", PUBLISHED_FIELDS, ids=lambda message: message.__name__)
def test_fields_have_their_published_numbers_and_types(
    message: type[betterproto2.Message],
) -> None:
    assert declared_fields(message) == PUBLISHED_FIELDS[message]


def test_every_message_is_in_the_table() -> None:
    exported = [getattr(module, name) for module in (election, time) for name in module.__all__]
    messages = {each for each in exported if issubclass(each, betterproto2.Message)}
    assert messages == PUBLISHED_FIELDS.keys()


def test_event_types_have_their_published_numbers() -> None:
    assert {each.name: each.value for each in election.EventType} == {"NONE": 0, "CHANGED": 1}


def test_a_timestamp_can_still_be_read_from_json() -> None:
    """Which imports dateutil, as nothing else does."""
    assert Timestamp.from_json('"2026-01-02T03:04:05.5+01:00"') == Timestamp(1_767_319_445, 500_000_000)
