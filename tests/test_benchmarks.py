"""The measuring programs run; what they measure is for people. Their tiniest forms take no figure for one."""

import importlib
import json
import math
import re
import subprocess
from pathlib import Path

import pytest

from atomix_election.etcd._generated import etcdserverpb
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix.time import v1 as time_v1
from benchmarks import etcd_election, stock, suite
from benchmarks.report import LESS, MORE, TINY, Effort, Goal, Report, Row, at_least, at_most
from tests import manual

CHEAP = ("call", "inprocess", "commits", "fanout", "sessions", "queue_length")
"""Those that need no etcd, few processes and little to begin with."""


@pytest.mark.parametrize("name", CHEAP)
def test_each_gives_rows_and_says_what_its_goals_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(name, TINY)
    importlib.import_module(f"benchmarks.{name}").measure(report)
    assert len(capsys.readouterr().out.splitlines()) == len(report.rows)
    assert all(math.isfinite(row.median) and row.least <= row.median <= row.most for row in report.rows)
    assert all(row.median > 0 for row in report.rows)
    assert any(row.goal is not None and row.goal.bound is not None for row in report.rows)
    assert any(row.is_steady for row in report.rows)


def test_each_has_a_program() -> None:
    for name in suite.NAMES:
        assert callable(importlib.import_module(f"benchmarks.{name}").measure), name


def test_rounds_are_taken_in_turn_after_one_that_does_not_count() -> None:
    taken: list[str] = []
    effort = Effort("some", 0.0, 3, 1.0)

    def side(name: str) -> int:
        taken.append(name)
        return len(taken)

    samples = Report("some", effort).rounds({"ours": lambda: side("ours"), "floor": lambda: side("floor")})
    assert taken == ["ours", "floor", "ours", "floor", "floor", "ours", "ours", "floor"]
    assert samples == {"ours": [3, 6, 7], "floor": [4, 5, 8]}


def test_a_ratio_is_taken_of_each_pair_of_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    """The medians of the two sides have another ratio here, 2."""
    report = Report("some", TINY)
    report.ratio("ours against the floor", [2, 9, 4], [1, 3, 2], at_most(2))
    (row,) = report.rows
    assert (row.median, row.least, row.most) == (2, 2, 3)
    assert "| 2 | 2 to 3 | times | <= 2 | yes |" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="two rows"):
        report.row("ours against the floor", [1], "ms")


@pytest.mark.parametrize(
    ("goal", "median", "verdict"),
    [
        (at_least(2), 2.0, "yes"),
        (at_least(2), 1.99, "**no**"),
        (at_most(1.1), 1.1, "yes"),
        (at_most(1.1), 1.11, "**no**"),
        (MORE, 1.0, ""),
        (LESS, 1.0, ""),
    ],
)
def test_what_a_goal_says(goal: Goal, median: float, verdict: str) -> None:
    row = Row("what", "times", median, median, median, goal=goal, is_steady=True)
    assert row.as_table().endswith(f"| {goal} | {verdict} |")
    assert Row.of(json.loads(json.dumps(row.as_json()))) == row


def test_the_floor_sends_the_same_events() -> None:
    timestamp = time_v1.Timestamp(epoch_timestamp=time_v1.EpochTimestamp(7, 7))
    event = v1.Event(v1.EventType.CHANGED, v1.Term("session", ["session"], timestamp))
    assert bytes(stock.event("session", 7)) == bytes(v1.EventsResponse(event))


def test_messages_for_etcd_are_what_its_schema_says() -> None:
    """Of its election service there is no schema here; that is called where the benchmarks run."""
    assert etcd_election.lease_request(600) == bytes(etcdserverpb.LeaseGrantRequest(ttl=600))
    counting = etcdserverpb.RangeRequest(b"some/", b"some0", count_only=True)
    assert etcd_election.count_request("some") == bytes(counting)
    header = etcdserverpb.ResponseHeader(revision=1 << 40)
    assert etcd_election.lease_of(bytes(etcdserverpb.LeaseGrantResponse(header, 1 << 60, 600))) == 1 << 60
    assert etcd_election.count_of(bytes(etcdserverpb.RangeResponse(header, count=3))) == 3


def test_the_targets_of_make_measure() -> None:
    """Those that the pages show, without carrying them out: they take minutes. What they call is run in tiny forms."""
    project = Path(__file__).parents[1]
    shown = [
        line.split()[1]
        for page in ("performance.md", "cluster.md")
        for block in manual.blocks((manual.DOCS / page).read_text())
        for line in block.text.splitlines()
        if line.startswith("make ")
    ]
    called = {
        target: re.findall(
            r" -m (benchmarks[.\w]*)",
            subprocess.run(
                ["make", "--dry-run", target], cwd=project, capture_output=True, text=True, check=True
            ).stdout,
        )
        for target in shown
    }
    assert called == {
        "bench": ["benchmarks", "benchmarks.render"],
        "bench-check": ["benchmarks.check"],
        "bench-cluster": ["benchmarks.cluster"],
    }
