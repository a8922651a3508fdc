"""The checker finds each kind of wrong history, and nothing in a right one."""

from dataclasses import replace

import pytest

from atomix_election import LossReason, Term
from atomix_election.testing.checker import Promises, check
from atomix_election.testing.history import DONE, Answered, Emptied, Entry, Fault, Gone, Led, Restored, Seen, Stood, Up

PROMISES = Promises(calm=frozenset({"calm"}), forgotten=frozenset({"passing"}))
SHARED = Promises(calm=frozenset({"calm"}), numbers_jump=True, longest_failover_s=3.0)
"""Of several servers on one store."""
RESTORED = Restored(5, 6, 10.0, 100)
LOST = Emptied(5, 7)
A, AB, B, NOBODY, BC = (
    Term(("a",), 1, 1),
    Term(("a", "b"), 1, 2),
    Term(("b",), 2, 3),
    Term((), 2, 4),
    Term(("b", "c"), 2, 4),
)


def told(at: float, term: Term, *, what: str = "get_term", candidate: str = "", election: str = "e") -> Answered:
    """Return a call that begins at a time, and is answered a tenth of a second later."""
    return Answered("x", what, election, candidate, at, at + 0.1, DONE, term)


def unknown(at: float, what: str, candidate: str) -> Answered:
    """Return a call of which nobody knows what became."""
    return Answered("x", what, "e", candidate, at, at + 0.1, "OutcomeUnknown")


def seen(at: float, term: Term, *, snapshot: bool = False, skipped: bool = False, begun: float = 0.0) -> Seen:
    """Return an event of the one watch that there is."""
    return Seen("w", "e", begun, at, term, snapshot, skipped)


def led(who: str, token: int, begun: float, until: float | None, *, lost: str = "", election: str = "calm") -> Led:
    """Return a leadership."""
    return Led(who, election, who, token, 6.0, begun, until, lost)


RIGHT: dict[str, list[Entry]] = {
    "nothing": [],
    "commands one after the other": [
        told(1, A, what="enter", candidate="a"),
        told(2, AB, what="enter", candidate="b"),
        told(3, B, what="withdraw", candidate="a"),
        told(4, NOBODY, what="evict", candidate="b"),
    ],
    "an unknown outcome that was": [told(1, A), unknown(2, "enter", "b"), told(3, AB)],
    "an unknown outcome that was not": [told(1, A), unknown(2, "enter", "b"), told(3, A)],
    "an older answer to a call that overlaps": [told(1, AB), told(1.05, A)],
    "anointed": [told(1, Term(("a", "b", "c"), 1, 1)), told(2, Term(("c", "a", "b"), 2, 2))],
    "promoted": [told(1, Term(("a", "b", "c"), 1, 1)), told(2, Term(("a", "c", "b"), 1, 2))],
    "two of one session end": [told(1, Term(("a", "b", "c"), 1, 1)), told(2, Term(("b",), 2, 2))],
    "entered anew": [told(1, AB), told(2, Term(("b", "a"), 2, 3))],
    "entered anew alone": [told(1, A), told(2, Term(("a",), 2, 2))],
    "a repeat that was answered later than it was done": [
        told(1, A),
        replace(told(2, B, what="enter", candidate="a"), begun=0.5),
    ],
    "a watch": [seen(1, A, snapshot=True), seen(2, AB), seen(3, B)],
    "a watch that says that it skipped": [seen(1, A, snapshot=True), seen(2, B, skipped=True)],
    "a watch that reads old news": [seen(1, A, snapshot=True), told(1.5, B), seen(2, AB)],
    "leaders one after the other": [
        led("a", 1, 1, 2),
        led("b", 2, 2, 3),
        told(1, replace(A, number=1), election="calm"),
    ],
    "a leader that was killed": [led("a.0", 1, 1, None), Gone("a", 2.0, 3), led("b", 2, 5, 6)],
    "evicted by an operator": [led("a", 1, 1, 2, lost="EVICTED", election="e")],
    "expired without a server": [Up(0, 1), led("a", 1, 0, 6, lost="EXPIRED"), Up(5, 9)],
    "expired among servers that were killed at once": [Up(0, 1), Up(4, 5), Up(5, 6), led("a", 1, 0, 6, lost="EXPIRED")],
    "swept": [Up(0, 20), Gone("a", 6.0, 2), told(3, A), told(11, Term(("c",), 2, 3))],
    "forgotten, and gone on from the floor of others": [
        told(1, NOBODY, election="passing"),
        told(2, Term((), 7, 5), election="passing"),
        told(3, Term(("a",), 8, 6), election="passing"),
    ],
    "restored": [
        Up(0, 5),
        led("a", 1, 1, 5.5, lost="STORE_CHANGED"),
        told(2, replace(A), election="calm"),
        told(5, A),
        Up(6.5, 30),
        RESTORED,
        Answered("x", "enter", "e", "b", 8, 8.1, "Unavailable"),
        told(9, Term((), 100, 100)),
        told(16, Term(("b",), 101, 101), what="enter", candidate="b"),
        led("b", 101, 17, 18),
    ],
    "expired as its client was stopped": [
        Up(0, 20),
        led("p.0", 1, 0, 6, lost="EXPIRED"),
        Fault("stopped", 2, 9, "p"),
        led("q.0", 2, 7, 8),
    ],
    "its client was stopped, and heard of what came of that": [
        Up(0, 20),
        led("p.0", 1, 0, 6, lost="SUPERSEDED"),
        Fault("stopped", 2, 9, "p"),
    ],
    "lost with its store": [
        Up(0, 5),
        led("a", 1, 1, 9, lost="STORE_CHANGED"),
        LOST,
        Up(7.5, 20),
        led("b", 1, 8, 10),
    ],
    "swept after a restart": [Up(0, 3), Gone("a", 6.0, 2), Up(9, 20), told(12, A)],
}

