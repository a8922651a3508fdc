"""Watching from threads."""

import pytest

from atomix_election.sync import (
    Client,
    EventType,
    InvalidRequest,
    LeaderElection,
    Term,
)
from tests.sync.conftest import Interrupt
from tests.sync.waiting import WAIT_S, in_thread


def test_events_come_one_after_the_other(operator: Client) -> None:
    """A snapshot, then each change; who has waited long enough for one has lost none."""
    mine = operator.election("e", candidate_id="a")
    with mine.events() as events:
        assert next(events).type is EventType.NONE
        with pytest.raises(TimeoutError):
            events.next(timeout_s=0.05)
        mine.enter()
        mine.withdraw()
        seen = [event.term for _, event in zip(range(2), events, strict=False)]
        assert seen == [Term(("a",), 1, 1), Term((), 1, 2)]


def test_who_waits_is_told_that_the_block_has_ended(operator: Client) -> None:
    """In whatever thread, and whoever comes later."""
    with operator.election("e").events() as events:
        next(events)
        context = in_thread(lambda: next(events))
        waiting = context.__enter__()
    context.__exit__(None, None, None)
    with pytest.raises(InvalidRequest, match="this watch is over"):
        waiting.result(WAIT_S)
    with pytest.raises(InvalidRequest, match="this watch is over"):
        next(events)


def test_each_event_goes_to_one_of_several_threads(operator: Client) -> None:
    """They take turns."""
    mine = operator.election("e", candidate_id="a")
    with mine.events() as events:
        next(events)
        with in_thread(lambda: next(events)) as one, in_thread(lambda: next(events)) as two:
            mine.enter()
            mine.withdraw()
            assert sorted(each.result(WAIT_S).term.revision for each in (one, two)) == [1, 2]


def test_who_waits_can_be_interrupted(operator: Client, election: LeaderElection, interrupt_when: Interrupt) -> None:
    """And the watch goes on."""
    with election.events() as events:
        next(events)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come as soon as it is begun
            interrupt_when(lambda: election.get_term() is not None)
            next(events)
        operator.election("e", candidate_id="a").enter()
        assert next(events).term.leader == "a"
