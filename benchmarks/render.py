"""Bring docs/performance.md up to date with what was measured: ``python -m benchmarks.render``.

The text there is written by people. Between ``<!-- figures: NAME -->`` and ``<!-- end -->`` stands what follows from
the results: the table of a benchmark, that of all goals (``goals``), the machine (``machine``). Plots go beside the
results.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks import suite
from benchmarks.processes import ROOT
from benchmarks.report import HEADER, number
from benchmarks.suite import Result

PAGE = ROOT / "docs" / "performance.md"
GOALS, MACHINE = "goals", "machine"

_FIGURES = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_GOALS_HEADER = "| what | goal | reached | |\n|---|---|---|---|"


def table(result: Result) -> str:
    """Return the rows of a benchmark, and what else it has to say."""
    notes = "; ".join(f"{what}: {said}" for what, said in result.notes.items())
    rows = "\n".join([HEADER, *[row.as_table() for row in result.rows]])
    return f"{rows}\n\n{notes[:1].upper()}{notes[1:]}.\n" if notes else f"{rows}\n"


def goals(results: Sequence[Result]) -> str:
    """Return all goals, and what was reached."""
    lines = [
        f"| {row.what} | {row.goal} | {number(row.median)} | {row.goal.verdict(row.median)} |"
        for result in results
        for row in result.rows
        if row.goal is not None and row.goal.bound is not None
    ]
    return "\n".join([_GOALS_HEADER, *lines]) + "\n"


def machine(results: Sequence[Result]) -> str:
    """Return what all was measured on."""
    about = dict(results[0].machine)
    processor, processors, system, python = (about.pop(key) for key in ("processor", "processors", "system", "python"))
    etcd = {each.notes["etcd"] for each in results if "etcd" in each.notes}
    versions = [f"Python {python}", *[f"{name} {value}" for name, value in about.items()]]
    versions += [f"etcd {each}" for each in sorted(etcd)]
    loads = sorted(each.load_average for each in results)
    return (
        f"{processors} processors ({processor}), {system}; {', '.join(versions)}. Load of the machine while it was "
        f"measured, the benchmarks' own included: {loads[0]:.1f} to {loads[-1]:.1f}.\n"
    )


def figures(results: Sequence[Result]) -> dict[str, str]:
    """Return what the page shows, by name."""
    return {each.name: table(each) for each in results} | {GOALS: goals(results), MACHINE: machine(results)}


def render(page: str, results: Sequence[Result]) -> str:
    """Return the page with the figures of these results.

    Raises:
        KeyError: the page shows a benchmark that was not measured.
    """
    what = figures(results)
    return _FIGURES.sub(lambda found: f"{found[1]}{what[found[2]]}{found[3]}", page)


def shown(page: str) -> list[str]:
    """Return the names of the figures that a page shows."""
    return [found[2] for found in _FIGURES.finditer(page)]


def main() -> None:
    """See the module."""
    from benchmarks.plots import draw

    results = suite.read(suite.RESULTS)
    PAGE.write_text(render(PAGE.read_text(), results))
    draw(results, Path(suite.RESULTS.parent))


if __name__ == "__main__":
    main()