RIGHT_SHARED: dict[str, list[Entry]] = {
    "a number that jumps": [told(1, AB), told(2, replace(B, number=90))],
    "led again in time": [Stood("a", "calm", 0), led("b", 1, 0, 5), led("a", 7, 9.9, 12), led("b", 8, 12, 20)],
    "nobody who wants to": [led("b", 1, 0, 5), led("a", 7, 20, 22)],
    "who wanted to has given up": [
        Stood("a", "calm", 0, 6),
        led("b", 1, 0, 5),
        Stood("a", "calm", 17),
        led("a", 7, 20, 22),
    ],
    "who wanted to was killed": [Stood("p.0", "calm", 0), led("b", 1, 0, 5), Gone("p", 1.0, 6), led("a", 7, 20, 22)],
    "not led during a fault": [
        Stood("a", "calm", 0),
        led("b", 1, 0, 5),
        Fault("quorum lost", 6, 20),
        Fault("member killed", 7, 9),
        led("a", 7, 24, 30),
    ],
    "the next one was killed too": [
        Stood("a", "calm", 0),
        led("b.0", 1, 0, None),
        Gone("b", 1.0, 2),
        Gone("c", 1.0, 6),
        led("a", 7, 10, 30),
    ],
    "not led as long as the one who wants to is stopped": [
        Stood("p.0", "calm", 0),
        led("b", 1, 0, 5),
        Fault("stopped", 4, 20, "p"),
        led("p.0", 7, 24, 30),
    ],
    "not led until the session of one that was stopped has ended": [
        Stood("a", "calm", 0),
        led("b", 1, 0, 5),
        Fault("stopped", 9, 30, "p"),
        led("a", 7, 13, 30),
    ],
    "not led where operators displace": [
        Stood("a", "e", 0),
        led("b", 1, 0, 5, election="e"),
        led("a", 7, 20, 22, election="e"),
    ],
    "not swept before the end of a fault": [
        Gone("a", 6.0, 2),
        Fault("leader killed", 3, 12),
        told(11, A),
        told(19, A),
        told(21, B),
    ],
}

WRONG_SHARED: dict[str, tuple[str, list[Entry]]] = {
    "a number that jumps without a change of leader": ("no command", [told(1, A), told(2, replace(AB, number=9))]),
    "a change of leader that keeps the number": ("no command", [told(1, AB), told(2, replace(B, number=1))]),
    "a number that falls": ("the number fell", [told(1, replace(A, number=9)), told(2, replace(AB, number=8))]),
    "a token for two": ("given twice", [led("a", 9, 1, 2), led("b", 9, 3, 4)]),
    "never led": ("nobody led", [Stood("a", "calm", 0), told(6, A)]),
    "not led again": ("nobody led", [Stood("a", "calm", 0), led("b", 1, 0, 5), led("a", 7, 10.1, 12)]),
    "not led again at the end": ("nobody led", [Stood("a", "calm", 0), led("b", 1, 0, 5), told(11, B)]),
    "not led again after a kill": (
        "nobody led",
        [Stood("a", "calm", 0), led("b.0", 1, 0, None), Gone("b", 1.0, 5), led("a", 7, 11, 12)],
    ),
    "not led again after a fault": (
        "nobody led",
        [Stood("a", "calm", 0), led("b", 1, 0, 5), Fault("quorum lost", 6, 20), led("a", 7, 25.1, 30)],
    ),
    "not led while another one is stopped": (
        "nobody led",
        [Stood("a", "calm", 0), led("b", 1, 0, 5), Fault("stopped", 6, 20, "p"), led("a", 7, 11.1, 30)],
    ),
    "not led after the one who wants to was stopped": (
        "nobody led",
        [Stood("p.0", "calm", 0), led("b", 1, 0, 5), Fault("stopped", 6, 20, "p"), led("p.0", 7, 25.1, 30)],
    ),
    "not led in the next store": (
        "nobody led",
        [Stood("a", "calm", 0), led("a", 1, 0, 6), LOST, led("a", 1, 12.1, 30)],
    ),
    "not led before a fault": (
        "nobody led",
        [Stood("a", "calm", 0), led("b", 1, 0, 5), Fault("quorum lost", 11, 20), led("a", 7, 21, 30)],
    ),
    "a candidate that stays after a fault": (
        "outlived",
        [Gone("a", 6.0, 2), Fault("leader killed", 3, 12), told(21, A)],
    ),
    "a candidate that stays before a fault": (
        "outlived",
        [Gone("a", 6.0, 2), told(11, A), Fault("leader killed", 12, 13)],
    ),
    "lost though one server was there": (
        "no reason",
        [Up(0, 9), Fault("server killed", 2, 6), led("a", 1, 0, 6, lost="EXPIRED")],
    ),
}

