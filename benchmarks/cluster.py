"""How much servers on etcd carry, and how soon they go on after a crash: ``python -m benchmarks.cluster``.

All processes run on this machine, etcd with its default time-outs and its data on the disk of the checkout. Where
the machine has other work, rates say little, and the processor time for each more.
"""

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial

import anyio

from atomix_election import ElectionError, connect
from benchmarks import etcd
from benchmarks.etcd import cluster_of
from benchmarks.processes import KIB, READY, Program, election_server, memory_bytes
from benchmarks.report import FULL, Report, run
from tests.etcd.cluster import Cluster

TTL_S = 5.0
RENEWED_SESSIONS = 200
SECONDS = 5.0
"""Of load, and
rounds of it, of which the median is reported."""
ROUNDS = 3
CRASHES = 3
"""Of each kind."""
FILLED = 1000
"""Sessions and elections whose memory is measured."""
AT_ONCE = (1, 64)
"""Elections under load."""


def load(*arguments: str) -> float:
    """Run a process of clients to its end, and return the number that it prints."""
    with Program("benchmarks.cluster_load", *arguments) as clients:
        return float(clients.line())


class Server:
    """A server process on some members of etcd, which logs as it comes."""

    def __init__(self, stack: ExitStack, cluster: Cluster) -> None:
        store = "etcd://" + ",".join(map(str, cluster.endpoints))
        self.process, self.target = election_server(stack, store, logs=True)

    async def kill(self) -> None:
        """End it at once."""
        self.process.kill()


def measure_load(report: Report, size: int) -> None:
    """How much one server carries, and two; and what processor time that costs them."""
    seconds, rounds, numbers = (SECONDS, ROUNDS, AT_ONCE) if report.effort is FULL else (report.effort.seconds, 1, (8,))
    with cluster_of(size) as cluster, ExitStack() as stack:
        members = f"{size} member{'s' * (size > 1)}"
        one, two = (Server(stack, cluster) for _ in range(2))

        def measure(what: str, servers: Sequence[Server], job: str, number: int) -> None:
            rates, costs = list[float](), list[float]()
            targets = " ".join(each.target for each in servers)
            for _ in range(rounds):
                before_s = sum(each.process.processor_s for each in servers)
                rates.append(load(job, targets, str(number), str(seconds)))
                used_s = sum(each.process.processor_s for each in servers) - before_s
                costs.append(1000 * used_s / (rates[-1] * seconds))
            servers_named = "one server" if len(servers) == 1 else "two servers"
            report.row(f"{what}, {servers_named}, {members}", rates, "a second")
            report.row(f"{what}, {servers_named}, {members}: processor time of servers", costs, "ms each")

        measure(f"renewals, {RENEWED_SESSIONS} sessions", [one], "renew", RENEWED_SESSIONS)
        for number in numbers:
            for servers in ([one], [one, two]):
                measure(f"enter and withdraw, {number} election{'s' * (number > 1)}", servers, "cycle", number)


def measure_memory(report: Report) -> None:
    """What 1,000 sessions and 1,000 elections cost a server, and etcd."""
    with cluster_of(1) as cluster, ExitStack() as stack:
        server, (member,) = Server(stack, cluster), cluster.members
        load_once(server.target)
        for what in ("sessions", "elections"):
            before = server.process.memory_bytes, memory_bytes(member.pid)
            filling = stack.enter_context(Program("benchmarks.cluster_load", what, server.target, str(FILLED)))
            assert filling.line() == READY
            thousands = FILLED / 1000
            after = server.process.memory_bytes, memory_bytes(member.pid)
            for who, was, became in zip(("server", "etcd"), before, after, strict=True):
                report.row(f"memory of {who} for 1,000 {what}", [(became - was) / KIB / KIB / thousands], "MiB")


def load_once(target: str) -> None:
    """Have everything imported and allocated that the first calls need."""
    load("cycle", target, "8", "0.5")


def measure_crashes(report: Report) -> None:
    """How long nobody leads, or a call takes, when something is killed."""
    with cluster_of(3) as cluster, ExitStack() as stack:
        lasting = Server(stack, cluster)
        values: dict[str, list[float]] = {}
        for number in range(CRASHES):
            with ExitStack() as short:
                used = Server(short, cluster)
                target = f"{used.target},{lasting.target.removeprefix('grpc://')}"
                for what, measure in (
                    (f"takeover, leader killed, time-to-live {TTL_S:g} s", partial(take_over, target, f"one-{number}")),
                    (
                        "longest call, etcd's leader killed",
                        partial(longest_call, target, partial(kill_leader, cluster)),
                    ),
                    (
                        f"takeover, both killed, time-to-live {TTL_S:g} s",
                        partial(take_over, target, f"two-{number}", cluster),
                    ),
                    ("longest call, the server in use killed", partial(longest_call, target, used.kill)),
                ):
                    values.setdefault(what, []).append(anyio.run(measure))
                    anyio.run(revive, cluster)
        for what, each in values.items():
            report.row(what, each, "s")


async def take_over(target: str, election: str, cluster: Cluster | None = None) -> float:
    """Kill who leads, and with it the leader of a cluster, and return how long it takes until the next one leads."""
    with Program("benchmarks.cluster_load", "lead", target, election, "first", str(TTL_S), is_silent=True) as first:
        assert first.line() == READY
        async with connect(target, session_ttl=TTL_S) as client:
            waiting = client.election(election, candidate_id="second")
            await waiting.enter()
            await anyio.sleep(random.uniform(0, TTL_S / 3))  # wherever it is between two renewals
            if cluster is not None:
                await kill_leader(cluster)
            began = time.monotonic()
            first.kill()
            async with waiting.lead():
                return time.monotonic() - began
    raise AssertionError("the block returns")


async def longest_call(target: str, strike: Callable[[], Awaitable[None]]) -> float:
    """Enter and withdraw all the time, and return the longest that a call took, its repetitions included."""
    longest, over = 0.0, anyio.Event()

    async def call_on() -> None:
        nonlocal longest
        async with connect(target, session_ttl=3 * TTL_S) as client:
            election = client.election("calls", candidate_id="caller")
            await election.enter()
            started.set()
            while not over.is_set():
                began = time.monotonic()
                while True:
                    with suppress(ElectionError):
                        await election.get_term()
                        break
                longest = max(longest, time.monotonic() - began)
                await anyio.sleep(0.005)

    started = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_on)
        await started.wait()
        await strike()
        await anyio.sleep(TTL_S)
        over.set()
    return longest


async def kill_leader(cluster: Cluster) -> None:
    """Kill the member of etcd that leads."""
    (await cluster.leader()).kill()


async def revive(cluster: Cluster) -> None:
    """Start the members again that were killed."""
    for member in cluster.members:
        if not member.is_running:
            member.start()
    await cluster.ready()


def measure(report: Report) -> None:
    """Report all of it; in a short form, load alone."""
    missing = etcd.why_not()
    if missing:
        report.skip(missing)
        return
    report.notes["etcd"] = etcd.version()
    for size in (1, 3) if report.effort is FULL else (1,):
        measure_load(report, size)
    if report.effort is FULL:
        measure_memory(report)
        measure_crashes(report)


if __name__ == "__main__":
    run("cluster", __doc__, measure)
