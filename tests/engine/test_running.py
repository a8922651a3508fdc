"""An engine begins, ends, begins anew on what its store has, and keeps nothing that nobody needs."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from atomix_election import NotACandidate, SessionEnded, Unavailable
from atomix_election.core.commands import Anoint, Enter, SteppedDown
from atomix_election.core.election import Election
from atomix_election.engine import Connection, Engine
from atomix_election.errors import StoreError
from atomix_election.model import ElectionId, SessionId
from atomix_election.service import Renewal
from atomix_election.stores.base import Record
from atomix_election.testing import VirtualClock
from tests.engine.fakes import LATE_S, TTL_S, RecordingStore, about, candidates, running, stand

pytestmark = pytest.mark.anyio

MANY = 10_000


class CountingClock:
    """Virtual time, which counts how often somebody went to sleep, and ends a spin."""

    def __init__(self) -> None:
        self.sleeps = 0

    def now(self) -> float:
        """See ``Clock.now``."""
        return anyio.current_time()

    async def sleep_until(self, when: float) -> None:
        """See ``Clock.sleep_until``."""
        self.sleeps += 1
        if self.sleeps > 1000:
            raise AssertionError("the engine spins")
        await anyio.sleep_until(when)


async def test_a_restart_gives_each_session_a_full_time_to_live(store: RecordingStore) -> None:
    """Places and numbers are kept; what comes back in time stays, what does not ends one time-to-live later."""
    async with running(store) as engine:
        connection = Connection(engine)
        await stand(connection, "s", "a")
        await stand(connection, "t", "b")
        connection.disconnect()
        await anyio.sleep(TTL_S - 1)
    await anyio.sleep(5 * TTL_S)
    async with running(store) as engine:
        back = Connection(engine)
        await back.get_term(about("t"))
        await anyio.sleep(TTL_S - 0.001)
        assert (await back.get_term(about())).candidates == ("a", "b")
        await anyio.sleep(0.001 + LATE_S)
        term = await back.get_term(about())
        assert (term.candidates, term.number, term.revision) == (("b",), 2, 3)
        await back.close(about("t"))
        assert await candidates(engine) == ()
        assert len(engine.sessions) == 0


class LateStore(RecordingStore):
    """A store that says of writes that they are done when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.says = anyio.Event()
        self.says.set()

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``."""
        record = await super().write(election_id, election, expected=expected)
        await self.says.wait()
        return record


class SetClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self._now = 0.0
        self._passed = anyio.Event()

    def now(self) -> float:
        """See ``Clock.now``."""
        return self._now

    def set(self, now: float) -> None:
        """Let it be so late."""
        self._now = now
        self._passed.set()
        self._passed = anyio.Event()

    async def sleep_until(self, when: float) -> None:
        """See ``Clock.sleep_until``."""
        while self._now < when:
            await self._passed.wait()


async def _confirm_at_the_last_moment() -> None:
    store, clock, e = LateStore(), SetClock(), ElectionId("default", "e")
    engine = Engine(store, clock=clock)
    async with engine.running():
        old, new = [await engine.sessions.open("default", each, kept_alive_ttl_s=8.0) for each in "st"]
        for command in (Enter("old", old.id), Enter("new", new.id), Anoint("new")):
            await engine.submit(e, command)
        await anyio.wait_all_tasks_blocked()
        clock.set(7.0)
        engine.sessions.renew(old)
        engine.sessions.renew(new)
        store.says = anyio.Event()
        async with anyio.create_task_group() as confirming:
            confirming.start_soon(engine.submit, e, SteppedDown(old.id, 1))
            await anyio.wait_all_tasks_blocked()
            store.says.set()
            clock.set(8.0)
        await anyio.wait_all_tasks_blocked()
        assert not (await store.read(e)).election.displaced
        assert list(new.leads) == [e]
        assert len(store.writes) == 4


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_displaced_leader_may_confirm_as_the_time_to_wait_for_it_ends(backend: str) -> None:
    """Where cancelling comes too late for what has just woken up, the engine goes on all the same."""
    anyio.run(_confirm_at_the_last_moment, backend=backend)


async def test_a_restart_sweeps_candidates_of_unknown_sessions(store: RecordingStore) -> None:
    """What ended sessions left in elections goes as soon as the engine runs."""
    async with running(store) as engine:
        connection = Connection(engine)
        for name in ("e", "f"):
            await stand(connection, "s", "a", name)
            await stand(connection, "t", "b", name)
    gone = next(each.session for each in await store.sessions() if each.session.id == "s")
    await store.end_session(gone)
    async with running(store) as engine:
        await anyio.sleep(LATE_S)
        for name in ("e", "f"):
            assert await candidates(engine, name) == ("b",)
        with pytest.raises(SessionEnded):
            await Connection(engine).enter(about("s"), "a")


async def test_a_restart_tells_two_incarnations_apart(store: RecordingStore) -> None:
    """An ended session that the store could not forget does not take the new one of its id with it."""
    async with running(store) as engine:
        old = Connection(engine)
        await stand(old, "s", "a")
        store.failing = True
        old.disconnect()
        await anyio.sleep(TTL_S + LATE_S)
    store.failing = False
    await store.open_session("default", "s", ttl_s=TTL_S, **_kept_alive(store))
    async with running(store) as engine:
        connection = Connection(engine)
        await stand(connection, "s", "b")
        await anyio.sleep(3 * TTL_S)
        assert await candidates(engine) == ("b",)
        assert len(await store.sessions()) == 1


def _kept_alive(store: RecordingStore) -> dict[str, bool]:
    return {"kept_alive": False} if hasattr(store.memory, "id") else {}


class FailingAtFirst(RecordingStore):
    """A store whose elections can be read to the end at the second time only."""

    tries = 0

    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        """See ``Store.elections``."""
        self.tries += 1
        first = self.tries == 1
        async for each in self.memory.elections():
            yield each
        if first:
            await anyio.sleep(1.0)
            raise StoreError("the disk is gone")


async def test_who_waits_while_a_start_fails_finds_everything() -> None:
    """The half that was taken up by then is not taken for what former sessions left."""
    store = FailingAtFirst()
    store.tries = 1
    async with running(store) as engine:
        await stand(Connection(engine), "s", "a")
        displaced = ElectionId("default", "displaced")
        for each in ("k", "l"):
            session = await engine.sessions.open("default", each, kept_alive_ttl_s=TTL_S)
            await engine.submit(displaced, Enter(each, session.id))
        await engine.submit(displaced, Anoint("l"))
    store.tries = 0
    engine = Engine(store, clock=VirtualClock())

    async def fail() -> None:
        with pytest.raises(StoreError, match="the disk is gone"):
            async with engine.running():
                raise AssertionError("it does not run")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail)
        await anyio.sleep(0.5)
        async with engine.running():
            assert store.tries == 2
            connection = Connection(engine)
            await connection.get_term(about("s"))
            leader = engine.sessions.get("default", "l")
            for _ in range(4):
                await anyio.sleep(TTL_S / 3)
                engine.sessions.renew(leader)
            assert leader.leads
            assert await candidates(engine) == ("a",)
            assert {each.session.id for each in await store.sessions()} == {"s", "l"}


async def test_an_engine_that_ends_answers_everybody(store: RecordingStore) -> None:
    """What is being written is finished, what waits behind it is refused, and watchers are told."""
    answers: list[str] = []
    connection: Connection | None = None
    async with anyio.create_task_group() as tasks, running(store) as engine:
        connection = Connection(engine)
        await connection.create(about("s"))
        store.write_delay_s = 1.0

        async def enter(candidate_id: str) -> None:
            try:
                await connection.enter(about("s"), candidate_id)
                answers.append(f"{candidate_id} entered")
            except Unavailable:
                answers.append(f"{candidate_id} refused")

        async def watch() -> None:
            with pytest.raises(Unavailable):  # noqa: PT012
                async with connection.events(about()) as events:
                    async for _ in events:
                        pass
            answers.append("watcher told")

        tasks.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        for candidate_id in "ab":
            tasks.start_soon(enter, candidate_id)
            await anyio.wait_all_tasks_blocked()
    assert sorted(answers) == ["a entered", "b refused", "watcher told"]
    assert connection is not None
    with pytest.raises(Unavailable):
        await connection.get_term(about())


class SlowlyOpened(RecordingStore):
    """A store that takes its time for a new session."""

    async def open_session(self, *args: Any, **kwargs: Any) -> SessionId:
        """See ``Store.open_session``."""
        await anyio.sleep(1.0)
        return await super().open_session(*args, **kwargs)


@pytest.mark.parametrize("again", [False, True])
async def test_an_engine_that_ends_while_a_session_is_opened_says_so(again: bool) -> None:
    """Neither a renewal nor Create takes it for a session of the engine that runs next."""
    store = SlowlyOpened()
    engine = Engine(store, clock=VirtualClock())
    refused: list[str] = []

    async def renew() -> None:
        async with Connection(engine).keep_alive("default", "s") as stream:
            with pytest.raises(Unavailable):
                await stream.send(Renewal(1, open=True))
        refused.append("renewal")

    async def create() -> None:
        with pytest.raises(Unavailable):
            await Connection(engine).create(about("t"))
        refused.append("create")

    async with anyio.create_task_group() as tasks:
        async with engine.running():
            tasks.start_soon(renew)
            tasks.start_soon(create)
            await anyio.sleep(0.5)
        if again:
            async with engine.running():
                await anyio.sleep(5.0)
    assert sorted(refused) == ["create", "renewal"]


class KeepingSessions(RecordingStore):
    """A store that cannot end a session, whatever else it can."""

    async def end_session(self, session: SessionId) -> None:
        """See ``Store.end_session``."""
        raise StoreError("the disk is full")


async def test_a_session_that_comes_back_after_a_restart_has_lost_nothing() -> None:
    """Its end is stored before its candidates leave: else its client would renew it, and stand nowhere."""
    store = KeepingSessions()
    async with running(store) as engine:
        connection = Connection(engine)
        await stand(connection, "s", "a")
        connection.disconnect()
        await anyio.sleep(TTL_S + LATE_S)
        with pytest.raises(SessionEnded):
            await connection.enter(about("s"), "a")
    async with running(store) as engine:
        assert len(engine.sessions) == 1
        assert await candidates(engine) == ("a",)


async def test_an_engine_that_ends_while_a_session_is_ended_says_so(store: RecordingStore) -> None:
    """Whoever asked for the end of it does not wait for ever, as the next engine begins with it again."""
    refused = False

    async def end() -> None:
        nonlocal refused
        with pytest.raises(Unavailable):
            await Connection(engine).end_session("default", "s")
        refused = True

    async with anyio.create_task_group() as tasks, running(store) as engine:
        await stand(Connection(engine), "s", "a")
        store.failing = True
        tasks.start_soon(end)
        await anyio.sleep(1.0)
    assert refused


async def test_an_engine_that_ends_while_a_session_is_swept_ends_well(store: RecordingStore) -> None:
    """The end of a session that waits behind another command is left to the next engine, without an error."""
    async with running(store) as engine:
        mortal, other = Connection(engine), Connection(engine)
        await stand(mortal, "s", "a")
        await other.create(about("t"))
        mortal.disconnect()
        await anyio.sleep(TTL_S - 0.5)
        store.write_delay_s = 2.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other.enter, about("t"), "b")
            await anyio.sleep(1.0)
            tasks.cancel_scope.cancel()
    store.write_delay_s = 0.0
    async with running(store) as engine:
        await anyio.sleep(2 * TTL_S)
        assert await candidates(engine) == ()


async def test_a_cancelled_engine_is_idle_until_its_block_ends() -> None:
    """Shielded work in the cancelled block of its only user does not make it spin."""
    clock = CountingClock()
    engine = Engine(RecordingStore(), clock=clock)
    with anyio.CancelScope() as scope:
        async with engine.running():
            connection = Connection(engine)
            await stand(connection, "s")
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
    assert clock.sleeps < 20


async def test_it_runs_as_long_as_anybody_lets_it(store: RecordingStore) -> None:
    """Users come and go in any order, and sessions end on time whoever is left."""
    engine = Engine(store, clock=CountingClock())
    leaving = [anyio.Event() for _ in range(3)]

    async def use(number: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with engine.running():
            task_status.started()
            await leaving[number].wait()

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            await tasks.start(use, number)
        for number in (2, 0):
            connection = Connection(engine)
            await stand(connection, f"s{number}")
            connection.disconnect()
            await anyio.sleep(TTL_S / 2)
            leaving[number].set()
            await anyio.sleep(TTL_S / 2 - 0.001)
            assert await candidates(engine) == (f"s{number}",)
            await anyio.sleep(0.001 + LATE_S)
            assert await candidates(engine) == ()
        leaving[1].set()


async def test_nothing_is_kept_for_elections_that_nobody_uses(engine: Engine) -> None:
    """After commands on, and watches of, many elections none has a lane any more."""
    connection = Connection(engine)
    await connection.create(about("s"))
    for number in range(MANY):
        name = f"e{number}"
        if number % 2:
            with pytest.raises(NotACandidate):
                await connection.promote(about(name=name), "x")
        else:
            async with connection.events(about(name=name)) as events:
                await anext(events)
    await anyio.wait_all_tasks_blocked()
    assert len(engine._lanes) == 0


async def test_a_command_costs_the_same_however_many_elections_there_are(engine: Engine, store: RecordingStore) -> None:
    """One read and one write, with one election as with 20,001; the end of a session costs its own elections."""
    connection, mortal = Connection(engine), Connection(engine)
    costs: list[tuple[int, int, int]] = []
    for number in (0, 20_000):
        for other in range(number):
            await stand(connection, "s", "a", f"other{other}")
        await stand(mortal, f"m{number}", "b")
        reads, writes = store.reads, len(store.writes)
        await connection.create(about("s"))
        await connection.enter(about("s"), f"c{number}")
        lanes = len(engine._lanes)
        mortal.disconnect()
        mortal = Connection(engine)
        await anyio.sleep(TTL_S + LATE_S)
        costs.append((store.reads - reads, len(store.writes) - writes, lanes))
    assert costs[1][0] <= costs[0][0]
    assert costs[1][1] <= costs[0][1]
    assert costs[1][2] <= 1
