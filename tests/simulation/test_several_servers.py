"""Real clients and several servers on a simulated etcd, while everything goes wrong, in virtual time."""

import logging
import random
from collections.abc import Callable, Generator
from contextlib import suppress
from itertools import count

import anyio
import pytest
import trio
import trio.testing
from anyio.abc import TaskGroup

from atomix_election.engine.shared_lanes import Facts
from atomix_election.errors import ElectionError, Unavailable
from atomix_election.model import ElectionId
from atomix_election.service import Call, Service
from atomix_election.testing import VirtualClock
from atomix_election.testing.clocks import DriftingClock
from atomix_election.testing.etcd import EtcdFaults, SimulatedEtcd
from atomix_election.testing.etcd_servers import Server, Servers
from atomix_election.testing.member import Habits, Member
from atomix_election.testing.network import Faults, FaultyService
from atomix_election.testing.scheduling import repeatable

SEEDS = 12
MOST_SEEDS = 40
"""Within so many a planted bug is found."""
TTL_S = 3.0
BAD_S = 20.0
"""How long things go wrong in one run, in virtual time."""
CALM_S = 120.0
"""How long it may take afterwards until everybody has led once more, and left."""
LOOK_S = 0.02
"""How often it is looked who leads."""


class BrokenRule(Exception):
    """A rule was broken."""


