"""All that a simulation knows of servers: what a host of them must do, and what it is given for that."""

import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import anyio

from atomix_election.clock import Clock
from atomix_election.core.election import Election
from atomix_election.core.floors import EARLIEST_MS
from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.errors import ElectionError, OutcomeUnknown, Unavailable
from atomix_election.model import ElectionDescription, ElectionId, ElectionPage, Term
from atomix_election.service import PAGE_SIZE, Call, Service
from atomix_election.stores.base import Store
from atomix_election.testing.checker import Promises, Violation
from atomix_election.testing.clock import VirtualClock
from atomix_election.testing.clocks import DriftingClock
from atomix_election.testing.history import Records, Restored
from atomix_election.testing.invariants import Invariants

DRIFT = 0.01
"""How much slower or faster than real time a clock runs at most."""
LONGEST_FAULT = 2.5
"""How long an act of a host's keeps something broken at most, in time-to-lives."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a host is given of the run that it is part of.

    Args:
        chance: decides everything that is left to chance; there must be no other source of it.
        faults: the kinds that exist in this run, the clients' included.
        ttl_s: the time-to-live of all sessions.
        invariants: must be told of what is committed.
        record: takes the records of ``Host``, see there.
        start: starts a task that belongs to no client and ends with the run: ``start(function, *arguments)``.
        lost: must be called with the name of each connection that a server has let go of, or died with: its streams
            break at both ends.
    """

    chance: random.Random
    faults: frozenset[str]
    ttl_s: float
    invariants: Invariants
    record: Records
    start: Callable[..., object]
    lost: Callable[[str], None]

    def new_clock(self) -> Clock:
        """Return the clock of one more machine: it drifts, and began at some time."""
        rate = self.chance.choice((1 - DRIFT, 1.0, 1 + DRIFT))
        return DriftingClock(VirtualClock(), rate, self.chance.uniform(0, 1000))

    def wall_clock_s(self) -> float:
        """Return the seconds since 1970, by a clock that is right."""
        return EARLIEST_MS / 1000 + anyio.current_time()

    def restored(self, stopped_at: float, floor: int) -> None:
        """Note that a store was made of a backup.

        Args:
            stopped_at: since when nobody was served from the former one.
            floor: below what none of its numbers is.
        """
        self.record(Restored(stopped_at, self.record.now(), self.ttl_s / (1 + DRIFT), floor))


class Host(Protocol):
    """Servers, the store that they use, and what goes wrong with them.

    An instance serves one run. Whatever it does must follow from its surroundings, so that equal seeds give equal runs:
    no time of the machine, no chance but ``chance``, no order of a set, no path or random identity in what is noted.

    It tells ``invariants``: ``committed`` of each new state of an election, in the order in which they come to be and
    before anybody is told of it; ``found`` of what a server finds that was started; and ``nobody_before`` when it
    serves from a restored store. ``HostedEngine`` does that for the engine of a store that has only one,
    ``HostedConnection`` tells of operators. What it does to a store that the checker has to know is recorded:
    ``Restored``, when one was made of a backup.
    """

    conditions: ClassVar[tuple[str, ...]]
    """Kinds of faults that are there all the time, such as a slow store. Whether they are is in ``faults``."""
    acts: ClassVar[tuple[str, ...]]
    """Kinds of faults that ``do`` is asked for now and then. One that is named twice comes twice as often."""

    def __init__(self, surroundings: Surroundings) -> None:
        """Choose what this run is like; nothing is begun yet."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Serve for as long as the block lasts; the first server is there, or about to be, when it begins.

        Everything is gone at its end: tasks, files, directories. It is left in the end of each run, also of one that
        was broken off while a fault was at work.
        """
        ...

    def service(self, name: str) -> Service:
        """Return the connection of that name to a server that is there now; it is made where there is none.

        A name is that of one connection of one client, ``process/number``, and is not used again after ``hung_up``.
        After the host has called ``lost`` it is, for another connection. Of several servers the host chooses one for
        each name, as a client chooses among its targets. What a killed server says must reach nobody:
        ``HostedConnection`` sees to it.

        Raises:
            Unavailable: no server can be reached.
        """
        ...

    def hung_up(self, name: str) -> None:
        """The client's end of that connection was closed, and its server notices now. It may be gone already."""
        ...

    async def do(self, fault: str) -> None:
        """Let something go wrong, of a kind among ``acts``.

        Nothing else goes wrong before this returns, but clients go on. What takes longer goes on in a task of its own.
        Whatever it is, it is over, and servers are there again, after ``LONGEST_FAULT`` time-to-lives.
        """
        ...

    async def calm_down(self) -> None:
        """Let nothing go wrong from now on; return when all servers are there, and nothing is broken any more."""
        ...

    @property
    def promises(self) -> Promises:
        """What is to hold in the history of this run, as far as that depends on servers and store."""
        ...

    def excuses(self, violation: Violation) -> bool:
        """Return whether what a history shows is as it should be here, and ``promises`` cannot say so."""
        ...

    @property
    def may_skip_changes(self) -> bool:
        """Whether a watch may be told of several changes as one that says so, though nobody was slow to read it."""
        ...

    @property
    def longest_failover_s(self) -> float:
        """How long a takeover takes at most, as servers announce it; in real time, by the slowest of their clocks."""
        ...

    async def left_behind(self) -> list[str]:
        """Return what servers and store still have of clients, now that all of these have gone; nothing is right."""
        ...


