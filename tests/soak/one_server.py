"""One server on a store in memory, or on one of its own, and what is done to it: killed, stopped, its clock set."""

import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio

from atomix_election.testing.history import Emptied, now
from tests.certificates import Authority, write_access
from tests.crash.load import LASTING
from tests.soak import asking
from tests.soak.book import Book
from tests.soak.clients import BRIEF_PART, BRIEFLY, FOR_LONG, LONG_PART, LONGEST_JUMP_S, Crews
from tests.soak.entrance import Entrance
from tests.soak.faked_clocks import FakedClock
from tests.soak.processes import Server
from tests.soak.site import Plan

SERVER_STARTED = "the server started"
SERVER_KILLED = "the server killed"
SERVER_STOPPED_BRIEFLY = f"the server stopped, {BRIEFLY}"
SERVER_STOPPED_FOR_LONG = f"the server stopped, {FOR_LONG}"
SERVER_CLOCK_JUMPED = "the wall clock of the server set"
PORTS = range(20_000, 32_000)
"""None that systems give to connections: while the server is dead, its port must stay free."""
PRINCIPAL = "soak"
CREWS = 2
CREW = 2
"""Clients of one process."""


class OneServer:
    """The server of a run, as a ``Site``.

    Args:
        plan: what the run is to be.
        directory: for files.
        book: what was done.
        chance: of whom and how long.
        crews: its clients.
        store: its target.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        book: Book,
        chance: random.Random,
        crews: Crews,
        *,
        store: str = "memory://",
    ) -> None:
        self.crews = crews
        self._plan = plan
        self._directory = directory
        self._book = book
        self._chance = chance
        self._clock = None if plan.library is None else FakedClock(plan.library, directory / "server.clock")
        port = next(port for port in chance.sample(PORTS, 100) if _is_free(port))
        self.entrance = Entrance("grpc", (port,))
        self._options = ["--session-ttl", str(plan.ttl_s), "--max-session-ttl", str(plan.ttl_s)]
        if plan.secured:
            self._secure()
        self.server = self._serving(store)
        self._down = SERVER_STARTED, now()
        """Why nobody is served, and since when, if that is so."""
        self._is_down = True
        self._by_kind: dict[str, Callable[[], Awaitable[None]]] = {
            SERVER_KILLED: self._lose_server,
            SERVER_STOPPED_BRIEFLY: lambda: self._stop(SERVER_STOPPED_BRIEFLY, 0.05, BRIEF_PART * plan.ttl_s),
            SERVER_STOPPED_FOR_LONG: lambda: self._stop(SERVER_STOPPED_FOR_LONG, plan.ttl_s, LONG_PART * plan.ttl_s),
        }
        if self._clock is not None:
            self._by_kind[SERVER_CLOCK_JUMPED] = self._set_clock

    @property
    def early_ends(self) -> bool:
        """See ``Site.early_ends``."""
        return False

    @property
    def _how(self) -> str:
        return "with TLS and access" if self._plan.secured else "in plain text"

    @property
    def kinds(self) -> Sequence[str]:
        """See ``Site.kinds``."""
        return tuple(self._by_kind)

    async def start(self) -> None:
        """See ``Site.start``."""
        await self.server.begin()
        for _ in range(CREWS):
            await self.crews.start_stayers(self.entrance, self._plan.ttl_s, CREW)

    async def do(self, kind: str) -> None:
        """See ``Site.do``."""
        await self._by_kind[kind]()
        await self.ready()

    async def ready(self) -> None:
        """See ``Site.ready``."""
        ready_at = await self.server.ready()
        if self._is_down:
            kind, since = self._down
            self._book.happened(kind, since, ready_at, outage=True)
            self._is_down = False

    async def audit(self, latest: float) -> None:
        """See ``Site.audit``."""
        await asking.nobody_stands(self.entrance, latest, self._book)
        await self.kill()

    def lines(self) -> list[str]:
        """See ``Site.lines``."""
        return [f"a server on a store in memory, {self._how}"]

    async def end(self) -> None:
        """Kill it, if it is there, once all is over."""
        await self.server.kill()

    async def kill(self) -> None:
        """Kill it, ready or not."""
        at = now()
        if not self._is_down:
            self._is_down, self._down = True, (SERVER_KILLED, at)
        await self.server.kill()
        self._book.counts[SERVER_KILLED] += 1

    async def all_stand(self) -> None:
        """Wait until all clients that stay are in the queue that they are always in."""
        await asking.all_stand(self.entrance, LASTING, self.crews.staying)

    def _serving(self, store: str) -> Server:
        command = ["-m", "atomix_election", "serve", "--store", store, *self._options]
        environment = self._clock.environment if self._clock else {}
        return Server(self._directory / "server.log", command, self.entrance.ports[0], environment)

    def _secure(self) -> None:
        authority = Authority(self._directory)
        files = authority.issue("127.0.0.1")
        access, token = self._directory / "access.toml", self._directory / "token"
        token.write_text(write_access(access, {PRINCIPAL: 'administer = ["*"]'})[PRINCIPAL])
        token.chmod(0o600)
        self.entrance = Entrance("grpcs", self.entrance.ports, ca=str(authority.ca), token_file=str(token))
        self._options += ["--certificate", str(files.certificate), "--key", str(files.key), "--auth", str(access)]

    async def _lose_server(self) -> None:
        """Kill it, and with it all that it knew. Its clients find another store, say so, and begin anew with it."""
        said = self._told_of_another_store()
        await self.kill()
        ended = now()
        await self._wait(1.0, 2.0)  # until the last that was told by the former one is on record
        begun = now()
        await self.server.begin()
        await self.ready()
        self._book.write(Emptied(ended, begun))
        await self.all_stand()
        assert self._told_of_another_store() - said >= CREWS * CREW, (
            f"not all clients have said so; see {self.crews.log}"
        )

    def _told_of_another_store(self) -> int:
        return self.crews.log.read_text().count("serves another store now")

    async def _stop(self, kind: str, least_s: float, most_s: float) -> None:
        with self._book.fault(kind, outage=True):
            self.server.stop()
            await self._wait(least_s, most_s)
            self.server.go_on()
            await asking.answers(self.entrance, self.server.port, self.server.check_runs)

    async def _set_clock(self) -> None:
        """Let the wall clock jump by hours: nothing may come of that, so that it is no fault."""
        assert self._clock is not None
        self._clock.check_used(self.server.pid)
        await self._clock.jump(self._chance.randint(-LONGEST_JUMP_S, LONGEST_JUMP_S))
        self._book.counts[SERVER_CLOCK_JUMPED] += 1
        await asking.answers(self.entrance, self.server.port, self.server.check_runs)

    async def _wait(self, least_s: float, most_s: float) -> None:
        """Let things take their course: what is to be hit is a random moment."""
        await anyio.sleep(self._chance.uniform(least_s, most_s))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
