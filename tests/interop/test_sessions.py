"""Sessions of published clients: kept by their connections, and gone one time-to-live after the last of these."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.interop.conftest import TTL_S, Local
from tests.interop.peer import Peer, Published, changes, fresh, refusal

Connect = Callable[..., Peer]
EARLY_S = 0.02
"""What the two ends may see apart."""
LATE_S = 0.8
"""What a busy machine may add."""


@contextmanager
def lasting(ttl_s: float) -> Iterator[None]:
    """Fail unless the block takes one time-to-live."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert ttl_s - EARLY_S <= took <= ttl_s + LATE_S


def test_a_killed_client_s_candidate_is_gone_after_one_time_to_live(connect: Connect, generated: Path) -> None:
    """No earlier, and not much later; and the next one leads."""
    watcher = connect()
    session = fresh("victim")
    victim = subprocess.Popen(
        [
            sys.executable,
            Path(__file__).with_name("victim.py"),
            watcher.channel_target,
            watcher.election,
            session,
            generated,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    try:
        assert victim.stdout.readline() == f"{session}\n"
        watcher.enter("next")
        events = watcher.events()
        next(events)
        with lasting(TTL_S):
            victim.kill()
            (term,) = changes(events, 1)
        assert list(term.candidates) == ["next"]
    finally:
        victim.kill()
        victim.wait()
        victim.stdout.close()


def test_a_closed_channel_ends_its_session_after_one_time_to_live(published: Published, local: Local) -> None:
    """All its candidates in all elections, each in one change."""
    with Peer(published, local.target) as watcher, Peer(published, local.target, watcher.election) as leaver:
        leaver.enter("a", "b")
        events = watcher.events()
        next(events)
        with lasting(TTL_S):
            leaver.channel.close()
            (term,) = changes(events, 1)
        assert list(term.candidates) == []
        with Peer(published, local.target, watcher.election, session=leaver.session) as back:
            assert refusal(lambda: back.call("Enter")) == ("NOT_FOUND", "SessionEnded")
            assert back.enter("a").leader_id == "a"


def test_a_second_connection_keeps_a_session_that_it_used(published: Published, local: Local) -> None:
    """Whatever the call; it ends one time-to-live after the last connection."""
    methods = ("Create", "Withdraw", "GetTerm", "Events")
    with Peer(published, local.target) as watcher, Peer(published, local.target, watcher.election) as second:
        sessions = {method: fresh(method) for method in methods}
        for method, session in sessions.items():
            with Peer(published, local.target, watcher.election, session=session) as first:
                first.enter()
                second.session = session
                second.call(method, "x") if method == "Withdraw" else second.any(method)
        quiet = watcher.events(timeout=1.3 * TTL_S)
        assert list(next(quiet).event.term.candidates) == list(sessions.values())
        with pytest.raises(grpc.RpcError):
            next(quiet)
        assert quiet.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        events = watcher.events()
        next(events)
        with lasting(TTL_S):
            second.channel.close()
            *_, last = changes(events, len(methods))
        assert list(last.candidates) == []


def test_a_client_that_comes_back_in_time_keeps_its_place(published: Published, local: Local) -> None:
    """It reconnects within one time-to-live and goes on as if nothing had been."""
    with Peer(published, local.target) as watcher, Peer(published, local.target, watcher.election) as first:
        first.enter("a")
        first.channel.close()
        with Peer(published, local.target, watcher.election, session=first.session) as again:
            entered = again.call("Enter", "a").term
            quiet = watcher.events(timeout=1.3 * TTL_S)
            assert next(quiet).event.term == entered
            with pytest.raises(grpc.RpcError):
                next(quiet)


def test_close_ends_the_session_with_its_last_election(connect: Connect) -> None:
    """Until then its candidates elsewhere stay; a second Close finds no session."""
    first = connect()
    second = connect(session=first.session)
    first.enter("a")
    second.enter("a")
    first.call("Close")
    assert first.call("GetTerm").term.leader_id == ""
    assert second.call("GetTerm").term.leader_id == "a"
    second.call("Close")
    assert second.call("GetTerm").term.leader_id == ""
    for peer in (first, second):
        assert refusal(lambda it=peer: it.call("Close")) == ("NOT_FOUND", "SessionEnded")


def test_close_leaves_the_candidates_of_others(connect: Connect) -> None:
    """The next one leads."""
    first = connect()
    second = connect(first.election)
    first.enter("a", "b")
    second.enter("c")
    first.call("Close")
    term = second.call("GetTerm").term
    assert (term.leader_id, list(term.candidates)) == ("c", ["c"])


def test_a_session_that_came_back_has_nothing_of_the_old_one(connect: Connect) -> None:
    """Created anew under the same id; the end of the old one does not take the new candidate away."""
    peer = connect()
    peer.enter("a")
    peer.call("Close")
    assert peer.enter("a").timestamp.epoch_timestamp.epoch == 2
    assert peer.call("GetTerm").term.leader_id == "a"
