"""The simulated clients of a run, with a bad network each, and what goes wrong with them."""

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count

import anyio
from anyio.abc import TaskGroup

from atomix_election.errors import ElectionError
from atomix_election.service import Call
from atomix_election.testing.host import LONGEST_FAULT, Host, Surroundings
from atomix_election.testing.member import Habits, Member
from atomix_election.testing.network import Faults, FaultyService
from atomix_election.testing.observers import Observer
from atomix_election.testing.recording import RecordingService
from atomix_election.testing.scheduling import PROCESS, Machines, outside
from atomix_election.testing.streams import Direction

CONDITIONS = (
    "delays",
    "losses",
    "duplicates",
    "lingering work",
    "stubborn work",
    "same ids",
    "two elections",
    "two candidates",
    "release on disconnect",
)
"""Kinds of faults of clients and network that are there all the time."""
ACTS = (
    "crash",
    "hang",
    "sleep",
    "cut",
    "cut one way",
    "broken streams",
    "operator",
    "operator",
    "forget",
    "forget",
)
"""Kinds that come now and then. Those that are named twice come twice as often."""
DISTURBING = frozenset(
    {"delays", "losses", "hang", "sleep", "cut", "cut one way", "broken streams", "release on disconnect"}
)
"""Kinds by which a client may lose its leadership, or its session, without anybody else's doing."""
VISITED = "visited"
"""The election of visitors, who come for a while; it is forgotten when nobody is there."""
FORGET_TRIES = 12
"""How often an operator tries to forget it before it is left alone."""
CALM_DELAY_S = 0.002
"""The longest time that a message takes on a good network."""


