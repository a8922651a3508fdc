"""From the end of a leader's ``lead()`` block until the next one's block runs: ``python -m benchmarks.handover``.

Over gRPC, on an SQLite file, against etcd's own election service: from Resign until the next one's Campaign returns.
All who compete have a connection and a session of their own, and whoever is next is in another process.
"""

import time
from contextlib import ExitStack
from functools import partial
from statistics import median

from benchmarks import etcd
from benchmarks.etcd_election import CLIENTS
from benchmarks.processes import Program, election_server, scratch, worker
from benchmarks.report import TINY, Report, at_most, run

MANY = 100
PROCESSES = 8
"""In which those who compete are, where there are as many."""
SETTLE_S = 0.25
"""How long all is at rest before a hand-over: etcd takes longer for one who has only just begun to wait."""
HANDOVERS = 5
"""Of which a round has the median."""
MILLISECONDS = 1000.0


class Queue:
    """One who leads, and those who wait, in the order in which they will lead.

    Args:
        stack: what ends their processes.
        kind: see ``handover_load``.
        target: where the election is.
        name: the election.
        waiting: how many wait.
    """

    def __init__(self, stack: ExitStack, kind: str, target: str, name: str, waiting: int) -> None:
        self._number = waiting + 1
        processes = min(self._number, PROCESSES)
        self._workers = [worker(stack, "benchmarks.handover_load", kind, target, name) for _ in range(processes)]
        for each in range(self._number):
            self._of(each).ask("stand", each, each)
        self._leader = 0

    def handover_ms(self, number: int) -> float:
        """Have the lead handed over so many times, and return the median of how long it took."""
        return median(self._once_s() for _ in range(number)) * MILLISECONDS

    def _once_s(self) -> float:
        leader, self._leader = self._leader, (self._leader + 1) % self._number
        time.sleep(SETTLE_S)
        self._of(self._leader).tell("led", self._leader)
        left_s: float = self._of(leader).ask("leave", leader, self._number)
        return float(self._of(self._leader).line()) - left_s

    def _of(self, number: int) -> Program:
        return self._workers[number % len(self._workers)]


def measure(report: Report) -> None:
    """Report all of it."""
    missing = etcd.why_not()
    if missing:
        report.skip(missing)
    else:
        report.notes["etcd"] = etcd.version()
        report.notes["client of etcd"] = fastest()
    for waiting in (1, report.effort.of(MANY, least=3)):
        with ExitStack() as stack:
            directory = stack.enter_context(scratch())
            _, target = election_server(stack, f"sqlite:///{directory}/elections.db")
            queues = {"ours": Queue(stack, "ours", target, "handover", waiting)}
            if not missing:
                (endpoint,) = stack.enter_context(etcd.cluster_of(1)).endpoints
                queues["etcd"] = Queue(stack, report.notes["client of etcd"], str(endpoint), "handover", waiting)
            number = 1 if report.effort is TINY else HANDOVERS
            times_ms = report.rounds({kind: partial(queue.handover_ms, number) for kind, queue in queues.items()})
        _report(report, waiting, times_ms)


def fastest() -> str:
    """Return which client of etcd is the fastest here and now."""
    times_ms: dict[str, float] = {}
    with etcd.cluster_of(1) as cluster:
        for kind in CLIENTS:
            with ExitStack() as stack:
                trial = Queue(stack, kind, str(cluster.endpoints[0]), f"trial of {kind}", 1)
                times_ms[kind] = trial.handover_ms(HANDOVERS)
    return min(times_ms, key=lambda kind: times_ms[kind])


def _report(report: Report, waiting: int, times_ms: dict[str, list[float]]) -> None:
    report.row(f"hand-over, {waiting} waiting", times_ms["ours"], "ms")
    if "etcd" in times_ms:
        report.row(f"etcd's hand-over, {waiting} waiting", times_ms["etcd"], "ms")
        title = f"hand-over, {waiting} waiting, against etcd"
        report.ratio(title, times_ms["ours"], times_ms["etcd"], at_most(0.5), is_steady=waiting == 1)


if __name__ == "__main__":
    run("handover", __doc__, measure)
