"""Watchers get every event in order, or the newest, and never hold each other up."""

from functools import partial

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.broadcast import Broadcast, Subscription
from atomix_election.errors import Unavailable
from atomix_election.model import Event, EventType, Term

pytestmark = pytest.mark.anyio


def term(revision: int) -> Term:
    """Return a term of that revision."""
    return Term(("a",), 1, revision)


def changed(revision: int) -> Event:
    """Return the event of a change."""
    return Event(EventType.CHANGED, term(revision))


async def taken(subscription: Subscription) -> list[int]:
    """Return the revisions of the events that wait."""
    revisions: list[int] = []
    with anyio.move_on_after(0):
        while True:
            revisions.append((await anext(subscription)).term.revision)
    return revisions


async def test_events_come_in_order_after_the_snapshot() -> None:
    """NONE first, then CHANGED for each."""
    broadcast = Broadcast()
    with broadcast.subscribe() as subscription:
        subscription.begin(term(3))
        for revision in (4, 5):
            broadcast.publish(changed(revision))
        events = [await anext(subscription) for _ in range(3)]
        assert [event.type for event in events] == [EventType.NONE, EventType.CHANGED, EventType.CHANGED]
        assert [event.term for event in events] == [term(3), term(4), term(5)]


async def test_what_is_published_while_the_snapshot_is_read_is_neither_lost_nor_repeated() -> None:
    """Events that the snapshot contains are left out, later ones stay, whenever they were published."""
    broadcast = Broadcast()
    with broadcast.subscribe() as subscription:
        for revision in (4, 5, 6):
            broadcast.publish(changed(revision))
        subscription.begin(term(5))
        broadcast.publish(changed(7))
        assert await taken(subscription) == [5, 6, 7]


async def test_a_snapshot_newer_than_all_events_keeps_late_ones_out() -> None:
    """An event on its way that the snapshot already shows is passed over."""
    broadcast = Broadcast()
    with broadcast.subscribe() as subscription:
        subscription.begin(term(9))
        for revision in (8, 9, 10):
            broadcast.publish(changed(revision))
        assert await taken(subscription) == [9, 10]


@pytest.mark.parametrize("buffer", [1, 2, 64])
async def test_a_full_buffer_is_replaced_by_the_newest(buffer: int) -> None:
    """As many as the buffer holds wait; one more, and only the newest does."""
    broadcast = Broadcast()
    with broadcast.subscribe(buffer) as subscription:
        subscription.begin(term(0))
        await anext(subscription)
        for revision in range(1, buffer + 1):
            broadcast.publish(changed(revision))
        assert await taken(subscription) == list(range(1, buffer + 1))
        for revision in range(buffer + 1, 2 * buffer + 2):
            broadcast.publish(changed(revision))
        assert await taken(subscription) == [2 * buffer + 1]


async def test_a_reader_that_never_reads_costs_no_more_than_its_buffer() -> None:
    """However much is published, and it still gets the newest at last."""
    broadcast = Broadcast()
    with broadcast.subscribe(8) as subscription:
        subscription.begin(term(0))
        for revision in range(1, 10_000):
            broadcast.publish(changed(revision))
            assert len(subscription._waiting) <= 8
        revisions = await taken(subscription)
    assert revisions[0] == 0
    assert revisions[-1] == 9_999
    assert len(revisions) <= 9


async def test_an_overflow_keeps_the_snapshot() -> None:
    """The first event is a snapshot, also for a reader that was slow from the start."""
    broadcast = Broadcast()
    with broadcast.subscribe(2) as subscription:
        for revision in range(1, 8):
            broadcast.publish(changed(revision))
        subscription.begin(term(0))
        for revision in range(8, 12):
            broadcast.publish(changed(revision))
        first = await anext(subscription)
        assert (first.type, first.term) == (EventType.NONE, term(0))
        assert (await taken(subscription))[-1] == 11


async def test_an_error_comes_after_what_waits() -> None:
    """And then again and again."""
    broadcast = Broadcast()
    with broadcast.subscribe() as subscription:
        subscription.begin(term(0))
        broadcast.publish(changed(1))
        broadcast.fail(Unavailable("gone"))
        assert [(await anext(subscription)).term.revision for _ in range(2)] == [0, 1]
        for _ in range(2):
            with pytest.raises(Unavailable, match="gone"):
                await anext(subscription)


