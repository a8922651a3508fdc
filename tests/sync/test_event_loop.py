"""One event loop for all threads, there while it is used; whoever waits for it can be interrupted."""

import asyncio
import threading
import time
from functools import partial

import anyio
import pytest

from atomix_election.sync import InvalidRequest, LeaderElection, Term, Unavailable, connect
from tests.sync.conftest import Interrupt, own_threads
from tests.sync.waiting import WAIT_S, in_thread

HELD_S = 0.2


class Slow:
    """Work that takes a moment to end when it is cancelled."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.is_cancelled = threading.Event()
        self.has_ended = threading.Event()

    async def work(self) -> None:
        """Wait for ever."""
        try:
            self.has_begun.set()
            await anyio.sleep_forever()
        finally:
            self.is_cancelled.set()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(HELD_S)
            self.has_ended.set()


def test_there_is_one_for_all_threads_and_it_ends_with_the_last_block() -> None:
    """Objects of different threads meet in a named memory; the thread is joined by who leaves last."""
    assert own_threads() == []
    with connect("memory://one-loop") as one:

        def elsewhere() -> Term:
            with connect("memory://one-loop") as other:
                assert other.event_loop is one.event_loop
                return other.election("e", candidate_id="b").enter()

        one.election("e", candidate_id="a").enter()
        with in_thread(elsewhere) as entered:
            assert entered.result(WAIT_S).candidates == ("a", "b")
        assert own_threads() == ["atomix_election-sync"]
    assert own_threads() == []
    with connect("memory://one-loop") as anew:
        assert anew.event_loop is not one.event_loop
        assert anew.election("e").get_term().number == 1


def test_a_client_of_an_event_loop_that_is_over_is_closed() -> None:
    """As one of an asynchronous client is."""
    with connect() as client:
        election = client.election("e", candidate_id="a")
    for call in (election.enter, election.get_term, election.withdraw, lambda: next(client.list_elections())):
        with pytest.raises(Unavailable, match="closed"):
            call()
    with pytest.raises(Unavailable, match="closed"), election.lead():
        pass
    with pytest.raises(Unavailable, match="closed"), election.events():
        pass


def test_many_threads_at_once() -> None:
    """Each gets its own answer, and blocks begin and end all the time."""
    numbers = range(20)
    terms: list[int] = []

    def stand(number: int) -> None:
        for _ in range(5):
            with connect("memory://many") as client, client.election("e", candidate_id=f"c{number}") as election:
                assert f"c{number}" in election.enter().candidates
                assert f"c{number}" not in election.withdraw().candidates
            terms.append(number)

    threads = [threading.Thread(target=stand, args=(number,)) for number in numbers]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT_S)
    assert sorted(terms) == sorted([*numbers] * 5)


def test_it_can_be_called_where_another_event_loop_runs() -> None:
    """As in a notebook, whose cells run in one: that one waits meanwhile."""

    async def cell() -> int:
        with LeaderElection("e", candidate_id="a") as election, election.lead() as leadership:
            return leadership.token

    assert asyncio.run(cell()) == 1
    assert anyio.run(cell, backend="trio") == 1


def test_its_own_thread_cannot_wait_for_it() -> None:
    """It is told so, instead of waiting for ever."""
    with connect() as client:

        async def call() -> None:
            with pytest.raises(InvalidRequest, match="would wait for itself"):
                client.election("e").get_term()

        client.event_loop.run(call)


def test_an_error_comes_out_as_itself() -> None:
    """Also one that is no Exception."""
    error = SystemExit("of the work")

    async def fail() -> None:
        raise error

    with connect() as client:
        with pytest.raises(SystemExit) as raised:
            client.event_loop.run(fail)
        assert client.election("e").get_term() == Term()
    assert raised.value is error


def test_an_interruption_waits_until_what_it_cancels_has_ended(interrupt_when: Interrupt) -> None:
    """Ctrl-C cancels the work, and goes on after it; the next call works."""
    slow = Slow()
    with connect() as client:
        interrupt_when(slow.has_begun.is_set)
        with pytest.raises(KeyboardInterrupt):
            client.event_loop.run(slow.work)
        assert slow.has_ended.is_set()
        assert client.election("e").get_term() == Term()


def test_a_second_interruption_does_not_wait(interrupt_when: Interrupt) -> None:
    """What was begun ends by itself, and so does the event loop."""
    slow = Slow()
    with connect() as client:
        interrupt_when(slow.has_begun.is_set)
        interrupt_when(slow.is_cancelled.is_set)
        with pytest.raises(KeyboardInterrupt):
            client.event_loop.run(slow.work)
        assert not slow.has_ended.is_set()
        assert client.election("e").get_term() == Term()
        assert slow.has_ended.wait(WAIT_S)


def test_interrupted_at_any_moment(interrupt_when: Interrupt) -> None:
    """Wherever Ctrl-C comes in a leader's life: nothing is left in the queue, and no thread."""
    interrupted = 0
    for number in range(80):
        until = time.monotonic() + number / 10_000
        try:
            interrupt_when(partial(_is_past, until))
            election = LeaderElection("e", target="memory://any-moment", candidate_id="a")
            with election, election.lead() as leadership, election.events() as events:
                next(events)
                leadership.ensure()
                election.get_term()
            time.sleep(WAIT_S)
        except KeyboardInterrupt:
            interrupted += 1
        with LeaderElection("e", target="memory://any-moment") as observer:
            assert observer.get_term().candidates == ()
    assert interrupted == 80


def _is_past(until: float) -> bool:
    return time.monotonic() >= until
