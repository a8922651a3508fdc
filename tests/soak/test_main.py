"""How the time of ``make soak`` is divided, and what it says at the end."""

from collections import Counter
from pathlib import Path

import pytest

from atomix_election.testing.history import DONE, Answered, Led
from tests.soak.__main__ import FAULTS_WEIGHT, LEAST_S, Part, parts, plans, run, totals
from tests.soak.report import Report
from tests.soak.site import ETCD, MEMORY, STORES


@pytest.mark.parametrize("store", STORES)
def test_each_store_gets_the_same_time(store: str) -> None:
    """However many ways there are to run it; and with time enough all of them are."""
    found = parts(STORES, 7, 3600)
    faults = [each for each in found if each.name == f"faults, {store}"]
    assert len(faults) == len(plans(store, 7))
    assert sum(each.weight for each in faults) == pytest.approx(FAULTS_WEIGHT)
    assert sum(each.name == f"leaks, {store}" for each in found) == 1


def test_what_there_is_no_time_for_is_left_out() -> None:
    """One run for each store at least, and not always the same."""
    first, second = parts([ETCD], 0, LEAST_S), parts([ETCD], 1, LEAST_S)
    assert [each.name for each in first] == ["faults, etcd", "leaks, etcd", "leaks of clients"]
    assert len(plans(ETCD, 0)) == 3
    assert getattr(first[0].job, "args", None) != getattr(second[0].job, "args", None)


def test_a_run_that_breaks_off_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """And says why; what it has left behind stays."""

    async def break_off(directory: Path, until: float) -> Report:
        (directory / "left").touch()
        raise AssertionError(f"{directory} until {until}")

    assert run(Part("faults", 1.0, break_off), 5.0) is None
    said = capsys.readouterr().out
    left = Path(said.split("records in ")[1].split(" ")[0])
    assert f"AssertionError: {left} until 5.0" in said
    (left / "left").unlink()
    left.rmdir()


def test_the_totals_of_all_runs_are_said() -> None:
    """By sort of fault."""
    history = [Answered("x", "enter", "e", "x", 1, 2, DONE), Led("a", "e", "a", 1, 6.0, 1, 2, lost="EXPIRED")]
    counts = Counter({"the server killed": 2, "clients killed": 1, "clients stopped, briefly": 4, "the disk full": 1})
    report = Report(plans(MEMORY, 0)[0], "", counts, [*history], 6.0, [], ["a token fell"])
    said = totals([report, report])
    assert said.startswith("6 kills, 8 stops, 0 cuts, 2 times without room on a disk, 0 jumps of clocks\n")
    assert "4 records, 2 commands acknowledged, 2 leaderships\n2 leaderships expired\n" in said
    assert said.endswith("2 promises broken")
