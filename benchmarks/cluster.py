"""How much servers on etcd carry, and how soon they go on after a crash: ``python -m benchmarks.cluster``.

All processes run on this machine, etcd with its default time-outs and its data in a temporary directory. It prints a
table, and one line of JSON. Where the machine has other work, rates say little, and the processor time for each more.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median

import anyio

from atomix_election import ElectionError, connect
from benchmarks.cluster_load import READY
from tests.etcd.cluster import Cluster, binary

DEFAULTS_OF_ETCD = ("--heartbeat-interval=100", "--election-timeout=1000")
"""In place of those that tests have, as the times of takeovers depend on them."""
TTL_S = 5.0
RENEWED_SESSIONS = 200
WAIT_S = 60.0
KIB = 1024


class Bench:
    """What is measured, and how long and how often.

    Args:
        seconds: of load.
        rounds: of load, of which the median is reported.
        crashes: of each kind.
        filled: sessions and elections whose memory is measured.
        elections: at once, under load.
    """

    def __init__(self, seconds: float, rounds: int, crashes: int, filled: int, elections: tuple[int, ...]) -> None:
        self.elections = elections
        self.seconds = seconds
        self.rounds = rounds
        self.crashes = crashes
        self.filled = filled
        self.rows: list[dict[str, object]] = []

    def row(self, what: str, values: Sequence[float], unit: str) -> None:
        """Report the median of some values, the lowest and the highest."""
        row = {"what": what, "median": median(values), "least": min(values), "most": max(values), "unit": unit}
        self.rows.append(row)
        print(f"| {what} | {row['median']:,.4g} | {row['least']:,.4g} to {row['most']:,.4g} | {unit} |", flush=True)


def load(*arguments: str) -> float:
    """Run a process of clients to its end, and return the number that it prints."""
    command = [sys.executable, "-m", "benchmarks.cluster_load", *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=WAIT_S).stdout)  # noqa: S603


@contextmanager
def running(module: str, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """Run a module of Python in a process of its own for the length of the block."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


class Server:
    """A server process on some members of etcd."""

    def __init__(self, stack: ExitStack, cluster: Cluster) -> None:
        store = "etcd://" + ",".join(map(str, cluster.endpoints))
        options = ["serve", "--listen", "127.0.0.1:0", "--store", store]
        self.process = stack.enter_context(running("atomix_election", *options))
        self.target = line_of(self.process).removeprefix("listening on ")

    @property
    def memory_bytes(self) -> int:
        """What it has in memory."""
        return memory_bytes(self.process.pid)

    @property
    def processor_s(self) -> float:
        """What it has used of processors."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def kill(self) -> None:
        """End it at once."""
        self.process.kill()


def memory_bytes(pid: int) -> int:
    """Return what a process has in memory."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) * KIB


@contextmanager
def cluster_of(size: int) -> Generator[Cluster]:
    """Run etcd."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Cluster(Path(directory) / "etcd", size=size, arguments=DEFAULTS_OF_ETCD) as cluster,
    ):
        anyio.run(cluster.ready)
        yield cluster


def measure_load(bench: Bench, size: int) -> None:
    """How much one server carries, and two; and what processor time that costs them."""
    with cluster_of(size) as cluster, ExitStack() as stack:
        members = f"{size} member{'s' * (size > 1)}"
        one, two = (Server(stack, cluster) for _ in range(2))

        def measure(what: str, servers: Sequence[Server], job: str, number: int) -> None:
            rates, costs = list[float](), list[float]()
            targets = " ".join(each.target for each in servers)
            for _ in range(bench.rounds):
                before_s = sum(each.processor_s for each in servers)
                rates.append(load(job, targets, str(number), str(bench.seconds)))
                used_s = sum(each.processor_s for each in servers) - before_s
                costs.append(1000 * used_s / (rates[-1] * bench.seconds))
            servers_named = "one server" if len(servers) == 1 else "two servers"
            bench.row(f"{what}, {servers_named}, {members}", rates, "a second")
            bench.row(f"{what}, {servers_named}, {members}: processor time of servers", costs, "ms each")

        measure(f"renewals, {RENEWED_SESSIONS} sessions", [one], "renew", RENEWED_SESSIONS)
        for number in bench.elections:
            for servers in ([one], [one, two]):
                measure(f"enter and withdraw, {number} election{'s' * (number > 1)}", servers, "cycle", number)


def measure_memory(bench: Bench) -> None:
    """What 1,000 sessions and 1,000 elections cost a server, and etcd."""
    with cluster_of(1) as cluster, ExitStack() as stack:
        server, (member,) = Server(stack, cluster), cluster.members
        load_once(server.target)
        for what in ("sessions", "elections"):
            before = server.memory_bytes, memory_bytes(member.pid)
            filling = running("benchmarks.cluster_load", what, server.target, str(bench.filled))
            assert line_of(stack.enter_context(filling)) == READY
            thousands = bench.filled / 1000
            after = server.memory_bytes, memory_bytes(member.pid)
            for who, was, became in zip(("server", "etcd"), before, after, strict=True):
                bench.row(f"memory of {who} for 1,000 {what}", [(became - was) / KIB / KIB / thousands], "MiB")


def load_once(target: str) -> None:
    """Have everything imported and allocated that the first calls need."""
    load("cycle", target, "8", "0.5")


def measure_crashes(bench: Bench) -> None:
    """How long nobody leads, or a call takes, when something is killed."""
    with cluster_of(3) as cluster, ExitStack() as stack:
        lasting = Server(stack, cluster)
        values: dict[str, list[float]] = {}
        for number in range(bench.crashes):
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
            bench.row(what, each, "s")


async def take_over(target: str, election: str, cluster: Cluster | None = None) -> float:
    """Kill who leads, and with it the leader of a cluster, and return how long it takes until the next one leads."""
    with running("benchmarks.cluster_load", "lead", target, election, "first", str(TTL_S)) as first:
        assert line_of(first) == READY
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


def main() -> None:
    """Measure all, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="see that some of it runs, and take no figure for one")
    short: bool = parser.parse_args().short
    bench = Bench(0.2, 1, 0, 0, (8,)) if short else Bench(5.0, 3, 3, 1000, (1, 64))
    print("| what | median | range | |\n|---|---|---|---|", flush=True)
    for size in (1,) if short else (1, 3):
        measure_load(bench, size)
    if not short:
        measure_memory(bench)
        measure_crashes(bench)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    version = subprocess.run([binary(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    machine["etcd"] = version.split()[2]
    print(json.dumps({"benchmark": "cluster", **machine, "load_average": os.getloadavg()[1], "rows": bench.rows}))


if __name__ == "__main__":
    main()
