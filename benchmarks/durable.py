"""Becoming the leader and giving it up, durably, against etcd's own election service: ``python -m benchmarks.durable``.

Ours is Enter and Withdraw over gRPC, a server process on an SQLite file and a client process; etcd's is Campaign and
Resign, one member, and the fastest of three Python clients. The data of both are on the same disk.
"""

from contextlib import ExitStack
from functools import partial

from benchmarks import etcd
from benchmarks.call_load import AT_ONCE
from benchmarks.etcd_election import CLIENTS
from benchmarks.processes import Program, election_server, scratch, worker
from benchmarks.report import Report, at_least, run

_GOALS = {1: at_least(1.2), AT_ONCE: at_least(1)}


def measure(report: Report) -> None:
    """Report all of it."""
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        _, target = election_server(stack, f"sqlite:///{directory}/elections.db")
        _, logging = election_server(stack, f"sqlite:///{directory}/logged.db", logs=True)
        ours, logged = (worker(stack, "benchmarks.call_load", "ours", each) for each in (target, logging))
        raw = worker(stack, "benchmarks.call_load", "raw", target)
        theirs = _etcd_clients(report, stack)
        for at_once in (1, AT_ONCE):
            sides = {
                "ours": partial(cycles, ours, at_once, report.effort.seconds),
                "logged": partial(cycles, logged, at_once, report.effort.seconds),
                "raw": partial(cycles, raw, at_once, report.effort.seconds),
            }
            if theirs:
                name = fastest(theirs, at_once, report.effort.seconds)
                report.notes[f"client of etcd, {at_once} at a time"] = name
                sides["etcd"] = partial(theirs[name].ask, "rate", at_once, report.effort.seconds)
            _report(report, at_once, report.rounds(sides))


def cycles(program: Program, at_once: int, seconds: float) -> float:
    """Return how often a second a client of ours enters and withdraws."""
    return program.ask("rate", "enter", at_once, seconds) / 2


def fastest(clients: dict[str, Program], at_once: int, seconds: float) -> str:
    """Return which client of etcd is the fastest here and now."""
    rates = {name: client.ask("rate", at_once, seconds) for name, client in clients.items()}
    return max(rates, key=lambda name: rates[name])


def _etcd_clients(report: Report, stack: ExitStack) -> dict[str, Program]:
    missing = etcd.why_not()
    if missing:
        report.skip(missing)
        return {}
    cluster = stack.enter_context(etcd.cluster_of(1))
    report.notes["etcd"] = etcd.version()
    return {name: worker(stack, "benchmarks.etcd_election", name, str(cluster.endpoints[0])) for name in CLIENTS}


def _report(report: Report, at_once: int, rates: dict[str, list[float]]) -> None:
    how = "one at a time" if at_once == 1 else f"{at_once} elections at once"
    report.row(f"enter and withdraw, {how}", rates["ours"], "cycles/s")
    report.row(f"enter and withdraw, {how}, server logs each leader", rates["logged"], "cycles/s")
    report.row(f"enter and withdraw, {how}, raw client", rates["raw"], "cycles/s")
    if "etcd" in rates:
        report.row(f"etcd's campaign and resign, {how}", rates["etcd"], "cycles/s")
        title = f"enter and withdraw, {how}, against etcd"
        report.ratio(title, rates["ours"], rates["etcd"], _GOALS[at_once], is_steady=True)


if __name__ == "__main__":
    run("durable", __doc__, measure)
