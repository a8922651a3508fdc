"""Two or three simulated servers on one simulated etcd: both die, lose each other and their clients, and come back."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import count
from math import inf
from typing import ClassVar

import anyio

from atomix_election.engine import SessionLimits
from atomix_election.errors import CandidateTaken, ElectionError, OutcomeUnknown, StoreError, Unavailable
from atomix_election.etcd import Get, prefix_end
from atomix_election.model import Term
from atomix_election.service import Call, Service
from atomix_election.stores.etcd_keys import Layout
from atomix_election.stores.etcd_restore import known_floors, raise_floor, recover
from atomix_election.stores.restored import restored_floors
from atomix_election.testing.checker import Promises, Rule, Violation
from atomix_election.testing.etcd import EtcdFaults, SimulatedEtcd
from atomix_election.testing.etcd_servers import SETTLED_S, START_AGAIN_S, Server, Servers
from atomix_election.testing.etcd_service import LateConnection, Repeat, WitnessedService
from atomix_election.testing.etcd_state import EtcdState
from atomix_election.testing.etcd_witness import Witness
from atomix_election.testing.host import DRIFT, LONGEST_FAULT, Host, Surroundings, left_in
from atomix_election.testing.recording import RecordingService
from atomix_election.testing.streams import Link

WATCHED = ("x", "y")
"""Elections that somebody watches at each server, all the time."""
LONGEST_ETCD_FAULT = 1.5
"""How long etcd is broken at most, in time-to-lives: then there is time left to recover from that."""
MOST_COMMANDS = 4
"""How many commands an operator beside a server gives at most."""
BUMPED = 1_000_000
"""How far a restore bumps revisions, if it does: more than are ever written here."""
LATE_S = 10.0
"""How long after its failure a command may still take place, beside what faults hold up."""


class _Hosted:
    """One server, and what clients see of it.

    Args:
        server: the real one.
        witness: compares what it says with what is committed.
        surroundings: those of the run.
        repeat: see ``WitnessedService``.
    """

    def __init__(self, server: Server, witness: Witness, surroundings: Surroundings, repeat: Repeat) -> None:
        self.server = server
        self.link = Link()
        self.watching = anyio.CancelScope()
        self.last: dict[str, Term] = {}
        self._witness = witness
        self._surroundings = surroundings
        self._repeat = repeat
        self._is_killed = False

    def connect(self) -> tuple[LateConnection, Service]:
        """Return a connection to it, and what a client has of that."""
        late_s = LATE_S + 2 * LONGEST_FAULT * self._surroundings.ttl_s
        connection = LateConnection(self.server.engine, self._surroundings, lambda: self._is_killed, late_s)
        return connection, WitnessedService(connection, self._witness, self.link, self._repeat)

    async def end(self, *, at_once: bool) -> None:
        """End it, in order or by a kill."""
        self.watching.cancel()
        self._is_killed = at_once
        await (self.server.die if at_once else self.server.stop)()

    def isolate(self, *, from_clients: bool) -> None:
        """Let nothing pass between it and etcd, nor between it and its clients."""
        self.server.client.is_cut_off = True
        if from_clients:
            self.link.cut()

    def mend(self) -> None:
        """Let everything pass."""
        self.server.client.is_cut_off = False
        self.server.client.let_by()
        self.link.mend()

    async def watch(self) -> None:
        """Watch elections, so that all that it announces is compared."""
        with self.watching:
            async with anyio.create_task_group() as tasks:
                for name in WATCHED:
                    tasks.start_soon(self._watch, name)

    async def _watch(self, name: str) -> None:
        while True:
            try:
                async with self.connect()[1].events(Call(name)) as events:
                    async for event in events:
                        self.last[name] = event.term
            except ElectionError:
                await anyio.sleep(START_AGAIN_S)


class EtcdHost(Host):
    """Servers on one etcd. Each connection leads to one of them, chosen by chance."""

    conditions: ClassVar[tuple[str, ...]] = (
        "slow etcd",
        "lost outcomes",
        "deposed etcd leaders",
        "late expiry",
        "repeated calls",
    )
    acts: ClassVar[tuple[str, ...]] = (
        "restarts",
        "kill",
        "kill",
        "cut off from etcd",
        "cut off from all",
        "watch held back",
        "watch held back",
        "watch refused",
        "etcd leader lost",
        "etcd member lost",
        "etcd away",
        "etcd compacted",
        "etcd full",
        "floor raised",
        "restore",
    )

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._chance = chance = surroundings.chance
        self._ttl_s = ttl_s = surroundings.ttl_s
        self._number = chance.randint(2, 3)
        self._etcd = SimulatedEtcd(surroundings.new_clock(), seed=chance.getrandbits(32))
        self._witness = Witness(self._etcd, surroundings.invariants)
        share = chance.choice((0.05, 0.15)) if "lost outcomes" in surroundings.faults else 0.0
        slowest_s = min(chance.choice((0.02, 0.1, 0.4)) * ttl_s, 1.5)
        self._faults = EtcdFaults(
            applied=share,
            lost=share,
            late=share,
            longest_call_s=slowest_s if "slow etcd" in surroundings.faults else 0.0,
            longest_late_s=LONGEST_FAULT * ttl_s,
            stale_leader=0.2 if "deposed etcd leaders" in surroundings.faults else 0.0,
            longest_expiry_s=ttl_s if "late expiry" in surroundings.faults else 0.0,
        )
        self._running: list[_Hosted] = []
        self._connections: dict[str, tuple[_Hosted, LateConnection, Service]] = {}
        self._snapshots: list[EtcdState] = []
        self._stores = 0
        self._operators = count(1)
        self._is_bad = True
        self._is_restoring = False

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """See ``Host.running``."""
        async with self._etcd, anyio.create_task_group() as tasks:
            self._tasks = tasks
            limits = SessionLimits(min_ttl_s=0.1, default_ttl_s=self._ttl_s, max_ttl_s=self._ttl_s)
            self._servers = Servers(self._etcd, tasks, self._surroundings.new_clock, limits)
            for _ in range(self._number):
                await self._start()
            self._etcd.faults = self._faults
            if "operator" in self._surroundings.faults:
                tasks.start_soon(self._operate)
            try:
                yield
            finally:
                self._is_bad = False
                tasks.cancel_scope.cancel()

    def service(self, name: str) -> Service:
        """See ``Host.service``."""
        if name not in self._connections:
            if not self._running:
                raise Unavailable("nobody listens")
            hosted = self._chance.choice(self._running)
            self._connections[name] = (hosted, *hosted.connect())
        return self._connections[name][2]

    def hung_up(self, name: str) -> None:
        """See ``Host.hung_up``."""
        if name in self._connections:
            self._connections.pop(name)[1].disconnect(by_peer=True)

    async def do(self, fault: str) -> None:
        """See ``Host.do``."""
        duration_s = self._chance.uniform(0.1, LONGEST_FAULT) * self._ttl_s
        if fault.startswith("etcd"):
            self._tasks.start_soon(self._do_to_etcd, fault, min(duration_s, LONGEST_ETCD_FAULT * self._ttl_s))
        elif fault == "restore":
            await self._restore()
        elif fault == "floor raised":
            self._tasks.start_soon(self._raise_floor)
        elif self._running:
            self._do_to_server(fault, self._chance.choice(self._running), duration_s)

    async def calm_down(self) -> None:
        """See ``Host.calm_down``."""
        self._is_bad = False
        self._etcd.faults = EtcdFaults()
        for member in range(self._etcd.size):
            self._etcd.start_member(member)
        self._etcd.is_available = True
        self._etcd.make_room()
        for hosted in self._running:
            hosted.mend()
        while len(self._running) < self._number:  # noqa: ASYNC110 - those that start tell nobody
            await anyio.sleep(START_AGAIN_S / 10)

    @property
    def promises(self) -> Promises:
        """See ``Host.promises``. Numbers of terms are no lower than etcd's revision."""
        return Promises(numbers_jump=True)

    def excuses(self, violation: Violation) -> bool:
        """See ``Host.excuses``.

        That a session has ended is told as soon as etcd says so; its candidates leave a moment later, when a server has
        heard of it, and until then their ids are taken.
        """
        return violation.rule is Rule.REFUSED and CandidateTaken.__name__ in violation.what

    @property
    def may_skip_changes(self) -> bool:
        """See ``Host.may_skip_changes``. What was compacted, or lost, before a server had it is told as one change."""
        return not {"etcd compacted", "restore"}.isdisjoint(self._surroundings.faults)

    @property
    def longest_failover_s(self) -> float:
        """See ``Host.longest_failover_s``."""
        return max(each.server.engine.longest_failover_s for each in self._running) / (1 - DRIFT)

    async def left_behind(self) -> list[str]:
        """See ``Host.left_behind``. All servers have to know by now what is in etcd, and to have told of it."""
        layout, found = Layout(), list[str]()
        for hosted in self._running:
            hosted.watching.cancel()
        await anyio.sleep(SETTLED_S)
        sessions = self._etcd.state.get(Get(layout.all_sessions, prefix_end(layout.all_sessions)))
        found += [f"session {each.key!r}" for each in sessions.items]
        for number, hosted in enumerate(self._running):
            found += [f"server {number}: {each}" for each in left_in(hosted.server.engine)]
            known = {election_id.name: election for election_id, election in hosted.server.store.known()}
            found += [f"{each} in {name}" for name, election in known.items() for each in sorted(election.sessions())]
            terms = {**hosted.last, **{name: election.term for name, election in known.items()}}
            found += [
                f"server {number} has {name} as {term}"
                for name, term in terms.items()
                if term.candidates or term.revision < self._witness.latest(name).revision
            ]
        return found

    def _do_to_server(self, fault: str, hosted: _Hosted, duration_s: float) -> None:
        self._surroundings.invariants.note(f"{fault}: server {self._running.index(hosted)} for {duration_s:.3f}")
        match fault:
            case "cut off from etcd" | "cut off from all":
                hosted.isolate(from_clients=fault.endswith("all"))
                self._tasks.start_soon(self._mend, hosted, duration_s)
            case "watch held back":
                hosted.server.client.hold_back(duration_s)
            case "watch refused":
                hosted.server.client.refused_watches += 1
            case _:
                self._let_go_of(hosted)
                self._tasks.start_soon(self._end, hosted, fault == "kill", duration_s)

    async def _do_to_etcd(self, fault: str, duration_s: float) -> None:
        etcd = self._etcd
        match fault:
            case "etcd leader lost" | "etcd member lost":
                is_leader = fault == "etcd leader lost" and etcd.leader is not None
                member = etcd.leader if is_leader else self._chance.randrange(etcd.size)
                assert member is not None
                etcd.stop_member(member)
                await anyio.sleep(duration_s)
                etcd.start_member(member)
            case "etcd away":
                etcd.is_available = False
                await anyio.sleep(duration_s)
                etcd.is_available = True
            case "etcd compacted":
                if self._running:  # one that is behind may not find what it has missed
                    self._chance.choice(self._running).server.client.hold_back(duration_s)
                await anyio.sleep(duration_s / 2)
                etcd.compact()
                self._witness.compacted()
            case _:
                etcd.fill()
                await anyio.sleep(duration_s)
                etcd.make_room()

    async def _mend(self, hosted: _Hosted, pause_s: float) -> None:
        await anyio.sleep(pause_s)
        if not self._is_restoring:  # which keeps servers away until etcd was recovered, and mends them then
            hosted.mend()

    def _let_go_of(self, hosted: _Hosted) -> None:
        """Nobody is led to a server any more; whoever is connected to it notices."""
        self._running.remove(hosted)
        for name in [name for name, (other, _, _) in self._connections.items() if other is hosted]:
            del self._connections[name]
            self._surroundings.lost(name)

    async def _end(self, hosted: _Hosted, at_once: bool, pause_s: float) -> None:
        await hosted.end(at_once=at_once)
        await anyio.sleep(pause_s)
        await self._start()

    async def _start(self) -> None:
        """Start one more as soon as etcd lets it, and nobody restores it."""
        while True:
            store, server = self._stores, await self._servers.start_when_possible()
            if store == self._stores and not self._is_restoring:
                break
            await server.stop()
            await anyio.sleep(START_AGAIN_S)
        hosted = _Hosted(server, self._witness, self._surroundings, self._repeat)
        self._running.append(hosted)
        self._tasks.start_soon(hosted.watch)

    async def _restore(self) -> None:
        """Etcd is lost, and made anew of a snapshot; servers that were not stopped must serve nothing from it."""
        if not self._snapshots or self._chance.random() < 0.5:
            self._snapshots.append(self._etcd.snapshot())
        await anyio.sleep(self._chance.uniform(0.0, self._ttl_s))
        self._is_restoring = True
        self._stores += 1
        former = list(self._running)
        for hosted in former:
            if self._chance.random() < 0.5:
                self._let_go_of(hosted)
                await hosted.end(at_once=False)
            else:
                hosted.isolate(from_clients=False)
        ended = self._surroundings.record.now()
        bump_revision = self._chance.choice((0, BUMPED))
        self._etcd.restore(self._chance.choice(self._snapshots), bump_revision=bump_revision)
        self._etcd.make_room()  # a snapshot of a full one is full
        self._witness.restored()
        floor = await self._recover()
        self._surroundings.invariants.nobody_before = inf
        for hosted in former:
            hosted.mend()
        await anyio.sleep(self._chance.uniform(0.0, self._ttl_s))
        for hosted in former:
            if hosted in self._running:
                self._let_go_of(hosted)
                await hosted.end(at_once=False)
        self._surroundings.invariants.nobody_before = anyio.current_time() + self._ttl_s / (1 + DRIFT)
        self._surroundings.restored(ended, floor)
        self._is_restoring = False
        for _ in former:
            await self._start()

    async def _recover(self) -> int:
        """Do what an operator does after a restore, and repeats until it is done; return what tokens begin above."""
        client, random = self._etcd.client(), self._etcd.random
        while True:
            try:
                known = await known_floors(client)
                floors = restored_floors(known, int(self._surroundings.wall_clock_s() * 1000))
                await recover(client, floors, hold_s=self._ttl_s, new_id=lambda: f"{random.getrandbits(128):032x}")
            except (StoreError, OutcomeUnknown) as error:
                self._surroundings.invariants.note(f"operator: {type(error).__name__}")
                await anyio.sleep(START_AGAIN_S)
            else:
                return floors.number

    async def _raise_floor(self) -> None:
        number = max(self._witness.numbers().values(), default=0) + self._chance.randint(1, 100)
        try:
            await raise_floor(self._etcd.client(), number)
        except (StoreError, OutcomeUnknown) as error:
            self._surroundings.invariants.note(f"operator: {type(error).__name__}")

    async def _operate(self) -> None:
        """An operator beside a server moves and removes candidates; nothing but that server comes between."""
        while self._is_bad:
            await anyio.sleep(self._chance.uniform(0.0, 2 * self._ttl_s))
            if self._running and self._is_bad:
                connection, service = self._chance.choice(self._running).connect()
                operator = RecordingService(service, self._surroundings.record, f"operator/{next(self._operators)}")
                for _ in range(self._chance.randint(1, MOST_COMMANDS)):
                    await self._command(operator, self._chance.choice(WATCHED))
                connection.disconnect()

    async def _command(self, operator: RecordingService, election: str) -> None:
        candidates = self._witness.latest(election).candidates
        if candidates:
            act = self._chance.choice((operator.anoint, operator.promote, operator.promote, operator.evict))
            try:
                await act(Call(election), self._chance.choice(candidates[1:] or candidates))
            except ElectionError as error:
                self._surroundings.invariants.note(f"operator: {type(error).__name__}")

    def _repeat(self, name: str, call: Call, candidate_id: str) -> None:
        """A call comes once more, late and anywhere, as of a client that did not hear of it and went elsewhere."""
        if self._is_bad and "repeated calls" in self._surroundings.faults and self._chance.random() < 0.3:
            self._tasks.start_soon(self._call_again, name, call, candidate_id)

    async def _call_again(self, name: str, call: Call, candidate_id: str) -> None:
        await anyio.sleep(self._chance.uniform(0.0, LONGEST_FAULT * self._ttl_s))
        if self._running:
            connection, service = self._chance.choice(self._running).connect()
            with suppress(ElectionError):
                await getattr(service, name)(call, candidate_id)
            connection.disconnect()
