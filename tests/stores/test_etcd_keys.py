"""What stands in the keys of etcd is read strictly, and goes there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.core.steps import Step
from atomix_election.errors import StoreError
from atomix_election.etcd import KeyValue
from atomix_election.model import Candidate, ElectionId, SessionId
from atomix_election.stores.etcd_keys import (
    Envelope,
    Layout,
    NamespaceFloors,
    decode_envelope,
    decode_floors,
    decode_hold,
    decode_identity,
    decode_stored,
    encode_envelope,
    encode_floors,
    encode_hold,
    encode_identity,
    encode_stored,
)

_names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6)
LAYOUT = Layout("here/")
ELECTION = Election((Candidate("a\n", SessionId("default", "s", 4)),), 3, 9)


def _item(value: bytes, key: bytes = b"k") -> KeyValue:
    return KeyValue(key, value, 7, 8, 1, 9)


@given(st.lists(st.tuples(_names, _names), max_size=8))
def test_the_order_of_keys_is_that_of_names(pairs: list[tuple[str, str]]) -> None:
    """Within a namespace; and no namespace reaches into another one."""
    elections = [ElectionId(*each) for each in pairs]
    assert sorted(elections, key=LAYOUT.election) == sorted(elections)
    for each in elections:
        assert LAYOUT.election_id(LAYOUT.election(each)) == each
        for other in elections:
            inside = LAYOUT.election(other).startswith(LAYOUT.elections(each.namespace))
            assert inside == (other.namespace == each.namespace)


def test_an_envelope_goes_there_and_back() -> None:
    """With all that it has, and short where it has nothing."""
    full = Envelope(ELECTION, {"server": 4}, 17, (Step(1, 2, (0, 3), ((1, "候補"),)), Step(2, 3)))
    assert decode_envelope(encode_envelope(full)) == full
    assert decode_envelope(encode_envelope(Envelope(ELECTION))) == Envelope(ELECTION)
    assert encode_envelope(Envelope(ELECTION)).startswith(b'{"version":1}\n')


def test_all_else_goes_there_and_back() -> None:
    """An identity and floors know the revision that wrote them, a session its incarnation."""
    assert decode_identity(_item(encode_identity("x", Floors(1, 2)))) == ("x", Floors(1, 2), 8)
    floors = NamespaceFloors(Floors(3, 4), {"server": 5})
    assert decode_floors(_item(encode_floors(floors))) == floors._replace(version=8)
    stored = decode_stored(_item(encode_stored("n", "i", 1.5, kept_alive=True, owner="o")))
    assert (stored.session, stored.ttl_s, stored.kept_alive, stored.owner) == (SessionId("n", "i", 7), 1.5, True, "o")
    assert decode_hold(encode_hold(2.5)) == 2.5


@pytest.mark.parametrize("decode", [decode_identity, decode_floors, lambda item: decode_envelope(item.value)])
def test_a_newer_version_is_refused_by_name(decode: object) -> None:
    """What this release does not know would be lost with the next write."""
    with pytest.raises(StoreError, match="has version 2, and this release of atomix_election knows none newer than 1"):
        decode(_item(b'{"version":2}'))  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'{"version":1,"more":1}',
        b'{"version":1,"batches":[]}',
        b'{"version":1,"batches":{"a":"b"}}',
        b'{"version":1,"steps":[[1,2,[],[[0]]]]}',
        b'{"version":1,"steps":[[1,2,[-1],[]]]}',
        b'{"version":1,"start":null}',
    ],
)
def test_a_damaged_envelope_is_refused(line: bytes) -> None:
    """Whatever is wrong with it."""
    record = encode_envelope(Envelope(ELECTION)).partition(b"\n")[2]
    with pytest.raises(StoreError, match="damaged"):
        decode_envelope(line + b"\n" + record)
