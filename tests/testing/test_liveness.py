"""Where somebody wants to lead somebody does, within the time that a takeover may take; faults let it begin anew."""

import pytest

from atomix_election.testing.checker import Promises, Rule, check_history
from tests.testing.histories import history

PROMISES = Promises(calm=frozenset({"e"}), longest_failover_s=3.0, expiry_slack_s=2.0)

RIGHT: dict[str, str] = {
    "led again in time": """
        0-   A: wants
        0-5  B: leads 1
        9.9-12 A: leads 7
        12-20 B: leads 8""",
    "nobody who wants to": """
        0-5 B: leads 1
        20-22 A: leads 7""",
    "who wanted to has given up": """
        0-6 A: wants
        0-5 B: leads 1
        17- A: wants
        20-22 A: leads 7""",
    "who wanted to was killed": """
        0-  A.0: wants
        0-5 B: leads 1
        6   A: gone 1
        20-22 A: leads 7""",
    "not led during a fault": """
        0-  A: wants
        0-5 B: leads 1
        6-20 -: quorum lost
        7-9 -: member killed
        24-30 A: leads 7""",
    "the one who wants to is stopped": """
        0-  P.0: wants
        0-5 B: leads 1
        4-20 P: stopped
        24-30 P.0: leads 7""",
    "until the session of one that was stopped has ended": """
        0-  A: wants
        0-5 B: leads 1
        9-30 P: stopped
        13-30 A: leads 7""",
    "the next one was killed too": """
        0-  A: wants
        0-  B.0: leads 1
        0-  C.0: wants
        2   B: gone 1
        6   C: gone 1
        10-30 A: leads 7""",
}

WRONG: dict[str, tuple[str, list[int]]] = {
    "never led": (
        """
        0-  A: wants
        6-7 x: get_term -> 1/1 a""",
        [0, 1],
    ),
    "not led again": (
        """
        0-  A: wants
        0-5 B: leads 1
        10.1-12 A: leads 7""",
        [0, 1, 2],
    ),
    "while another one is stopped": (
        """
        0-  A: wants
        0-5 B: leads 1
        6-20 P: stopped
        11.1-30 A: leads 7""",
        [0, 2, 3],
    ),
    "after the one who wants to was stopped": (
        """
        0-  P.0: wants
        0-5 B: leads 1
        6-20 P: stopped
        25.1-30 P.0: leads 7""",
        [0, 2, 3],
    ),
    "not led again at the end": (
        """
        0-  A: wants
        0-5 B: leads 1
        11-12 x: get_term -> 1/2""",
        [0, 1, 2],
    ),
    "not led again after a kill": (
        """
        0-  A: wants
        0-  B.0: leads 1
        5   B: gone 1
        11-12 A: leads 7""",
        [0, 1, 2, 3],
    ),
    "not led again, while others come and go elsewhere": (
        """
        0-  A: wants
        0-5 B: leads 1
        7   C: gone 1
        10.1-12 A: leads 7""",
        [0, 1, 3],
    ),
    "not led again after a fault": (
        """
        0-  A: wants
        0-5 B: leads 1
        6-20 -: quorum lost
        25.1-30 A: leads 7""",
        [0, 2, 3],
    ),
    "not led before a fault": (
        """
        0-  A: wants
        0-5 B: leads 1
        11-20 -: quorum lost
        21-30 A: leads 7""",
        [0, 1, 2],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_somebody_leads_in_time(name: str) -> None:
    """Nobody has to during a fault, or before a takeover has had its time."""
    assert not check_history(history(RIGHT[name]), PROMISES).violations


@pytest.mark.parametrize("name", WRONG)
def test_that_nobody_leads_is_found(name: str) -> None:
    """And said with the records that show it."""
    text, shown = WRONG[name]
    entries = history(text)
    (violation,) = check_history(entries, PROMISES).violations
    assert violation.rule is Rule.LED
    assert sorted(entries.index(each) for each in violation.entries) == shown, str(violation)


@pytest.mark.parametrize(
    "promises", [Promises(longest_failover_s=3.0), Promises(calm=frozenset({"e"}))], ids=["operators", "no bound"]
)
def test_nobody_has_to_lead_where_no_bound_is_known(promises: Promises) -> None:
    """As where operators displace leaders, who are waited for, and where the bound is not said."""
    assert not check_history(history(WRONG["not led again"][0]), promises).violations


def test_somebody_leads_in_each_store() -> None:
    """Where one was lost with its server the time begins anew, and is as long as ever."""
    for begun, broken in ((11.9, 0), (12.1, 1)):
        entries = history(f"0- A: wants\n0-6 A: leads 1\n5-7 -: emptied\n{begun}-30 A: leads 1")
        assert len(check_history(entries, PROMISES).violations) == broken
