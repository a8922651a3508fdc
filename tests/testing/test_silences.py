"""Who watches is told of each change in time, as long as it waits and nothing is done to servers or to its client."""

import pytest

from atomix_election.testing.checker import Promises, Rule, check_history
from tests.testing.histories import history

PROMISES = Promises(longest_silence_s=3.0)
CHANGED = """
    0-1 A: enter a -> 1/1 a
    1-2 P.0/1: snapshot 1/1 a
    3-4 B: enter b -> 1/2 a b
    {}"""

RIGHT: dict[str, str] = {
    "told in time": "2-7 P.0/1: change 1/2 a b",
    "waits no more": "2-7 P.0/1: waits",
    "did not wait": "9-12 P.0/1: change 1/2 a b",
    "waited since then": "9-12 P.0/1: waits",
    "nobody knows since when it waited": "12 P.0/1: change 1/2 a b",
    "told of a newer change": """
        5-6 A: withdraw a -> 2/3 b
        2-6.9 P.0/1: skipped 2/3 b
        6.9-9.9 P.0/1: waits""",
    "its client was stopped": """
        5-20 P: stopped
        2-23 P.0/1: waits""",
    "the server was stopped, and then its client": """
        5-9 -: server stopped
        12-20 P: stopped
        2-23 P.0/1: waits""",
    "no server was up": """
        0-6 -: up
        15-18 -: up
        2-19 P.0/1: waits""",
    "restored": """
        6-7 -: restored 100 10
        2-20 P.0/1: waits""",
    "the next one is of another store": """
        6-7 -: emptied
        20-21 x: get_term -> 1/1 c
        2-30 P.0/1: waits""",
}

WRONG: dict[str, tuple[str, list[int]]] = {
    "never told": ("2-7.1 P.0/1: waits", [1, 2, 3]),
    "told late": ("2-7.1 P.0/1: change 1/2 a b", [1, 2, 3]),
    "told late, and waited later": ("5-8.1 P.0/1: change 1/2 a b", [1, 2, 3]),
    "never told of the last one": (
        """
        2-5 P.0/1: change 1/2 a b
        5-6 A: withdraw a -> 2/3 b
        5-9.1 P.0/1: waits""",
        [3, 4, 5],
    ),
    "told late after a fault": (
        """
        5-9 -: server stopped
        2-12.1 P.0/1: waits""",
        [1, 2, 4],
    ),
    "told late, and then stopped": (
        """
        7.1-20 P: stopped
        2-21 P.0/1: waits""",
        [1, 2, 4],
    ),
    "told late while another client was stopped": (
        """
        4-20 Q: stopped
        2-7.1 P.0/1: waits""",
        [1, 2, 4],
    ),
    "told late beside a server": (
        """
        0-5 -: up
        4-20 -: up
        2-7.1 P.0/1: waits""",
        [1, 2, 5],
    ),
    "told late by the next store": (
        """
        4-7 -: emptied
        8-9 P.0/1: snapshot 0/0
        10-11 C: enter c -> 1/1 c
        9-14.1 P.0/1: waits""",
        [4, 5, 6],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_watchers_are_told_in_time(name: str) -> None:
    """Who does not wait is not told, and nobody is during a fault."""
    assert not check_history(history(CHANGED.format(RIGHT[name])), PROMISES).violations


@pytest.mark.parametrize("name", WRONG)
def test_who_is_not_told_is_found(name: str) -> None:
    """And said with the records that show it: what was told before, the change, and the wait."""
    text, shown = WRONG[name]
    entries = history(CHANGED.format(text))
    (violation,) = check_history(entries, PROMISES).violations
    assert violation.rule is Rule.TOLD
    assert sorted(entries.index(each) for each in violation.entries) == shown, str(violation)


def test_nobody_has_to_be_told_where_no_bound_is_known() -> None:
    """How long it may take depends on the servers, and on the machine."""
    for text, _ in WRONG.values():
        assert not check_history(history(CHANGED.format(text))).violations
