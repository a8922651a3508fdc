"""One change until the last of many watchers has it, against a stock server: ``python -m benchmarks.fanout``.

The watchers are on ten connections, and read as cheaply as possible: what is measured is the server. The stock one
writes the same event to each of its streams.
"""

from contextlib import ExitStack
from functools import partial

from benchmarks.processes import Program, election_server, worker
from benchmarks.report import FULL, MORE, Report, at_least, run

WATCHERS = 1000
ON_THE_WAY = (10, 30, 100, 300)
"""Numbers of watchers that the curve shows as well."""


def measure(report: Report) -> None:
    """Report all of it."""
    with ExitStack() as stack:
        _, target = election_server(stack, "memory://")
        port = stack.enter_context(Program("benchmarks.stock")).line()
        sides = {
            kind: worker(stack, "benchmarks.fanout_load", kind, where)
            for kind, where in (("ours", target), ("stock", port))
        }
        watchers = report.effort.of(WATCHERS, least=10)
        for number in (*ON_THE_WAY, watchers) if report.effort is FULL else (watchers,):
            for side in sides.values():
                side.ask("watch", number)
            is_goal = number == watchers
            seconds = report.effort.seconds if is_goal else report.effort.seconds / 4
            asking = {kind: partial(side.ask, "change", seconds) for kind, side in sides.items()}
            _report(report, number, report.rounds(asking), is_goal=is_goal)


def _report(report: Report, number: int, times_ms: dict[str, list[float]], *, is_goal: bool) -> None:
    what = f"one change to {number:,} watchers"
    report.row(f"{what}, until the last has it", times_ms["ours"], "ms", curve="watchers/ours", at=number)
    report.row(f"{what}, stock stream writes", times_ms["stock"], "ms", curve="watchers/stock", at=number)
    goal = at_least(10) if is_goal else MORE
    report.ratio(f"{what}, how much faster than stock", times_ms["stock"], times_ms["ours"], goal, is_steady=is_goal)


if __name__ == "__main__":
    run("fanout", __doc__, measure)
