"""The checker finds each kind of wrong history, with the records that show it, and nothing in a right one."""

import pytest

from atomix_election import LossReason
from atomix_election.testing.checker import Promises, Rule, Violation, check_history
from atomix_election.testing.checker.findings import line
from atomix_election.testing.history import Entry
from tests.testing.histories import history

IN_ONE_PROCESS = Promises(late_copies=False)

RIGHT: dict[str, str] = {
    "nothing": "",
    "commands one after the other": """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        3-4 A: withdraw a -> 2/3 b
        4-5 x: evict b -> 2/4""",
    "commands at the same time": """
        1-5 A: enter a -> 1/2 b a
        1-5 B: enter b -> 1/1 b
        2-3 x: get_term -> 0/0
        3-4 x: get_term -> 1/1 b""",
    "expired as its client was stopped": """
        0-20 -: up
        0-6 P.0: leads 1 lost EXPIRED
        2-9 P: stopped
        7-8 Q.0: leads 2""",
    "lost with its store": """
        0-5 -: up
        1-9 A: leads 1 lost STORE_CHANGED
        5-7 -: emptied
        7.5-20 -: up
        8-10 B: leads 1""",
    "entered again": """
        1-2 A: enter a -> 1/1 a
        2-3 A: enter a -> 1/1 a""",
    "an unknown outcome that was": """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> OutcomeUnknown
        3-4 x: get_term -> 1/2 a b""",
    "an unknown outcome that was not": """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> OutcomeUnknown
        3-4 x: get_term -> 1/1 a""",
    "an unknown outcome that was later": """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b #1 -> OutcomeUnknown
        4-5 x: get_term -> 1/1 a
        6-7 x: get_term -> 1/2 a b""",
    "a call that its client did not live to see the end of": """
        1-2 A: enter a -> 1/1 a
        2-  B: enter b
        3-4 x: get_term -> 1/1 a
        5-6 x: get_term -> 1/2 a b""",
    "a session that ended after the first of two tries": """
        1-2 A: enter a -> 1/1 a
        2-6 B: enter b -> SessionEnded
        3-4 x: get_term -> 1/2 a b
        6-7 x: get_term -> 1/3 a""",
    "a repeat that is answered later than it was done": """
        1-2 A: enter a -> 1/1 a
        2-9 B: enter b #1 -> 2/4
        3-4 w: snapshot 1/2 a b
        5   w: change 2/3 b
        6   w: change 2/4
        4-5 A: withdraw a -> 2/3 b
        5-6 x: evict b -> 2/4""",
    "two repeats": """
        0-1 A: enter a -> 1/1 a
        1-2 B: enter b -> 1/2 a b
        2-9 X: anoint b #1 -> 4/5 b a
        2-9 Y: anoint b #1 -> 4/5 b a
        3-4 z: anoint a -> 3/4 a b
        0-3 w: snapshot 0/0
        3   w: change 1/1 a
        3   w: change 1/2 a b
        3   w: change 2/3 b a
        4   w: change 3/4 a b
        5   w: change 4/5 b a""",
    "an older answer to a call that overlaps": """
        1-2 A: enter a -> 1/1 a
        2-4 B: enter b -> 1/2 a b
        3-5 x: get_term -> 1/1 a""",
    "anointed": """
        1-2 x: get_term -> 1/1 a b c
        2-3 x: anoint c -> 2/2 c a b
        3-4 x: anoint c -> 2/2 c a b""",
    "promoted": """
        1-2 x: get_term -> 1/1 a b c
        2-3 x: promote c -> 1/2 a c b
        3-4 x: promote c -> 2/3 c a b
        4-5 x: promote c -> 2/3 c a b""",
    "all of a session end at once": """
        1-2 A: enter a -> 1/1 a
        2-3 A: enter b -> 1/2 a b
        3-4 C: enter c -> 1/3 a b c
        5-6 x: get_term -> 2/4 c""",
    "all of a session leave at once": """
        1-2 A: enter a -> 1/1 a
        2-3 A: enter b -> 1/2 a b
        3-4 C: enter c -> 1/3 a b c
        4-5 C: renewed 6
        4-5 A: renewed 6
        5-6 A: close -> done
        6-7 x: get_term -> 2/4 c""",
    "a session ends after its time-to-live": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        7.9-8 x: get_term -> 1/2""",
    "a session ends when it is asked to": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        3-4 A: end_session -> done
        4-5 x: get_term -> 1/2""",
    "a session that ends with its connection": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6 releases
        4-5 x: get_term -> 1/2""",
    "a session that had ended before its client knew that it was open": """
        1-2 A: over
        3-4 A: renewed 6 opens
        4-5 A: enter a -> 1/1 a
        5-6 B: enter a -> CandidateTaken
        6-7 x: get_term -> 1/1 a""",
    "entered with another session": """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        9-9.5 C: enter a -> 2/3 b a""",
    "entered alone with another session": """
        1-2 A: enter a -> 1/1 a
        9-9.5 C: enter a -> 2/2 a""",
    "entered last with another session": """
        1-2 B: enter b -> 1/1 b
        2-3 A: enter a -> 1/2 b a
        9-9.5 C: enter a -> 1/3 b a""",
    "refused": """
        1-2 x: anoint a -> NotACandidate
        1-3 A: enter a -> 1/1 a
        3-4 B: enter a -> CandidateTaken
        4-5 B: withdraw a -> NotOwner
        5-6 B: withdraw b -> 1/1 a
        6-7 x: get_term -> 1/1 a""",
    "refused, as one that has ended is still there": """
        0-1 A: renewed 6
        1-2 A: enter a -> 1/1 a
        2-3 A: end_session -> done
        3.1-3.5 B: withdraw a -> NotOwner
        3.5-4 x: get_term -> 1/1 a""",
    "a long call that began before a short one": """
        0-1 x: get_term -> 1/1 a b
        1-20 x: anoint b -> 2/2 b a
        2-3 Y: anoint b #1 -> SessionEnded
        10-11 z: get_term -> 1/1 a b
        12-13 z: get_term -> 2/2 b a""",
    "a short gap": """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> OutcomeUnknown
        2-3 C: enter c -> OutcomeUnknown
        4-5 x: get_term -> 1/3 a c b""",
    "a watch": """
        1-2 A: enter a -> 1/1 a
        2-3 w: snapshot 1/1 a
        3-4 B: enter b -> 1/2 a b
        5   w: change 1/2 a b
        6-7 A: withdraw a -> 2/3 b
        8   w: change 2/3 b""",
    "a watch that says that it skipped": """
        2-3 w: snapshot 0/0
        1-4 A: enter a -> 1/1 a
        4-5 A: withdraw a -> 1/2
        6   w: skipped 1/2""",
    "a watch that reads old news": """
        1-2 A: enter a -> 1/1 a
        2-3 w: snapshot 1/1 a
        3-4 B: enter b -> 1/2 a b
        4-5 A: withdraw a -> 2/3 b
        8   w: change 1/2 a b""",
    "two watches of one name": """
        1-2 A: enter a -> 1/1 a
        2-3 v: snapshot 1/1 a
        3-4 w: snapshot 1/1 a""",
    "leaders one after the other": """
        1-2 A: enter a -> 1/1 a
        2-3 A: leads 1
        1-3 B: enter b -> 1/2 a b
        3-4 A: withdraw a -> 2/3 b
        4-5 B: leads 2""",
    "a leader that was killed": """
        1-  A.0: leads 1
        3   A: gone 6
        5-6 B: leads 2""",
    "a leader that was stopped for ever": """
        1-  A.0: leads 1 until 4
        9   A: gone 6
        5-6 B: leads 2""",
    "evicted by an operator": "1-2 A: leads 1 lost EVICTED",
    "expired without a server": """
        0-1 -: up
        0-6 A: leads 1 lost EXPIRED
        5-9 -: up""",
    "expired among servers that were killed at once": """
        0-1 -: up
        0-6 A: leads 1 lost EXPIRED
        4-5 -: up
        5-6 -: up""",
    "gone in time": """
        1-2 A: enter a -> 1/1 a
        2   A: gone 6
        3-4 x: get_term -> 1/1 a
        9-9.9 x: get_term -> 1/1 a
        11-12 x: get_term -> 1/2""",
    "gone in time after a restart": """
        1-2 A: enter a -> 1/1 a
        2   A: gone 6
        9-20 -: up
        12-13 x: get_term -> 1/1 a""",
    "ended in time": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        20-21 A: over
        29-30 x: get_term -> 1/1 a
        30-31 x: get_term -> 1/2""",
    "ended in time after a restart": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        20-21 A: over
        25-90 -: up
        33-34 x: get_term -> 1/1 a""",
    "ended, and may be of another session": """
        1-4 A: enter a #1 -> 1/1 a
        1-4 B: enter a #1 -> OutcomeUnknown
        2-3 A: renewed 6
        4-5 A: over
        50-51 x: get_term -> 1/1 a""",
    "gone, and restored": """
        2   a: gone 6
        8-9 -: restored 100 10
        27-28 x: get_term -> 100/100 a""",
    "ended, and restored": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        4-5 A: end_session -> done
        6-7 x: get_term -> 1/2
        8-9 -: restored 100 10
        27-28 x: get_term -> 100/100 a""",
    "restored as somebody else had entered it": """
        1-2 A: enter a -> 1/1 a
        2-3 A: withdraw a -> 1/2
        8-9 -: restored 100 10
        9-9.5 B: renewed 6
        9.5-20 B: enter a -> OutcomeUnknown
        20-21 B: end_session -> done
        50-51 x: get_term -> 100/100 a""",
    "ended, and entered with the next session": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        20-21 A: over
        21-22 A/2: renewed 6 opens
        22-23 A/2: enter a -> 2/2 a
        50-51 x: get_term -> 2/2 a""",
    "ended, and entered by somebody who was not told": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        20-21 A: over
        21- B: enter a
        50-51 x: get_term -> 2/2 a""",
    "given up for the next session in time": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        20-21 A/2: renewed 6 opens
        34-35 x: get_term -> 1/1 a""",
    "two sessions side by side": """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        4-5 A/2: renewed 6 opens
        60-61 A: renewed 6
        61-62 x: get_term -> 1/1 a""",
    "entered again and again by one session": """
        0-1 x: get_term -> 0/0
        1-2 A: enter a #1 -> 1/1 a
        3-4 A: enter a #2 -> 1/1 a
        4-5 B: enter b #1 -> 1/2 a b
        5-6 A: enter a #3 -> 1/2 a b""",
    "a repeat that is answered when another session has the id": """
        0-1 x: get_term -> 0/0
        1-9 A: enter a #1 -> 2/3 a
        2-3 w: snapshot 1/1 a
        3-4 x: evict a -> 1/2
        4-5 B: enter a #1 -> 2/3 a
        5   w: change 1/2
        6   w: change 2/3 a""",
    "an id of two sessions, one after the other": """
        0-1 x: get_term -> 0/0
        1-2 A: enter a #1 -> 1/1 a
        9-10 B: enter a #1 -> 2/2 a
        10-11 B: enter a #2 -> 2/2 a""",
    "an id of two sessions, and nobody saw the first one leave": """
        0-1 x: get_term -> 0/0
        1-2 A: enter a #1 -> 1/1 a
        2-3 x: evict a -> OutcomeUnknown
        3-4 B: enter a #1 -> 2/3 a""",
    "a short gap before who stands last": """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> OutcomeUnknown
        3-4 C: enter c -> 1/3 a b c""",
    "a short gap, and a repeat": """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> OutcomeUnknown
        2-4 C: enter c #1 -> 1/3 a c b""",
    "leads while it is still told that it has entered": """
        0-1 x: get_term -> 0/0
        2-5 A: enter a -> 1/1 a
        3-6 A: leads 1""",
    "leads where nobody saw it enter": """
        0-1 x: get_term -> 0/0
        2-3 A: leads 1
        2-3 A: enter a -> OutcomeUnknown
        6-7 B: enter b -> 1/2 a b""",
    "leads until it is answered that it has withdrawn, and again": """
        1-2 A: enter a -> 1/1 a
        2-4 A: leads 1
        3-4 A: withdraw a -> 1/2
        5-6 A: enter a -> 2/3 a
        6-9 A: leads 2""",
    "leads while a withdrawal does not get through": """
        1-2 A: enter a -> 1/1 a
        2-9 A: leads 1
        3-4 A: withdraw a -> Unavailable
        5-6 B: withdraw b -> 1/1 a""",
    "leads as long as it is renewed": """
        1-1.1 A: renewed 6
        1.2-18.9 A: leads 1
        5-5.1 A: renewed 6
        9-9.1 A/2: renewed 6
        13-13.1 A/2: renewed 6""",
    "leads until it is killed, before its lease has ended": """
        1-1.1 A.0: renewed 6
        2-  A.0: leads 1 until 6.9
        9   A: gone 6""",
    "leads, and nobody knows for how long": """
        1-1.1 A: renewed 6
        2-  A: leads 1
        20-21 x: get_term -> 1/1 a""",
    "leads by the former store": """
        1-1.1 A: renewed 6
        1.2-9 A: leads 1
        4-6 A: renewed 6
        4-5 -: emptied""",
    "never forgotten, and gone on from the floor of others": """
        0-1 x: get_term -> 0/0
        2-3 x: get_term -> 7/5
        2-3 x: forget -> 7/5
        3-4 A: enter a -> 8/6 a""",
    "forgotten": """
        1-2 A: enter a -> 1/1 a
        2-3 A: withdraw a -> 1/2
        3-4 x: forget -> 9/9
        4-5 A: enter a -> 10/10 a
        5-6 x: forget -> InvalidRequest""",
    "a grant of the former store that is heard of during the hold": """
        1-2 B.0: enter b -> 1/1 b
        5-6 -: restored 100 10
        7-9 B: leads 1
        16-17 x: get_term -> 100/100""",
    "restored": """
        0-5 -: up
        1-2 A: enter a -> 1/1 a
        2-5.5 A: leads 1 lost STORE_CHANGED
        5-6 -: restored 100 10
        6.5-30 -: up
        8-8.1 B: enter b -> Unavailable
        9-9.1 x: get_term -> 100/100
        16-17 B: enter b -> 101/101 b
        17-18 B: leads 101""",
}

