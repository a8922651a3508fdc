"""How much an engine keeps: each limit refuses one more, says how to raise it, and leaves what is there alone."""

import anyio
import pytest

from atomix_election import ElectionLimits, InvalidRequest, LimitExceeded
from atomix_election.core.election import Election
from atomix_election.engine import Connection, Engine
from atomix_election.engine.lanes import LOOK_AGAIN_S
from atomix_election.engine.limits import ElectionCount
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.model import ElectionId
from atomix_election.service import Call, Renewal
from atomix_election.testing import VirtualClock
from tests.engine.fakes import RecordingStore, about, candidates, stand

pytestmark = pytest.mark.anyio

LIMITS = ElectionLimits(max_sessions=2, max_namespaces=2, max_elections=3, max_candidates=2, max_watchers=2)


@pytest.fixture
async def engine(store: RecordingStore) -> Engine:
    """An engine with small limits, not running yet."""
    return Engine(store, clock=VirtualClock(), election_limits=LIMITS)


def election(number: int, session: str = "s", namespace: str = "default") -> Call:
    """Return a call about one of many elections."""
    return Call(f"e{number}", namespace, session=session)


@pytest.mark.parametrize("value", [0, -1])
def test_every_limit_is_more_than_nothing(value: int) -> None:
    """Or there is none."""
    for name in ("max_sessions", "max_namespaces", "max_elections", "max_candidates", "max_watchers"):
        with pytest.raises(InvalidRequest, match=name):
            ElectionLimits(**{name: value})
        assert getattr(ElectionLimits(**{name: None}), name) is None


async def test_sessions(engine: Engine) -> None:
    """Those of renewals and those of connections count alike; one that ends makes room."""
    async with engine.running():
        connection = Connection(engine)
        await connection.create(about("one"))
        async with connection.keep_alive("default", "two") as two, connection.keep_alive("default", "three") as three:
            await two.send(Renewal(1, open=True, ttl_s=10))
            with pytest.raises(LimitExceeded, match=r"2 open sessions, the limit is 2.*max_sessions.*--max-sessions"):
                await three.send(Renewal(1, open=True, ttl_s=10))
            with pytest.raises(LimitExceeded):
                await connection.create(about("three"))
            await connection.create(about("one", "other"))
            await two.send(Renewal(2))
            await connection.end_session("default", "two")
            await three.send(Renewal(2, open=True, ttl_s=10))
        assert len(engine.sessions) == 2


async def test_watchers(engine: Engine) -> None:
    """Of all elections together; one that leaves makes room."""
    async with engine.running():
        connection = Connection(engine)
        async with connection.events(election(1)):
            async with connection.events(election(2)):
                with pytest.raises(LimitExceeded, match=r"2 watchers, .*--max-watchers"):
                    async with connection.events(election(1)):
                        pass
            async with connection.events(election(3)):
                pass


async def test_candidates(engine: Engine) -> None:
    """One too many is refused alone, also in a batch; who is there may enter again."""
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "s", "a")
        refused: list[str] = []

        async def enter(name: str) -> None:
            try:
                await connection.enter(about("s"), name)
            except LimitExceeded as error:
                refused.append(f"{name}: {error}")

        async with anyio.create_task_group() as tasks:
            for name in ("b", "c", "a", "d"):
                tasks.start_soon(enter, name)
        assert len(refused) == 2
        assert all("the limit" in each and "--max-candidates" in each for each in refused)
        left = await candidates(engine)
        assert len(left) == 2
        await connection.withdraw(about("s"), left[1])
        await connection.enter(about("s"), "e")
        assert await candidates(engine) == ("a", "e")


async def test_elections_of_a_namespace(engine: Engine, store: RecordingStore) -> None:
    """Counted when they are written; another namespace has its own, and those that are there go on."""
    async with engine.running():
        connection = Connection(engine)
        for number in range(3):
            await connection.create(election(number))
        for call in (connection.create(election(3)), connection.enter(election(4), "x")):
            with pytest.raises(
                LimitExceeded, match=r"3 elections in namespace 'default', the limit is 3.*--max-elections"
            ):
                await call
        assert len(store.writes) == 3
        await connection.enter(election(0), "a")
        await connection.create(election(3, namespace="other"))
        with pytest.raises(LimitExceeded, match=r"--max-sessions"):
            await connection.create(election(3, namespace="third"))


