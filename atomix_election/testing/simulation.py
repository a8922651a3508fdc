"""A seeded simulation of clients, an operator, a bad network and an engine that is restarted, in virtual time.

Engine and leadership are the real ones; nothing is modelled but what goes wrong. Needs Trio. Each seed picks which
kinds of faults there are, so that runs have few of them in many combinations; everything else comes from it as well.
"""

import logging
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import cast

import anyio
import trio
import trio.testing
from anyio.abc import TaskGroup

from atomix_election.core.campaign import LONGEST_CALL_S
from atomix_election.core.floors import EARLIEST_MS
from atomix_election.errors import ElectionError
from atomix_election.service import Call
from atomix_election.testing.clock import VirtualClock
from atomix_election.testing.clocks import DriftingClock
from atomix_election.testing.host import DRIFT, Backup, FaultyStore, Host, StoreFaults
from atomix_election.testing.invariants import Invariants
from atomix_election.testing.member import Habits, Member
from atomix_election.testing.network import Faults, FaultyService
from atomix_election.testing.scheduling import PROCESS, Machines, outside, repeatable, tasks_of, watched
from atomix_election.testing.streams import Direction

FAULTS = (
    "crash",
    "hang",
    "sleep",
    "cut",
    "cut one way",
    "delays",
    "losses",
    "duplicates",
    "broken streams",
    "operator",
    "restarts",
    "store errors",
    "slow store",
    "lingering work",
    "stubborn work",
    "same ids",
    "two elections",
    "release on disconnect",
    "forget",
    "restore",
)
"""What a seed chooses from."""
VISITED = "visited"
"""The election of visitors, who come for a while; it is forgotten when nobody is there."""
FORGET_TRIES = 12
"""How often an operator tries to forget it before it is left alone."""
MOST_STEPS = 20_000
"""How often tasks may run without any time passing."""
SETTLING_S = 1.0 + LONGEST_CALL_S
"""What the failover bound does not count: a call that was on its way, a retry, a store that has just failed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run.

    Args:
        seed: where it came from.
        faults: which kinds there were.
        violation: the rule that was broken, or None.
        trace: the digest of its history.
        history: the newest lines of it.
    """

    seed: int
    faults: tuple[str, ...]
    violation: str | None
    trace: str
    history: tuple[str, ...]


