"""Processes of clients under load, and what is done to them: killed, stopped, cut off one way or both."""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import anyio
from anyio.abc import Process

from atomix_election.testing.history import Gone, now
from tests.crash.load import LASTING
from tests.faults.proxy import Proxy
from tests.soak import asking
from tests.soak.book import Book
from tests.soak.entrance import Entrance
from tests.soak.faked_clocks import FakedClock
from tests.soak.processes import START_S, end_process, go_on, start_process, stop

KILLED = "clients killed"
STOPPED = "clients stopped"
CUT_OFF = "clients cut off, which are refused"
SILENT = "clients cut off, both ways and in silence"
DEAF = "clients cut off, which hear nothing"
DUMB = "clients cut off, which nobody hears"
CONNECTIONS_CUT = "connections cut"
CLOCKS_JUMPED = "the wall clock of clients set"
BRIEFLY = "briefly"
FOR_LONG = "for longer than their leases"
HARMS = (STOPPED, CUT_OFF, SILENT, DEAF, DUMB)
KINDS = (*(f"{harm}, {how_long}" for harm in HARMS for how_long in (BRIEFLY, FOR_LONG)), CONNECTIONS_CUT)
"""What can be done to clients. Being killed is done to others, all the time."""
CUTS = 8
"""Times that connections are cut in one go."""
MORTAL_TTL_S = 1.0
"""Time-to-live of those who are killed."""
MORTALS = 2
"""Clients of one process of those."""
BRIEF_PART = 0.25
LONG_PART = 1.6
"""Of the time-to-live: how long what must not cost a leadership lasts at most, and what may."""
LONGEST_JUMP_S = 6 * 3600


@dataclass(eq=False)
class Crew:
    """A process of clients.

    Args:
        who: its name; its clients have it with a dot and a number.
        process: itself.
        proxies: its own, on all of its connections; none if it goes to the servers itself.
        ttl_s: time-to-live of its sessions.
        clock: its wall clock, if that can be set.
        clients: how many it has.
        entrance: how they get at elections, if not by proxies.
    """

    who: str
    process: Process
    proxies: Sequence[Proxy]
    ttl_s: float
    clock: FakedClock | None
    clients: int
    entrance: Entrance

    @property
    def names(self) -> list[str]:
        """Those of its clients."""
        return [f"{self.who}.{number}" for number in range(self.clients)]


