"""The strict parser: whatever is wrong, it says so in one way. ``test_wire`` compares what it takes with protobuf."""

import betterproto2
import pytest

from atomix_election.errors import InvalidRequest
from atomix_election.rpc import strict
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix.time import v1 as time_v1
from atomix_election.rpc._generated.atomix_election import v1 as ours_v1
from atomix_election.rpc._generated.grpc.health import v1 as health_v1
from tests.rpc.messages import varint

REFUSED: dict[str, tuple[type[betterproto2.Message], bytes]] = {
    "packed number that does not end": (time_v1.Timestamp, b"\x1a\x03\x0a\x01\x80"),
    "packed number beyond 64 bits": (time_v1.VectorTimestamp, b"\x0a\x0a" + b"\xff" * 9 + b"\x02"),
    "time beyond the calendar": (ours_v1.Candidate, b"\x12\x0a\x08" + varint((1 << 63) - 1)),
    "time after the year 9999": (ours_v1.Summary, b"\x2a\x07\x08" + varint(253_402_300_800)),
    "key of a map that is not UTF-8": (health_v1.HealthListResponse, b"\x0a\x03\x0a\x01\xff"),
    "entry of a map that ends inside its key": (health_v1.HealthListResponse, b"\x0a\x02\x0a\x05"),
    "value of a map of the wrong wire type": (health_v1.HealthListResponse, b"\x0a\x02\x10\x00"),
}


@pytest.mark.parametrize(("kind", "data"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_message_is_refused(kind: type[betterproto2.Message], data: bytes) -> None:
    """With InvalidRequest, and not with whatever betterproto2 and Python raise for it."""
    with pytest.raises(InvalidRequest):
        strict.decode(data, kind)


def test_packed_and_single_numbers_are_one_list() -> None:
    """As proto3 has it, in any mixture."""
    assert strict.decode(b"\x0a\x02\x01\x02\x08\x03\x0a\x00", time_v1.VectorTimestamp).time == [1, 2, 3]


def test_the_depth_that_is_left_counts() -> None:
    """A message that is in others may have fewer in it."""
    data = bytes(v1.GetTermResponse(term=v1.Term()))
    assert strict.decode(data, v1.GetTermResponse, 2).term == v1.Term()
    with pytest.raises(InvalidRequest, match="Term is nested too deeply"):
        strict.decode(data, v1.GetTermResponse, 1)