RESTORED = """
    1-2 A: enter a -> 1/1 a
    5-6 -: restored 100 10
    9-9.1 x: get_term -> 100/100
    20-21 B: enter b -> 103/105 b"""

WRONG: dict[str, tuple[Rule, str, list[int]]] = {
    "one revision, two terms": (
        Rule.ONE_TERM,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/1 b""",
        [0, 1],
    ),
    "a change is undone": (
        Rule.FRESH,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        4-5 x: get_term -> 1/1 a""",
        [1, 2],
    ),
    "an event is undone": (
        Rule.FRESH,
        """
        1-2 A: enter a -> 1/1 a
        2-  B: enter b
        2-3 w: snapshot 1/1 a
        3   w: change 1/2 a b
        4-5 x: get_term -> 1/1 a""",
        [3, 4],
    ),
    "a snapshot is older than an answer": (
        Rule.FRESH,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        4-5 w: snapshot 1/1 a""",
        [1, 2],
    ),
    "the number falls": (
        Rule.NUMBERS_RISE,
        """
        1-2 x: get_term -> 2/1 a
        4-5 x: get_term -> 1/9 a b""",
        [0, 1],
    ),
    "one number, two leaders": (
        Rule.ONE_LEADER,
        """
        1-2 x: get_term -> 2/1 a
        4-5 x: get_term -> 2/9 b""",
        [0, 1],
    ),
    "a change of leader that keeps the number": (
        Rule.STEPS,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        3-4 A: withdraw a -> 1/3 b""",
        [1, 2],
    ),
    "a number that rises without a change of leader": (
        Rule.STEPS,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 2/2 a b""",
        [0, 1],
    ),
    "a number that skips one": (
        Rule.STEPS,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        3-4 A: withdraw a -> 3/3 b""",
        [1, 2],
    ),
    "a revision without a change": (
        Rule.STEPS,
        """
        1-2 A: enter a -> 1/1 b a
        3-4 A: enter a -> 1/2 b b""",
        [0, 1],
    ),
    "two enter at once": (
        Rule.STEPS,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a c b""",
        [0, 1],
    ),
    "one leaves and one enters": (
        Rule.STEPS,
        """
        1-2 x: get_term -> 1/2 a b
        2-3 C: enter c -> 2/3 b c""",
        [0, 1],
    ),
    "who enters gets ahead": (
        Rule.STEPS,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 2/2 b a""",
        [0, 1],
    ),
    "the queue is shuffled": (
        Rule.STEPS,
        """
        1-2 x: get_term -> 1/1 a b c d e
        2-3 x: anoint e -> 2/2 e d c b a""",
        [0, 1],
    ),
    "anointed is another one than was named": (
        Rule.ASKED,
        """
        1-2 x: get_term -> 1/1 a b c
        2-3 x: anoint c -> 2/2 b a c""",
        [0, 1],
    ),
    "who is entered again stands behind itself": (
        Rule.ASKED,
        """
        0-1 A: renewed 20
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        3-4 A: enter a -> 2/3 b a""",
        [1, 2, 3],
    ),
    "a change that nobody asked for": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 x: get_term -> 1/2 a b""",
        [0, 1],
    ),
    "a change that was asked for later": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 x: get_term -> 1/2 a b
        5-6 B: enter b -> 1/2 a b""",
        [0, 1],
    ),
    "a change that was asked for before": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 x: promote b -> NotACandidate
        3-4 B: enter b -> 1/2 a b
        5-6 y: get_term -> 2/3 b a""",
        [2, 3],
    ),
    "one call, two changes": (
        Rule.ASKED,
        """
        1-2 x: get_term -> 1/1 a b c
        2-9 X: promote c #1 -> 2/3 c a b
        3-4 w: snapshot 1/1 a b c
        4   w: change 1/2 a c b
        5   w: change 2/3 c a b""",
        [1, 2, 3],
    ),
    "a refused change that was made": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b #1 -> Unavailable
        3-4 x: get_term -> 1/2 a b""",
        [0, 2],
    ),
    "a late copy after a newer write": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b #1 -> OutcomeUnknown
        3-4 B: withdraw b #2 -> 1/1 a
        4-5 x: get_term -> 1/1 a
        6-7 x: get_term -> 1/2 a b""",
        [3, 4],
    ),
    "a late copy before anybody was told of a newer write": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b #1 -> OutcomeUnknown
        3-9 C: enter c -> 1/2 a c
        4-9 B: promote a #2 -> 1/2 a c
        7-8 x: get_term -> 1/3 a c b""",
        [3, 4],
    ),
    "a change of a session that had ended": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b #1 -> SessionEnded
        4-5 x: get_term -> 1/1 a
        6-7 x: get_term -> 1/2 a b""",
        [2, 3],
    ),
    "a change that came after what an older one was read after": (
        Rule.ASKED,
        """
        0-1 w: snapshot 0/0
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> OutcomeUnknown
        2-3 C: enter c #1 -> SessionEnded
        5-6 x: get_term -> 1/1 a
        7   w: change 1/1 a
        8   w: change 1/2 a b
        9   w: change 1/3 a b c""",
        [6, 7],
    ),
    "somebody gets ahead where nobody saw it": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> OutcomeUnknown
        2-3 C: enter c -> OutcomeUnknown
        4-5 x: get_term -> 2/3 b a c""",
        [0, 3],
    ),
    "somebody gets ahead in a long gap": (
        Rule.ORDER,
        """
        1-2 x: get_term -> 1/1 a b
        2-3 C: enter c -> 2/30 c a b""",
        [0, 1],
    ),
    "two candidates of which one session has one": (
        Rule.STEPS,
        """
        1-2 x: get_term -> 1/2 a b c
        4-5 x: get_term -> 2/3 c b""",
        [0, 1],
    ),
    "two sessions end at once": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        3-4 C: enter c -> 1/3 a b c
        5-6 x: get_term -> 2/4 c""",
        [0, 1, 2, 3],
    ),
    "a session ends, and not all of its candidates leave": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 A: enter b -> 1/2 a b
        5-6 x: get_term -> 2/3 b""",
        [0, 1, 2],
    ),
    "a session ends too soon": (
        Rule.SESSIONS_LAST,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        3-4 A: renewed 6
        5-6 A: renewed 6
        6-7 x: get_term -> 2/3 b
        8-9 x: get_term -> 2/3 b""",
        [0, 1, 3, 4],
    ),
    "one that is alive is displaced": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        3-4 B: enter a -> 2/2 a""",
        [0, 1, 2],
    ),
    "a session comes back": (
        Rule.SESSIONS_END,
        """
        1-2 A: renewed 6 opens
        9-10 A: over
        11-12 A: renewed 6""",
        [1, 2],
    ),
    "somebody enters with a session that has ended": (
        Rule.SESSIONS_END,
        """
        1-2 A: renewed 6
        3-4 A: end_session -> done
        5-6 A: enter a -> 1/1 a""",
        [0, 1, 2],
    ),
    "an entry without effect": (
        Rule.ACKNOWLEDGED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 B: enter b -> 1/1 a""",
        [1],
    ),
    "an entry whose effect was before": (
        Rule.ACKNOWLEDGED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> 1/2 a b
        3-4 x: evict b -> 1/3 a
        5-6 B: enter b #2 -> 1/3 a""",
        [2, 3],
    ),
    "an entry that is not shown in its own term": (
        Rule.ACKNOWLEDGED,
        """
        1-2 A: enter a -> 1/1 a
        2-9 B: enter b -> 1/3 a
        3-4 w: snapshot 1/1 a
        4   w: change 1/2 a b
        5   w: change 1/3 a""",
        [1],
    ),
    "a withdrawal without effect": (
        Rule.ACKNOWLEDGED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 A: withdraw a #1 -> 1/1 a""",
        [0, 1],
    ),
    "an eviction without effect": (
        Rule.ACKNOWLEDGED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 x: evict a -> 1/1 a""",
        [1],
    ),
    "an anointing without effect": (
        Rule.ACKNOWLEDGED,
        """
        1-2 x: get_term -> 1/1 a b
        3-4 x: anoint b -> 1/1 a b""",
        [1],
    ),
    "a promotion without effect": (
        Rule.ACKNOWLEDGED,
        """
        1-2 x: get_term -> 1/1 a b c
        3-4 X: promote c #1 -> 1/1 a b c""",
        [0, 1],
    ),
    "two promotions of which one has an effect": (
        Rule.ACKNOWLEDGED,
        """
        1-2 x: get_term -> 1/1 a b c
        3-4 x: promote c -> 1/2 a c b
        3-4 y: promote c -> 1/2 a c b""",
        [0, 1, 2],
    ),
    "a close without effect": (
        Rule.ACKNOWLEDGED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 A: close -> done
        5-6 x: get_term -> 1/1 a""",
        [0, 1, 2],
    ),
    "forgotten while in use": (
        Rule.ACKNOWLEDGED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 x: forget -> 1/1 a""",
        [1],
    ),
    "a floor where nothing is forgotten": (
        Rule.STEPS,
        """
        1-2 x: get_term -> 2/4
        3-4 x: get_term -> 7/5""",
        [0, 1],
    ),
    "not a candidate, who was one all the time": (
        Rule.REFUSED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 x: evict a -> NotACandidate
        5-6 x: get_term -> 1/1 a""",
        [0, 1, 2],
    ),
    "taken by nobody": (
        Rule.REFUSED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 B: enter b -> CandidateTaken
        5-6 x: get_term -> 1/1 a""",
        [0, 1, 2],
    ),
    "taken where nobody had ever entered": (
        Rule.REFUSED,
        """
        1-9 x: get_term -> 0/0
        2-3 B: enter b -> CandidateTaken
        8-9 x: get_term -> 0/0""",
        [1, 2],
    ),
    "taken by itself": (
        Rule.REFUSED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 A: enter a -> CandidateTaken
        5-6 x: get_term -> 1/1 a""",
        [0, 1, 2],
    ),
    "taken before it was entered": (
        Rule.REFUSED,
        """
        1-2 B: enter b -> 1/1 b
        3-4 C: enter a -> CandidateTaken
        5-6 A: enter a -> 1/2 b a""",
        [0, 1, 2],
    ),
    "taken by a session that has ended": (
        Rule.REFUSED,
        """
        0-1 A: renewed 6
        1-2 A: enter a -> 1/1 a
        2-3 A: end_session -> done
        4-5 B: enter a -> CandidateTaken
        6-7 x: get_term -> 1/1 a""",
        [1, 2, 3, 4],
    ),
    "its owner is not": (
        Rule.REFUSED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 A: withdraw a -> NotOwner
        5-6 x: get_term -> 1/1 a""",
        [0, 1, 2],
    ),
    "a watch without a snapshot": (Rule.EVENTS, "1 w: change 1/1 a", [0]),
    "a watch with two": (
        Rule.EVENTS,
        """
        1-2 w: snapshot 1/1 a
        2-3 w: snapshot 1/1 a""",
        [0, 1],
    ),
    "a gap in a watch": (
        Rule.EVENTS,
        """
        1-2 w: snapshot 0/0
        1-2 A: enter a -> 1/1 a
        2-3 A: withdraw a -> 1/2
        4   w: change 1/2""",
        [0, 3],
    ),
    "a watch that says that it skipped what there was not": (
        Rule.EVENTS,
        """
        1-2 w: snapshot 0/0
        1-2 A: enter a -> 1/1 a
        4   w: skipped 1/1 a""",
        [0, 2],
    ),
    "a watch that goes back": (
        Rule.EVENTS,
        """
        0-1 A: enter a -> 1/1 a
        0-1 B: enter b -> 1/2 a b
        1-2 w: snapshot 1/2 a b
        3   w: change 1/1 a""",
        [2, 3],
    ),
    "a watch that repeats": (
        Rule.EVENTS,
        """
        1-2 w: snapshot 1/2 a b
        3   w: change 1/2 a b""",
        [0, 1],
    ),
    "a token for two": (
        Rule.TOKENS_RISE,
        """
        1-2 A: leads 1
        3-4 B: leads 1""",
        [0, 1],
    ),
    "a token again for the same one": (
        Rule.TOKENS_RISE,
        """
        1-2 A: leads 1
        3-4 A: leads 1""",
        [0, 1],
    ),
    "a token that falls": (
        Rule.TOKENS_RISE,
        """
        1-2 A: leads 2
        3-4 B: leads 1""",
        [0, 1],
    ),
    "a token of another's term": (
        Rule.TOKENS_OF_TERMS,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: leads 1""",
        [0, 1],
    ),
    "a token that nobody has yet": (
        Rule.TOKENS_OF_TERMS,
        """
        1-2 A: enter a -> 1/1 a
        2-3 A: leads 2
        4-5 x: get_term -> 1/1 a""",
        [1, 2],
    ),
    "a token that is in no term": (
        Rule.TOKENS_OF_TERMS,
        """
        1-2 x: get_term -> 1/1 a b
        2-3 x: evict a -> 3/2 b
        4-5 A: leads 2""",
        [0, 1, 2],
    ),
    "two at once": (
        Rule.ALONE,
        """
        1-3 A: leads 1
        2-4 B: leads 2""",
        [0, 1],
    ),
    "two at once, one within the other": (
        Rule.ALONE,
        """
        1-9 A: leads 1
        2-3 B: leads 2
        9-9.5 C: leads 3""",
        [0, 1],
    ),
    "two at once, the first without an end": (
        Rule.ALONE,
        """
        1- A: leads 1
        2-4 B: leads 2""",
        [0, 1],
    ),
    "two at once, the first until its deadline": (
        Rule.ALONE,
        """
        1- A: leads 1 until 3
        2-4 B: leads 2""",
        [0, 1],
    ),
    "two at once, the first killed too late": (
        Rule.ALONE,
        """
        1-  A.0: leads 1
        3   A: gone 6
        2-4 B: leads 2""",
        [0, 1, 2],
    ),
    "two at once, while another client of a similar name was killed": (
        Rule.ALONE,
        """
        1-  AB.0: leads 1
        2   A: gone 6
        3-4 B: leads 2""",
        [0, 2],
    ),
    "expired beside a server": (
        Rule.KEPT,
        """
        0-9 -: up
        0-6 A: leads 1 lost EXPIRED""",
        [0, 1],
    ),
    "expired though a server came back": (
        Rule.KEPT,
        """
        0-1 -: up
        0-7 A: leads 1 lost EXPIRED
        5-9 -: up""",
        [1, 2],
    ),
    "expired though one server was there": (
        Rule.KEPT,
        """
        0-9 -: up
        2-6 -: server killed
        0-6 A: leads 1 lost EXPIRED""",
        [0, 2],
    ),
    "expired as its client was stopped briefly": (
        Rule.KEPT,
        """
        0-20 -: up
        0-6 P.0: leads 1 lost EXPIRED
        3-4 P: stopped""",
        [0, 1],
    ),
    "expired as another one was stopped": (
        Rule.KEPT,
        """
        0-20 -: up
        0-6 P.0: leads 1 lost EXPIRED
        2-9 Q: stopped""",
        [0, 1],
    ),
    "lost before its store": (
        Rule.KEPT,
        """
        1-4 A: leads 1 lost STORE_CHANGED
        5-7 -: emptied""",
        [0],
    ),
    "a token for two of the next store": (
        Rule.TOKENS_RISE,
        """
        5-7 -: emptied
        8-9 A: leads 1
        10-11 B: leads 1""",
        [1, 2],
    ),
    "a session that ended": (Rule.KEPT, "1-2 A: leads 1 lost SESSION_ENDED", [0]),
    "another store": (Rule.KEPT, "1-2 A: leads 1 lost STORE_CHANGED", [0]),
    "lost before a restore": (
        Rule.KEPT,
        """
        1-4 A: leads 1 lost STORE_CHANGED
        5-6 -: restored 100 10""",
        [0],
    ),
    "a candidate that stays": (
        Rule.LEFT_BEHIND,
        """
        1-2 A: enter a -> 1/1 a
        2   A: gone 6
        0-20 -: up
        11-12 x: get_term -> 1/1 a""",
        [0, 1, 3],
    ),
    "a candidate of a process that stays": (
        Rule.LEFT_BEHIND,
        """
        1-2 A.0: enter a -> 1/1 a
        2   A: gone 6
        4-20 -: up
        13-14 x: get_term -> 1/1 a""",
        [0, 1, 3],
    ),
    "a candidate that stays before a fault": (
        Rule.LEFT_BEHIND,
        """
        2   a: gone 6
        11-12 x: get_term -> 1/1 a
        12-13 -: leader killed""",
        [0, 1],
    ),
    "a candidate that stays after a fault": (
        Rule.LEFT_BEHIND,
        """
        2   a: gone 6
        3-12 -: leader killed
        21-22 x: get_term -> 1/1 a""",
        [0, 2],
    ),
    "a candidate that stays after its session": (
        Rule.LEFT_BEHIND,
        """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        20-21 A: over
        30-31 x: get_term -> 1/1 a""",
        [0, 1, 2, 3],
    ),
    "a candidate that stays, as a snapshot says": (
        Rule.LEFT_BEHIND,
        """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        4-5 A: end_session -> done
        14-15 w: snapshot 1/1 a""",
        [0, 1, 2, 3],
    ),
    "a candidate that stays while its client goes on with another session": (
        Rule.LEFT_BEHIND,
        """
        1-2 A: enter a -> 1/1 a
        2-3 A: renewed 6
        20-21 A/2: renewed 6 opens
        35-36 x: get_term -> 1/1 a""",
        [0, 1, 2, 3],
    ),
    "a candidate that stays, whichever session it is of": (
        Rule.LEFT_BEHIND,
        """
        1-4 A: enter a -> 1/1 a
        1-4 A/2: enter a -> OutcomeUnknown
        2-3 A: renewed 6
        2-3 A/2: renewed 6
        4-5 A: over
        5-6 A/2: over
        20-21 x: get_term -> 1/1 a""",
        [0, 2, 4, 6],
    ),
    "a candidate that comes after its session": (
        Rule.LEFT_BEHIND,
        """
        1-2 w: snapshot 0/0
        2-3 A: renewed 6
        3-4 A: enter a #1 -> OutcomeUnknown
        4-5 A: over
        20-21 x: get_term -> 0/0
        22  w: change 1/1 a""",
        [1, 2, 3, 4, 5],
    ),
    "a candidate that stays after the store was restored": (
        Rule.LEFT_BEHIND,
        """
        1-2 A: enter a -> 1/1 a
        8-9 -: restored 100 10
        20-21 A: renewed 6
        21-22 A: enter a -> 101/101 a
        22-23 A: end_session -> done
        32-33 x: get_term -> 101/101 a""",
        [2, 3, 4, 5],
    ),
    "two sessions, one candidate": (
        Rule.ACKNOWLEDGED,
        """
        0-1 x: get_term -> 0/0
        1-2 A: enter a #1 -> 1/1 a
        2-3 A: renewed 6
        3-4 B: enter a #1 -> 1/1 a
        5-6 x: get_term -> 1/1 a""",
        [0, 1, 3],
    ),
    "two sessions, one candidate, without numbers": (
        Rule.ACKNOWLEDGED,
        """
        1-2 A: enter a -> 1/1 a
        3-4 B: enter a -> 1/1 a""",
        [0, 1],
    ),
    "two sessions, one candidate, at once": (
        Rule.ACKNOWLEDGED,
        """
        0-1 x: get_term -> 0/0
        1-4 A: enter a #1 -> 1/1 a
        2-3 B: enter a #1 -> 1/1 a""",
        [0, 1, 2],
    ),
    "two sessions, one candidate, that moves meanwhile": (
        Rule.ACKNOWLEDGED,
        """
        0-0.5 C: enter c #1 -> 1/1 c
        1-2 A: enter a #1 -> 1/2 c a
        2-3 x: anoint a -> 2/3 a c
        3-4 C: withdraw c #2 -> 2/4 a
        5-6 B: enter a #1 -> 2/4 a""",
        [0, 1, 2, 4],
    ),
    "who entered does not stand last after a gap": (
        Rule.ASKED,
        """
        1-2 A: enter a -> 1/1 a
        2-3 B: enter b -> OutcomeUnknown
        3-4 C: enter c -> 1/3 a c b""",
        [0, 2],
    ),
    "leads before anybody has asked for it": (
        Rule.TOKENS_OF_TERMS,
        """
        0-1 x: get_term -> 0/0
        2-3 A: leads 1
        5-6 A: enter a -> 1/1 a""",
        [0, 1, 2],
    ),
    "leads on after it has withdrawn": (
        Rule.TOKENS_OF_TERMS,
        """
        1-2 A: enter a -> 1/1 a
        2-4.1 A: leads 1
        3-4 A: withdraw a -> 1/2
        5-6 A: enter a -> 2/3 a
        6-9 A: leads 2""",
        [1, 2],
    ),
    "leads on and on after it has withdrawn": (
        Rule.TOKENS_OF_TERMS,
        """
        1-2 A: enter a -> 1/1 a
        2-  A: leads 1 until 9
        3-4 A: withdraw a -> 1/2""",
        [1, 2],
    ),
    "leads for longer than it was renewed": (
        Rule.LEASED,
        """
        1-1.1 A: renewed 6
        1.2-11.2 A: leads 1
        5-5.1 A: renewed 6
        6-6.1 A: over""",
        [1, 2],
    ),
    "leads while its renewals are not answered in time": (
        Rule.LEASED,
        """
        1-1.1 A: renewed 6
        1.2-11 A: leads 1
        5-7.2 A: renewed 6""",
        [0, 1],
    ),
    "leads until it is killed, after its lease has ended": (
        Rule.LEASED,
        """
        1-1.1 A.0: renewed 6
        2-  A.0: leads 1
        9   A: gone 6""",
        [0, 1, 2],
    ),
    "leads before it has a session": (
        Rule.LEASED,
        """
        1-3 A: leads 1
        3-4 A: renewed 6""",
        [0, 1],
    ),
    "admitted during the hold": (
        Rule.HOLD,
        """
        5-6 -: restored 100 10
        14-15 B: enter b -> 101/101 b""",
        [0, 1],
    ),
    "a leadership during the hold": (
        Rule.HOLD,
        """
        5-6 -: restored 100 10
        15-16 B: leads 101""",
        [0, 1],
    ),
    "a floor that is too low": (
        Rule.FLOOR,
        """
        1-2 x: get_term -> 1/100 a
        5-6 -: restored 100 10""",
        [0, 1],
    ),
    "a term that is too low": (
        Rule.FLOOR,
        """
        5-6 -: restored 100 10
        20-21 x: get_term -> 99/99""",
        [0, 1],
    ),
    "a token that is too low": (
        Rule.FLOOR,
        """
        5-6 -: restored 100 10
        20-21 B: leads 100""",
        [0, 1],
    ),
    "a leadership of the former store after the hold": (
        Rule.FLOOR,
        """
        5-6 -: restored 100 10
        7-17 B: leads 1""",
        [0, 1],
    ),
    "a token that was too high": (
        Rule.FLOOR,
        """
        1-2 B: leads 101
        5-6 -: restored 100 10""",
        [0, 1],
    ),
}