@pytest.mark.parametrize("takes_place", [True, False])
async def test_elections_of_which_it_is_not_known_count_until_it_is(store: RecordingStore, takes_place: bool) -> None:
    """Then as the store has them."""
    limits = ElectionLimits(max_elections=1)
    engine = Engine(store, clock=VirtualClock(), election_limits=limits)
    async with engine.running():
        connection = Connection(engine)
        store.doubtful = takes_place
        with pytest.raises(OutcomeUnknown):
            await connection.create(election(0))
        store.unreadable = False
        await anyio.sleep(2 * LOOK_AGAIN_S)
        if takes_place:
            with pytest.raises(LimitExceeded, match="--max-elections"):
                await connection.create(election(1))
        else:
            await connection.create(election(1))
            with pytest.raises(LimitExceeded, match="--max-elections"):
                await connection.create(election(0))


async def test_namespaces() -> None:
    """Only those with elections count."""
    count = ElectionCount(LIMITS)
    for _ in range(3):
        count.add("one")
    count.add("two")
    with pytest.raises(LimitExceeded, match=r"2 namespaces .*--max-namespaces"):
        count.add("three")
    count.remove("two")
    count.add("three")


async def test_elections_that_were_only_looked_at_do_not_count(engine: Engine, store: RecordingStore) -> None:
    """Nor those in which nothing was changed, or that could not be written."""
    async with engine.running():
        connection = Connection(engine)
        await connection.create(election(0))
        for number in range(1, 50):
            await connection.get_term(election(number))
            await connection.withdraw(election(number), "nobody")
            async with connection.events(election(number)) as events:
                await anext(aiter(events))
            store.failing = True
            with pytest.raises(StoreError):
                await connection.enter(election(number), "a")
            store.failing = False
        store.conflicts = 1
        await connection.enter(election(1), "a")
        await connection.enter(election(2), "a")
        with pytest.raises(LimitExceeded):
            await connection.enter(election(3), "a")


async def test_elections_in_the_store_count(engine: Engine, store: RecordingStore) -> None:
    """After a start, and after each start anew."""
    for number in range(2):
        await store.memory.write(ElectionId("default", f"e{number}"), Election(number=1, revision=1), expected=0)
    async with engine.running():
        pass
    async with engine.running():
        connection = Connection(engine)
        await connection.create(election(2))
        with pytest.raises(LimitExceeded):
            await connection.create(election(3))


async def test_a_refused_election_leaves_nothing_behind(engine: Engine) -> None:
    """Else names that cost nothing would be kept with their session, without end."""
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "s", name="e0")
        for number in range(1, 100):
            await connection.withdraw(election(number), "nobody")
        for number in (1, 2):
            await connection.create(election(number))
        for number in range(3, 100):
            with pytest.raises(LimitExceeded):
                await connection.enter(election(number), "a")
        session = engine.sessions.find("default", "s")
        assert session is not None
        assert sorted(each.name for each in session.elections) == ["e0", "e1", "e2"]
        await connection.end_session("default", "s")
        assert await candidates(engine, "e0") == ()


async def test_who_withdraws_and_enters_at_once_is_swept_all_the_same(engine: Engine, store: RecordingStore) -> None:
    """A command that waits keeps its election in mind, whatever became of the one before it."""
    async with engine.running():
        connection = Connection(engine)
        await stand(connection, "other", "b")
        await connection.create(about("s", "elsewhere"))
        store.write_delay_s = 1.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.evict, about("other"), "b")  # is written until 1.0
            await anyio.sleep(0.5)
            tasks.start_soon(connection.withdraw, about("s"), "a")
            tasks.start_soon(connection.enter, about("other"), "c")  # both are written until 2.0
            await anyio.sleep(1.0)
            tasks.start_soon(connection.enter, about("s"), "a")
        assert await candidates(engine) == ("c", "a")
        await connection.end_session("default", "s")
        assert await candidates(engine) == ("c",)


async def test_without_limits_there_is_any_number(store: RecordingStore) -> None:
    """As in a process of one's own."""
    engine = Engine(store, clock=VirtualClock())
    async with engine.running():
        connection = Connection(engine)
        for number in range(1100):
            await connection.create(election(0, session=f"s{number}"))
            await connection.enter(election(0, session=f"s{number}"), f"c{number}")
        assert len(await candidates(engine, "e0")) == 1100
