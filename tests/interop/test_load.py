"""Very many calls and watches on one channel."""

from collections.abc import Callable

from tests.interop.peer import Peer, changes, epoch, fresh, shown

Connect = Callable[..., Peer]
MANY = 1_000


def test_a_thousand_calls_at_once(connect: Connect) -> None:
    """Each has the term after its own change: every revision is answered once, and none is lost."""
    peer = connect()
    peer.call("Create")
    begun = [peer.begin("Enter", f"c{number:04d}") for number in range(MANY)]
    terms = [shown(each.result().term) for each in begun]
    assert sorted(revision for _, _, (_, revision) in terms) == list(range(1, MANY + 1))
    for number, (leader, candidates, (_, revision)) in enumerate(terms):
        assert candidates[-1] == f"c{number:04d}"
        assert len(candidates) == revision
        assert leader == candidates[0]
    assert len(peer.call("GetTerm").term.candidates) == MANY


def test_a_thousand_watches_and_calls_share_a_channel(connect: Connect) -> None:
    """No call waits for a stream to end ("stuck channel"), and each watcher sees the change."""
    peer = connect()
    peer.call("Create")
    streams = [peer.events() for _ in range(MANY)]
    for each in streams:
        event = next(each).event
        assert event.type == event.NONE
    assert peer.call("GetTerm").term.leader_id == ""
    entered = peer.call("Enter", "a").term
    begun = [peer.begin("GetTerm") for _ in range(50)]
    assert {epoch(each.result().term) for each in begun} == {epoch(entered)}
    for each in streams:
        (term,) = changes(each, 1)
        assert shown(term) == shown(entered)


def test_a_thousand_elections_on_one_channel(connect: Connect) -> None:
    """Entered at once, by one session: each has its own first term, and one connection closes them all."""
    peer = connect()
    _, namespace, session = peer.metadata
    peer.call("Create")
    word = fresh("election")
    every = [[("primitive-id", f"{word}-{number}"), namespace, session] for number in range(MANY)]
    begun = [peer.begin("Enter", metadata=metadata) for metadata in every]
    assert {shown(each.result().term)[2] for each in begun} == {(1, 1)}
