"""Two servers on an etcd cluster, whose members and connections are taken away too."""

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from atomix_election.etcd import EtcdClient, Get, prefix_end
from atomix_election.stores.etcd import SOUND_VERSIONS, open_etcd_store
from atomix_election.testing.history import DONE, Answered, now
from tests.certificates import Authority
from tests.cluster.faults import OF_ONE, OF_THREE, OUT_OF_SPACE, OUTAGES, PANICKED, Faults
from tests.cluster.servers import PREFIX, Access, EtcdServer, add_user, run_server
from tests.etcd.cluster import Cluster, Tls
from tests.etcd.panics import Panics
from tests.soak import asking
from tests.soak.book import Book
from tests.soak.clients import LONGEST_JUMP_S, Crews
from tests.soak.entrance import Entrance
from tests.soak.faked_clocks import FakedClock
from tests.soak.site import Plan

SERVERS = 2
CREW = 2
"""Clients of one process that go to servers; one that has etcd as its target is a process of its own."""
SERVER_CLOCK_JUMPED = "the wall clock of a server set"
MODULE = ("-m", "atomix_election", "serve")
"""What runs a server."""
LOOK_S = 0.05


class EtcdServers:
    """The servers of a run, as a ``Site``. ``etcd_servers`` makes one.

    Args:
        plan: what the run is to be.
        book: what was done.
        chance: of whom and how long.
        crews: their clients.
        cluster: of etcd.
        access: how to get at it.
        servers: on it.
        clocks: of the servers, if those can be set.
    """

    def __init__(
        self,
        plan: Plan,
        book: Book,
        chance: random.Random,
        crews: Crews,
        cluster: Cluster,
        access: Access,
        servers: list[EtcdServer],
        clocks: list[FakedClock],
    ) -> None:
        self.crews = crews
        self._plan = plan
        self._book = book
        self._chance = chance
        self._cluster = cluster
        self._access = access
        self._servers = servers
        self._clocks = clocks
        self._faults = Faults(cluster, servers, chance, plan.ttl_s)
        self._version = ""
        self.entrance = Entrance("grpc", tuple(each.port for each in servers))
        crews.also_cut += [proxy for server in servers for proxy in server.members]

    @property
    def early_ends(self) -> bool:
        """See ``Site.early_ends``: a stale leader of some releases of etcd ends them."""
        *release, patch = (int(part) for part in self._version.split("."))
        return patch < SOUND_VERSIONS.get((release[0], release[1]), 0)

    @property
    def kinds(self) -> Sequence[str]:
        """See ``Site.kinds``."""
        clocks = [SERVER_CLOCK_JUMPED] if self._clocks else []
        space = [] if self._plan.secured else [OUT_OF_SPACE]  # who sets the alarm speaks plain text
        return (*(OF_THREE if self._plan.members > 1 else OF_ONE), *space, *clocks)

    async def start(self) -> None:
        """Start the clients that stay: of servers, by way of proxies or not, and one that has etcd as its target."""
        async with self._cluster.client(**self._cluster.ready_with) as etcd:
            self._version = (await etcd.status()).version
        ports = self.entrance.ports
        access = self._access
        own = Entrance(
            access.scheme,
            tuple(each.port for each in self._cluster.members),
            f"/{PREFIX}",
            access.ca,
            access.token_file,
            access.certificate,
        )
        for kind, entrance, clients, proxied in (
            ("stayer", Entrance("grpc", ports), CREW, True),
            ("stayer", Entrance("grpc", ports[::-1]), CREW, False),
            ("inside", own, 1, True),
        ):
            await self.crews.start_stayers(entrance, self._plan.ttl_s, clients, kind=kind, proxied=proxied)

    async def do(self, kind: str) -> None:
        """See ``Site.do``."""
        if kind == SERVER_CLOCK_JUMPED:
            await self._set_clock()
            return
        with self._book.fault(kind, outage=kind in OUTAGES):
            await self._faults.do(kind)

    async def ready(self) -> None:
        """See ``Site.ready``."""
        await self._faults.recovered()

    async def watch_members(self) -> None:
        """Start members again that have died through no fault of ours, for ever."""
        await Panics(self._cluster).watch(self._panicked)

    async def audit(self, latest: float) -> None:
        """Sessions and leases are gone too, and in the end the servers; and what etcd itself has is what was told."""
        await asking.nobody_stands(self.entrance, latest, self._book)
        async with self._cluster.client(**self._cluster.ready_with) as etcd:
            sessions = f"{PREFIX}/sessions/".encode()
            while (left := (await etcd.get(Get(sessions, prefix_end(sessions)))).items) and now() < latest:  # noqa: ASYNC110
                await anyio.sleep(LOOK_S)
            assert not left, f"these sessions are left: {left}"
            async with open_etcd_store(etcd, prefix=f"{PREFIX}/") as store:
                async for election_id, election in store.elections():
                    term = election.term
                    self._book.write(Answered("etcd", "get_term", election_id.name, "", now(), now(), DONE, term))
            for server in self._servers:
                await server.terminate()
            while (strays := await _strays(etcd)) and now() < latest:  # noqa: ASYNC110
                await anyio.sleep(LOOK_S)  # leases of clients that were killed while they opened something
            assert not strays, f"these leases are left: {strays}"

    def lines(self) -> list[str]:
        """See ``Site.lines``."""
        how = "TLS on both sides and users" if self._plan.secured else "plain text"
        return [f"{SERVERS} servers on etcd {self._version}, members: {self._plan.members}, {how}"]

    def _panicked(self, begun: float, ended: float) -> None:
        self._book.counts[PANICKED] += 1
        self._book.happened(PANICKED, begun, ended, outage=True)  # it may have been one too many

    async def _set_clock(self) -> None:
        """Let the wall clock jump by hours: nothing may come of that, so that it is no fault."""
        server, clock = self._chance.choice(list(zip(self._servers, self._clocks, strict=True)))
        clock.check_used(server.pid)
        await clock.jump(self._chance.randint(-LONGEST_JUMP_S, LONGEST_JUMP_S))
        self._book.counts[SERVER_CLOCK_JUMPED] += 1
        await server.answers()


