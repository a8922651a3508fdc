"""Calls over gRPC on a memory store, against empty calls of grpclib and betterproto2: ``python -m benchmarks.call``.

A server process and a client process of each. Both are measured with their own clients, and with one that costs next to
nothing, which shows what the server alone can do.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from benchmarks.call_load import AT_ONCE
from benchmarks.processes import Program, Rate, election_server, parts, worker
from benchmarks.report import LESS, Report, at_least, at_most, run

_NAMES = {"enter": "Enter", "get_term": "GetTerm", "stock": "empty stock call"}
_RATES = {"enter": "Enter and Withdraw", "get_term": "GetTerm", "stock": "empty stock call"}


class Side(NamedTuple):
    """A server and its clients."""

    server: Program
    client: Program
    raw: Program

    def latency_us(self, what: str, seconds: float) -> float:
        """Return how long one call takes."""
        return self.client.ask("latency", what, seconds)


def sides(stack: ExitStack) -> tuple[Side, Side]:
    """Start a server of ours and a stock one, with their clients."""
    server, target = election_server(stack, "memory://")
    stock = stack.enter_context(Program("benchmarks.stock"))
    port = stock.line()
    load = partial(worker, stack, "benchmarks.call_load")
    return (
        Side(server, load("ours", target), load("raw", target)),
        Side(stock, load("stock", port), load("raw-stock", port)),
    )


def measure(report: Report) -> None:
    """Report all of it."""
    seconds = report.effort.seconds
    with ExitStack() as stack:
        ours, stock = sides(stack)
        side_of = {"enter": ours, "get_term": ours, "stock": stock}
        latencies = report.rounds({what: partial(side.latency_us, what, seconds) for what, side in side_of.items()})
        for what, values in latencies.items():
            report.row(f"{_NAMES[what]}, one at a time", values, "us")
        for what in ("enter", "get_term"):
            title = f"{_NAMES[what]}, one at a time, against an empty stock call"
            report.ratio(title, latencies[what], latencies["stock"], at_most(1.1), is_steady=True)
        for clients, program_of in _CLIENTS.items():
            rates = report.rounds(
                {
                    what: partial(program_of(side).rate, side.server.pid, "rate", what, AT_ONCE, seconds)
                    for what, side in side_of.items()
                }
            )
            _report_rates(report, clients, rates)


_CLIENTS: dict[str, Callable[[Side], Program]] = {
    f"{AT_ONCE} at once": lambda side: side.client,
    f"{AT_ONCE} at once, raw clients": lambda side: side.raw,
}


def _report_rates(report: Report, clients: str, rates: dict[str, list[Rate]]) -> None:
    per_s, cost_us = parts(rates)
    for what in rates:
        report.row(f"{_RATES[what]}, {clients}", per_s[what], "calls/s")
        report.row(f"{_RATES[what]}, {clients}: processor time of the server", cost_us[what], "us a call")
    for what in ("enter", "get_term"):
        title = f"{_RATES[what]}, {clients}, against empty stock calls"
        report.ratio(title, per_s[what], per_s["stock"], at_least(2))
        title = f"{_RATES[what]}, {clients}: processor time of the server, against that of empty stock calls"
        report.ratio(title, cost_us[what], cost_us["stock"], LESS, is_steady="raw" in clients)


if __name__ == "__main__":
    run("call", __doc__, measure)
