"""One run: servers and clients under load, faults of both one after the other, and then the checker."""

import random
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from atomix_election.testing.checker import check_history
from atomix_election.testing.history import Recorder, now, read_history
from tests.crash.load import LASTING
from tests.soak import asking
from tests.soak import clients as of_clients
from tests.soak.book import Book
from tests.soak.clients import Crews
from tests.soak.disks import small_disk
from tests.soak.etcd_servers import etcd_servers
from tests.soak.one_server import OneServer
from tests.soak.report import Report
from tests.soak.site import ETCD, MEMORY, SQLITE, Plan, Site
from tests.soak.sqlite_server import SqliteServer

LOOK_S = 0.05
"""Between two looks at the clock, by which it is noticed that the machine has no time for us."""
LATE_S = 0.4
"""How late such a look may be."""
PART_OF_BOTH = 0.3
"""How often something is done to clients while something is done to servers."""
LATE = "the machine busy, so that nobody can be served in time"


class Run:
    """What is going on.

    Args:
        plan: what it is to be.
        directory: for records and logs.
        site: the servers, with their clients.
        book: what was done.
        chance: of moments.
    """

    def __init__(self, plan: Plan, directory: Path, site: Site, book: Book, chance: random.Random) -> None:
        self._plan = plan
        self._directory = directory
        self._site = site
        self._book = book
        self._chance = chance
        self.longest_failover_s = 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be done."""
        clocks = [of_clients.CLOCKS_JUMPED] if self._plan.library else []
        return (*self._site.kinds, *of_clients.KINDS, *clocks)

    def random_kinds(self, until: float) -> Iterator[tuple[str, ...]]:
        """Return all of it in random order, again and again, until a time has come.

        Now and then something is done to servers and to clients at once; but where a store is lost with its server, it
        has to be known for each record which store it is about.
        """
        while True:
            for kind in self._chance.sample(self.kinds, len(self.kinds)):
                if now() > until:
                    return
                both = kind in self._site.kinds and self._plan.store != MEMORY and self._chance.random() < PART_OF_BOTH
                yield (kind, self._chance.choice(of_clients.KINDS)) if both else (kind,)

    async def start(self) -> None:
        """Start all, and find out what the servers promise."""
        await self._site.start()
        await self._site.ready()
        await asking.all_stand(self._site.entrance, LASTING, self._site.crews.staying)
        self.longest_failover_s = await asking.announced_failover_s(self._site.entrance, self._plan.ttl_s)
        if self._plan.store == ETCD:  # where a lease may be given its whole time again
            self._site.crews.mortal_ends_within_s = self.longest_failover_s

    async def fault(self, *kinds: str) -> None:
        """Do something, or some things at once, kill some clients meanwhile, and see that all answer again."""
        crews = self._site.crews
        await crews.start_mortals(self._site.entrance)
        async with anyio.create_task_group() as tasks:
            for kind in kinds:
                tasks.start_soon(self._do, kind)
            await anyio.sleep(self._chance.uniform(0.0, 2.0))
            await crews.kill_mortals(but=1)  # those have had the time to get somewhere
        await anyio.sleep(self._plan.quiet_s)

    async def end(self) -> None:
        """Let the clients leave, and see that nothing of anybody is left when the announced time has passed."""
        crews = self._site.crews
        await crews.kill_mortals()
        self._book.close()
        await crews.leave()
        await self._site.audit(now() + self.longest_failover_s + self._plan.expiry_slack_s)

    async def look_at_the_machine(self) -> None:
        """Take note, for ever, of times in which it has kept us waiting: nothing is promised for them."""
        while True:
            looked_at = now()
            await anyio.sleep(LOOK_S)
            if now() - looked_at > LOOK_S + LATE_S:
                self._book.counts[LATE] += 1
                self._book.happened(LATE, looked_at, now(), outage=True)

    def report(self) -> Report:
        """Check what clients were told."""
        history = read_history(sorted(self._directory.glob("*.records")))
        verdict = check_history(history, self._plan.promises(self.longest_failover_s, early_ends=self._site.early_ends))
        broken = [str(each) for each in verdict.violations]
        what, *lines = self._site.lines()
        return Report(self._plan, what, self._book.counts, history, self.longest_failover_s, lines, broken)

    async def _do(self, kind: str) -> None:
        if kind == of_clients.CLOCKS_JUMPED:
            await self._site.crews.set_clocks()
        elif kind in of_clients.KINDS:
            await self._site.crews.do(kind)
        else:
            await self._site.do(kind)


@asynccontextmanager
async def running(plan: Plan, directory: Path) -> AsyncGenerator[Run]:
    """Start all, and end it after the block, with what has to be so in the end."""
    async with AsyncExitStack() as ending:
        chance = random.Random(plan.seed)
        book = Book(ending.enter_context(Recorder(directory / "run.records")))
        crews = Crews(directory, book, chance, ending, pause_s=plan.pause_s, library=plan.library)
        site = await ending.enter_async_context(_site(plan, directory, book, chance, crews))
        run = Run(plan, directory, site, book, chance)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.look_at_the_machine)
            await run.start()
            yield run
            await run.end()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def _site(plan: Plan, directory: Path, book: Book, chance: random.Random, crews: Crews) -> AsyncGenerator[Site]:
    async with AsyncExitStack() as ending:
        if plan.store == ETCD:
            yield await ending.enter_async_context(etcd_servers(plan, directory, book, chance, crews))
            return
        if plan.store == SQLITE:
            disk = ending.enter_context(small_disk(directory / "disk")) if plan.small_disk else None
            site = SqliteServer(plan, directory, book, chance, crews, disk)
        else:
            site = OneServer(plan, directory, book, chance, crews)
        ending.push_async_callback(site.end)
        yield site


async def soak(
    plan: Plan, directory: Path, kinds: Iterable[str | tuple[str, ...]] | None = None, *, until: float = 0.0
) -> Report:
    """Do faults of some kinds one after the other under load, and check what clients were told.

    Args:
        plan: what to run.
        directory: for all files.
        kinds: of the faults, some together; by default all in random order, again and again.
        until: when to begin with no more of those.
    """
    async with running(plan, directory) as run:
        for each in run.random_kinds(until) if kinds is None else kinds:
            await run.fault(*((each,) if isinstance(each, str) else each))
    return run.report()
