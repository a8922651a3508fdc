"""What calls cost when there are many elections: ``python -m benchmarks.scale``.

Three servers for each kind of store, with 1, 1,000 and 100,000 elections that have a leader each, besides the 64 whose
calls are measured; on a memory store, and on an SQLite file. Clients cost next to nothing.
"""

from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from benchmarks.call_load import AT_ONCE
from benchmarks.processes import Program, Rate, parts, scratch, worker
from benchmarks.report import FULL, Report, at_least, at_most, run

NUMBERS = (1, 1000, 100_000)
_STORES = ("memory", "SQLite")
_CALLS = {"enter": "Enter and Withdraw", "get_term": "GetTerm"}


class Side(NamedTuple):
    """A server and its clients."""

    server: Program
    raw: Program


def measure(report: Report) -> None:
    """Report all of it."""
    few, some, many = NUMBERS
    numbers = (few, some, many) if report.effort is FULL else (few, report.effort.of(many))
    for store in _STORES:
        with ExitStack() as stack:
            sides = start(stack, store, numbers)
            for call, title in _CALLS.items():
                asking = {str(number): partial(_ask, side, call, report) for number, side in sides.items()}
                rates = report.rounds(asking)
                _report(report, f"{title}, {store}", {number: rates[str(number)] for number in numbers})


def _ask(side: Side, call: str, report: Report) -> Rate:
    return side.raw.rate(side.server.pid, "rate", call, AT_ONCE, report.effort.seconds / 2)


def start(stack: ExitStack, store: str, numbers: tuple[int, ...]) -> dict[int, Side]:
    """Start a server for each number of elections; they fill themselves at the same time."""
    directory = stack.enter_context(scratch())
    servers: dict[int, Program] = {}
    for number in numbers:
        target = "memory://scale" if store == "memory" else f"sqlite:///{directory}/{number}.db"
        servers[number] = stack.enter_context(Program("benchmarks.filled_server", target, str(number)))
    load = partial(worker, stack, "benchmarks.call_load", "raw")
    return {number: Side(server, load(server.line())) for number, server in servers.items()}


def _report(report: Report, what: str, rates: dict[int, list[Rate]]) -> None:
    per_s, cost_us = parts(rates)
    for number in rates:
        where = f"{what}, {number:,} election{'s' * (number > 1)}"
        report.row(where, per_s[number], "calls/s")
        report.row(
            f"{where}: processor time of the server", cost_us[number], "us a call", curve=f"elections/{what}", at=number
        )
    few, *more = rates
    for number in more:
        title = f"{what}, {number:,} elections against 1"
        is_most = number == more[-1]
        report.ratio(title, per_s[number], per_s[few], at_least(0.9))
        title = f"{title}: processor time of the server"
        report.ratio(title, cost_us[number], cost_us[few], at_most(1.1), is_steady=is_most)


if __name__ == "__main__":
    run("scale", __doc__, measure)
