"""``make soak STORE=etcd``: two servers on etcd, under load, and faults of both; then the history is checked.

In the end thousands of sessions come and go, and the servers must use no more than before.

Exits with 1 when a promise was broken. Equal seeds make equal plans, but not equal runs.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from operator import attrgetter
from pathlib import Path

import anyio
from anyio.abc import Process

from atomix_election import Client, Term, connect
from atomix_election.etcd import EtcdClient, Get, prefix_end
from atomix_election.stores.etcd import SOUND_VERSIONS, open_etcd_store
from atomix_election.testing.checker import Promises, check_history
from atomix_election.testing.history import (
    DONE,
    Answered,
    Entry,
    Fault,
    Gone,
    Led,
    Recorder,
    Seen,
    Up,
    now,
    read_history,
)
from tests.certificates import Authority
from tests.cluster.faults import OF_ONE, OF_THREE, OUTAGES, PANICKED, Faults, Panics
from tests.cluster.leaks import leaks
from tests.cluster.servers import PREFIX, START_S, Access, Server, add_user, end_process, run_server, start_process
from tests.crash.load import CALM, ELECTIONS, LASTING, PASSING, SHORT, Settings
from tests.etcd.cluster import Cluster, Tls

SERVERS = 2
STAYERS = 5
"""Clients that want to lead all the time: of two processes with two each, and of one that goes to etcd itself."""
MORTAL_TTL_S = 1.0
"""Time-to-live of those who are killed themselves."""
PAUSE_S = 0.1
"""The longest time between two commands of a client: all of it shares few cores with etcd."""
QUIET_S = 0.5
"""How long all is left alone after a fault."""
EXPIRY_SLACK_S = 3.0
WARM_UP = 100
"""Sessions before it is measured for the first time what servers use."""
SESSIONS_PER_MINUTE = 300
"""Sessions that come then, after the faults, for each minute that those were to last."""
MODULE = ("-m", "atomix_election", "serve")
"""What runs a server."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to be.

    Args:
        seed: of its choices.
        size: members of etcd.
        secured: whether etcd uses TLS on both sides, and asks for a user.
        ttl_s: time-to-live of clients that stay.
        settle_s: see ``Promises``: half of that, less what it takes to notice a fault and to go elsewhere.
    """

    seed: int
    size: int
    secured: bool
    ttl_s: float
    settle_s: float

    @property
    def kinds(self) -> tuple[str, ...]:
        """The faults that there can be."""
        return OF_THREE if self.size > 1 else OF_ONE

    def random_kinds(self, until: float) -> Iterator[str]:
        """Return all faults in random order, again and again, until a time has come."""
        chance = random.Random(self.seed)
        while True:
            for kind in chance.sample(self.kinds, len(self.kinds)):
                if time.monotonic() > until:
                    return
                yield kind


@dataclass(frozen=True, slots=True)
class Report:
    """What happened, and which promises were broken."""

    plan: Plan
    history: list[Entry]
    version: str
    longest_failover_s: float
    violations: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        """Return it in figures."""
        calls = [each for each in self.history if isinstance(each, Answered)]
        acknowledged = sum(each.outcome == DONE and each.what != "get_term" for each in calls)
        outcomes = Counter(each.outcome for each in calls)
        led = [each for each in self.history if isinstance(each, Led)]
        seen = [each for each in self.history if isinstance(each, Seen)]
        gone = sum(isinstance(each, Gone) for each in self.history)
        plan, counts = self.plan, self.counts()
        how = "TLS on both sides and users" if plan.secured else "plain text"
        who = f"{len({each.who for each in led})} clients in {gone} processes"
        watches = f"{len({each.watch for each in seen})} watches"
        lines = [
            f"seed {plan.seed}: {SERVERS} servers on etcd {self.version}, members: {plan.size}, {how}",
            *(f"  {counts[kind]} x {kind}; {self.kept(kind)} leaderships outlived it" for kind in sorted(counts)),
            f"{len(self.history)} records; {acknowledged} commands acknowledged",
            f"{outcomes['OutcomeUnknown']} calls of unknown outcome, {outcomes['Unavailable']} unavailable",
            f"{len(led)} leaderships of {who}, {sum(each.lost == 'EXPIRED' for each in led)} expired",
            f"{len(seen)} events in {watches}, {self.skips()} of them after some that were skipped",
            f"longest takeover {self.longest_takeover_s():.2f} s, outages of everything included",
            f"announced without them: {self.longest_failover_s:.2f} s",
            *self.violations[:20],
            f"{len(self.violations)} promises broken",
        ]
        return "\n".join(lines)

    def skips(self) -> int:
        """Return how many events follow skipped ones, where revisions do not jump because something was forgotten."""
        seen = [each for each in self.history if isinstance(each, Seen)]
        return sum(each.skipped and each.election not in PASSING for each in seen)

    def counts(self) -> Counter[str]:
        """Return how often there was each fault."""
        return Counter(each.kind for each in self.history if isinstance(each, Fault))

    def kept(self, kind: str) -> int:
        """Return how many leaderships outlived faults of a kind, from before them until after them."""
        faults = [each for each in self.history if isinstance(each, Fault) and each.kind == kind]
        led = [each for each in self.history if isinstance(each, Led) and each.until is not None]
        return sum(each.begun < fault.begun and (each.until or 0) > fault.ended for fault in faults for each in led)

    def longest_takeover_s(self) -> float:
        """Return the longest time without a leader where somebody always waits to lead."""
        led = sorted(
            (each for each in self.history if isinstance(each, Led) and each.election == SHORT),
            key=attrgetter("begun"),
        )
        return max((latter.begun - former.until for former, latter in pairwise(led) if former.until), default=0.0)


class Run:
    """The processes of one run, once all are there.

    Args:
        plan: what it is to be.
        directory: for records and logs.
        cluster: of etcd.
        access: how to get at it.
        servers: on it.
        processes: ends the processes that are started.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        cluster: Cluster,
        access: Access,
        servers: list[Server],
        processes: AsyncExitStack,
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._cluster = cluster
        self._access = access
        self._servers = servers
        self._processes = processes
        self._chance = random.Random(plan.seed)
        self._names = count()
        self._record = processes.enter_context(Recorder(directory / "run.records"))
        self._faults = Faults(cluster, servers, self._chance, plan.ttl_s)
        self.version = ""
        self.longest_failover_s = 0.0
        """As the servers announce it."""
        self._panics = Panics(cluster)
        self._begun = now()
        self._outages: list[tuple[float, float]] = []
        self._stayers: list[Process] = []
        self._mortal: tuple[Process, str] | None = None
        """Clients that are killed during the next fault, which they have had the time to get somewhere until then."""

    async def _start_mortal(self) -> tuple[Process, str]:
        return await self._load("mortal", self._of_servers([each.port for each in self._servers]), MORTAL_TTL_S)

    async def _kill_mortal(self, mortal: tuple[Process, str] | None) -> None:
        if mortal is not None:
            process, who = mortal
            await end_process(process)
            self._record(Gone(who, self.longest_failover_s, now()))

    async def start(self) -> None:
        """Start the clients that stay: of servers, by way of proxies or not, and one that has etcd as its target."""
        first, second = self._servers
        for servers, proxied in (((first, second), True), ((second, first), False)):
            ports = [each.front.port if proxied else each.port for each in servers]
            self._stayers.append((await self._load("stayer", self._of_servers(ports), self._plan.ttl_s))[0])
        own = self._access.target([each.port for each in self._cluster.members])
        self._stayers.append((await self._load("inside", own, self._plan.ttl_s, direct=True))[0])
        async with connect(self._of_servers([first.port])) as client:
            with anyio.fail_after(START_S):
                await _wait_for(client, LASTING, lambda term: len(term.candidates) == STAYERS)

    async def fault(self, kind: str) -> None:
        """Do something, kill some clients at the same time, and see that all answer again."""
        former, self._mortal = self._mortal, await self._start_mortal()
        begun = now()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._faults.do, kind)
            await anyio.sleep(self._chance.uniform(0.0, 2.0))
            await self._kill_mortal(former)
        self._record(Fault(kind, begun, now()))
        if kind in OUTAGES:
            self._outages.append((begun, now()))
        await anyio.sleep(QUIET_S)

    async def watch_members(self) -> None:
        """Start members again that have died through no fault of ours."""
        await self._panics.watch(self._panicked)

    def _panicked(self, begun: float, ended: float) -> None:
        self._outages.append((begun, ended))  # it may have been one too many
        self._record(Fault(PANICKED, begun, ended))

    async def ask(self) -> None:
        """Find out of which version etcd is, and what the servers announce."""
        async with self._cluster.client(**self._cluster.ready_with) as etcd:
            self.version = (await etcd.status()).version
        async with connect(self._of_servers([self._servers[0].port]), session_ttl=self._plan.ttl_s) as client:
            election = client.election("announced")
            await election.enter()
            self.longest_failover_s = client.candidates().keeper.longest_failover_s
            await election.withdraw()

    async def end(self) -> None:
        """Let the clients leave, and see that nothing of anybody is left when the announced time has passed."""
        await self._kill_mortal(self._mortal)
        since = self._begun
        for begun, ended in [*sorted(self._outages), (now(), now())]:
            if begun > since:
                self._record(Up(since, begun))
            since = max(since, ended)
        for each in self._stayers:
            assert each.returncode is None, f"a process of clients has ended; see {self._directory}/load.log"
            assert each.stdin is not None
            await each.stdin.aclose()  # at which it leaves
        for each in self._stayers:
            with anyio.fail_after(START_S):
                assert await each.wait() == 0, f"see {self._directory}/load.log"
        latest = now() + self.longest_failover_s + EXPIRY_SLACK_S
        async with connect(self._of_servers([each.port for each in self._servers])) as client:
            for name in ELECTIONS:
                with anyio.move_on_after(latest - now()):
                    await _wait_for(client, name, lambda term: not term.candidates)
                begun = now()
                term = await client.election(name).get_term()
                self._record(Answered("auditor", "get_term", name, "", begun, now(), DONE, term))
                assert not term.candidates, f"{name}: they have all gone, and there is {term}"
        await self._audit(latest)

    def history(self) -> list[Entry]:
        """Return all records."""
        return read_history(sorted(self._directory.glob("*.records")))

    async def _audit(self, latest: float) -> None:
        """See that sessions and leases are gone, and in the end the servers; and what etcd itself has."""
        async with self._cluster.client(**self._cluster.ready_with) as etcd:
            sessions = f"{PREFIX}/sessions/".encode()
            while (left := (await etcd.get(Get(sessions, prefix_end(sessions)))).items) and now() < latest:  # noqa: ASYNC110
                await anyio.sleep(0.05)
            assert not left, f"these sessions are left: {left}"
            async with open_etcd_store(etcd, prefix=f"{PREFIX}/") as store:
                async for election_id, election in store.elections():
                    self._record(Answered("etcd", "get_term", election_id.name, "", now(), now(), DONE, election.term))
            for server in self._servers:
                await server.stop()
            while (strays := await _strays(etcd)) and now() < latest:  # noqa: ASYNC110
                await anyio.sleep(0.05)  # leases of clients that were killed while they opened something
            assert not strays, f"these leases are left: {strays}"

    async def _load(self, kind: str, target: str, ttl_s: float, *, direct: bool = False) -> tuple[Process, str]:
        who = f"{kind}{next(self._names)}"
        settings = Settings(
            target,
            who,
            str(self._directory / f"{who}.records"),
            self._chance.randrange(1 << 32),
            ttl_s,
            clients=1 if direct else 2,
            ca=self._access.ca if direct else "",
            token_file=self._access.token_file if direct else "",
            pause_s=PAUSE_S,
            certificate=self._access.certificate if direct else "",
        )
        process = await start_process(["-m", "tests.crash.load", settings.to_json()], self._directory / "load.log")
        self._processes.push_async_callback(end_process, process)
        return process, who

    def _of_servers(self, ports: Iterable[int]) -> str:
        return "grpc://" + ",".join(f"127.0.0.1:{port}" for port in ports)


