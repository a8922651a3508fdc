"""Commands that an engine commits to SQLite, without RPC, against SQLite alone: ``python -m benchmarks.commits``.

The floor is 64 rows in each transaction, in a file of the same kind on the same disk; and 1 row for a caller alone.
"""

from contextlib import ExitStack
from functools import partial

from benchmarks.processes import parts, scratch, worker
from benchmarks.report import LESS, MORE, Report, at_least, run

AT_ONCE = 64

_FLOORS = {"64 rows a commit": AT_ONCE, "1 row a commit": 1}
_ENGINE = {
    "64 elections at once": (AT_ONCE, AT_ONCE),
    "1 election, 64 callers": (1, AT_ONCE),
    "1 election, 1 caller": (1, 1),
}


def measure(report: Report) -> None:
    """Report all of it."""
    seconds = report.effort.seconds
    with ExitStack() as stack:
        process = worker(stack, "benchmarks.commits_load", str(stack.enter_context(scratch())))
        sides = {what: partial(process.rate, process.pid, "rows", each, seconds) for what, each in _FLOORS.items()}
        sides |= {what: partial(process.rate, process.pid, "engine", *each, seconds) for what, each in _ENGINE.items()}
        sides["wake-up"] = partial(process.rate, process.pid, "wake_ups", seconds / 3)
        rates = report.rounds(sides)
    per_s, cost_us = parts(rates)
    many, one = _FLOORS
    for what in _FLOORS:
        report.row(f"SQLite alone, {what}", per_s[what], "rows/s")
    for what in _ENGINE:
        report.row(f"committed commands, {what}", per_s[what], "commands/s")
        report.row(f"committed commands, {what}: processor time", cost_us[what], "us")
    for what, (_, callers) in _ENGINE.items():
        floor = many if callers == AT_ONCE else one
        goal = at_least(0.5) if callers == AT_ONCE else MORE
        report.ratio(f"committed commands, {what}, against {floor}", per_s[what], per_s[floor], goal)
        title = f"committed commands, {what}: processor time, against the wake-up of a future"
        report.ratio(title, cost_us[what], cost_us["wake-up"], LESS, is_steady=callers == AT_ONCE)


if __name__ == "__main__":
    run("commits", __doc__, measure)
