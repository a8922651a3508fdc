"""A process of clients under load: ``python -m tests.crash.load SETTINGS``, a JSON object, until its stdin is closed.

Each client leads, commands and watches, and all that it is told is recorded.
"""

import json
import logging
import random
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Self

import anyio

from atomix_election import Client, ClientTls, ElectionError, LeaderElection, Term, connect
from atomix_election.testing import Recorder, recorded
from atomix_election.testing.history import Gone

LASTING = "lasting"
"""Who leads here does so for as long as it can."""
SHORT = "short"
"""Leaders here leave after a moment."""
CONTESTED = "contested"
"""Operators are at work among those who lead."""
BUSY = ("busy-0", "busy-1")
"""Candidates enter and withdraw, and operators are at work."""
PASSING = ("passing-0", "passing-1", "passing-2")
"""Clients come for a moment, each time with another session, and forget them."""
CALM = frozenset({LASTING, SHORT})
ELECTIONS = (LASTING, SHORT, CONTESTED, *BUSY, *PASSING)
OPERATIONS = ("anoint", "promote", "evict", "get_term")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process of clients is to do.

    Args:
        target: the server, or several.
        who: its name; its clients have it with a dot and a number.
        path: the file of its records.
        seed: of its choices.
        ttl_s: time-to-live of its sessions.
        clients: how many there are.
        ca: the file of the server's authority; "" without TLS.
        token_file: what proves who they are; "" for nothing.
        pause_s: the longest time between two commands of a client.
        certificate: the file of its certificate, which has its key too; "" for none.
    """

    target: str
    who: str
    path: str
    seed: int
    ttl_s: float
    clients: int
    ca: str = ""
    token_file: str = ""
    pause_s: float = 0.03
    certificate: str = ""

    def to_json(self) -> str:
        """Return it as an argument of the process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what ``to_json`` made text of."""
        return cls(**json.loads(text))

    def connect(self) -> AbstractAsyncContextManager[Client]:
        """Return a new client."""
        return connect(
            self.target,
            session_ttl=self.ttl_s,
            tls=ClientTls(self.ca, self.certificate or None) if self.ca else None,
            token=Path(self.token_file) if self.token_file else None,
        )


class LoadClient:
    """One client, with its candidate in each election."""

    def __init__(self, client: Client, who: str, settings: Settings, record: Recorder) -> None:
        self._client = client
        self._who = who
        self._settings = settings
        self._record = record
        self._chance = random.Random(f"{settings.seed} {who}")
        self._known: dict[str, set[str]] = defaultdict(set)
        self._visits = count(1)

    async def work(self) -> None:
        """Do all at the same time, for ever."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._lead, LASTING, anyio.sleep_forever)
            tasks.start_soon(self._lead, SHORT, self._for_a_moment)
            tasks.start_soon(self._lead, CONTESTED, self._for_a_moment)
            tasks.start_soon(self._command, BUSY, ["enter", "enter", "withdraw", *OPERATIONS])
            tasks.start_soon(self._command, [CONTESTED], OPERATIONS)
            tasks.start_soon(self._watch)
            tasks.start_soon(self._pass_by)

    def _election(self, name: str) -> LeaderElection:
        return self._client.election(name, candidate_id=self._who)

    async def _for_a_moment(self) -> None:
        await anyio.sleep(self._chance.uniform(0.0, 0.5))

    async def _lead(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            with suppress(ElectionError):
                async with self._election(name).lead():
                    await work()
            await anyio.sleep(self._chance.uniform(0.0, self._settings.pause_s))

    async def _command(self, names: Sequence[str], what: Sequence[str]) -> None:
        while True:
            await self._call(self._chance.choice(what), self._chance.choice(names))
            await anyio.sleep(self._chance.uniform(0.0, self._settings.pause_s))

    async def _pass_by(self) -> None:
        """Enter and leave with a session of its own, which is over then, and forget the election if nobody uses it."""
        while True:
            name = self._chance.choice(PASSING)
            visit = f"{self._who}.{next(self._visits)}"
            with suppress(ElectionError):
                async with recorded(self._settings.connect(), self._record, who=visit) as visitor:
                    for what in ("enter", "get_term", "withdraw"):
                        await self._call(what, name, visitor)
            await self._call("forget", name)
            await anyio.sleep(self._chance.uniform(0.0, 10 * self._settings.pause_s))

    async def _call(self, what: str, name: str, client: Client | None = None) -> None:
        election = (client or self._client).election(name, candidate_id=self._who)
        candidate = self._chance.choice([self._who, *sorted(self._known[name])])
        calls: dict[str, Callable[[], Awaitable[Term]]] = {
            "enter": election.enter,
            "withdraw": election.withdraw,
            "get_term": election.get_term,
            "forget": election.forget,
            "anoint": lambda: election.anoint(candidate),
            "promote": lambda: election.promote(candidate),
            "evict": lambda: election.evict(candidate),
        }
        with suppress(ElectionError):
            self._known[name] = set((await calls[what]()).candidates)

    async def _watch(self) -> None:
        while True:
            with suppress(ElectionError), anyio.move_on_after(self._chance.uniform(0.5, 10.0)):
                async with self._election(self._chance.choice(ELECTIONS)).events() as events:
                    async for _ in events:
                        pass
            await anyio.sleep(self._settings.pause_s)


async def run(settings: Settings) -> None:
    """Run the clients until stdin is closed, and let them leave."""
    with Recorder(Path(settings.path)) as record:

        async def act(who: str) -> None:
            async with recorded(settings.connect(), record, who=who) as client:
                with anyio.CancelScope() as scope:
                    scopes.append(scope)
                    await LoadClient(client, who, settings, record).work()

        scopes: list[anyio.CancelScope] = []
        async with anyio.create_task_group() as tasks:
            for number in range(settings.clients):
                tasks.start_soon(act, f"{settings.who}.{number}")
            await anyio.wait_readable(sys.stdin)
            for scope in scopes:
                scope.cancel()
        record(Gone(settings.who, settings.ttl_s, record.now()))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    anyio.run(run, Settings.from_json(sys.argv[1]))