def left_in(engine: Engine | None) -> list[str]:
    """Return what an engine still has of clients that have gone."""
    if engine is None:
        return ["no server"]
    found = [f"{len(engine.sessions)} open sessions"] if len(engine.sessions) else []
    found += [f"lane {each}" for each in engine._lanes]  # type: ignore[reportPrivateUsage]  # noqa: SLF001
    found += [f"wait {each}" for each in engine._waits]  # type: ignore[reportPrivateUsage]  # noqa: SLF001
    return found


async def left_in_store(store: Store) -> list[str]:
    """Return what a store still has of clients that have gone."""
    found = [f"session {each.session.id}" for each in await store.sessions()]
    async for election_id, election in store.elections():
        found += [f"{each} in {election_id.name}" for each in election.sessions()]
    return found


class HostedEngine(Engine):
    """An engine that lets the invariants know of each state of an election before anybody is told of it.

    Args:
        store: see ``Engine``.
        surroundings: of its host.
        clock: of its machine.
    """

    def __init__(self, store: Store, surroundings: Surroundings, clock: Clock) -> None:
        ttl_s = surroundings.ttl_s
        limits = SessionLimits(min_ttl_s=0.1, default_ttl_s=ttl_s, max_ttl_s=ttl_s)
        super().__init__(store, clock=clock, limits=limits, wall_clock=clock.now)
        self._invariants = surroundings.invariants
        if store.hold_s is not None:
            self._invariants.nobody_before = anyio.current_time() + ttl_s / (1 + DRIFT)

    def _committed(self, election_id: ElectionId, before: Election, after: Election) -> None:
        """See ``Engine``. It begins with what the store has."""
        if self._restored:
            self._invariants.committed(election_id.name, after)
        else:
            self._invariants.found(election_id.name, after)
        super()._committed(election_id, before, after)


class HostedConnection(Connection):
    """A connection to a server that may be killed: then nothing of what it answers reaches anybody.

    Args:
        engine: the server's.
        invariants: are told of operators at work.
        is_gone: returns whether the server was killed.
    """

    def __init__(self, engine: Engine, invariants: Invariants, is_gone: Callable[[], bool]) -> None:
        super().__init__(engine)
        self._invariants = invariants
        self._is_gone = is_gone

    async def end_session(self, namespace: str, session: str) -> None:
        """See ``ElectionService.end_session``."""
        await self._write(super().end_session(namespace, session))

    async def create(self, call: Call) -> None:
        """See ``ElectionService.create``."""
        await self._write(super().create(call))

    async def close(self, call: Call) -> None:
        """See ``ElectionService.close``."""
        await self._write(super().close(call))

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.enter``."""
        return await self._write(super().enter(call, candidate_id))

    async def withdraw(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.withdraw``."""
        return await self._write(super().withdraw(call, candidate_id))

    async def anoint(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.anoint``."""
        with self._operating(call):
            return await self._write(super().anoint(call, candidate_id))

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.promote``."""
        with self._operating(call):
            return await self._write(super().promote(call, candidate_id))

    async def evict(self, call: Call, candidate_id: str) -> Term:
        """See ``ElectionService.evict``."""
        with self._operating(call):
            return await self._write(super().evict(call, candidate_id))

    async def forget(self, call: Call) -> Term:
        """See ``ElectionService.forget``."""
        return await self._write(super().forget(call))

    async def get_term(self, call: Call) -> Term:
        """See ``ElectionService.get_term``."""
        return await self._answered(super().get_term(call), Unavailable)

    async def list_elections(self, namespace: str, *, page_size: int = PAGE_SIZE, page_token: str = "") -> ElectionPage:
        """See ``InspectionService.list_elections``."""
        page = super().list_elections(namespace, page_size=page_size, page_token=page_token)
        return await self._answered(page, Unavailable)

    async def describe(self, call: Call) -> ElectionDescription:
        """See ``InspectionService.describe``."""
        return await self._answered(super().describe(call), Unavailable)

    @contextmanager
    def _operating(self, call: Call) -> Generator[None]:
        """Let the invariants know of a command that may change the order of a queue, as long as it may take place."""
        self._invariants.operators += 1
        try:
            yield
        except OutcomeUnknown:
            self._invariants.unsure.add(call.election)
            raise
        finally:
            self._invariants.operators -= 1

    async def _write(self, answer: Awaitable[_T]) -> _T:
        return await self._answered(answer, OutcomeUnknown)

    async def _answered(self, answer: Awaitable[_T], lost: type[ElectionError]) -> _T:
        """Wait for an answer, which is lost when its server is killed before."""
        try:
            result = await answer
        except ElectionError as error:
            if self._is_gone():
                raise lost("the connection was lost before an answer came") from error
            raise
        if self._is_gone():
            raise lost("the connection was lost before an answer came")
        return result
