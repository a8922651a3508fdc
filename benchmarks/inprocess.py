"""Enter and withdraw inside one process, on a memory store: ``python -m benchmarks.inprocess``.

Beside it, on the same loop: the wake-up of a future, and the least that could keep commands in order, an actor that
takes each from a queue, changes a list, and sets a future.
"""

from contextlib import ExitStack
from functools import partial

from benchmarks.inprocess_load import ACTOR, ALONE, TOGETHER, WAKE_UPS
from benchmarks.processes import worker
from benchmarks.report import MORE, Report, at_least, run


def measure(report: Report) -> None:
    """Report all of it."""
    with ExitStack() as stack:
        process = worker(stack, "benchmarks.inprocess_load")
        kinds = (WAKE_UPS, ACTOR, ALONE, TOGETHER)
        rates = report.rounds({what: partial(process.ask, "rate", what, report.effort.seconds) for what in kinds})
    report.row(WAKE_UPS, rates[WAKE_UPS], "a second")
    for what in (ACTOR, ALONE, TOGETHER):
        report.row(f"enter and withdraw, {what}", rates[what], "cycles/s")
    for what in (ALONE, TOGETHER):
        title = f"enter and withdraw, {what}, against a bare actor"
        report.ratio(title, rates[what], rates[ACTOR], at_least(1), is_steady=True)
    report.ratio(f"cycles of {ALONE} for each wake-up of a future", rates[ALONE], rates[WAKE_UPS], MORE)


if __name__ == "__main__":
    run("inprocess", __doc__, measure)
