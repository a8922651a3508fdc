"""See that nothing has become slower: ``python -m benchmarks.check``.

It runs the short form of each benchmark and compares those ratios that come out alike whenever they are measured (see
``Row.is_steady``) with those of ``benchmarks/recorded.json``. A ratio that is more than 25 % worse is measured once
more, and when it is so again, that is a regression. ``--record`` writes the file: the medians of three runs.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import suite
from benchmarks.report import machine
from benchmarks.suite import Result

RECORDED = Path(__file__).parent / "recorded.json"
TOLERANCE = 0.25
RUNS = 3
"""Of which the medians are recorded."""
CHECKED = [name for name in suite.NAMES if name != "cluster"]  # which has no ratios

Name = tuple[str, str]
"""A benchmark, and one of its rows."""


class Ratio(NamedTuple):
    """A ratio that comes out alike whenever it is measured."""

    value: float
    more_is_better: bool

    def worse_than(self, other: "Ratio") -> float:
        """Return by what part of another one this one is worse; less than 0 where it is better."""
        change = self.value / other.value - 1
        return -change if self.more_is_better else change


def ratios_of(results: Iterable[Result]) -> dict[Name, Ratio]:
    """Return what is compared."""
    return {
        (result.name, row.what): Ratio(row.median, row.goal.at_least)
        for result in results
        for row in result.rows
        if row.is_steady and row.goal is not None
    }


def regressions(recorded: Mapping[Name, Ratio], measured: Mapping[Name, Ratio]) -> dict[Name, str]:
    """Return what is wrong with each row that is much worse than it was, or is not there any more."""
    found: dict[Name, str] = {}
    for name, former in recorded.items():
        title = f"{name[0]}: {name[1]}"
        ratio = measured.get(name)
        if ratio is None:
            found[name] = f"{title}: it is recorded, but not measured any more; if that is meant, make bench-record"
        elif ratio.worse_than(former) > TOLERANCE:
            direction = "more" if former.more_is_better else "less"
            found[name] = (
                f"{title}: {ratio.value:.3g} times, recorded {former.value:.3g} times ({direction} is better): "
                f"{ratio.worse_than(former):.0%} worse, the limit is {TOLERANCE:.0%}"
            )
    return found


def load(path: Path) -> dict[Name, Ratio]:
    """Return what was recorded."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["ratios"]
    return {(row["benchmark"], row["what"]): Ratio(row["ratio"], row["more_is_better"]) for row in rows}


def record(path: Path, runs: list[dict[Name, Ratio]]) -> None:
    """Write the medians of several runs."""
    rows = [
        {
            "benchmark": name[0],
            "what": name[1],
            "ratio": round(median(run[name].value for run in runs), 4),
            "more_is_better": ratio.more_is_better,
        }
        for name, ratio in runs[0].items()
    ]
    path.write_text(json.dumps({"machine": machine(), "runs": len(runs), "ratios": rows}, indent=1) + "\n")


def main() -> int:
    """See the module, and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.check", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the file that is compared with")
    parser.add_argument("--recorded", type=Path, metavar="FILE", default=RECORDED, help="default %(default)s")
    parser.add_argument("--results", type=Path, metavar="FILE", help="take what was measured already")
    options = parser.parse_args()
    if options.record:
        record(options.recorded, [ratios_of(suite.run(CHECKED, "--short")) for _ in range(RUNS)])
        return 0
    results = suite.read(options.results) if options.results else list(suite.run(CHECKED, "--short"))
    skipped = {each.name for each in results if "skipped" in each.notes}
    measured = ratios_of(results)
    recorded = {
        name: ratio for name, ratio in load(options.recorded).items() if name in measured or name[0] not in skipped
    }
    found = regressions(recorded, measured)
    if found and not options.results:
        print("\nworse than recorded, and measured once more:", *found.values(), sep="\n  ")
        again = ratios_of(suite.run(sorted({name for name, _ in found}), "--short"))
        found = regressions({name: recorded[name] for name in found}, again)
    for name in measured.keys() - load(options.recorded).keys():
        print(f"{name[0]}: {name[1]}: not recorded yet: make bench-record")
    if found:
        print("\nslower than recorded:", *found.values(), sep="\n  ", file=sys.stderr)
        return 1
    print(f"\nnone of {len(recorded)} ratios is more than {TOLERANCE:.0%} worse than recorded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
