"""Watching: the snapshot at once, one event per change, and nobody is held up by who does not read."""

import time
from collections.abc import Callable

import grpc

from atomix_election import sharing
from atomix_election.broadcast import Subscription
from atomix_election.service import WATCH_BUFFER
from tests.interop.conftest import Local
from tests.interop.peer import WAIT_S, Peer, Published, changes, epoch, fresh, shown

Connect = Callable[..., Peer]


def subscriptions(local: Local) -> list[Subscription]:
    """Return the watchers that the server holds."""

    def find() -> list[Subscription]:
        (engine,) = [each.engine for each in sharing._shared.values() if each.engine is not None]
        return [each for lane in engine._lanes.values() for each in lane.watchers._subscriptions]

    return local.portal.call(find)


def wait_for_watchers(local: Local, count: int) -> None:
    """Wait until the server holds so many."""
    deadline = time.monotonic() + WAIT_S
    while len(subscriptions(local)) != count:
        time.sleep(0.005)  # nothing tells a client what the server has forgotten
        assert time.monotonic() < deadline, f"{len(subscriptions(local))} watchers, not {count}"


def test_the_first_event_is_the_current_term_at_once(connect: Connect) -> None:
    """Of type NONE, also when nobody ever entered, and without a session."""
    peer = connect()
    for looker in (peer, connect(peer.election, session="")):
        event = next(looker.events()).event
        assert event.type == event.NONE
        assert shown(event.term) == ("", [], (0, 0))
    entered = peer.enter("a", "b")
    event = next(peer.events()).event
    assert event.type == event.NONE
    assert shown(event.term) == shown(entered)


def test_every_change_is_one_event_and_nothing_else_is(connect: Connect) -> None:
    """Calls that change nothing, that are refused, and those of other elections are not seen."""
    peer = connect()
    other = connect()
    events = peer.events()
    next(events)
    expected = [peer.enter("a"), peer.enter("b")]
    other.enter("a", "b")
    for method, candidate in (("Enter", "a"), ("Anoint", "a"), ("Promote", "a"), ("Withdraw", "x")):
        peer.call(method, candidate)
    assert peer.begin("Evict", "x").code() is grpc.StatusCode.INVALID_ARGUMENT
    expected += [peer.call("Promote", "b").term, peer.call("Evict", "b").term, peer.call("Withdraw", "a").term]
    assert [shown(term) for term in changes(events, 5)] == [shown(term) for term in expected]
    assert [epoch(term)[1] for term in expected] == [1, 2, 3, 4, 5]


def test_the_last_leader_s_end_is_announced(connect: Connect) -> None:
    """Nobody leads is an event like any other; Close of several candidates is one."""
    peer = connect()
    peer.enter("a", "b", "c")
    events = peer.events()
    next(events)
    peer.call("Close")
    (term,) = changes(events, 1)
    assert shown(term) == ("", [], (1, 4))


def test_many_watchers_see_the_same(connect: Connect) -> None:
    """On several connections, with several streams each."""
    first = connect()
    first.call("Create")
    streams = [each.events() for each in (first, connect(first.election), connect(first.election)) for _ in range(5)]
    for each in streams:
        next(each)
    terms = [shown(first.call("Enter", f"c{number}").term) for number in range(20)]
    for each in streams:
        assert [shown(term) for term in changes(each, 20)] == terms


def test_a_stream_that_nobody_reads_holds_up_nobody_and_fills_nothing(published: Published, local: Local) -> None:
    """Thousands of changes later the server keeps a bounded rest for it, and it ends at the newest term."""
    with Peer(published, local.target) as lazy, Peer(published, local.target, lazy.election) as busy:
        stream = lazy.events()
        next(stream)
        names = [f"{number:0250d}" for number in range(8)]
        busy.enter(*names)
        changed = 1_500
        pending = [busy.begin("Anoint", names[number % 8]) for number in range(changed)]
        newest = max(shown(each.result().term)[2] for each in pending)
        assert newest[1] > changed
        (watcher,) = subscriptions(local)
        assert len(watcher._waiting) <= WATCH_BUFFER
        assert lazy.call("GetTerm").term.timestamp.epoch_timestamp.time == newest[1]
        revisions: list[int] = []
        while not revisions or revisions[-1] < newest[1]:
            revisions.append(epoch(next(stream).event.term)[1])
    assert revisions == sorted(set(revisions))
    assert revisions[0] == 1
    assert len(revisions) < changed / 2


def test_a_watcher_that_has_gone_is_forgotten(published: Published, local: Local) -> None:
    """Cancelled, out of time, or its connection closed."""
    with Peer(published, local.target) as stays:
        kept = stays.events()
        next(kept)
        with Peer(published, local.target, stays.election) as goes:
            cancelled, late, _cut = streams = [goes.events(), goes.events(timeout=0.3), goes.events()]
            for each in streams:
                next(each)
            wait_for_watchers(local, 4)
            cancelled.cancel()
            wait_for_watchers(local, 3)
            assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            wait_for_watchers(local, 2)
        wait_for_watchers(local, 1)
        stays.enter("a")
        assert next(kept).event.term.leader_id == "a"
        kept.cancel()
        wait_for_watchers(local, 0)


def test_a_stream_that_is_cancelled_before_its_first_event_is_forgotten(published: Published, local: Local) -> None:
    """A hundred of them, at any stage."""
    with Peer(published, local.target, fresh("cancelled")) as peer:
        for _ in range(100):
            peer.events().cancel()
        peer.call("GetTerm")
        wait_for_watchers(local, 0)