def first_of(rule: Rule, entries: list[Entry]) -> Violation:
    """Return the first violation of a rule; others may follow from the same mistake."""
    violations = check_history(entries, IN_ONE_PROCESS).violations
    found = [each for each in violations if each.rule is rule]
    assert found, "\n".join(map(str, violations))
    return found[0]


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("promises", [IN_ONE_PROCESS, Promises()], ids=["one process", "over a network"])
def test_nothing_is_found_in_what_is_right(name: str, promises: Promises) -> None:
    """Unknown outcomes either way, calls that overlap, repeats, and ends that nobody promised would not come."""
    assert not check_history(history(RIGHT[name]), promises).violations


@pytest.mark.parametrize("name", WRONG)
def test_each_kind_of_wrong_history_is_found(name: str) -> None:
    """And said with the records that show it, in order of time."""
    rule, text, shown = WRONG[name]
    entries = history(text)
    first = first_of(rule, entries)
    assert sorted(entries.index(each) for each in first.entries) == shown, str(first)


@pytest.mark.parametrize("name", WRONG)
def test_no_record_too_many_is_shown(name: str) -> None:
    """Those that are shown break the same rule by themselves, and they would not without any one of them."""
    rule, text, _ = WRONG[name]
    first = first_of(rule, history(text))
    assert first in check_history(first.entries, IN_ONE_PROCESS).violations
    for left_out in first.entries:
        rest: list[Entry] = [each for each in first.entries if each is not left_out]
        found = {(each.rule, each.what) for each in check_history(rest, IN_ONE_PROCESS).violations}
        assert (rule, first.what) not in found, f"without {left_out}"


