"""How long ``atomix-election term`` takes, import and one call: ``python -m benchmarks.startup``.

Against a client that imports grpclib and betterproto2 and makes one call too.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import NamedTuple

from benchmarks.processes import ROOT, Program, election_server
from benchmarks.report import LESS, Report, at_most, run

STARTS = 5
"""Of which a round has the medians."""
MILLISECONDS = 1000.0


class Start(NamedTuple):
    """What it took from the start of a process to its end."""

    wall_ms: float
    processor_ms: float


def start(command: Sequence[str]) -> Start:
    """Run a process to its end."""
    # As in an installed package, whose modules are compiled once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, env=environment
    )
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} has failed"
    return Start(wall_s * MILLISECONDS, (used.ru_utime + used.ru_stime) * MILLISECONDS)


def starts(command: Sequence[str], number: int) -> Start:
    """Run several processes, one after the other, and return the medians."""
    wall_ms, processor_ms = zip(*[start(command) for _ in range(number)], strict=True)
    return Start(median(wall_ms), median(processor_ms))


def measure(report: Report) -> None:
    """Report all of it."""
    number = report.effort.of(STARTS)
    with ExitStack() as stack:
        _, target = election_server(stack, "memory://")
        port = stack.enter_context(Program("benchmarks.stock")).line()
        commands = {
            "atomix-election term": ["-m", "atomix_election", "term", "nightly", "--target", target],
            "a stock client": ["-m", "benchmarks.startup_stock", port],
            "an empty Python program": ["-c", ""],
        }
        taken = report.rounds({what: partial(starts, each, number) for what, each in commands.items()})
    for what, values in taken.items():
        report.row(what, [each.wall_ms for each in values], "ms")
        report.row(f"{what}: processor time", [each.processor_ms for each in values], "ms")
    ours, stock, _ = taken.values()
    title = "atomix-election term, against a stock client"
    report.ratio(title, [each.wall_ms for each in ours], [each.wall_ms for each in stock], at_most(1.3))
    processor = [each.processor_ms for each in ours], [each.processor_ms for each in stock]
    report.ratio(f"{title}: processor time", *processor, LESS, is_steady=True)


if __name__ == "__main__":
    run("startup", __doc__, measure)
