"""What has become slower is found, and what is as fast as before passes; the page shows what was measured."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import check, render, suite
from benchmarks.check import Ratio
from benchmarks.report import LESS, SHORT, Report, at_least

PLOTS = suite.RESULTS.parent


def measured(path: Path, *, rate: float = 2.0, cost: float = 3.0, why_not: str = "") -> Path:
    """Write what two benchmarks would have found, the second of which needs something that may be missing."""
    some, other = Report("some", SHORT), Report("other", SHORT)
    some.ratio("calls", [rate], [1], at_least(2), is_steady=True)
    some.ratio("a row that comes out otherwise each time", [rate], [7], at_least(2))
    if why_not:
        other.skip(why_not)
    else:
        other.ratio("cost", [cost], [1], LESS, is_steady=True)
    path.write_text("".join(json.dumps(each.as_json()) + "\n" for each in (some, other)))
    return path


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A file to compare with."""
    path = tmp_path / "recorded.json"
    check.record(
        path, [check.ratios_of(suite.read(measured(tmp_path / "recorded.jsonl", rate=rate))) for rate in (1, 2, 9)]
    )
    assert check.load(path) == {("some", "calls"): Ratio(2, True), ("other", "cost"): Ratio(3, False)}
    return path


def compare(recorded: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the program on what was measured."""
    monkeypatch.setattr(sys, "argv", ["check", "--recorded", str(recorded), "--results", str(results)])
    return check.main()


@pytest.mark.parametrize(("rate", "cost"), [(2.0, 3.0), (1.51, 3.74), (20.0, 0.3)])
def test_what_is_hardly_worse_passes(
    rate: float, cost: float, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compare(recorded, measured(tmp_path / "now.jsonl", rate=rate, cost=cost), monkeypatch) == 0


@pytest.mark.parametrize(
    ("rate", "cost", "says"),
    [
        (1.49, 3.0, "some: calls: 1.49 times, recorded 2 times (more is better): 26% worse, the limit is 25%"),
        (2.0, 3.9, "other: cost: 3.9 times, recorded 3 times (less is better): 30% worse, the limit is 25%"),
    ],
)
def test_a_regression_is_found_and_named(
    rate: float,
    cost: float,
    says: str,
    recorded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare(recorded, measured(tmp_path / "now.jsonl", rate=rate, cost=cost), monkeypatch) == 1
    assert capsys.readouterr().err.splitlines()[2:] == [f"  {says}"]


def test_a_regression_counts_when_it_is_measured_twice(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[list[str]] = []
    slow, fast = (suite.read(measured(tmp_path / f"{rate}.jsonl", rate=rate)) for rate in (1.0, 2.0))
    answers = [slow, slow[:1], slow, fast[:1]]

    def run(names: list[str], *_: str) -> list[suite.Result]:
        runs.append(list(names))
        return answers.pop(0)

    monkeypatch.setattr(suite, "run", run)
    monkeypatch.setattr(sys, "argv", ["check", "--recorded", str(recorded)])
    assert [check.main(), check.main()] == [1, 0]
    assert runs == [check.CHECKED, ["some"]] * 2
    assert "measured once more" in capsys.readouterr().out


def test_a_row_that_is_gone_is_found(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = measured(tmp_path / "now.jsonl")
    results.write_text(results.read_text().replace('"calls"', '"renamed"'))
    assert compare(recorded, results, monkeypatch) == 1
    said = capsys.readouterr()
    assert "some: calls: it is recorded, but not measured any more" in said.err
    assert "some: renamed: not recorded yet" in said.out


def test_what_cannot_be_measured_here_is_left_out(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(recorded, measured(tmp_path / "now.jsonl", why_not="there is no etcd"), monkeypatch) == 0
    assert "none of 1 ratios" in capsys.readouterr().out


def test_results_of_some_benchmarks_leave_the_others_there(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    former, newer = (
        [suite.Result(json.dumps(Report(name, SHORT).as_json())) for name in ("fanout", "call")] for _ in range(2)
    )
    suite.write(path, {each.name: each for each in former})
    suite.write(path, {"fanout": newer[0]})
    assert [each.line for each in suite.read(path)] == [former[1].line, newer[0].line]


def test_what_is_recorded_is_what_is_measured() -> None:
    assert {benchmark for benchmark, _ in check.load(check.RECORDED)} == set(check.CHECKED)


def test_the_page_shows_what_was_measured() -> None:
    results = suite.read(suite.RESULTS)
    assert [each.name for each in results] == list(suite.NAMES)
    page = render.PAGE.read_text()
    assert page == render.render(page, results), "run python -m benchmarks.render"
    assert sorted(render.shown(page)) == sorted((*suite.NAMES, render.GOALS, render.MACHINE))


def test_the_page_shows_each_plot() -> None:
    page = render.PAGE.read_text()
    drawn = {path.name for path in PLOTS.glob("*.svg")}
    assert drawn == {"elections.svg", "queue.svg", "watchers.svg", "sessions.svg"}
    assert all(f"(performance/{name})" in page for name in drawn)


def test_plots_are_drawn_from_results(tmp_path: Path) -> None:
    """Where the extra ``bench`` is installed."""
    pytest.importorskip("matplotlib")
    from benchmarks import plots

    plots.draw(suite.read(suite.RESULTS), tmp_path)
    for plot in plots.PLOTS:
        drawn = (tmp_path / f"{plot.curves}.svg").read_text()
        assert plot.title in drawn
        assert all(name in drawn for name in plots.curves(plot.curves, suite.read(suite.RESULTS)))
