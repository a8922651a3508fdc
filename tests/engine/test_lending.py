"""The engine works with tasks that its users lend it, and no user pays for another one."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio
import trio.testing
from trio._core import _run

from atomix_election import OutcomeUnknown
from atomix_election.engine import Connection, Engine
from atomix_election.service import Call
from atomix_election.testing import VirtualClock
from tests.engine.fakes import LATE_S, TTL_S, RecordingStore, about, candidates, stand

MOMENTS = range(12)


def replayed(seed: int, test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on Trio in virtual time, with an order of tasks that the seed decides."""
    _run._r.seed(seed)
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("seed", range(10))
def test_a_session_may_end_at_the_moment_when_the_engine_does(seed: int) -> None:
    """Whichever comes first, the last user leaves without an error, and the next engine ends what is left."""

    async def play() -> None:
        store = RecordingStore()
        engine = Engine(store, clock=VirtualClock())
        async with engine.running():
            connection = Connection(engine)
            await stand(connection, "s", "a")
            connection.disconnect()
            await anyio.sleep(TTL_S)
        engine = Engine(store, clock=VirtualClock())
        async with engine.running():
            await anyio.sleep(TTL_S + LATE_S)
            assert await candidates(engine) == ()

    replayed(seed, play)


@pytest.mark.parametrize("delay_s", [0.0, 1.0])
@pytest.mark.parametrize("moment", MOMENTS)
def test_who_comes_at_any_moment_of_the_last_ones_leaving_has_a_whole_engine(moment: int, delay_s: float) -> None:
    """Sessions still end on time for a user that began while the one before it was on its way out."""

    async def play() -> None:
        store = RecordingStore()
        engine = Engine(store, clock=VirtualClock())
        leave = anyio.Event()

        async def first() -> None:
            async with engine.running():
                connection = Connection(engine)
                await connection.create(about("first"))
                await leave.wait()
                store.write_delay_s = delay_s
                with anyio.move_on_after(0.001):
                    await connection.enter(about("first"), "first")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await anyio.wait_all_tasks_blocked()
            leave.set()
            if delay_s:
                await anyio.sleep(0.001)
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            async with engine.running():
                connection = Connection(engine)
                await stand(connection, "s", "a", "other")
                connection.disconnect()
                await anyio.sleep(TTL_S - 0.001)
                assert await candidates(engine, "other") == ("a",)
                await anyio.sleep(0.001 + LATE_S + delay_s)
                assert await candidates(engine, "other") == ()

    replayed(moment, play)


def test_leaving_does_not_wait_for_the_commands_of_others() -> None:
    """However busy an election is, a user's tasks are given back after the write that is on its way."""

    async def play() -> None:
        store = RecordingStore()
        engine = Engine(store, clock=VirtualClock())

        async def stay(*, task_status: anyio.abc.TaskStatus[Connection]) -> None:
            async with engine.running():
                connection = Connection(engine)
                await connection.create(about("busy"))
                task_status.started(connection)
                await anyio.sleep_forever()

        async def move(connection: Connection, candidate_id: str) -> None:
            for _ in range(50):
                await connection.enter(about("busy"), candidate_id)
                await connection.withdraw(about("busy"), candidate_id)

        async with anyio.create_task_group() as tasks:
            connection = await tasks.start(stay)
            async with engine.running():
                store.write_delay_s = 1.0
                for number in range(2):
                    tasks.start_soon(move, connection, f"c{number}")
                    await anyio.sleep(0.5)
                began = anyio.current_time()
            assert anyio.current_time() - began <= 3.0
            tasks.cancel_scope.cancel()

    replayed(0, play)


def test_a_late_duplicate_of_create_does_not_unregister() -> None:
    """It is refused, and after that Close of another election leaves the session open."""

    async def play() -> None:
        engine = Engine(RecordingStore(), clock=VirtualClock())
        async with engine.running():
            connection = Connection(engine)
            await connection.create(about("s", "other"))
            for number in (1, 2):
                await connection.create(Call("e", session="s", operation=number))
            await connection.enter(about("s"), "a")
            with pytest.raises(OutcomeUnknown):
                await connection.create(Call("e", session="s", operation=1))
            await connection.close(about("s", "other"))
            assert await candidates(engine) == ("a",)

    replayed(0, play)