async def _wait_for(client: Client, name: str, found: Callable[[Term], bool]) -> None:
    """Wait for some term of an election."""
    async with client.election(name).events() as events:
        async for event in events:
            if found(event.term):
                return


async def _strays(etcd: EtcdClient) -> set[int]:
    """Return the leases that belong to nobody: not even to a server that was killed, whose own lasts a while longer."""
    servers = f"{PREFIX}/servers/".encode()
    items = (await etcd.get(Get(servers, prefix_end(servers)))).items
    return set(await etcd.leases()) - {each.lease for each in items}


@asynccontextmanager
async def running(plan: Plan, directory: Path) -> AsyncGenerator[Run]:
    """Start all, and end it after the block, with what has to be so in the end."""
    async with AsyncExitStack() as stack:
        tls = Tls.issue(Authority(directory)) if plan.secured else None
        arguments = ("--auth-token-ttl=3", "--bcrypt-cost=4") if plan.secured else ()
        cluster = stack.enter_context(Cluster(directory / "etcd", size=plan.size, tls=tls, arguments=arguments))
        await cluster.ready()
        if plan.secured:
            add_user(cluster)
        access = Access(cluster, directory, secured=plan.secured)
        servers: list[Server] = []
        for number in range(SERVERS):  # each begins with another member
            members = cluster.members[number % plan.size :] + cluster.members[: number % plan.size]
            log, options = directory / f"server-{number}.log", ["--max-session-ttl", str(plan.ttl_s)]
            options += ["--session-ttl", str(plan.ttl_s)]
            servers.append(await stack.enter_async_context(run_server(log, access, members, MODULE, options)))
        run = Run(plan, directory, cluster, access, servers, stack)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.watch_members)
            await run.ask()
            await run.start()
            yield run
            await run.end()
            tasks.cancel_scope.cancel()


