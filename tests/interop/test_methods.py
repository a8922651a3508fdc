"""The nine methods as a published client uses them."""

from collections.abc import Callable

import pytest

from tests.interop.peer import Peer, Published, changes, epoch, fresh, shown

Connect = Callable[..., Peer]
UNARY = ("Create", "Close", "Enter", "Withdraw", "Anoint", "Promote", "Evict", "GetTerm")


def test_there_are_nine_methods(published: Published) -> None:
    """Which the tests below go through."""
    assert sorted(published.methods) == sorted((*UNARY, "Events"))


def test_an_election_from_beginning_to_end(connect: Connect) -> None:
    """The transcript of the design, over the wire: every method, and the term after each."""
    first = connect()
    second = connect(first.election)
    third = connect(first.election)
    events = first.events()
    assert shown(next(events).event.term) == ("", [], (0, 0))
    for peer, candidate in ((first, "a"), (second, "b"), (third, "c")):
        peer.call("Create")
        peer.call("Enter", candidate)
    steps = [
        (first.call("GetTerm"), "a", ["a", "b", "c"], (1, 3)),
        (first.call("Promote", "c"), "a", ["a", "c", "b"], (1, 4)),
        (second.call("Promote", "c"), "c", ["c", "a", "b"], (2, 5)),
        (first.call("Anoint", "b"), "b", ["b", "c", "a"], (3, 6)),
        (first.call("Anoint", "b"), "b", ["b", "c", "a"], (3, 6)),
        (second.call("Withdraw", "b"), "c", ["c", "a"], (4, 7)),
        (second.call("Evict", "c"), "a", ["a"], (5, 8)),
    ]
    for response, *expected in steps:
        assert shown(response.term) == tuple(expected)
    first.call("Close")
    assert shown(first.call("GetTerm").term) == ("", [], (5, 9))
    assert shown(second.call("Enter", "b").term) == ("b", ["b"], (6, 10))
    assert [epoch(term)[1] for term in changes(events, 10)] == list(range(1, 11))


def test_an_empty_candidate_id_is_the_session(connect: Connect) -> None:
    """In Enter and in Withdraw: published clients send nothing else."""
    peer = connect()
    assert shown(peer.enter("")) == (peer.session, [peer.session], (1, 1))
    assert shown(peer.call("Withdraw", "").term) == ("", [], (1, 2))


def test_keys_with_empty_values_are_as_good_as_none(connect: Connect) -> None:
    """An empty application-id is the namespace "default"; an empty session is none, where none is needed."""
    peer = connect(namespace="")
    peer.enter("a")
    looker = connect(peer.election, session="", namespace="default")
    assert looker.call("GetTerm").term.leader_id == "a"
    assert looker.call("Evict", "a").term.leader_id == ""


def test_a_namespace_has_elections_and_sessions_of_its_own(connect: Connect) -> None:
    """The same names elsewhere are something else."""
    here = connect(namespace=fresh("here"))
    there = connect(here.election, session=here.session, namespace=fresh("there"))
    here.enter("a")
    there.call("Create")
    assert shown(there.call("GetTerm").term) == ("", [], (0, 0))
    assert shown(there.call("Enter", "b").term) == ("b", ["b"], (1, 1))
    assert shown(here.call("GetTerm").term) == ("a", ["a"], (1, 1))


def test_a_call_sees_what_was_done_before_it_on_other_connections(connect: Connect) -> None:
    """A term that was answered to one client is never unknown to the next."""
    first = connect()
    second = connect(first.election)
    first.call("Create")
    second.call("Create")
    for number in range(50):
        writer, reader = (first, second) if number % 2 else (second, first)
        entered = writer.call("Enter", f"c{number}").term
        assert shown(reader.call("GetTerm").term) == shown(entered)


@pytest.mark.parametrize("method", ["Create", "Enter", "Withdraw", "Anoint", "GetTerm"])
def test_what_changes_nothing_may_be_repeated(connect: Connect, method: str) -> None:
    """The term, its number and its revision stay as they are."""
    peer = connect()
    peer.enter("a", "b")
    candidate = "x" if method == "Withdraw" else "a"
    for _ in range(3):
        peer.call(method, candidate)
        assert shown(peer.call("GetTerm").term) == ("a", ["a", "b"], (1, 2))
