"""The server of the model and a real engine, in lockstep through anything that clients and operators may do."""

import random
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
import trio.testing

from atomix_election.core.campaign import Granted
from atomix_election.core.commands import Anoint, Evict
from atomix_election.engine import Connection, Engine
from atomix_election.engine.keepalive import EngineKeepAlive
from atomix_election.errors import ElectionError, SessionEnded
from atomix_election.model import Term
from atomix_election.service import Call
from atomix_election.service import Renewal as ServiceRenewal
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import VirtualClock
from tests.model.messages import ELECTION, TICKS_PER_S, TTL, TTL_S, Answered, Kind, Renewal, Replied, Write
from tests.model.server import Lease, Server
from tests.model.servers import Servers

STEPS = 120
MOMENT = 700
"""In ticks. No multiple of it is a time-to-live, so that nothing is due just when somebody looks."""
PAUSES = [MOMENT * part for part in (1, 130, 470, 710, 950, 1430)]
"""In ticks, from next to nothing to one time-to-live."""

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Trio with virtual time."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Pair:
    """A model and an engine that are told the same."""

    def __init__(self, chance: random.Random, streams: AsyncExitStack, store: MemoryStore, engine: Engine) -> None:
        self.chance = chance
        self.servers = Servers()
        self.server = Server()
        self.store = store
        self.streams = streams
        self.use(engine)
        self.session = dict.fromkeys("abc", 1)
        self.renewal = dict.fromkeys("abc", 0)
        self.operation = dict.fromkeys("abc", 0)

    def use(self, engine: Engine) -> None:
        """Go on with another engine on the same store."""
        self.connection = Connection(engine)
        self.open: dict[str, EngineKeepAlive] = {}

    async def renew(self, name: str) -> None:
        """A client renews its session, and confirms some of what it was told to.

        No two at the same moment, as then it depends on chance whose candidates a server removes first.
        """
        await self.sleep(MOMENT)
        session = self.session[name]
        lease = self.server.find(name, session)
        if lease is None and self.renewal[name]:
            await self.renew_what_has_ended(name, session)
            return
        self.renewal[name] += 1
        over = [
            wait.displaced for wait in self.server.waits if lease and wait.displaced.candidate.session == lease.session
        ]
        stepped_down = tuple(
            Granted(ELECTION, each.number, each.candidate.id) for each in over if self.chance.random() < 0.5
        )
        message = Renewal(name, session, self.renewal[name], lease is None, stepped_down)
        reaction = self.servers.renew(self.server, message)
        self.server = reaction.server
        stream = self.open.get(name)
        if stream is None:
            keep_alive = self.connection.keep_alive("default", f"{name}{session}")
            stream = self.open[name] = await self.streams.enter_async_context(keep_alive)
        await stream.send(ServiceRenewal(message.renewal, message.opens, TTL_S, stepped_down))

    async def renew_what_has_ended(self, name: str, session: int) -> None:
        """A client renews a session that has ended: both tell it so, and it goes on with another one."""
        (answer,) = self.servers.renew(self.server, Renewal(name, session, 99, opens=False, stepped_down=())).sent
        assert isinstance(answer, Answered)
        assert answer.answer.ended
        async with self.connection.keep_alive("default", f"{name}{session}") as stream:
            await stream.send(ServiceRenewal(99))
            assert (await stream.receive()).ended
        self.session[name] += 1
        self.renewal[name] = self.operation[name] = 0
        self.open.pop(name, None)

    async def write(self, name: str, kind: Kind) -> None:
        """A client sends a write, or an earlier one comes late or again."""
        number = max(self.operation[name] + self.chance.choice([1, 1, 1, 0, -1]), 1)
        self.operation[name] = max(self.operation[name], number)
        reaction = self.servers.write(self.server, Write(name, self.session[name], number, kind))
        self.server = reaction.server
        replies = [message.term for message in reaction.sent if isinstance(message, Replied)]
        call = Call(ELECTION, session=f"{name}{self.session[name]}", operation=number)
        send = self.connection.enter if kind is Kind.ENTER else self.connection.withdraw
        told: list[Term | None] = []
        try:
            told.append(await send(call, name))
        except SessionEnded:
            told.append(None)
        except ElectionError:
            pass
        assert told == replies

    async def operate(self, name: str, kind: type[Anoint | Evict]) -> None:
        """An operator gives a command."""
        self.server = self.servers.operate(self.server, kind(name)).server
        command = self.connection.anoint if kind is Anoint else self.connection.evict
        try:
            await command(Call(ELECTION), name)
        except ElectionError:
            assert all(each.id != name for each in self.server.queue)

    async def sleep(self, ticks: int) -> None:
        """Time passes, and whatever is due is done at once."""
        await anyio.sleep(ticks / TICKS_PER_S)
        while (next_due := min([ticks, *self.server.due_in()])) > 0:
            self.server = self.servers.later(self.server, next_due)
            self.server = self.servers.expire(self.server).server
            self.server = self.servers.end_waits(self.server).server
            ticks -= next_due

    async def check(self) -> None:
        """Compare what anybody can see."""
        await anyio.wait_all_tasks_blocked()
        assert self.server.fault is None
        assert await self.connection.get_term(Call(ELECTION)) == self.server.election.term
        for name, stream in self.open.items():
            lease = self.server.find(name, self.session[name])
            said = stream.newest()
            if lease is None:
                assert said.ended
            else:
                assert (said.leaderships, said.revoked) == self.says(lease)
                assert (said.renewal, said.ttl_s, said.ended) == (lease.renewal, TTL_S, False)

    def says(self, lease: Lease) -> tuple[object, object]:
        """Return what the model tells a session when it asks now."""
        name, session = lease.session.id[0], int(lease.session.id[1:])
        again = Renewal(name, session, lease.renewal, opens=False, stepped_down=())
        (told,) = self.servers.renew(self.server, again).sent
        assert isinstance(told, Answered)
        return told.answer.leaderships, told.answer.revoked