@pytest.mark.parametrize("reason", LossReason)
def test_reasons_are_known_by_their_names(reason: LossReason) -> None:
    """Only what an operator does is a reason where there are operators, and nothing where there are none."""
    text = f"0-9 -: up\n0-6 A: leads 1 lost {reason.name}"
    by_operators = reason in (LossReason.EVICTED, LossReason.SUPERSEDED)
    assert bool(check_history(history(text)).violations) is not by_operators
    assert check_history(history(text), Promises(calm=frozenset({"e"}))).violations


def test_a_violation_is_said_in_lines() -> None:
    """The rule, what is wrong, and the records in order of time."""
    (violation,) = check_history(
        history("""
            7-8 x: get_term -> 2/3 b
            5-6 A: renewed 6
            1-2 A: enter a -> 1/1 a
            2-3 B: enter b #1 -> 1/2 a b
            3-4 A: renewed 6
            5-6 x: evict c -> NotACandidate
            8-9 x: get_term -> 2/3 b
            2-9 -: up""")
    ).violations
    assert str(violation) == (
        "e: a session ended too soon between term 1 revision 2 [a b] and term 2 revision 3 [b] "
        "(broken: a session lasts for its time-to-live)\n"
        "  1.000 to 2.000 A: enter a by A -> term 1 revision 1 [a]\n"
        "  2.000 to 3.000 B: enter b by B -> term 1 revision 2 [a b]\n"
        "  5.000 to 6.000 A: session A renewed for 6 s\n"
        "  7.000 to 8.000 x: get_term -> term 2 revision 3 [b]"
    )


