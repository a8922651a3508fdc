"""The lease protocol, explored: safe as it is, and unsafe without its margin or any other of its rules."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from atomix_election.core.campaign import MARGIN_PART
from tests.model.cases import CASES, LONG_CASES, Case
from tests.model.flaws import FLAWS, NEEDED_MARGIN, Flaw
from tests.model.lease_protocol import least_margin, run
from tests.model.messages import TTL
from tests.model.parts import CORNERS, RIGHT, Bounds, Faults
from tests.model.transcript import transcript

PAGE = Path(__file__).parents[2] / "docs" / "lease-protocol.md"
SAME_RATES = ((99, 99, 99), RIGHT, (101, 101, 101))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_safe_with_the_margin_of_the_code(case: Case) -> None:
    """All of it was explored, and that was not little."""
    world, found = run(case.bounds, case.clients)
    assert found.fault is None, "\n".join(transcript(world, found.path))
    assert found.states >= case.states


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.name)
def test_it_is_unsafe_without_any_of_its_rules(flaw: Flaw) -> None:
    """And the way there ends with what is wrong."""
    world, found = run(flaw.bounds, flaw.clients, flaw.servers, margin=flaw.margin)
    assert found.fault is not None
    *before, last = [state for _, state in found.path]
    assert world.fault_in(last) == found.fault
    assert not any(map(world.fault_in, before))


def test_the_way_to_two_leaders_without_a_margin_can_be_followed() -> None:
    """The server, whose clock is fast, ends a session whose client, whose clock is slow, goes on leading."""
    world, found = run(Bounds(), margin=Fraction(0))
    (told,) = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert "\n".join(transcript(world, found.path)) + "\n" == told
    assert found.fault == "a and b act as the leader at the same moment"


def test_the_margin_that_is_needed_is_what_the_clocks_differ_by() -> None:
    """To one tick; the code has more, and that is safe with clocks that are wrong in any way."""
    least = least_margin()
    assert least == NEEDED_MARGIN == Fraction(2, 101)
    assert least < MARGIN_PART
    assert run(Bounds(rates=CORNERS), margin=least)[1].fault is None
    assert run(Bounds(), margin=least - Fraction(1, TTL))[1].fault is not None


@pytest.mark.parametrize("faults", [Faults(cuts=1), Faults(restarts=1)], ids=["cuts", "restarts"])
def test_clocks_of_one_rate_need_no_margin(faults: Faults) -> None:
    """Whatever that rate is."""
    _, found = run(Bounds(faults, SAME_RATES), margin=Fraction(0))
    assert found.fault is None
    assert found.states > 5_000


def test_the_page_names_all_that_was_explored() -> None:
    """And all that it needs."""
    page = PAGE.read_text()
    for named in (*CASES, *LONG_CASES, *FLAWS):
        assert f"| {named.name} |" in page