async def test_an_error_wakes_who_waits() -> None:
    """Every watcher of the election is told."""
    broadcast = Broadcast()
    told: list[int] = []

    async def watch(number: int) -> None:
        with broadcast.subscribe() as subscription, pytest.raises(Unavailable):
            await anext(subscription)
        told.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(watch, number)
            await anyio.wait_all_tasks_blocked()
            broadcast.fail(Unavailable("gone"))
    assert sorted(told) == [0, 1, 2]


async def test_a_waiting_reader_is_woken_by_an_event() -> None:
    """It gets what was published while it waited."""
    broadcast = Broadcast()
    got: list[Event] = []

    async def watch() -> None:
        with broadcast.subscribe() as subscription:
            got.append(await anext(subscription))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            broadcast.publish(changed(1))
    assert [event.term for event in got] == [term(1)]


async def test_a_cancelled_reader_loses_nothing() -> None:
    """What comes after a cancelled wait is there for the next."""
    broadcast = Broadcast()
    with broadcast.subscribe() as subscription:
        assert await taken(subscription) == []
        broadcast.publish(changed(1))
        assert await taken(subscription) == [1]


async def test_watchers_are_independent() -> None:
    """One that is slow, or has gone, changes nothing for another."""
    broadcast = Broadcast()
    with broadcast.subscribe(1) as slow, broadcast.subscribe() as quick:
        with broadcast.subscribe() as gone:
            assert len(broadcast) == 3
        for revision in (1, 2, 3):
            broadcast.publish(changed(revision))
        assert await taken(slow) == [3]
        assert await taken(quick) == [1, 2, 3]
        assert await taken(gone) == []
    assert len(broadcast) == 0


async def test_what_begins_anew_is_told_to_those_alone_who_have_not_seen_it() -> None:
    """Another store's terms may be lower; who took its snapshot before is not told the same again as a change."""
    broadcast = Broadcast()
    with broadcast.subscribe() as former, broadcast.subscribe() as latter:
        former.begin(term(9))
        latter.begin(term(3))
        broadcast.publish(changed(3), anew=True)
        broadcast.publish(changed(4))
        assert await taken(former) == [9, 3, 4]
        assert await taken(latter) == [3, 4]


async def _offered(script: list[str]) -> list[int]:
    """Return the revisions that somebody was given, who takes events at once or reads them, one after the other."""
    broadcast = Broadcast()
    told: list[int] = []
    revision, takes = 3, True

    def take(event: Event) -> bool:
        if takes:
            told.append(event.term.revision)
        return takes

    with broadcast.subscribe() as subscription:
        subscription.begin(term(revision))
        subscription.offer_to(take)
        for step in script:
            if step == "publish":
                revision += 1
                broadcast.publish(changed(revision))
                broadcast.publish(changed(revision))  # nobody is told twice
            elif step == "read":
                with anyio.move_on_after(0):
                    told.append((await anext(subscription)).term.revision)
            else:
                takes = step == "take"
        told.extend(await taken(subscription))
    return told


@settings(deadline=None, print_blob=True, max_examples=150)
@given(script=st.lists(st.sampled_from(["publish", "publish", "read", "take", "leave"]), max_size=20))
def test_what_is_taken_at_once_and_what_is_read_are_one_order(script: list[str]) -> None:
    """The snapshot first, and each event once."""
    assert anyio.run(partial(_offered, script)) == list(range(3, 4 + script.count("publish")))


async def test_what_waits_before_is_told_whether_events_were_skipped() -> None:
    """What was taken at once does not look like a gap."""
    broadcast = Broadcast()
    with broadcast.subscribe(buffer=2) as subscription:
        subscription.begin(term(1))
        await anext(subscription)
        subscription.offer_to(lambda event: event.term.revision == 2)
        for revision in (2, 3):
            broadcast.publish(changed(revision))
        assert not (await anext(subscription)).skipped
        for revision in (4, 5, 6):
            broadcast.publish(changed(revision))
        assert (await anext(subscription)).skipped