def test_every_kind_of_record_has_a_line() -> None:
    """Also those that are part of few violations."""
    text = """
        0-9 -: up
        1-2 -: server killed
        1-2 -: restored 100 10
        1-  A: enter a
        1-2 A: close -> done
        1-2 A: over
        1-2 A: renewed 6 opens
        1-2 w: snapshot 0/0
        3   w: change 1/1 a
        4   w: skipped 1/3
        4-5 w: waits
        1-2 A: leads 1 lost EXPIRED
        1-  A: leads 1 until 3
        1-  A: wants
        5   A: gone 6"""
    assert [line(each) for each in history(text)] == [
        "0.000 to 9.000 a server is up",
        "1.000 to 2.000 server killed",
        "1.000 to 2.000 restored above 100, held for 10 s",
        "1.000 to ... A: enter a by A -> never answered",
        "1.000 to 2.000 A: close by A -> done",
        "1.000 to 2.000 A: session A found to have ended",
        "1.000 to 2.000 A: session A opened for 6 s",
        "2.000 watch w: snapshot term 0 revision 0 []",
        "3.000 watch w: change term 1 revision 1 [a]",
        "4.000 watch w: change after skipped ones term 1 revision 3 []",
        "4.000 to 5.000 watch w: waits in vain",
        "1.000 to 2.000 A: a leads under 1, lost: EXPIRED",
        "1.000 to 3.000 A: a leads under 1",
        "1.000 to ... A: wants to lead",
        "5.000 to ... A: gone, with a time-to-live of 6 s",
    ]