def simulate(seed: int, minutes: float = 1.0) -> Outcome:
    """Do one run; equal seeds and minutes give equal histories.

    Args:
        seed: decides everything.
        minutes: of virtual time in which things go wrong; the calm and the end come after it.
    """
    log = logging.getLogger("atomix_election")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with repeatable(seed):
            return trio.run(_run, seed, minutes, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        log.setLevel(level)


async def _run(seed: int, minutes: float) -> Outcome:
    simulation = _Simulation(seed, minutes)
    invariants = simulation.invariants
    try:
        await simulation.run()
    except Exception as error:  # noqa: BLE001 - whatever comes out is a fault of the package
        invariants.fail(f"an error came out: {_causes(error)}")
    return Outcome(seed, simulation.faults, invariants.violation, invariants.trace, tuple(invariants.history))


def _causes(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        errors = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return ", ".join(_causes(each) for each in errors)
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" at {frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame is not None else ""
    return f"{type(error).__name__}: {error}{where}"


@contextmanager
def _inside(process: str) -> Generator[None]:
    """What is started in this block belongs to a process."""
    token = PROCESS.set(process)
    try:
        yield
    finally:
        PROCESS.reset(token)


class _Simulation:
    """One run."""

    def __init__(self, seed: int, minutes: float) -> None:
        self.chance = random.Random(seed)
        self.faults = tuple(fault for fault in FAULTS if self.chance.random() < 0.4)
        if "release on disconnect" in self.faults:  # two may lead where a connection is cut by somebody else
            self.faults = tuple(fault for fault in self.faults if fault != "broken streams")
        self.scope = anyio.CancelScope()
        self.invariants = Invariants(VirtualClock().now, self.scope.cancel)
        self._minutes = minutes
        self._machines = Machines()
        self._members: list[Member] = []
        self._bad = True
        self._now = self._steps = 0
        self._ttl_s = self.chance.choice((1.0, 3.0, 10.0))
        self._elections = ("x", "y") if "two elections" in self.faults else ("x",)
        self._network = Faults(
            delay_s=self.chance.uniform(0.01, 0.3) * self._ttl_s if "delays" in self.faults else 0.002,
            lost_request=0.1 if "losses" in self.faults else 0.0,
            lost_reply=0.1 if "losses" in self.faults else 0.0,
            duplicate=0.3 if "duplicates" in self.faults else 0.0,
            broken_stream=0.05 if "broken streams" in self.faults else 0.0,
        )
        store_faults = StoreFaults(
            delay_s=self._ttl_s / 20 if "slow store" in self.faults else 0.0,
            failing=0.1 if "store errors" in self.faults else 0.0,
        )
        store = FaultyStore(self.invariants, self.chance, store_faults)
        self._host = Host(store, self._clock(), self.invariants, self._ttl_s)
        self._backups: list[Backup] = []

    async def run(self) -> None:
        """The faults, the calm, and the end."""
        async with anyio.create_task_group() as network, anyio.create_task_group() as processes:
            with self.scope, watched(self._machines, self._step):
                outside(network.start_soon, self._host.serve)
                await anyio.sleep(0.001)
                for name in "abcde"[: self.chance.randint(2, 5)]:
                    self._begin(name, network, processes)
                await self._go_wrong(network, processes)
                await self._calm_down()
                await self._end()
            for member in self._members:
                member.service.kill()
            processes.cancel_scope.cancel()
            network.cancel_scope.cancel()

    def _step(self) -> None:
        now = anyio.current_time()
        self._steps = self._steps + 1 if now == self._now else 0
        self._now = now
        if self._steps > MOST_STEPS:
            self.invariants.fail(f"{MOST_STEPS} steps without a pause")
        if self._steps > 2 * MOST_STEPS:
            raise SystemExit("a task goes round for ever")
        if self.invariants.violation is None and not self.scope.cancel_called:
            self.invariants.step()

    def _clock(self) -> DriftingClock:
        rate = self.chance.choice((1 - DRIFT, 1.0, 1 + DRIFT))
        return DriftingClock(VirtualClock(), rate, self.chance.uniform(0, 1000))

    def _begin(
        self, name: str, network: TaskGroup, processes: TaskGroup, elections: tuple[str, ...] | None = None
    ) -> Member:
        process = f"{name}#{len(self._members)}"
        candidate_id = name if "same ids" in self.faults else process
        linger_s = self._ttl_s / 20 if "lingering work" in self.faults else 0.0
        habits = Habits(
            elections=elections or self._elections,
            ttl_s=self._ttl_s,
            work_s=self.chance.uniform(0.1, 3) * self._ttl_s,
            linger_s=2 * self._ttl_s if "stubborn work" in self.faults else linger_s,
            operates="operator" in self.faults,
            releases="release on disconnect" in self.faults,
            note=self.invariants.note,
        )
        service = self._way(process, network)
        member = Member(process, candidate_id, service, self._clock(), random.Random(self.chance.random()), habits)
        self._members.append(member)
        self.invariants.clients.append(member)
        self.invariants.note(f"{process} begins")
        with _inside(process):
            processes.start_soon(member.live)
        return member

    def _way(self, process: str, network: TaskGroup) -> FaultyService:
        """Return the way of a process to the servers: one connection after the other."""
        numbers = count(1)
        connection = f"{process}/0"

        def on_close() -> Callable[[], None]:
            nonlocal connection
            former, connection = connection, f"{process}/{next(numbers)}"
            return lambda: self._host.hung_up(former)

        return FaultyService(
            lambda: self._host.service(connection),
            network,
            self.chance,
            self._network,
            start=outside,
            on_close=on_close,
        )

    def _alive(self) -> list[Member]:
        return [each for each in self._members if not each.crashed]

    async def _go_wrong(self, network: TaskGroup, processes: TaskGroup) -> None:
        end = anyio.current_time() + 60 * self._minutes
        possible = [each for each in FAULTS[:5] if each in self.faults]
        others = ("operator", "operator", "restarts", "broken streams", "forget", "forget", "restore")
        possible += [each for each in others if each in self.faults]
        while anyio.current_time() < end:
            await anyio.sleep(self.chance.expovariate(1.0) * self._ttl_s)
            moving = [each for each in self._alive() if not self._machines.stands_still(each.process)]
            if possible and moving:
                await self._fault(self.chance.choice(possible), self.chance.choice(moving), network, processes)

    async def _fault(self, fault: str, member: Member, network: TaskGroup, processes: TaskGroup) -> None:
        duration_s = self.chance.uniform(0.1, 2.5) * self._ttl_s
        self.invariants.note(f"{fault} {member.process} {duration_s:.3f}")
        match fault:
            case "crash":
                self._crash(member)
                network.start_soon(self._begin_later, member, duration_s, network, processes)
            case "hang" | "sleep":
                self._machines.hold(member.process)
                network.start_soon(self._go_on, member, duration_s, fault == "sleep")
            case "cut":
                member.service.link.cut()
                network.start_soon(self._mend, member, duration_s)
            case "cut one way":
                member.service.link.cut(self.chance.choice(list(Direction)))
                network.start_soon(self._mend, member, duration_s)
            case "operator":
                network.start_soon(self._operate, network)
            case "broken streams":
                member.service.break_streams()
            case "forget":
                network.start_soon(self._visit, duration_s, network, processes)
            case "restore":
                await self._restore(network)
            case _:
                await self._restart(network)

    def _crash(self, member: Member) -> None:
        """Nothing of it ever runs again, and nothing of it is told to anybody."""
        member.crashed = True
        self.invariants.clients.remove(member)
        self._machines.hold(member.process)
        member.service.kill()

    async def _begin_later(self, member: Member, pause_s: float, network: TaskGroup, processes: TaskGroup) -> None:
        await anyio.sleep(pause_s)
        if self._bad:
            self._begin(member.process.partition("#")[0], network, processes, member.elections)

    async def _go_on(self, member: Member, pause_s: float, slept: bool) -> None:
        await anyio.sleep(pause_s)
        if not member.crashed:
            if slept:
                member.clock.slept(pause_s)
            self._machines.release(member.process)

    async def _mend(self, member: Member, pause_s: float) -> None:
        await anyio.sleep(pause_s)
        member.service.link.mend()

    async def _restart(self, network: TaskGroup, backup: Backup | None = None) -> None:
        for member in self._members:
            member.service.break_streams()
        await self._host.stop()
        await anyio.sleep(self.chance.uniform(0.01, self._ttl_s))
        if backup is not None:
            self._host.restore(backup, self._now_ms())
        outside(network.start_soon, self._host.serve)

    async def _restore(self, network: TaskGroup) -> None:
        """The store is lost, and made anew of a backup of it, or of one that it was made of, or of another one."""
        if not self._backups or self.chance.random() < 0.5:
            self._backups.append(self._host.store.back_up(self._now_ms()))
        await anyio.sleep(self.chance.uniform(0.0, self._ttl_s))
        await self._restart(network, self.chance.choice(self._backups))

    def _now_ms(self) -> int:
        """Return the time by the wall clock, which is right."""
        return EARLIEST_MS + int(anyio.current_time() * 1000)

    async def _visit(self, duration_s: float, network: TaskGroup, processes: TaskGroup) -> None:
        """Somebody takes part in an election of visitors for a while, and an operator forgets it then."""
        visitor = self._begin("v", network, processes, (VISITED,))
        await anyio.sleep(duration_s)
        if self.chance.random() < 0.3 and not visitor.crashed:
            self._crash(visitor)
        visitor.calm.set()
        operator = self._way("operator", network)
        for _ in range(FORGET_TRIES):
            await anyio.sleep(self.chance.uniform(0.0, self._ttl_s / 2))
            try:
                await operator.forget(Call(VISITED))
                return
            except ElectionError as error:
                self.invariants.note(f"operator: cannot forget {VISITED}: {type(error).__name__}")

    async def _operate(self, network: TaskGroup) -> None:
        """An operator without a session, at the end of a bad way of its own."""
        call = Call(self.chance.choice(self._elections))
        service = self._way("operator", network)
        if "cut" in self.faults and self.chance.random() < 0.3:
            network.start_soon(self._cut_soon, service)
        try:
            term = await service.get_term(call)
            if term.candidates:
                candidate_id = self.chance.choice(term.candidates)
                name = self.chance.choice(("anoint", "anoint", "promote", "evict"))
                self.invariants.note(f"operator: {name} {candidate_id} in {call.election}")
                await getattr(service, name)(call, candidate_id)
        except ElectionError as error:
            self.invariants.note(f"operator: {type(error).__name__}")

    async def _cut_soon(self, service: FaultyService) -> None:
        await anyio.sleep(self.chance.uniform(0, 3 * self._network.delay_s))
        service.link.cut(self.chance.choice(list(Direction)))
        await anyio.sleep(self.chance.uniform(0, self._ttl_s))
        service.link.mend()

    async def _calm_down(self) -> None:
        """No more faults: within the bound somebody leads wherever somebody stands, and all get their turn."""
        self._bad = False
        self._host.store.faults.delay_s = self._host.store.faults.failing = 0.0
        self._network.delay_s = 0.002
        self._network.lost_request = self._network.lost_reply = 0.0
        self._network.duplicate = self._network.broken_stream = 0.0
        for member in self._alive():
            member.service.link.mend()
        await anyio.sleep(2.5 * self._ttl_s + 0.1)  # until all that stood still have gone on
        since = anyio.current_time()
        self.invariants.note("calm")
        await anyio.sleep((self._ttl_s + 0.1) / (1 - DRIFT) + SETTLING_S)
        for election in self._elections:
            waiting = [each.process for each in self._alive() if election in each.stands_anywhere()]
            if waiting and self.invariants.last_led.get(election, -1.0) < since:
                self.invariants.fail(f"nobody leads {election} in time, {waiting} would")
        for member in self._alive():
            member.calm.set()
        end = anyio.current_time() + 20 * self._ttl_s + 60
        while any(not each.done for each in self._alive()):
            if anyio.current_time() > end:
                late = [each.process for each in self._alive() if not each.done]
                self.invariants.fail(f"{late} did not get their turn")
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.1)

    async def _end(self) -> None:
        """All have left or died: nothing stays."""
        await anyio.sleep((self._ttl_s + 0.1) / (1 - DRIFT) + SETTLING_S)
        found = self._host.left_behind()
        found += [f"a stream of {each.process}" for each in self._members if each.service.open_streams]
        found += [f"task {task} of {each.process}" for each in self._alive() for task in tasks_of(each.process)]
        if found:
            self.invariants.fail(f"left behind: {found}")
