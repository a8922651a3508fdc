"""A seeded simulation of clients, an operator, a bad network and servers that are restarted, in virtual time.

Engine, stores and leadership are the real ones; nothing is modelled but what goes wrong. Needs Trio. Each seed picks
the store and which kinds of faults there are, so that runs have few of them in many combinations; everything else comes
from it as well.
"""

import logging
import math
import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import cast

import anyio
import trio
import trio.testing

from atomix_election.core.campaign import LONGEST_CALL_S
from atomix_election.testing import clients
from atomix_election.testing.checker import Rule, check_history
from atomix_election.testing.checker.spec import WRITES
from atomix_election.testing.clients import CALM_DELAY_S, Clients
from atomix_election.testing.clock import VirtualClock
from atomix_election.testing.etcd_host import EtcdHost
from atomix_election.testing.history import DONE, Answered, Fault
from atomix_election.testing.host import DRIFT, LONGEST_FAULT, Host, Surroundings
from atomix_election.testing.invariants import Invariants, RunRecords
from atomix_election.testing.memory_host import MemoryHost
from atomix_election.testing.scheduling import Machines, outside, repeatable, tasks_of, watched
from atomix_election.testing.sqlite_host import SqliteHost

HOSTS: Mapping[str, type[Host]] = MappingProxyType({"memory": MemoryHost, "sqlite": SqliteHost, "etcd": EtcdHost})
"""The servers that there are to choose from, by their store."""
LIKELY = 0.4
"""How likely each kind of faults is in a run."""
COMMON_TTL_S = 3.0
"""Where sessions last longer than that, the time in which things go wrong is longer in the same proportion."""
LONGEST_END_S = 1000.0
"""How long a run goes on after its faults at most, in virtual time."""
MOST_STEPS = 20_000
"""How often tasks may run without any time passing."""
SETTLING_S = 1.0 + LONGEST_CALL_S
"""What the failover bound does not count: a call that was on its way, a retry, a store that has just failed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run.

    Args:
        seed: where it came from.
        store: what the servers used.
        faults: which kinds there were.
        violation: the rule that was broken, or None.
        trace: the digest of its history.
        history: the newest lines of it.
        simulated_s: how long it took in virtual time.
        leader_changes: how often somebody began to lead under a new token.
        acknowledged: how many commands were carried out, as far as clients were told.
        acts: how often something went wrong, by its kind, without what was there all the time.
    """

    seed: int
    store: str
    faults: tuple[str, ...]
    violation: str | None
    trace: str
    history: tuple[str, ...]
    simulated_s: float = 0.0
    leader_changes: int = 0
    acknowledged: int = 0
    acts: tuple[tuple[str, int], ...] = ()


def kinds_of_faults(store: str) -> tuple[str, ...]:
    """Return the kinds of faults that there can be in a run on a store."""
    host = HOSTS[store]
    return tuple(dict.fromkeys((*clients.CONDITIONS, *clients.ACTS, *host.conditions, *host.acts)))


def simulate(
    seed: int, minutes: float = 1.0, store: str | None = None, faults: Collection[str] | None = None
) -> Outcome:
    """Do one run; equal arguments give equal histories, where the order of sets of strings is the same.

    That is so in processes with an equal PYTHONHASHSEED.

    Args:
        seed: decides everything.
        minutes: of virtual time in which things go wrong, and more with long sessions (``COMMON_TTL_S``); the calm and
            the end come after it.
        store: a key of ``HOSTS``; None: the seed chooses.
        faults: which kinds there are, of those that ``kinds_of_faults`` returns; None: the seed chooses.
    """
    log = logging.getLogger("atomix_election")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    begun: list[_Simulation] = []

    async def run() -> None:
        begun.append(_Simulation(seed, minutes, store, faults))
        await begun[0].run()

    try:
        with repeatable(seed):
            trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    except trio.TrioInternalError as error:  # which is what becomes of an error in a callback without a task
        return replace(begun[0].outcome, violation=f"an error came out of a callback: {causes(error)}")
    finally:
        log.setLevel(level)
    return begun[0].outcome


def store_of(seed: int, store: str | None = None) -> str:
    """Return what the servers of a run use: the store that is given, or the one that its seed chooses."""
    return store or random.Random(f"the store of {seed}").choice(sorted(HOSTS))


def causes(error: BaseException) -> str:
    """Return the errors that are behind one, in a line."""
    if isinstance(error, BaseExceptionGroup):
        errors = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return ", ".join(causes(each) for each in errors)
    if isinstance(error, trio.TrioInternalError) and error.__cause__ is not None:
        return causes(error.__cause__)
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" at {frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame is not None else ""
    return f"{type(error).__name__}: {error}{where}"