def test_who_is_not_recorded_explains_what_nobody_asked_for() -> None:
    """And nothing that could not be: one step is still one command."""
    others = Promises(others=True)
    for name in ("a change that nobody asked for", "two sessions end at once", "a session ends too soon"):
        assert not check_history(history(WRONG[name][1]), others).violations, name
    for name in ("the queue is shuffled", "an entry without effect", "not a candidate, who was one all the time"):
        assert check_history(history(WRONG[name][1]), others).violations, name
    assert check_history(history(RIGHT["a short gap"]), others).undecided == 1


def test_what_was_refused_may_be_done_later_where_copies_come_late() -> None:
    """Only if it carries a number, without which nothing is sent twice."""
    refused = "1-2 A: enter a -> 1/1 a\n2-3 B: enter b {} -> CandidateTaken\n3-4 x: get_term -> 1/2 a b"
    assert not check_history(history(refused.format("#1"))).violations
    assert check_history(history(refused.format("#1")), IN_ONE_PROCESS).violations
    assert check_history(history(refused.format(""))).violations


def test_sessions_may_end_early_where_that_is_known() -> None:
    """As in an etcd whose stale leaders end them."""
    wrong = history(WRONG["a session ends too soon"][1])
    assert not check_history(wrong, Promises(early_ends=True)).violations


