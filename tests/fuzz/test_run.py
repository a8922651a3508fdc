"""The short form of ``make fuzz``, and bugs that are planted into a server, each of which it has to find."""

import re
from collections.abc import Callable

import pytest

from tests.fuzz import live
from tests.fuzz.honest import Report
from tests.fuzz.inputs import KINDS
from tests.fuzz.live import SERVED, Figures
from tests.fuzz.run import Stage, replay, run
from tests.fuzz.served import PLANTS

SEED = 7
EXAMPLES = 4
"""Of each kind: the long form has more."""
MORE = 40
"""Enough for a bug that shows with one input in ten."""


def planted(bugs: str) -> tuple[str, ...]:
    """Return a server with bugs."""
    return (*SERVED, "--plant", bugs)


def test_nobody_notices_the_garbage() -> None:
    """All kinds of it, to a server as it is by default. Run with ``-s`` to see the figures."""
    totals = run(SEED, None, stages=[Stage("memory://", SERVED)], examples=EXAMPLES, shrinks=False)
    print(f"\n{totals}")  # noqa: T201
    assert totals.found == []
    assert set(totals.inputs) >= {f"server {kind}" for kind in KINDS} | {"client answers", "metrics requests"}
    assert totals.statuses["0"] > 0
    assert totals.statuses["3"] > 0
    assert totals.calls_beside > 0


FOUND: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown": ("server messages", (r"FOUND by server messages, seed 7: the server logged:\n.*Traceback",)),
    "crash": ("server violations", (r"FOUND by server violations, seed 7: the server has ended with 3",)),
    "stall,leak": (
        "server frames",
        (
            r"NOTICED by the honest client, up to server frames, seed 7: .* took [1-9]",
            r"FOUND in the end: more descriptors than before: \d+ -> \d+",
        ),
    ),
}
"""What to send, and what is to be said then."""


def test_each_bug_that_can_be_planted_has_to_be_found() -> None:
    """None is forgotten."""
    assert sorted(bug for bugs in FOUND for bug in bugs.split(",")) == sorted(PLANTS)


@pytest.mark.parametrize("bugs", FOUND)
def test_a_planted_bug_is_found(bugs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is printed says how to see it again."""
    monkeypatch.setattr(live, "SETTLE_S", 1.2)  # longer than connections linger
    only, said = FOUND[bugs]
    totals = run(SEED, None, only, stages=[Stage("memory://", planted(bugs))], examples=MORE, shrinks=False)
    for each in said:
        assert re.search(each, "\n".join(totals.found), re.DOTALL), totals
    if bugs == "unknown":
        again = re.search(r"make fuzz SEED=7, .*--replay '(.*)'", totals.found[0], re.DOTALL)
        assert again is not None
        assert "Traceback" in str(replay(again[1], planted(bugs)))
        assert replay(again[1]) is None


NOTICED: dict[str, Callable[[Report], None]] = {
    "a slow call": lambda report: setattr(report, "slowest_s", 1.1),
    "a renewal that was late": lambda report: setattr(report, "least_remaining_s", 0.9),
    "an event that was skipped": lambda report: report.faults.append("after ..."),
}


@pytest.mark.parametrize("what", NOTICED)
def test_what_an_honest_client_notices_counts(what: str) -> None:
    """Each alone."""
    report = Report(ttl_s=3.0, longest_call_s=1.0)
    assert report.judge() == []
    NOTICED[what](report)
    assert len(report.judge()) == 1


@pytest.mark.parametrize("more", [(70_000, 8, 2, 4), (0, 9, 2, 4), (0, 8, 3, 4), (0, 8, 2, 5)])
def test_what_a_server_keeps_counts(more: tuple[int, int, int, int]) -> None:
    """Memory, descriptors, threads, tasks."""
    before = Figures(0, 8, 2, 4)
    assert before.leaks(before) == []
    assert len(Figures(*more).leaks(before)) == 1