class Clients:
    """All that ever were in a run, the dead too.

    Args:
        surroundings: those of the run.
        host: where the servers are.
        machines: which processes stand still.
        network: where tasks of the network run.
        processes: where those of clients run.
    """

    def __init__(
        self, surroundings: Surroundings, host: Host, machines: Machines, network: TaskGroup, processes: TaskGroup
    ) -> None:
        self.elections: tuple[str, ...] = ("x", "y") if "two elections" in surroundings.faults else ("x",)
        self.members: list[Member] = []
        self.observers: list[Observer] = []
        self._surroundings = surroundings
        self._chance = chance = surroundings.chance
        self._ttl_s = surroundings.ttl_s
        self._host = host
        self._machines = machines
        self._network = network
        self._processes = processes
        self._ways: dict[str, FaultyService] = {}
        self._bad = True
        self._faults = Faults(
            delay_s=chance.uniform(0.01, 0.3) * self._ttl_s if self._have("delays") else CALM_DELAY_S,
            lost_request=0.1 if self._have("losses") else 0.0,
            lost_reply=0.1 if self._have("losses") else 0.0,
            duplicate=0.3 if self._have("duplicates") else 0.0,
            broken_stream=0.05 if self._have("broken streams") else 0.0,
        )

    def observe(self) -> None:
        """Let all elections be watched."""
        for election in self.elections:
            name = f"observer of {election}"
            service = RecordingService(self._way(name, Faults()), self._surroundings.record, name)
            chance = random.Random(self._chance.random())
            observer = Observer(
                election,
                service,
                chance,
                self._ttl_s,
                self._surroundings.invariants,
                may_skip=self._host.may_skip_changes,
            )
            self.observers.append(observer)
            self._network.start_soon(observer.watch)

    def alive(self) -> list[Member]:
        """Return those that have not crashed."""
        return [each for each in self.members if not each.has_crashed]

    def lost(self, connection: str) -> None:
        """A server has let go of a connection."""
        if connection in self._ways:
            self._ways[connection].break_streams()

    def begin(self, name: str, elections: tuple[str, ...] | None = None) -> Member:
        """Start one more, with a name that others may have had before."""
        process = f"{name}#{len(self.members)}"
        linger_s = self._ttl_s / 20 if self._have("lingering work") else 0.0
        habits = Habits(
            elections=elections or self.elections,
            ttl_s=self._ttl_s,
            work_s=self._chance.uniform(0.1, 3) * self._ttl_s,
            linger_s=2 * self._ttl_s if self._have("stubborn work") else linger_s,
            operates=self._have("operator"),
            releases=self._have("release on disconnect"),
            note=self._note,
            record=self._surroundings.record,
        )
        candidate_id = name if self._have("same ids") else process
        candidate_ids = (candidate_id, f"{candidate_id}'") if self._have("two candidates") else (candidate_id,)
        clock = self._surroundings.new_clock()
        chance = random.Random(self._chance.random())
        member = Member(process, candidate_ids, self._way(process), clock, chance, habits)
        self.members.append(member)
        self._surroundings.invariants.clients.append(member)
        self._note(f"{process} begins")
        with _inside(process):
            self._processes.start_soon(member.live)
        return member

    def do(self, fault: str) -> None:
        """Let something go wrong, of a kind among ``ACTS``, with one that does not stand still."""
        moving = [each for each in self.alive() if not self._machines.stands_still(each.process)]
        if not moving:
            return
        member = self._chance.choice(moving)
        duration_s = self._chance.uniform(0.1, LONGEST_FAULT) * self._ttl_s
        self._note(f"{fault} {member.process} {duration_s:.3f}")
        match fault:
            case "crash":
                self._crash(member)
                self._network.start_soon(self._begin_later, member, duration_s)
            case "hang" | "sleep":
                self._machines.hold(member.process)
                self._network.start_soon(self._go_on, member, duration_s, fault == "sleep")
            case "cut":
                member.service.link.cut()
                self._network.start_soon(self._mend, member, duration_s)
            case "cut one way":
                member.service.link.cut(self._chance.choice(list(Direction)))
                self._network.start_soon(self._mend, member, duration_s)
            case "broken streams":
                member.service.break_streams()
            case "operator":
                self._network.start_soon(self._operate)
            case _:
                self._network.start_soon(self._visit, duration_s)

    def calm_down(self) -> None:
        """Let nothing go wrong from now on."""
        self._bad = False
        for observer in self.observers:
            observer.stays.set()
        self._faults.delay_s = CALM_DELAY_S
        self._faults.lost_request = self._faults.lost_reply = 0.0
        self._faults.duplicate = self._faults.broken_stream = 0.0
        for member in self.alive():
            member.service.link.mend()

    def _have(self, fault: str) -> bool:
        return fault in self._surroundings.faults

    def _note(self, what: str) -> None:
        self._surroundings.invariants.note(what)

    def _way(self, process: str, faults: Faults | None = None) -> FaultyService:
        """Return the way of a process to the servers: one connection after the other."""
        numbers = count(1)
        connection = f"{process}/0"

        def on_close() -> Callable[[], None]:
            nonlocal connection
            former, connection = connection, f"{process}/{next(numbers)}"
            self._ways[connection] = self._ways.pop(former)
            return lambda: self._host.hung_up(former)

        way = self._ways[connection] = FaultyService(
            lambda: self._host.service(connection),
            self._network,
            self._chance,
            faults or self._faults,
            start=outside,
            on_close=on_close,
        )
        return way

    def _operator(self) -> tuple[FaultyService, RecordingService]:
        """Return the way of one more operator, and what takes it."""
        name = f"operator#{len(self._ways)}"
        way = self._way(name)
        return way, RecordingService(way, self._surroundings.record, name)

    def _crash(self, member: Member) -> None:
        """Nothing of it ever runs again, and nothing of it is told to anybody."""
        self._surroundings.invariants.clients.remove(member)
        self._machines.hold(member.process)
        member.crash()

    async def _begin_later(self, member: Member, pause_s: float) -> None:
        await anyio.sleep(pause_s)
        if self._bad:
            self.begin(member.process.partition("#")[0], member.elections)

    async def _go_on(self, member: Member, pause_s: float, slept: bool) -> None:
        await anyio.sleep(pause_s)
        if not member.has_crashed:
            if slept:
                member.clock.slept(pause_s)
            self._machines.release(member.process)

    async def _mend(self, member: Member, pause_s: float) -> None:
        await anyio.sleep(pause_s)
        member.service.link.mend()

    async def _visit(self, duration_s: float) -> None:
        """Somebody takes part in an election of visitors for a while, and an operator forgets it then."""
        visitor = self.begin("v", (VISITED,))
        await anyio.sleep(duration_s)
        if self._chance.random() < 0.3 and not visitor.has_crashed:
            self._crash(visitor)
        visitor.calm.set()
        _, operator = self._operator()
        for _ in range(FORGET_TRIES):
            await anyio.sleep(self._chance.uniform(0.0, self._ttl_s / 2))
            try:
                await operator.forget(Call(VISITED))
                return
            except ElectionError as error:
                self._note(f"operator: cannot forget {VISITED}: {type(error).__name__}")

    async def _operate(self) -> None:
        """An operator without a session, at the end of a bad way of its own."""
        call = Call(self._chance.choice(self.elections))
        way, operator = self._operator()
        if self._have("cut") and self._chance.random() < 0.3:
            self._network.start_soon(self._cut_soon, way)
        try:
            term = await operator.get_term(call)
            if term.candidates:
                candidate_id = self._chance.choice(term.candidates)
                name = self._chance.choice(("anoint", "anoint", "promote", "evict"))
                self._note(f"operator: {name} {candidate_id} in {call.election}")
                await getattr(operator, name)(call, candidate_id)
        except ElectionError as error:
            self._note(f"operator: {type(error).__name__}")

    async def _cut_soon(self, service: FaultyService) -> None:
        await anyio.sleep(self._chance.uniform(0, 3 * self._faults.delay_s))
        service.link.cut(self._chance.choice(list(Direction)))
        await anyio.sleep(self._chance.uniform(0, self._ttl_s))
        service.link.mend()


@contextmanager
def _inside(process: str) -> Generator[None]:
    """What is started in this block belongs to a process."""
    token = PROCESS.set(process)
    try:
        yield
    finally:
        PROCESS.reset(token)