def test_who_forgets_may_not_be_recorded() -> None:
    """Then the election is named."""
    wrong = history(WRONG["a floor where nothing is forgotten"][1])
    assert not check_history(wrong, Promises(forgotten=frozenset({"e"}))).violations


@pytest.mark.parametrize(("number", "right"), [(3, True), (9, True), (2, False)])
def test_numbers_may_jump(number: int, right: bool) -> None:
    """Up, and only where somebody leads anew."""
    jumping = Promises(numbers_jump=True)
    entries = history(f"1-2 x: get_term -> 2/1 a b\n3-4 x: evict a -> {number}/2 b")
    assert (not check_history(entries, jumping).violations) is right
    same_leader = history(f"1-2 x: get_term -> 2/1 a b\n3-4 x: evict b -> {number}/2 a")
    assert (not check_history(same_leader, jumping).violations) is (number == 2)


def test_numbers_jump_in_gaps_only_where_somebody_led_anew() -> None:
    """As often as it may have been, or more often, and not where it was not."""
    unknown = "1-2 A: enter a -> 1/1 a\n2-3 B: enter b -> OutcomeUnknown\n2-3 x: {} b -> OutcomeUnknown\n"
    jumping = Promises(numbers_jump=True)
    for number, right in ((2, True), (7, True), (1, False)):
        anointed = history(unknown.format("anoint") + f"4-5 x: get_term -> {number}/3 b a")
        assert (not check_history(anointed, jumping).violations) is right
        evicted = history(unknown.format("evict") + f"4-5 x: get_term -> {number}/3 a")
        assert (not check_history(evicted, jumping).violations) is not right