async def soak(plan: Plan, directory: Path, kinds: Iterable[str]) -> Report:
    """Do faults of some kinds one after the other under load, and check what clients were told.

    Args:
        plan: what to run.
        directory: for all files.
        kinds: of the faults.
    """
    async with running(plan, directory) as run:
        for kind in kinds:
            await run.fault(kind)
    history = run.history()
    promises = Promises(
        calm=CALM,
        forgotten=frozenset(PASSING),
        settle_s=plan.settle_s,
        expiry_slack_s=EXPIRY_SLACK_S,
        numbers_jump=True,
        longest_failover_s=run.longest_failover_s,
        early_ends=not is_sound(run.version),
    )
    violations = [str(each) for each in check_history(history, promises).violations]
    return Report(plan, history, run.version, run.longest_failover_s, violations)


def is_sound(version: str) -> bool:
    """Return whether no stale leader of this etcd ends sessions."""
    *release, patch = (int(part) for part in version.split("."))
    return patch >= SOUND_VERSIONS.get((release[0], release[1]), 0)


def plans(seed: int) -> list[Plan]:
    """Return what is run one after the other."""
    return [Plan(seed, 3, False, 6.0, 2.5), Plan(seed, 3, True, 6.0, 2.5), Plan(seed, 1, True, 6.0, 2.5)]


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="of the plan")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to go on with faults")
    given = parser.parse_args()
    status = 0
    for plan in plans(given.seed):
        directory = Path(tempfile.mkdtemp(prefix="soak-"))
        say(f"seed {plan.seed}, records in {directory} until nothing was found")
        until = time.monotonic() + given.minutes * 60 / len(plans(plan.seed))
        report = anyio.run(soak, plan, directory, plan.random_kinds(until))
        say(str(report))
        if report.violations:
            status = 1
        else:
            shutil.rmtree(directory)
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    growth = anyio.run(leaks, directory, WARM_UP, max(int(given.minutes * SESSIONS_PER_MINUTE), WARM_UP))
    found = growth.leaks()
    say("\n".join([str(growth), *found, f"{len(found)} leaks"]))
    if found:
        return 1
    shutil.rmtree(directory)
    return status


def say(text: str) -> None:
    """Print it at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
