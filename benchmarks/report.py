"""What a benchmark reports: medians with their range, and ratios of rounds taken in turn, beside their goals."""

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

_SampleT = TypeVar("_SampleT")

_LIBRARIES = ("anyio", "betterproto2", "grpclib", "h2", "hpack")
HEADER = "| what | median | range | | goal | reached |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured.

    Args:
        name: of the effort.
        seconds: that a rate is sustained in each round.
        rounds: of each side.
        size: part of the full number of sessions, watchers, elections and the like.
    """

    name: str
    seconds: float
    rounds: int
    size: float

    def of(self, number: int, *, least: int = 1) -> int:
        """Return a part of a number, and no less than ``least``."""
        return max(least, round(number * self.size))


FULL = Effort("full", 2.5, 5, 1.0)
SHORT = Effort("short", 0.5, 5, 0.2)
"""Long enough for ratios to be compared with those of another short run."""
TINY = Effort("tiny", 0.05, 1, 0.01)
"""To see that it runs: no figure of it says anything."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio is to be.

    Args:
        bound: the goal itself belongs to what reaches it; None where there is none.
        at_least: whether more is better.
    """

    bound: float | None
    at_least: bool

    def __str__(self) -> str:
        return "" if self.bound is None else f"{'>=' if self.at_least else '<='} {self.bound:g}"

    def verdict(self, ratio: float) -> str:
        """Return whether a ratio is good enough, for the table."""
        if self.bound is None:
            return ""
        return "yes" if (ratio >= self.bound if self.at_least else ratio <= self.bound) else "**no**"


def at_least(bound: float) -> Goal:
    """Return the goal of a ratio of rates."""
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    """Return the goal of a ratio of times, or costs."""
    return Goal(bound, at_least=False)


MORE = Goal(None, at_least=True)
"""No goal, but more is better."""
LESS = Goal(None, at_least=False)
"""No goal, but less is better."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a benchmark.

    Args:
        what: names it; there is one of each name.
        unit: of the figure; "times" for a ratio.
        median: of all rounds; and
        least: the lowest of them; and
        most: the highest.
        goal: of a ratio, or which direction is good.
        is_steady: whether it comes out alike whenever it is measured, so that ``make bench-check`` compares it.
        curve: the plot that it is a point of; "" for none.
        at: where on that plot.
    """

    what: str
    unit: str
    median: float
    least: float
    most: float
    goal: Goal | None = None
    is_steady: bool = False
    curve: str = ""
    at: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Row":
        """Return the row that ``as_json`` was made from."""
        goal = values["goal"]
        return cls(**{**values, "goal": None if goal is None else Goal(**goal)})

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        goal = None if self.goal is None else {"bound": self.goal.bound, "at_least": self.goal.at_least}
        return {**{name: getattr(self, name) for name in self.__slots__}, "goal": goal}

    def as_table(self) -> str:
        """Return its line of the table."""
        goal, reached = ("", "") if self.goal is None else (str(self.goal), self.goal.verdict(self.median))
        spread = f"{number(self.least)} to {number(self.most)}"
        return f"| {self.what} | {number(self.median)} | {spread} | {self.unit} | {goal} | {reached} |"


def number(value: float) -> str:
    """Return a number for people, of four digits or a few more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class Report:
    """The rows of one benchmark, printed as they come.

    Args:
        name: the benchmark.
        effort: how long is measured.
    """

    def __init__(self, name: str, effort: Effort) -> None:
        self.name = name
        self.effort = effort
        self.rows: list[Row] = []
        self.notes: dict[str, str] = {}
        """What else there is to know, such as versions of others."""

    def row(self, what: str, values: Sequence[float], unit: str, **more: Any) -> None:
        """Report a figure.

        Args:
            what: names it.
            values: one for each round.
            unit: their unit.
            more: see ``Row``.
        """
        assert all(each.what != what for each in self.rows), f"there are two rows of the name {what!r}"
        self.rows.append(Row(what, unit, median(values), min(values), max(values), **more))
        print(self.rows[-1].as_table(), flush=True)

    def ratio(self, what: str, ours: Sequence[float], theirs: Sequence[float], goal: Goal, **more: Any) -> None:
        """Report the ratio of each pair of rounds.

        Args:
            what: names it.
            ours: one for each round.
            theirs: the other side of the same rounds.
            goal: what it is to be.
            more: see ``Row``.
        """
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        self.row(what, ratios, "times", goal=goal, **more)

    def rounds(self, sides: Mapping[str, Callable[[], _SampleT]]) -> dict[str, list[_SampleT]]:
        """Measure all sides in turn, forwards and backwards, after a round that does not count.

        Args:
            sides: what measures each once.
        """
        for measure in sides.values():
            measure()
        samples: dict[str, list[_SampleT]] = {name: [] for name in sides}
        for turn in range(self.effort.rounds):
            for name in list(sides) if turn % 2 == 0 else reversed(list(sides)):
                samples[name].append(sides[name]())
        return samples

    def skip(self, why: str) -> None:
        """Say that some of it could not be measured here."""
        self.notes["skipped"] = why
        print(f"| skipped: {why} | | | | | |", flush=True)

    def as_json(self) -> dict[str, Any]:
        """Return what the line of JSON says."""
        return {
            "benchmark": self.name,
            "effort": {"name": self.effort.name, "seconds": self.effort.seconds, "rounds": self.effort.rounds},
            "machine": machine(),
            "load_average": os.getloadavg()[1],
            "notes": self.notes,
            "rows": [each.as_json() for each in self.rows],
        }


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "processors": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
    }


def run(name: str, about: str | None, measure: Callable[[Report], None]) -> None:
    """Run one benchmark as a program.

    Args:
        name: the benchmark.
        about: what it measures.
        measure: reports the rows.
    """
    parser = argparse.ArgumentParser(prog=f"benchmarks.{name}", description=about)
    parser.add_argument("--short", action="store_const", const=SHORT, dest="effort", help="for make bench-check")
    parser.add_argument("--tiny", action="store_const", const=TINY, dest="effort", help="see that it runs, no more")
    parser.set_defaults(effort=FULL)
    report = Report(name, parser.parse_args().effort)
    print(HEADER, flush=True)
    measure(report)
    print(json.dumps(report.as_json()))