def test_long_gaps_are_counted() -> None:
    """Nobody knows what was in them; order is kept all the same, and numbers."""
    verdict = check_history(history("1-2 x: get_term -> 1/1 a\n3-4 x: get_term -> 5/90 b"))
    assert (verdict.violations, verdict.undecided) == ((), 1)
    assert str(verdict) == "0 promises broken, 1 gaps undecided"


def test_nothing_is_found_out_where_the_records_do_not_reach() -> None:
    """Before the first term, in a gap, and after the last one."""
    assert not check_history(history("1-2 B: enter b #1 -> 1/4 a")).violations
    for told in ("enter c -> 1/4 a b c", "withdraw c -> 1/4 a", "evict c -> 1/4 a", "anoint a -> 1/4 a b"):
        assert not check_history(history(f"1-2 X: {told}")).violations, told
    assert not check_history(history("1-2 x: promote c -> 1/4 a b c")).violations
    assert not check_history(history("1-2 x: evict a -> NotACandidate\n3-4 x: get_term -> 1/4 a")).violations
    assert not check_history(history("1-2 x: get_term -> 1/4 a\n3-4 x: evict a -> NotACandidate")).violations
    gap = "2-9 x: evict b -> 2/40 c\n3-4 x: promote a -> NotACandidate\n5-6 x: get_term -> 2/40 c"
    assert not check_history(history(f"1-2 x: get_term -> 1/4 a b\n{gap}")).violations


def test_what_was_restored_may_go_on_from_the_floor_of_others() -> None:
    """As one that nobody has entered yet; and where none is forgotten, it may not."""
    elsewhere = history("12-13 x: forget -> 102/104", "other")
    assert not check_history([*history(RESTORED), *elsewhere]).violations
    assert {each.rule for each in check_history(history(RESTORED)).violations} == {Rule.ASKED}


def test_elections_are_judged_by_themselves() -> None:
    """What is right in each of two is right."""
    one, other = history("1-2 A: enter a -> 1/1 a", "one"), history("1-2 B: enter b -> 1/1 b", "other")
    assert not check_history([*one, *other]).violations
