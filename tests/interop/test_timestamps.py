"""Every term has an epoch timestamp, of one kind for ever, which never goes back and tells terms apart."""

import random
from collections.abc import Callable

import grpc
import pytest

from tests.interop.peer import Peer, epoch, shown

Connect = Callable[..., Peer]
METHODS = ("Create", "Close", "Enter", "Withdraw", "Anoint", "Promote", "Evict")
CANDIDATES = ("a", "b", "c", "d")


@pytest.mark.parametrize("seed", range(5))
def test_timestamps_never_go_back_and_change_only_with_the_term(connect: Connect, seed: int) -> None:
    """In whatever order things are done: one visible change is one revision, and equal terms have equal timestamps."""
    chance = random.Random(seed)
    first = connect()
    peers = [first, connect(first.election)]
    for each in peers:
        each.call("Create")
    last = shown(first.call("GetTerm").term)
    assert last == ("", [], (0, 0))
    for step in range(120):
        peer, method, candidate = chance.choice(peers), chance.choice(METHODS), chance.choice(CANDIDATES)
        if method == "Close" and step % 5:
            continue
        try:
            response = peer.call(method, candidate)
        except grpc.RpcError:
            assert shown(peer.call("GetTerm").term) == last, f"{method} {candidate} was refused and changed the term"
            peer.call("Create")  # the session may be what was missing
            continue
        now = shown(response.term) if hasattr(response, "term") else shown(peer.call("GetTerm").term)
        (leader, candidates, (number, revision)), (_, were, (old_number, old_revision)) = now, last
        assert leader == (candidates[0] if candidates else "")
        assert number >= old_number
        assert revision == old_revision + (candidates != were)
        if candidates[:1] != were[:1] and candidates:
            assert number == old_number + 1
        else:
            assert number == old_number
        last = now


def test_an_election_that_nobody_entered_has_a_timestamp(connect: Connect) -> None:
    """In the response and in the first event: empty, and present."""
    peer = connect()
    for term in (peer.call("GetTerm").term, next(peer.events()).event.term):
        assert epoch(term) == (0, 0)
        assert term.ByteSize() == 4


def test_numbers_go_on_when_an_election_was_left(connect: Connect) -> None:
    """The token of an election that was empty, and closed, does not start anew."""
    peer = connect()
    for number in range(1, 4):
        assert epoch(peer.enter("a"))[0] == number
        peer.call("Close")
        left = peer.call("GetTerm").term
        assert (left.leader_id, epoch(left)) == ("", (number, 2 * number))


def test_events_have_the_timestamps_of_the_responses(connect: Connect) -> None:
    """A watcher and a caller see one term."""
    peer = connect()
    events = peer.events()
    next(events)
    peer.call("Create")
    for candidate in CANDIDATES:
        assert shown(peer.call("Enter", candidate).term) == shown(next(events).event.term)
