"""Bytes on the wire, compared with what is written here by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.peer import WAIT_S, Peer

Connect = Callable[..., Peer]
NOBODY = b"\x1a\x02\x22\x00"
"""A term without leader and candidates: field 3, the timestamp, has field 4, an empty epoch timestamp."""


def raw(peer: Peer, method: str, request: bytes = b"") -> bytes:
    """Make a unary call with these bytes, and return those of the response."""
    path = f"/atomix.election.v1.LeaderElection/{method}"
    call = peer.channel.unary_unary(path, request_serializer=None, response_deserializer=None)
    return call(request, metadata=peer.metadata, timeout=WAIT_S)


def raw_events(peer: Peer) -> Any:
    """Open a watch, and return an iterator over the bytes of its messages."""
    path = "/atomix.election.v1.LeaderElection/Events"
    call = peer.channel.unary_stream(path, request_serializer=None, response_deserializer=None)
    return call(b"", metadata=peer.metadata, timeout=WAIT_S)


def test_responses_by_hand(connect: Connect) -> None:
    """Each method's response in an election of two."""
    peer = connect()
    other = connect(peer.election)
    assert raw(peer, "GetTerm") == b"\x0a\x04" + NOBODY
    assert raw(peer, "Create", b"\x0a\x00") == b""
    assert raw(other, "Create", b"\x0a\x00") == b""
    a = b"\x0a\x01a" + b"\x12\x01a" + b"\x1a\x06\x22\x04\x08\x01\x10\x01"
    assert raw(peer, "Enter", b"\x0a\x01a") == b"\x0a\x0e" + a
    b_behind_a = b"\x0a\x01a" + b"\x12\x01a\x12\x01b" + b"\x1a\x06\x22\x04\x08\x01\x10\x02"
    assert raw(other, "Enter", b"\x0a\x01b") == b"\x0a\x11" + b_behind_a
    b_before_a = b"\x0a\x01b" + b"\x12\x01b\x12\x01a" + b"\x1a\x06\x22\x04\x08\x02\x10\x03"
    assert raw(peer, "Anoint", b"\x0a\x01b") == b"\x0a\x11" + b_before_a
    assert raw(peer, "Promote", b"\x0a\x01b") == b"\x0a\x11" + b_before_a
    a_again = b"\x0a\x01a" + b"\x12\x01a" + b"\x1a\x06\x22\x04\x08\x03\x10\x04"
    assert raw(peer, "Evict", b"\x0a\x01b") == b"\x0a\x0e" + a_again
    assert raw(peer, "Withdraw", b"\x0a\x01a") == b"\x0a\x08" + b"\x1a\x06\x22\x04\x08\x03\x10\x05"
    assert raw(peer, "Close") == b""
    assert raw(peer, "GetTerm") == b"\x0a\x08" + b"\x1a\x06\x22\x04\x08\x03\x10\x05"


def test_events_by_hand(connect: Connect) -> None:
    """The snapshot leaves its type out, as it is the default; a change says 1."""
    peer = connect()
    events = raw_events(peer)
    assert next(events) == b"\x0a\x06" + b"\x12\x04" + NOBODY
    raw(peer, "Create", b"\x0a\x00")
    entered = raw(peer, "Enter")
    name = peer.session.encode()
    size = len(name)
    term = b"\x0a" + bytes([size]) + name + b"\x12" + bytes([size]) + name + b"\x1a\x06\x22\x04\x08\x01\x10\x01"
    assert entered == b"\x0a" + bytes([len(term)]) + term
    event = b"\x08\x01" + b"\x12" + bytes([len(term)]) + term
    assert next(events) == b"\x0a" + bytes([len(event)]) + event


@pytest.mark.parametrize("config", [b"", b"\x0a\x00"], ids=["missing", "present and empty"])
def test_create_takes_a_config_that_is_missing_or_empty(connect: Connect, config: bytes) -> None:
    """Published clients send one that is present and empty. Asking again is as good."""
    peer = connect()
    assert raw(peer, "Create", config) == b""
    assert raw(peer, "Create", config) == b""
    assert raw(peer, "Enter") != b""