@asynccontextmanager
async def etcd_servers(
    plan: Plan, directory: Path, book: Book, chance: random.Random, crews: Crews
) -> AsyncGenerator[EtcdServers]:
    """Run etcd and two servers on it, which begin with different members.

    Args:
        plan: what the run is to be.
        directory: for files.
        book: what was done.
        chance: of whom and how long.
        crews: their clients.
    """
    async with AsyncExitStack() as stack:
        tls = Tls.issue(Authority(directory)) if plan.secured else None
        arguments = ("--auth-token-ttl=3", "--bcrypt-cost=4") if plan.secured else ()
        cluster = stack.enter_context(Cluster(directory / "etcd", size=plan.members, tls=tls, arguments=arguments))
        await cluster.ready()
        if plan.secured:
            add_user(cluster)
        access = Access(cluster, directory, secured=plan.secured)
        servers, clocks = list[EtcdServer](), list[FakedClock]()
        for number in range(SERVERS):
            if plan.library is not None:
                clocks.append(FakedClock(plan.library, directory / f"server-{number}.clock"))
            members = cluster.members[number % plan.members :] + cluster.members[: number % plan.members]
            options = ["--max-session-ttl", str(plan.ttl_s), "--session-ttl", str(plan.ttl_s)]
            environment = clocks[-1].environment if clocks else {}
            log = directory / f"server-{number}.log"
            running = run_server(log, access, members, MODULE, options, environment)
            servers.append(await stack.enter_async_context(running))
        site = EtcdServers(plan, book, chance, crews, cluster, access, servers, clocks)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(site.watch_members)
            yield site
            tasks.cancel_scope.cancel()


async def _strays(etcd: EtcdClient) -> set[int]:
    """Return the leases that belong to nobody: not even to a server that was killed, whose own lasts a while longer."""
    servers = f"{PREFIX}/servers/".encode()
    items = (await etcd.get(Get(servers, prefix_end(servers)))).items
    return set(await etcd.leases()) - {each.lease for each in items}