class _Simulation:
    """One run."""

    def __init__(self, seed: int, minutes: float, store: str | None, faults: Collection[str] | None) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        self.store = store_of(seed, store)
        host = HOSTS[self.store]
        self._acts = (*clients.ACTS, *host.acts)
        chosen = tuple(kind for kind in kinds_of_faults(self.store) if self._chance.random() < LIKELY)
        self.faults = chosen if faults is None else tuple(faults)
        if "release on disconnect" in self.faults:  # two may lead where a connection is cut by somebody else
            self.faults = tuple(fault for fault in self.faults if fault != "broken streams")
        self.invariants = Invariants(VirtualClock().now, self._break_off)
        self._scope = anyio.CancelScope()
        self._machines = Machines()
        self._now = 0.0
        self._steps = 0
        self._done: Counter[str] = Counter()
        self._ttl_s = self._chance.choice((1.0, 3.0, 10.0))
        self._faults_s = 60 * minutes * max(1.0, self._ttl_s / COMMON_TTL_S)
        self._network = anyio.create_task_group()
        self._processes = anyio.create_task_group()
        self._records = RunRecords(self.invariants)
        surroundings = Surroundings(
            self._chance, frozenset(self.faults), self._ttl_s, self.invariants, self._records, self._start, self._lost
        )
        self._host = host(surroundings)
        self._clients = Clients(surroundings, self._host, self._machines, self._network, self._processes)

    @property
    def outcome(self) -> Outcome:
        """What has become of it so far."""
        invariants, history = self.invariants, self._records.history
        return Outcome(
            self._seed,
            self.store,
            self.faults,
            invariants.violation,
            invariants.trace,
            tuple(invariants.history),
            simulated_s=self._now,
            leader_changes=invariants.leader_changes,
            acknowledged=sum(
                isinstance(each, Answered) and each.outcome == DONE and each.what in WRITES for each in history
            ),
            acts=tuple(sorted(self._done.items())),
        )

    async def run(self) -> None:
        """Do everything; whatever error comes out of the package is one of the rules that it breaks."""
        try:
            with anyio.fail_after(self._faults_s + LONGEST_END_S):
                await self._play()
        except Exception as error:  # noqa: BLE001 - see above
            self.invariants.fail(f"an error came out: {causes(error)}")

    async def _play(self) -> None:
        """The faults, the calm, and the end."""
        async with self._network:
            async with self._host.running(), self._processes:
                with self._scope, watched(self._machines, self._step):
                    self._clients.observe()
                    for name in "abcde"[: self._chance.randint(2, 5)]:
                        self._clients.begin(name)
                    await self._go_wrong()
                    await self._calm_down()
                    await self._end()
                for member in self._clients.members:
                    member.service.kill()
                self._processes.cancel_scope.cancel()
            self._network.cancel_scope.cancel()

    def _step(self, process: str) -> None:
        now = anyio.current_time()
        self._steps = self._steps + 1 if now == self._now else 0
        self._now = now
        if self._steps > MOST_STEPS:
            self.invariants.fail(f"{MOST_STEPS} steps without a pause")
        if self.invariants.violation is None and not self._scope.cancel_called:
            self.invariants.step(process)

    def _break_off(self) -> None:
        self._scope.cancel()

    def _start(self, *args: object) -> None:
        outside(self._network.start_soon, *args)

    def _lost(self, connection: str) -> None:
        self._clients.lost(connection)

    async def _go_wrong(self) -> None:
        end = anyio.current_time() + self._faults_s
        possible = [each for each in self._acts if each in self.faults]
        while anyio.current_time() < end:
            await anyio.sleep(self._chance.expovariate(1.0) * self._ttl_s)
            if not possible:
                continue
            fault = self._chance.choice(possible)
            self._done[fault] += 1
            if fault in clients.ACTS:
                self._clients.do(fault)
            else:
                self.invariants.note(fault)
                await self._host.do(fault)

    async def _calm_down(self) -> None:
        """No more faults: within the bound somebody leads wherever somebody stands, and all get their turn."""
        self._clients.calm_down()
        await self._host.calm_down()
        await anyio.sleep(LONGEST_FAULT * self._ttl_s + 0.1)  # until all that stood still have gone on
        since = anyio.current_time()
        self._records(Fault("all that goes wrong", 0.0, since))
        await anyio.sleep(self._host.longest_failover_s + SETTLING_S)
        for election in self._clients.elections:
            waiting = [each.process for each in self._clients.alive() if election in each.stands_anywhere()]
            if waiting and self.invariants.last_led.get(election, -1.0) < since:
                self.invariants.fail(f"nobody leads {election} in time, {waiting} would")
        for member in self._clients.alive():
            member.calm.set()
        end = anyio.current_time() + 20 * self._ttl_s + 60
        while late := [each.process for each in self._clients.alive() if not each.done]:
            if anyio.current_time() > end:
                self.invariants.fail(f"{late} did not get their turn")
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.1)

    async def _end(self) -> None:
        """All have left or died: nothing stays."""
        await anyio.sleep(max(self._host.longest_failover_s, self._ttl_s / (1 - DRIFT)) + SETTLING_S)
        for observer in self._clients.observers:
            observer.end()
        await anyio.sleep(CALM_DELAY_S)
        found = await self._host.left_behind()
        found += [f"a stream of {each.process}" for each in self._clients.members if each.service.open_streams]
        found += [f"task {task} of {each.process}" for each in self._clients.alive() for task in tasks_of(each.process)]
        if found:
            self.invariants.fail(f"left behind: {found}")
        self._check_history()

    def _check_history(self) -> None:
        """Judge all that was recorded; nothing counts that comes later, as everybody is broken off."""
        self._records.are_over = True
        promises = replace(
            self._host.promises,
            calm=frozenset() if "operator" in self.faults else frozenset(self._clients.elections),
            settle_s=math.inf,  # servers are not recorded
            longest_failover_s=self._host.longest_failover_s + SETTLING_S,
            longest_silence_s=self._host.longest_failover_s + SETTLING_S,
        )
        disturbed = not clients.DISTURBING.isdisjoint(self.faults)
        for violation in check_history(self._records.history, promises).violations:
            if not (violation.rule is Rule.KEPT and disturbed) and not self._host.excuses(violation):
                self.invariants.fail(str(violation))
