"""What keeping sessions alive costs a server, against streams of a stock one: ``python -m benchmarks.sessions``.

Renewals against empty messages that are echoed, and the memory of an idle session against that of a bare connection
with one stream. Their clients cost next to nothing.
"""

from contextlib import ExitStack
from functools import partial

from benchmarks.processes import KIB, Program, Rate, election_server, parts, worker
from benchmarks.report import FULL, LESS, MORE, TINY, Report, at_least, at_most, run

RENEWED = 200
"""Sessions whose renewals are counted."""
ON_THE_WAY = (10, 50, 500)
"""Other numbers of sessions, which the curve shows as well."""
IDLE = 500
"""Sessions whose memory is measured,"""
WARM = 50
"""after so many others."""
MEASURED = 3
"""How often: each time with servers of their own."""

_Pair = dict[str, tuple[Program, Program]]


def start(stack: ExitStack) -> _Pair:
    """Start a server of ours and a stock one, and return each with its clients."""
    server, target = election_server(stack, "memory://")
    stock = stack.enter_context(Program("benchmarks.stock"))
    port = stock.line()
    return {
        "ours": (server, worker(stack, "benchmarks.sessions_load", "ours", target)),
        "stock": (stock, worker(stack, "benchmarks.sessions_load", "stock", port)),
    }


def measure(report: Report) -> None:
    """Report all of it."""
    renewed = report.effort.of(RENEWED)
    numbers = sorted((*ON_THE_WAY, renewed)) if report.effort is FULL else [renewed]
    with ExitStack() as stack:
        pair = start(stack)
        for number in numbers:
            for _, clients in pair.values():
                clients.ask("open", number)
            seconds = report.effort.seconds if number == renewed else report.effort.seconds / 4
            asking = {
                kind: partial(clients.rate, server.pid, "renew", seconds) for kind, (server, clients) in pair.items()
            }
            _report_renewals(report, number, report.rounds(asking), is_goal=number == renewed)
    _measure_memory(report)


def _report_renewals(report: Report, number: int, rates: dict[str, list[Rate]], *, is_goal: bool) -> None:
    what = f"{number} session{'s' * (number > 1)}"
    per_s, cost_us = parts(rates)
    report.row(f"renewals of {what}", per_s["ours"], "a second", curve="sessions/ours", at=number)
    streams = f"{number} stock stream{'s' * (number > 1)}"
    report.row(f"empty messages on {streams}", per_s["stock"], "a second", curve="sessions/stock", at=number)
    goal = at_least(0.9) if is_goal else MORE
    report.ratio(f"renewals of {what}, against empty messages", per_s["ours"], per_s["stock"], goal)
    title = f"renewals of {what}: processor time of the server, against empty messages"
    report.ratio(title, cost_us["ours"], cost_us["stock"], LESS, is_steady=is_goal)


def _measure_memory(report: Report) -> None:
    idle = report.effort.of(IDLE, least=5)
    warm = WARM if report.effort is not TINY else 1
    kib: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in range(min(MEASURED, report.effort.rounds)):
        with ExitStack() as stack:
            for kind, (server, clients) in start(stack).items():
                clients.ask("open", warm)
                before = server.memory_bytes
                clients.ask("open", warm + idle)
                kib[kind].append((server.memory_bytes - before) / KIB / idle)
    report.row("memory of an idle session, its connection and its stream", kib["ours"], "KiB")
    report.row("memory of a stock connection with one stream", kib["stock"], "KiB")
    title = "memory of an idle session, against a stock connection with one stream"
    report.ratio(title, kib["ours"], kib["stock"], at_most(1.5), is_steady=True)


if __name__ == "__main__":
    run("sessions", __doc__, measure)