WRONG: dict[str, tuple[str, list[Entry]]] = {
    "one revision, two terms": ("two terms", [told(1, A), told(2, replace(A, candidates=("b",)))]),
    "a change is undone": ("is gone", [told(1, A), told(2, AB, what="enter", candidate="b"), told(3, A)]),
    "an event is undone": ("is gone", [seen(1, AB, snapshot=True), told(2, A)]),
    "a snapshot is older than an answer": ("is gone", [told(1, AB), seen(3, A, snapshot=True, begun=2)]),
    "the number falls": ("the number fell", [told(1, B), told(2, replace(A, revision=4))]),
    "one number, two leaders": ("two leaders", [told(1, A), told(2, replace(B, number=1, revision=5))]),
    "a change of leader that keeps the number": ("no command", [told(1, AB), told(2, replace(B, number=1))]),
    "a number that rises without a change of leader": ("no command", [told(1, A), told(2, replace(AB, number=2))]),
    "a number that skips": ("no command", [told(1, AB), told(2, replace(B, number=3))]),
    "a revision without a change": ("no command", [told(1, A), told(2, replace(A, revision=2))]),
    "two enter at once": ("no command", [told(1, A), told(2, Term(("a", "b", "c"), 1, 2))]),
    "one leaves and one enters": ("no command", [told(1, AB), told(2, replace(BC, revision=3))]),
    "the queue is shuffled": (
        "no command",
        [told(1, Term(("a", "b", "c", "d", "e"), 1, 1)), told(2, Term(("e", "d", "c", "b", "a"), 2, 2))],
    ),
    "an entry without effect": ("acknowledged", [told(1, A), told(2, A, what="enter", candidate="b")]),
    "a withdrawal without effect": ("acknowledged", [told(1, A), told(2, A, what="withdraw", candidate="a")]),
    "an eviction without effect": ("acknowledged", [told(1, A), told(2, A, what="evict", candidate="a")]),
    "an anointing without effect": ("acknowledged", [told(1, AB), told(2, AB, what="anoint", candidate="b")]),
    "a floor where nothing is forgotten": ("no command", [told(1, NOBODY), told(2, Term((), 7, 5))]),
    "admitted during the hold": (
        "was admitted during",
        [RESTORED, told(15, Term(("b",), 101, 101), what="enter", candidate="b")],
    ),
    "a leadership during the hold": ("began during the hold", [RESTORED, led("b", 101, 15, 16)]),
    "a floor that is too low": ("from before is not below", [told(1, Term(("a",), 1, 100)), RESTORED]),
    "a term that is too low": ("from after it is below", [RESTORED, told(20, Term((), 99, 99))]),
    "a token that is too low": ("wrong side", [RESTORED, led("b", 100, 17, 18)]),
    "a token that was too high": ("wrong side", [led("b", 101, 1, 2), RESTORED]),
    "lost before a restore": ("no reason", [led("a", 1, 1, 4, lost="STORE_CHANGED"), RESTORED]),
    "a gap in a watch": ("did not say so", [seen(1, A, snapshot=True), seen(2, B)]),
    "a watch that goes back": ("went back", [seen(1, AB, snapshot=True), seen(2, A)]),
    "a watch that repeats": ("went back", [seen(1, AB, snapshot=True), seen(2, AB)]),
    "a watch without a snapshot": ("without a snapshot", [seen(1, A)]),
    "a token for two": ("given twice", [led("a", 1, 1, 2), led("b", 1, 3, 4)]),
    "a token again for the same one": ("given twice", [led("a", 1, 1, 2), led("a", 1, 3, 4)]),
    "a token that falls": ("fell", [led("a", 2, 1, 2), led("b", 1, 3, 4)]),
    "a token of another's term": ("number of a", [told(1, A, election="calm"), led("b", 1, 1, 2)]),
    "two at once": ("two led", [led("a", 1, 1, 3), led("b", 2, 2, 4)]),
    "two at once, one within the other": ("two led", [led("a", 1, 1, 9), led("b", 2, 2, 3), led("c", 3, 4, 5)]),
    "two at once, the first without an end": ("two led", [led("a", 1, 1, None), led("b", 2, 2, 4)]),
    "two at once, the first killed too late": (
        "two led",
        [led("a.0", 1, 1, None), Gone("a", 2.0, 3), led("b", 2, 2, 4)],
    ),
    "evicted where nobody does": ("no reason", [led("a", 1, 1, 2, lost="EVICTED")]),
    "superseded where nobody does": ("no reason", [led("a", 1, 1, 2, lost="SUPERSEDED")]),
    "expired beside a server": ("no reason", [Up(0, 9), led("a", 1, 0, 6, lost="EXPIRED")]),
    "expired though a server came back": ("no reason", [Up(0, 1), led("a", 1, 0, 7, lost="EXPIRED"), Up(5, 9)]),
    "a session that ended": ("no reason", [led("a", 1, 1, 2, lost="SESSION_ENDED")]),
    "another store": ("no reason", [led("a", 1, 1, 2, lost="STORE_CHANGED")]),
    "expired as its client was stopped briefly": (
        "no reason",
        [Up(0, 20), led("p.0", 1, 0, 6, lost="EXPIRED"), Fault("stopped", 3, 4, "p")],
    ),
    "expired as another one was stopped": (
        "no reason",
        [Up(0, 20), led("p.0", 1, 0, 6, lost="EXPIRED"), Fault("stopped", 2, 9, "q")],
    ),
    "expired as servers did something": (
        "no reason",
        [Up(0, 20), led("p.0", 1, 0, 6, lost="EXPIRED"), Fault("a server stopped", 2, 9)],
    ),
    "lost before its store": ("no reason", [led("a", 1, 1, 4, lost="STORE_CHANGED"), LOST]),
    "a token for two of the next store": ("given twice", [LOST, led("a", 1, 8, 9), led("b", 1, 10, 11)]),
    "two at once with the next store": ("two led", [LOST, led("a", 1, 8, 11), led("b", 2, 10, 12)]),
    "a candidate that stays beside a client that was stopped": (
        "outlived",
        [Up(0, 20), Gone("a", 6.0, 2), Fault("stopped", 3, 12, "p"), told(11, A)],
    ),
    "a candidate that stays": ("outlived", [Up(0, 20), Gone("a", 6.0, 2), told(11, A)]),
    "a candidate of a process that stays": (
        "outlived",
        [Up(0, 3), Gone("p", 6.0, 2), Up(4, 20), told(13, replace(A, candidates=("p.0",)))],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_found_in_what_is_right(name: str) -> None:
    """Unknown outcomes either way, calls that overlap, and the ends of leaderships that nobody promised to keep."""
    assert check(RIGHT[name], PROMISES) == []


@pytest.mark.parametrize("name", WRONG)
def test_each_kind_of_wrong_history_is_found(name: str) -> None:
    """And said with the records that show it."""
    wanted, history = WRONG[name]
    assert any(wanted in each for each in check(history, PROMISES))


@pytest.mark.parametrize("name", RIGHT_SHARED)
def test_nothing_is_found_in_what_is_right_with_several_servers(name: str) -> None:
    """Numbers jump, and nobody has to lead during a fault, or before a takeover has had its time."""
    assert check(RIGHT_SHARED[name], SHARED) == []


@pytest.mark.parametrize("name", WRONG_SHARED)
def test_each_kind_of_wrong_history_of_several_servers_is_found(name: str) -> None:
    """And said with the records that show it."""
    wanted, history = WRONG_SHARED[name]
    assert any(wanted in each for each in check(history, SHARED))


@pytest.mark.parametrize("reason", LossReason)
def test_reasons_are_known_by_their_names(reason: LossReason) -> None:
    """Only what an operator does is a reason where there are operators, and nothing where there are none."""
    for election, found in (("e", reason not in (LossReason.EVICTED, LossReason.SUPERSEDED)), ("calm", True)):
        history = [Up(0, 9), led("a", 1, 0, 6, lost=reason.name, election=election)]
        assert bool(check(history, PROMISES)) is found