class _World:
    """One run."""

    def __init__(self, seed: int, etcd: SimulatedEtcd, tasks: TaskGroup) -> None:
        self.chance = random.Random(seed)
        self.etcd = etcd
        self._tasks = tasks
        self._servers = Servers(etcd, tasks)
        self.running: list[Server] = []
        self._members: list[Member] = []
        self._tokens: dict[str, tuple[int, str]] = {}

    async def play(self) -> None:
        """The faults, the calm, and the end."""
        for _ in range(3):
            self.running.append(await self._servers.start())
        for name in "abcd":
            self._begin(name)
        self._tasks.start_soon(self._look)
        self.etcd.faults = EtcdFaults(
            applied=0.05, lost=0.05, late=0.05, stale_leader=0.05, longest_call_s=self.chance.choice((0.0, 0.05, 0.2))
        )
        end = anyio.current_time() + BAD_S
        while anyio.current_time() < end:
            await anyio.sleep(self.chance.expovariate(1.0))
            await self.chance.choice(
                (self._hold_back, self._cut_off, self._kill, self._operate, self._etcd, self._hang)
            )()
        self.etcd.faults = EtcdFaults()
        for member in self._members:
            member.calm.set()
        with anyio.move_on_after(CALM_S):
            while not all(member.done for member in self._members):  # noqa: ASYNC110 - they tell nobody
                await anyio.sleep(1)
        await anyio.sleep(2 * TTL_S + 2)
        self._check_end()

    def _begin(self, name: str) -> None:
        numbers = count(self.chance.randrange(3))
        connections: list[tuple[Server, Service]] = []

        def service() -> Service:
            if connections and connections[0][0] not in self.running:
                connections.clear()
                raise Unavailable("the server is gone")
            if not connections:
                server = self.running[next(numbers) % len(self.running)]
                connections.append((server, server.connect()))
            return connections[0][1]

        def on_close() -> Callable[[], None]:
            connections.clear()
            return lambda: None

        way = FaultyService(service, self._tasks, self.chance, Faults(0.01, 0.02, 0.02, 0.1, 0.02), on_close=on_close)
        clock = DriftingClock(VirtualClock(), self.chance.choice((0.99, 1.0, 1.01)), self.chance.uniform(0, 1000))
        habits = Habits(("x", "y"), TTL_S, TTL_S, TTL_S / 20, operates=True, releases=False, note=lambda _: None)
        member = Member(name, name, way, clock, random.Random(self.chance.random()), habits)
        self._members.append(member)
        self._tasks.start_soon(member.live)

    async def _look(self) -> None:
        """Nobody leads beside another one, and no number is for two."""
        while True:
            for name in ("x", "y"):
                leads = [(member, member.leads((name, member.candidate_id))) for member in self._members]
                leaders = [(member.process, granted) for member, granted in leads if granted]
                if len(leaders) > 1:
                    raise BrokenRule(f"two lead {name} at {anyio.current_time()}: {leaders}")
                for process, granted in leaders:
                    newest, holder = self._tokens.get(name, (0, ""))
                    if granted.number < newest or (granted.number == newest and holder != process):
                        raise BrokenRule(f"{process} leads {name} under {granted.number}; {holder} had {newest}")
                    self._tokens[name] = granted.number, process
            await anyio.sleep(LOOK_S)

    async def _hold_back(self) -> None:
        self.chance.choice(self.running).client.hold_back(for_s=self.chance.uniform(0.1, 4))

    async def _cut_off(self) -> None:
        server = self.chance.choice(self.running)
        server.client.is_cut_off = True
        self._tasks.start_soon(self._mend, server, self.chance.uniform(0.1, 2 * TTL_S))

    async def _mend(self, server: Server, after_s: float) -> None:
        await anyio.sleep(after_s)
        if server in self.running:
            server.client.is_cut_off = False

    async def _kill(self) -> None:
        server = self.running.pop(self.chance.randrange(len(self.running)))
        self.running.append(await self._servers.start_when_possible())
        for member in self._members:
            member.service.break_streams()
        await server.die()

    async def _etcd(self) -> None:
        self.etcd.change_leader()
        if self.chance.random() < 0.3:
            self.etcd.is_available = False
            await anyio.sleep(self.chance.uniform(0.1, 1.5 * TTL_S))
            self.etcd.is_available = True
        if self.chance.random() < 0.3:
            self.etcd.state.compact(self.etcd.state.revision)

    async def _hang(self) -> None:
        member = self.chance.choice(self._members)
        member.service.link.cut()
        await anyio.sleep(self.chance.uniform(0.1, 2 * TTL_S))
        member.service.link.mend()

    async def _operate(self) -> None:
        connection = self.chance.choice(self.running).connect()
        call = Call(self.chance.choice("xy"))
        with suppress(ElectionError), anyio.move_on_after(2):
            term = await connection.get_term(call)
            if term.candidates:
                act = self.chance.choice((connection.anoint, connection.promote, connection.evict))
                await act(call, self.chance.choice(term.candidates))

    def _check_end(self) -> None:
        late = [member.process for member in self._members if not member.done]
        if late:
            raise BrokenRule(f"{late} did not come to an end")
        for server in self.running:
            for name in ("x", "y"):
                if left := server.store.latest(ElectionId("default", name)).election.sessions():
                    raise BrokenRule(f"{left} is left in {name}")
            if len(server.engine.sessions):
                raise BrokenRule("a session is left")


def _broken(seed: int) -> str:
    """Do one run; return the rule that it breaks, or ""."""

    async def run() -> None:
        async with SimulatedEtcd(VirtualClock(), seed=seed) as etcd, anyio.create_task_group() as tasks:
            await _World(seed, etcd, tasks).play()
            tasks.cancel_scope.cancel()

    try:
        with repeatable(seed):
            trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseExceptionGroup as group:
        errors, rest = group.split(BrokenRule)
        if rest is not None:
            raise
        while isinstance(errors, BaseExceptionGroup):
            errors = errors.exceptions[0]
        return str(errors)
    return ""


@pytest.fixture(autouse=True)
def quiet() -> Generator[None]:
    """Log nothing of what goes wrong."""
    log = logging.getLogger("atomix_election")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(level)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_seed_breaks_a_rule(seed: int) -> None:
    """The order of sets of strings is part of a run: with PYTHONHASHSEED=0 it is the same each time."""
    assert _broken(seed) == ""


def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that finds nothing proves nothing."""
    monkeypatch.setattr(Facts, "is_kept_alive", lambda _facts, _session: False)
    assert any("two lead" in _broken(seed) for seed in range(MOST_SEEDS))
