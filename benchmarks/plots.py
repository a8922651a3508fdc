"""Plots of what was measured, as SVG. They need matplotlib: the extra ``bench``."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib import rcParams
from matplotlib.figure import Figure

from benchmarks.suite import Result


class Plot(NamedTuple):
    """One plot.

    Args:
        curves: what the names of its curves begin with.
        title: what it shows.
        across: what its horizontal axis counts.
        up: what its vertical axis measures.
        is_log: whether the vertical axis is logarithmic, as the horizontal one always is.
    """

    curves: str
    title: str
    across: str
    up: str
    is_log: bool = False


PLOTS = (
    Plot("elections", "What a call costs when there are many elections", "elections", "server's processor time, µs"),
    Plot("queue", "What a change costs when many wait", "candidates in the queue", "server's processor time, µs", True),
    Plot("watchers", "One change until the last watcher has it", "watchers on 10 connections", "ms", True),
    Plot("sessions", "Renewals, against empty messages on stock streams", "sessions", "a second"),
)


def draw(results: Sequence[Result], directory: Path) -> None:
    """Write all plots.

    Args:
        results: what was measured.
        directory: where they go; a file for each, named as its curves.
    """
    # The same results give the same files, and letters stay letters.
    rcParams["svg.hashsalt"] = "benchmarks"
    rcParams["svg.fonttype"] = "none"
    for plot in PLOTS:
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axes = figure.add_subplot(title=plot.title, xlabel=plot.across, ylabel=plot.up, xscale="log")
        for name, points in curves(plot.curves, results).items():
            at, least, median, most = zip(*points, strict=True)
            (line,) = axes.plot(at, median, marker="o", label=name)
            axes.fill_between(at, least, most, color=line.get_color(), alpha=0.15, linewidth=0)
        if plot.is_log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,g}")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
        figure.savefig(directory / f"{plot.curves}.svg", metadata={"Date": None})


def curves(prefix: str, results: Sequence[Result]) -> dict[str, list[tuple[float, float, float, float]]]:
    """Return the points of each curve of a plot: where, lowest, median, highest."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in (row for result in results for row in result.rows):
        plot, _, name = row.curve.partition("/")
        if plot == prefix:
            found.setdefault(name, []).append((row.at, row.least, row.median, row.most))
    return {name: sorted(points) for name, points in found.items()}