async def happen(pair: Pair) -> None:
    """One thing of all that can happen to a server but for its end."""
    chance = pair.chance
    name = chance.choice("abc")
    match chance.choice(["renew"] * 5 + ["enter"] * 2 + ["sleep"] * 3 + ["withdraw", "anoint", "anoint", "evict"]):
        case "renew":
            await pair.renew(name)
        case "enter":
            await pair.write(name, Kind.ENTER)
        case "withdraw":
            await pair.write(name, Kind.WITHDRAW)
        case "anoint":
            await pair.operate(name, Anoint)
        case "evict":
            await pair.operate(name, Evict)
        case _:
            await pair.sleep(chance.choice(PAUSES))


@pytest.mark.parametrize("seed", range(10))
async def test_model_and_engine_say_the_same(seed: int) -> None:
    """Through restarts too."""
    chance, store = random.Random(seed), MemoryStore()
    pair: Pair | None = None
    steps = 0
    while steps < STEPS:
        engine = Engine(store, clock=VirtualClock())
        async with engine.running(), AsyncExitStack() as streams:
            if pair is None:
                pair = Pair(chance, streams, store, engine)
            else:
                pair.server, pair.streams = pair.servers.restart(pair.server).server, streams
                pair.use(engine)
                for lease in pair.server.leases:
                    await pair.renew(lease.session.id[0])
            for _ in range(chance.randint(20, 50)):
                await happen(pair)
                await pair.check()
                steps += 1
        await anyio.sleep(chance.choice(PAUSES) / TICKS_PER_S)


def test_sessions_are_owed_one_time_to_live() -> None:
    """A server that ends one before is found out."""
    servers = Servers(restored_ttl=TTL // 2)
    server = servers.renew(Server(), Renewal("a", 1, 1, opens=True, stepped_down=())).server
    server = servers.later(servers.restart(server).server, TTL // 2)
    assert servers.expire(server).server.fault == "the server ended session a1 before one time-to-live had passed"
    server = Servers().later(Servers().restart(server).server, TTL)
    assert Servers().expire(server).server.fault is None
