"""Becoming the leader and giving it up, durably, against etcd's own election service: ``python -m benchmarks.durable``.

Ours is Enter and Withdraw over gRPC, a server process on an SQLite file and a client process; etcd's is Campaign and
Resign, one member, and the fastest of three Python clients. The data of both are on the same disk.
"""

from contextlib import ExitStack
from functools import partial

from benchmarks import etcd
from benchmarks.call_load import AT_ONCE
from benchmarks.etcd_election import CLIENTS
from benchmarks.processes import Program, Rate, election_server, parts, scratch, worker
from benchmarks.report import LESS, Report, at_least, run

_GOALS = {1: at_least(1.2), AT_ONCE: at_least(1)}
_TITLES = {
    "ours": "enter and withdraw, {}",
    "logged": "enter and withdraw, {}, server logs each leader",
    "raw": "enter and withdraw, {}, raw client",
    "etcd": "etcd's campaign and resign, {}",
}


def measure(report: Report) -> None:
    """Report all of it."""
    seconds = report.effort.seconds
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        ours = Side(stack, f"sqlite:///{directory}/elections.db")
        logged = Side(stack, f"sqlite:///{directory}/logged.db", logs=True)
        raw = worker(stack, "benchmarks.call_load", "raw", ours.target)
        theirs = _etcd(report, stack)
        for at_once in (1, AT_ONCE):
            sides = {
                "ours": partial(ours.cycles, ours.clients, at_once, seconds),
                "logged": partial(logged.cycles, logged.clients, at_once, seconds),
                "raw": partial(ours.cycles, raw, at_once, seconds),
            }
            if theirs is not None:
                member_pid, clients = theirs
                name = fastest(clients, at_once, seconds)
                report.notes[f"client of etcd, {at_once} at a time"] = name
                sides["etcd"] = partial(clients[name].rate, member_pid, "rate", at_once, seconds)
            _report(report, at_once, report.rounds(sides))


class Side:
    """A server of ours and its clients.

    Args:
        stack: what ends them.
        store: of the server.
        logs: see ``election_server``.
    """

    def __init__(self, stack: ExitStack, store: str, *, logs: bool = False) -> None:
        self._server, self.target = election_server(stack, store, logs=logs)
        self.clients = worker(stack, "benchmarks.call_load", "ours", self.target)

    def cycles(self, clients: Program, at_once: int, seconds: float) -> Rate:
        """Return how often a second clients enter and withdraw."""
        calls = clients.rate(self._server.pid, "rate", "enter", at_once, seconds)
        return Rate(calls.per_s / 2, calls.cost_us * 2)


def fastest(clients: dict[str, Program], at_once: int, seconds: float) -> str:
    """Return which client of etcd is the fastest here and now."""
    rates = {name: client.ask("rate", at_once, seconds) for name, client in clients.items()}
    return max(rates, key=lambda name: rates[name])


def _etcd(report: Report, stack: ExitStack) -> tuple[int, dict[str, Program]] | None:
    """Return the process of a member, and its clients."""
    missing = etcd.why_not()
    if missing:
        report.skip(missing)
        return None
    (member,) = stack.enter_context(etcd.cluster_of(1)).members
    report.notes["etcd"] = etcd.version()
    clients = {name: worker(stack, "benchmarks.etcd_election", name, str(member.endpoint)) for name in CLIENTS}
    return member.pid, clients


def _report(report: Report, at_once: int, rates: dict[str, list[Rate]]) -> None:
    how = "one at a time" if at_once == 1 else f"{at_once} elections at once"
    per_s, cost_us = parts(rates)
    for what, title in _TITLES.items():
        if what in rates:
            report.row(title.format(how), per_s[what], "cycles/s")
            report.row(f"{title.format(how)}: processor time of the server", cost_us[what], "us a cycle")
    if "etcd" in rates:
        title = f"enter and withdraw, {how}, against etcd"
        report.ratio(title, per_s["ours"], per_s["etcd"], _GOALS[at_once])
        title = f"enter and withdraw, {how}: processor time of the server, against etcd's"
        report.ratio(title, cost_us["ours"], cost_us["etcd"], LESS, is_steady=True)


if __name__ == "__main__":
    run("durable", __doc__, measure)
