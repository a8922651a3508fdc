"""What a change costs when many wait in the queue: ``python -m benchmarks.queue_length``.

Each reply is the term with all its candidates, so a change cannot cost the same whatever their number; it is to cost no
more than in proportion to the bytes of the term. One enters and withdraws behind all others, one call at a time.
"""

from contextlib import ExitStack
from functools import partial

from benchmarks.processes import Rate, election_server, parts, scratch, worker
from benchmarks.report import FULL, LESS, Report, at_most, run

FEW, MANY = 10, 999
ON_THE_WAY = (30, 100, 300)
"""Other lengths, which the curve shows as well."""


def measure(report: Report) -> None:
    """Report all of it."""
    many = report.effort.of(MANY, least=20)
    lengths = (FEW, *ON_THE_WAY, many) if report.effort is FULL else (FEW, many)
    for store in ("memory", "SQLite"):
        with ExitStack() as stack:
            directory = stack.enter_context(scratch())
            where = "memory://" if store == "memory" else f"sqlite:///{directory}/elections.db"
            server, target = election_server(stack, where)
            caller = worker(stack, "benchmarks.queue_load", target)
            for length in lengths:
                caller.ask("fill", length)
            reply_bytes = {length: caller.ask("reply_bytes", length) for length in lengths}
            seconds = report.effort.seconds / 3
            sides = {str(length): partial(caller.rate, server.pid, "change", length, seconds) for length in lengths}
            rates = report.rounds(sides)
        _report(report, store, {length: rates[str(length)] for length in lengths}, reply_bytes)


def _report(report: Report, store: str, rates: dict[int, list[Rate]], reply_bytes: dict[int, float]) -> None:
    _, cost_us = parts(rates)
    for length, values in cost_us.items():
        title = f"a change, {store}, {length:,} in the queue: processor time of the server"
        report.row(title, values, "us", curve=f"queue/{store}", at=length)
        title = f"the reply to it, {store}, {length:,} in the queue"
        report.row(title, [reply_bytes[length]], "bytes")
    few, *_, many = cost_us
    growth = [most / least for most, least in zip(cost_us[many], cost_us[few], strict=True)]
    title = f"a change, {store}, {many:,} in the queue against {few}"
    report.ratio(title, cost_us[many], cost_us[few], LESS, is_steady=True)
    bytes_growth = reply_bytes[many] / reply_bytes[few]
    title = f"a change, {store}: growth of its cost against that of its reply"
    report.ratio(title, growth, [bytes_growth] * len(growth), at_most(1))


if __name__ == "__main__":
    run("queue_length", __doc__, measure)