class Crews:
    """Starts processes of clients, does things to them, and ends them.

    Args:
        directory: for records and logs.
        book: what was done.
        chance: of whom and how long.
        ending: ends what was started.
        pause_s: the longest time between two commands of a client.
        library: libfaketime, if the clocks of clients are to be set.
    """

    def __init__(
        self,
        directory: Path,
        book: Book,
        chance: random.Random,
        ending: AsyncExitStack,
        *,
        pause_s: float,
        library: Path | None,
    ) -> None:
        self.stayers: list[Crew] = []
        """Those who want to lead all the time."""
        self.also_cut: list[Proxy] = []
        """Proxies that connections are cut at beside those of clients."""
        self.log = directory / "load.log"
        self.mortal_ends_within_s = MORTAL_TTL_S
        """How long the session of one that was killed may last."""
        self._directory = directory
        self._book = book
        self._chance = chance
        self._ending = ending
        self._pause_s = pause_s
        self._library = library
        self._names = count()
        self._mortals: deque[Crew] = deque()
        harms: Mapping[str, Callable[[Crew, float], Awaitable[None]]] = {
            STOPPED: self._stop,
            CUT_OFF: self._cut_off,
            SILENT: lambda crew, for_s: self._stall(crew, for_s, up=True, down=True),
            DEAF: lambda crew, for_s: self._stall(crew, for_s, up=False, down=True),
            DUMB: lambda crew, for_s: self._stall(crew, for_s, up=True, down=False),
        }
        self._harms = {
            f"{kind}, {how_long}": (harms[kind], how_long) for kind in HARMS for how_long in (BRIEFLY, FOR_LONG)
        }

    @property
    def staying(self) -> list[str]:
        """The names of all those clients."""
        return [name for crew in self.stayers for name in crew.names]

    async def start_stayers(
        self, entrance: Entrance, ttl_s: float, clients: int, *, kind: str = "stayer", proxied: bool = True
    ) -> None:
        """Start a process of clients that want to lead all the time, with proxies of its own or without."""
        proxies = [await self._ending.enter_async_context(Proxy(port)) for port in entrance.ports if proxied]
        clock = None
        if self._library is not None:
            clock = FakedClock(self._library, self._directory / f"{kind}{len(self.stayers)}.clock")
        self.stayers.append(await self._start(kind, entrance, ttl_s, clients, proxies, clock))

    async def start_mortals(self, entrance: Entrance) -> None:
        """Start some that are killed later, when they have had the time to get somewhere; those that there are stay."""
        self._mortals.append(await self._start("mortal", entrance, MORTAL_TTL_S, MORTALS))

    async def kill_mortals(self, *, but: int = 0) -> None:
        """Kill those, but for some, the youngest ones."""
        while len(self._mortals) > but:
            mortal = self._mortals.popleft()
            await end_process(mortal.process)
            self._book.counts[KILLED] += 1
            self._book.write(Gone(mortal.who, self.mortal_ends_within_s, now()))

    async def do(self, kind: str) -> None:
        """Do one of ``KINDS``, and wait until clients can do as they like again."""
        if kind == CONNECTIONS_CUT:
            with self._book.fault(kind):
                await self._cut_connections()
            return
        harm, how_long = self._harms[kind]
        crews = [each for each in self.stayers if each.proxies or kind.startswith(STOPPED)]
        crew = (await self._leading(crews) if how_long == FOR_LONG else None) or self._chance.choice(crews)
        least_s, most_s = (
            (0.05, BRIEF_PART * crew.ttl_s) if how_long == BRIEFLY else (crew.ttl_s, LONG_PART * crew.ttl_s)
        )
        with self._book.fault(kind, who=crew.who):
            await harm(crew, self._chance.uniform(least_s, most_s))

    async def set_clocks(self) -> None:
        """Let the wall clock of clients jump by hours: nothing may come of that, so that it is no fault."""
        for crew in self.stayers:
            if crew.clock is not None:
                crew.clock.check_used(crew.process.pid)
                await crew.clock.jump(self._chance.randint(-LONGEST_JUMP_S, LONGEST_JUMP_S))
                self._book.counts[CLOCKS_JUMPED] += 1

    async def leave(self) -> None:
        """Let all leave of their own will."""
        for each in self.stayers:
            assert each.process.returncode is None, f"{each.who} has ended; see {self.log}"
            assert each.process.stdin is not None
            await each.process.stdin.aclose()
        for each in self.stayers:
            with anyio.fail_after(START_S):
                assert await each.process.wait() == 0, f"see {self.log}"

    async def _start(
        self,
        kind: str,
        entrance: Entrance,
        ttl_s: float,
        clients: int,
        proxies: Sequence[Proxy] = (),
        clock: FakedClock | None = None,
    ) -> Crew:
        who = f"{kind}{next(self._names)}"
        settings = entrance.settings(
            who,
            str(self._directory / f"{who}.records"),
            ttl_s=ttl_s,
            ports=[each.port for each in proxies],
            seed=self._chance.randrange(1 << 32),
            clients=clients,
            pause_s=self._pause_s,
        )
        environment = clock.environment if clock else {}
        process = await start_process(["-m", "tests.crash.load", settings.to_json()], self.log, environment)
        self._ending.push_async_callback(end_process, process)
        return Crew(who, process, proxies, ttl_s, clock, clients, entrance)

    async def _leading(self, crews: Sequence[Crew]) -> Crew | None:
        """Return the one that leads the election which is led for as long as can be, if it is one of these."""
        leader = await asking.leader(crews[0].entrance, LASTING)
        return next((each for each in crews if leader in each.names), None)

    async def _stop(self, crew: Crew, for_s: float) -> None:
        stop(crew.process)
        await anyio.sleep(for_s)
        go_on(crew.process)

    async def _cut_off(self, crew: Crew, for_s: float) -> None:
        for proxy in crew.proxies:
            proxy.part()
        await anyio.sleep(for_s)
        for proxy in crew.proxies:
            await proxy.accept()

    async def _stall(self, crew: Crew, for_s: float, *, up: bool, down: bool) -> None:
        for proxy in crew.proxies:
            proxy.stall(up=up, down=down)
        await anyio.sleep(for_s)
        for proxy in crew.proxies:
            proxy.resume()

    async def _cut_connections(self) -> None:
        """Cut connections of all, one after the other; some of them after their last bytes were held up."""
        proxies = [*(proxy for crew in self.stayers for proxy in crew.proxies), *self.also_cut]
        for _ in range(CUTS):
            proxy = self._chance.choice([each for each in proxies if each.open] or proxies)
            if self._chance.randrange(2):
                proxy.stall(up=bool(self._chance.randrange(2)))  # what was sent may be done, and its answer is lost
                await anyio.sleep(self._chance.uniform(0.0, 0.05))
            proxy.cut()
            proxy.resume()
            await anyio.sleep(self._chance.uniform(0.0, 0.2))
