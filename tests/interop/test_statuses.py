"""The status table of the wire contract, as grpcio sees it, with the class of each error in the trailing metadata."""

import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.interop.conftest import serving
from tests.interop.peer import WAIT_S, Peer, Published, failure, fresh, refusal

Connect = Callable[..., Peer]
METHODS = ("Create", "Close", "Enter", "Withdraw", "Anoint", "Promote", "Evict", "GetTerm", "Events")
NEED_A_SESSION = ("Create", "Close", "Enter", "Withdraw")
NEED_AN_OPEN_SESSION = ("Close", "Enter", "Withdraw")
NEED_A_CANDIDATE = ("Anoint", "Promote", "Evict")
BAD_REQUEST = ("INVALID_ARGUMENT", "InvalidRequest")


@pytest.mark.parametrize("method", METHODS)
def test_malformed_metadata_is_an_invalid_argument(connect: Connect, method: str) -> None:
    """No election, an empty one, one that is too long, and one given twice."""
    peer = connect()
    _, namespace, session = peer.metadata
    for election in ([], [("primitive-id", "")], [("primitive-id", "x" * 257)], [("primitive-id", "x")] * 2):
        assert refusal(lambda it=election: peer.any(method, metadata=[*it, namespace, session])) == BAD_REQUEST


@pytest.mark.parametrize("method", NEED_A_SESSION)
def test_a_call_that_needs_a_session_must_name_one(connect: Connect, method: str) -> None:
    """Missing is as bad as empty."""
    peer = connect(session="")
    assert refusal(lambda: peer.call(method)) == BAD_REQUEST
    assert refusal(lambda: peer.call(method, metadata=peer.metadata[:2])) == BAD_REQUEST


@pytest.mark.parametrize("method", NEED_AN_OPEN_SESSION)
def test_a_session_that_is_not_open_is_not_found(connect: Connect, method: str) -> None:
    """Never created, and closed."""
    peer = connect()
    assert refusal(lambda: peer.call(method)) == ("NOT_FOUND", "SessionEnded")
    peer.enter()
    peer.call("Close")
    assert refusal(lambda: peer.call(method)) == ("NOT_FOUND", "SessionEnded")


@pytest.mark.parametrize("method", NEED_A_CANDIDATE)
def test_who_is_not_a_candidate_is_an_invalid_argument(connect: Connect, method: str) -> None:
    """With a class of its own; an empty id names nobody."""
    peer = connect()
    peer.enter("a")
    assert refusal(lambda: peer.call(method, "b")) == ("INVALID_ARGUMENT", "NotACandidate")
    assert refusal(lambda: peer.call(method, "")) == BAD_REQUEST


@pytest.mark.parametrize("method", ["Enter", "Withdraw", *NEED_A_CANDIDATE])
@pytest.mark.parametrize("candidate", ["x" * 257, "\N{SNOWMAN}" * 86, "a\tb", " a", "a\0"], ids=ascii)
def test_a_malformed_candidate_id_is_an_invalid_argument(connect: Connect, method: str, candidate: str) -> None:
    """Too long in bytes, unprintable, or with white space at an end."""
    peer = connect()
    peer.enter("a")
    assert refusal(lambda: peer.call(method, candidate)) == BAD_REQUEST


def test_a_candidate_id_may_have_any_printable_character(connect: Connect) -> None:
    """It travels in the message; its limit is 256 bytes."""
    peer = connect()
    for candidate in ("x" * 256, "\N{SNOWMAN}" * 85, "名前", "a b"):
        assert candidate in peer.enter(candidate).candidates


def test_a_candidate_of_another_live_session_is_taken(connect: Connect) -> None:
    """ALREADY_EXISTS, and for Withdraw PERMISSION_DENIED; Evict may."""
    owner = connect()
    other = connect(owner.election)
    owner.enter("a")
    other.call("Create")
    assert refusal(lambda: other.call("Enter", "a")) == ("ALREADY_EXISTS", "CandidateTaken")
    assert refusal(lambda: other.call("Withdraw", "a")) == ("PERMISSION_DENIED", "NotOwner")
    assert other.call("Evict", "a").term.leader_id == ""


@pytest.mark.parametrize("method", METHODS)
def test_a_message_that_cannot_be_decoded_is_an_invalid_argument(connect: Connect, method: str) -> None:
    """And has no effect."""
    peer = connect()
    kind = peer.channel.unary_stream if method == "Events" else peer.channel.unary_unary
    call = kind(f"/atomix.election.v1.LeaderElection/{method}", request_serializer=None, response_deserializer=None)
    options = {"metadata": peer.metadata, "timeout": WAIT_S}
    assert refusal(lambda: list(call(b"\xff\xff\xff\xff", **options))) == BAD_REQUEST
    assert peer.call("GetTerm").term.leader_id == ""


@pytest.mark.parametrize(
    "path", ["atomix.election.v1.LeaderElection/Abdicate", "atomix.election.v2.LeaderElection/Enter"]
)
def test_a_method_that_does_not_exist_is_unimplemented(connect: Connect, path: str) -> None:
    """Nor does its service."""
    peer = connect()
    call = peer.channel.unary_unary(f"/{path}", request_serializer=None, response_deserializer=None)
    code, _ = refusal(lambda: call(b"", metadata=peer.metadata, timeout=WAIT_S))
    assert code == "UNIMPLEMENTED"


def test_a_compressed_message_is_unimplemented(connect: Connect) -> None:
    """As grpcio compresses one."""
    peer = connect()
    peer.call("Create")
    code, _ = refusal(lambda: peer.call("Enter", "a" * 250, compression=grpc.Compression.Gzip))
    assert code == "UNIMPLEMENTED"


def test_a_message_that_is_too_large_exhausts_a_resource(connect: Connect) -> None:
    """Whether it is a little too large or very much; the channel goes on."""
    peer = connect()
    peer.call("Create")
    for size in (65_536, 3_000_000):
        assert refusal(lambda it=size: peer.call("Enter", "a" * it)) == ("RESOURCE_EXHAUSTED", "LimitExceeded")
    assert peer.call("Enter", "a").term.leader_id == "a"


def test_a_deadline_that_passes_is_said_to_have_passed(connect: Connect) -> None:
    """And the channel goes on; ``tests/rpc`` has the deadlines of unary calls."""
    peer = connect()
    events = peer.events(timeout=0.2)
    next(events)
    assert refusal(lambda: next(events))[0] == "DEADLINE_EXCEEDED"
    assert peer.call("GetTerm").term.leader_id == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_shuts_down_is_unavailable(published: Published, tmp_path: Path, number: signal.Signals) -> None:
    """A watch ends with that status; so does a call that comes too late."""
    with serving(tmp_path / "stderr") as (target, process), Peer(published, target, fresh("e")) as peer:
        events = peer.events()
        next(events)
        process.send_signal(number)
        with pytest.raises(grpc.RpcError):
            next(events)
        assert failure(events) == ("UNAVAILABLE", "Unavailable")
        assert process.wait(timeout=10) == 0
        assert refusal(lambda: peer.call("GetTerm"))[0] == "UNAVAILABLE"
