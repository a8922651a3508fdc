"""What happened with each of several stores is told apart."""

from dataclasses import replace

from atomix_election import Term
from atomix_election.testing.history import Answered, Emptied, Fault, Gone, Led, Restored, Seen, Stood, Up, Waited
from atomix_election.testing.lives import lives

FIRST, SECOND = Emptied(5, 7), Emptied(15, 17)
OLD, NEW = Term(("a",), 3, 9), Term(("b",), 1, 1)
EARLY = Answered("x", "get_term", "e", "", 1, 2, term=OLD)
LATE = Answered("x", "get_term", "e", "", 8, 9, term=NEW)
BETWEEN = Answered("x", "get_term", "e", "", 4, 8, term=NEW)
LED = Led("a", "e", "a", 3, 6.0, 4, 9, lost="STORE_CHANGED")
STOOD = Stood("a", "e", 3)


def test_a_history_of_one_store_is_left_as_it_is() -> None:
    """Also one that was restored, which goes on from what it was."""
    history = [EARLY, Restored(3, 4, 1.0, 9), LED, Seen("w", "e", 8, 9, NEW)]
    assert lives(history) == [history]
    assert lives([]) == [[]]


def test_what_a_client_does_belongs_to_the_store_that_was_there_when_it_began() -> None:
    """A leadership is of the first one, as late as it may end; a call from one to the other is of neither."""
    first, second = lives([EARLY, LATE, BETWEEN, LED, Up(0, 5), Up(8, 20), FIRST])
    assert first == [EARLY, LED, Up(0, 5), FIRST]
    assert second == [LATE, Up(8, 20)]


def test_a_watch_begins_anew() -> None:
    """With whatever it is given first."""
    before, after, last = Seen("w", "e", 0, 1, OLD, snapshot=True), Seen("w", "e", 0, 8, NEW), Seen("w", "e", 0, 9, NEW)
    assert lives([before, after, last, FIRST]) == [[before, FIRST], [replace(after, snapshot=True), last]]


def test_a_wait_is_of_the_store_that_was_there_all_the_time() -> None:
    """Of one that was lost nobody is told any more."""
    early, late, between = Waited("w", "e", 0, 1, 2), Waited("w", "e", 0, 8, 9), Waited("w", "e", 0, 2, 8)
    assert lives([early, late, between, FIRST]) == [[early, FIRST], [late]]


def test_what_goes_on_is_there_in_each() -> None:
    """Who wants to lead, does so with each store, but not while there is none; faults and deaths are facts for all."""
    fault, gone = Fault("the server killed", 5, 8), Gone("b", 1.0, 2)
    assert lives([STOOD, fault, gone, FIRST, SECOND]) == [
        [replace(STOOD, until=5), fault, gone, FIRST],
        [replace(STOOD, begun=7, until=15), fault, gone, SECOND],
        [replace(STOOD, begun=17), gone],
    ]


def test_what_has_ended_before_is_not_there_any_more() -> None:
    """And what begins later is not there yet."""
    early, late = replace(STOOD, until=4), replace(STOOD, begun=8, until=9)
    assert lives([early, late, FIRST]) == [[early, FIRST], [late]]
