"""The load that ``bench`` puts on a server: in an election of its own, of which nothing is left.

One candidate leads while the others enter and withdraw behind it, so that they take no tokens, and the server has no
changes of a leader to log. Each client makes its next call when the last one was answered.
"""

import time
from array import array
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import anyio
from anyio.abc import TaskStatus

from atomix_election.cli import PROGRAM
from atomix_election.cli.bench_figures import Figures, Latencies, Load, latencies_of
from atomix_election.cli.options import Where
from atomix_election.client import LeaderElection, connect
from atomix_election.errors import ElectionError, Unavailable
from atomix_election.model import Term
from atomix_election.service import Service
from atomix_election.tasks import shielded

PATIENCE_S = 15.0
"""How much longer than planned a part may take before nobody waits any more; a call takes a third of that at most."""
FORGET_TIMEOUT_S = 5.0
"""How long is waited when all is over for the server to forget the election."""
MOST_HANDOVERS = 200
"""After so many it is enough, as each of them takes a token, and a line in the server's log."""

Begin = Callable[[str, float], None]
"""Is told that a part begins, and how many seconds it is to take."""

_Job = Callable[[], Awaitable[object]]


class Plan(NamedTuple):
    """What is to be done.

    Args:
        election: a name that nobody else uses.
        clients: how many there are at once.
        duration_s: how long each part takes.
    """

    election: str
    clients: int
    duration_s: float


async def measure(where: Where, plan: Plan, begin: Begin, remark: Callable[[str], None]) -> Figures:
    """Measure a server, and leave nothing behind, whatever ends it.

    Args:
        where: it is.
        plan: what is done.
        begin: is told of each part.
        remark: is told what may be left all the same.

    Raises:
        ElectionError: it could not be measured to the end.
    """
    async with where.connecting() as service:
        await service.get_term(where.call(plan.election))  # nothing is begun where nobody answers
        try:
            with _one_error():
                return await _with_clients(where, plan, begin)
        finally:
            why = await shielded(_forget(service, where, plan))
            if why:
                forget = f"{PROGRAM} forget {plan.election} --namespace {where.namespace}"
                remark(
                    f"election {plan.election} in namespace {where.namespace} may be left: {why}. Its candidates go "
                    f"with their sessions; then `{forget}` removes it"
                )
    raise AssertionError("the block returns")


async def _forget(service: Service, where: Where, plan: Plan) -> str:
    """Remove the election, and return why that was not possible, or ""."""
    try:
        with anyio.fail_after(FORGET_TIMEOUT_S):
            await service.forget(where.call(plan.election))
    except TimeoutError:
        return f"no answer within {FORGET_TIMEOUT_S:g} s"
    except ElectionError as error:
        return str(error)
    return ""


async def _with_clients(where: Where, plan: Plan, begin: Begin) -> Figures:
    over = anyio.Event()
    async with anyio.create_task_group() as tasks:
        elections: list[LeaderElection] = [
            await tasks.start(_stand_by, where, plan.election, f"client-{number + 1}", over)
            for number in range(plan.clients + 1)
        ]
        figures = await _parts(elections, plan, begin)
        over.set()
        return figures
    raise AssertionError("the block returns")


async def _stand_by(
    where: Where, name: str, candidate: str, over: anyio.Event, *, task_status: TaskStatus[LeaderElection]
) -> None:
    """Be connected until it is over; the end of the connection's session takes the candidate along."""
    connecting = connect(
        where.target, namespace=where.namespace, session_ttl=where.session_ttl, tls=where.tls(), token=where.token()
    )
    async with connecting as client:
        task_status.started(client.election(name, candidate_id=candidate))
        await over.wait()


async def _parts(elections: Sequence[LeaderElection], plan: Plan, begin: Begin) -> Figures:
    leader, *others = elections
    rounds: list[Sequence[_Job]] = [(each.enter, each.withdraw) for each in others]
    reads: list[Sequence[_Job]] = [(each.get_term,) for each in others]
    with _in_time("opening sessions", 0.0):
        await leader.enter()
        await _repeat(rounds, 0.0)  # once each, which is not measured
    begin(f"Enter and Withdraw, {plan.clients} at once", plan.duration_s)
    with _in_time("Enter and Withdraw", plan.duration_s):
        commands = await _repeat(rounds, plan.duration_s)
    begin(f"GetTerm, {plan.clients} at once", plan.duration_s)
    with _in_time("GetTerm", plan.duration_s):
        get_term = await _repeat(reads, plan.duration_s)
    begin(f"hand-overs, up to {MOST_HANDOVERS}", plan.duration_s)
    with _in_time("hand-overs", plan.duration_s):
        await leader.withdraw()
        handover = await _Turns(plan.duration_s).measure(leader, others[0])
    return Figures(commands, get_term, handover)


@contextmanager
def _in_time(part: str, duration_s: float) -> Generator[None]:
    try:
        with anyio.fail_after(duration_s + PATIENCE_S):
            yield
    except TimeoutError:
        raise Unavailable(f"{part} not over {PATIENCE_S:g} s after its time: the server does not answer") from None


async def _repeat(lanes: Sequence[Sequence[_Job]], duration_s: float) -> Load:
    """Have the jobs of each lane done in turns until the time is over, at least once; all lanes at once."""
    spent_s = array("d")

    async def repeat(jobs: Sequence[_Job]) -> None:
        while True:
            for job in jobs:
                sent = time.perf_counter()
                await job()
                spent_s.append(time.perf_counter() - sent)
            if time.perf_counter() >= until:
                return

    began, processor_began_s = time.perf_counter(), time.process_time()
    until = began + duration_s
    async with anyio.create_task_group() as tasks:
        for jobs in lanes:
            tasks.start_soon(repeat, jobs)
    took_s = time.perf_counter() - began
    return Load(latencies_of(spent_s), took_s, (time.process_time() - processor_began_s) / took_s)


class _Turns:
    """Two lead in turns, for so many seconds and at least once: each leaves as soon as the other one waits."""

    def __init__(self, duration_s: float) -> None:
        self._until = time.perf_counter() + duration_s
        self._spent_s = array("d")
        self._left_at: float | None = None
        self._over = False
        self._term = Term()
        self._news = anyio.Event()

    async def measure(self, *elections: LeaderElection) -> Latencies:
        """Return how long it took from the end of one's block until the other one's began."""
        async with anyio.create_task_group() as watching:
            await watching.start(self._follow, elections[0])
            async with anyio.create_task_group() as tasks:
                for each in elections:
                    tasks.start_soon(self._take_turns, each)
            watching.cancel_scope.cancel()
        return latencies_of(self._spent_s)

    async def _take_turns(self, election: LeaderElection) -> None:
        while not self._over:
            async with election.lead() as leadership:
                now = time.perf_counter()
                if self._left_at is not None:
                    self._spent_s.append(now - self._left_at)
                    self._left_at = None
                    self._over = now >= self._until or len(self._spent_s) == MOST_HANDOVERS
                if not self._over:
                    await self._other_waits(leadership.token)
                    self._left_at = time.perf_counter()

    async def _other_waits(self, token: int) -> None:
        while self._term.number != token or not self._term.candidates[1:]:
            await self._news.wait()

    async def _follow(self, election: LeaderElection, *, task_status: TaskStatus[None]) -> None:
        async with election.events() as events:
            task_status.started()
            async for event in events:
                self._term = event.term
                self._news.set()
                self._news = anyio.Event()


@contextmanager
def _one_error() -> Generator[None]:
    """Let the first error of those who work at the same time be that of all: it cancels the others."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors = group.subgroup(ElectionError)
        if errors is None:
            raise
        raise _first(errors) from None


def _first(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    return error
