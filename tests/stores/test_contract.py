"""What every store must do, on asyncio and on Trio. A new store adds to ``STORES`` how a new one is opened."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import anyio
import pytest

from atomix_election.core.election import Election
from atomix_election.model import Candidate, ElectionId, SessionId
from atomix_election.stores.base import Record, Store
from atomix_election.stores.memory import MemoryStore
from atomix_election.stores.sqlite import Inline, open_sqlite_store
from tests.stores.etcds import open_real, open_simulated

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _memory(_: Path) -> AsyncGenerator[Store]:
    yield MemoryStore()


STORES: dict[str, Callable[[Path], AbstractAsyncContextManager[Store]]] = {
    "memory": _memory,
    "sqlite": lambda directory: open_sqlite_store(str(directory / "store.db")),
    "sqlite-inline": lambda directory: open_sqlite_store(str(directory / "store.db"), execute=Inline()),
    "etcd-simulated": lambda _: open_simulated(),
    "etcd": lambda directory: open_real(prefix=f"{directory}/"),
}


def _combinations() -> Iterator[object]:
    """Each store on each backend, but for what needs asyncio: the client of etcd."""
    for kind in STORES:
        for backend in ("asyncio", "trio"):
            if kind == "etcd" and backend == "asyncio":
                yield pytest.param((kind, backend), id=f"{kind}-{backend}", marks=pytest.mark.xdist_group("processes"))
            elif kind != "etcd":
                yield pytest.param((kind, backend), id=f"{kind}-{backend}")


E1, E2 = ElectionId("default", "e"), ElectionId("other", "e")
SESSION = SessionId("default", "s", 1)
ELECTION = Election(
    (Candidate("a", SESSION), Candidate("候補 b", SESSION)), 3, 7, frozenset({SESSION}), MappingProxyType({SESSION: 5})
)


@pytest.fixture(params=_combinations())
def kind_and_backend(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A kind of store, and what it runs on."""
    return request.param


@pytest.fixture
def anyio_backend(kind_and_backend: tuple[str, str]) -> str:
    """What the test runs on."""
    return kind_and_backend[1]


@pytest.fixture
def open_store(
    kind_and_backend: tuple[str, str], request: pytest.FixtureRequest
) -> Callable[[Path], AbstractAsyncContextManager[Store]]:
    """How a kind of store is opened, in a directory of its own."""
    kind = kind_and_backend[0]
    if kind == "etcd":
        request.getfixturevalue("real_etcd")
    return STORES[kind]


@pytest.fixture
async def store(
    open_store: Callable[[Path], AbstractAsyncContextManager[Store]], tmp_path: Path, anyio_backend: object
) -> AsyncGenerator[Store]:
    """A store that is new."""
    async with open_store(tmp_path) as store:
        yield store


async def _open(store: Store, session_id: str, namespace: str = "default", ttl_s: float = 10.0) -> SessionId:
    return await store.open_session(namespace, session_id, ttl_s=ttl_s, kept_alive=False)


async def test_what_was_never_written_is_empty_and_has_version_0(store: Store) -> None:
    """Reading it leaves no trace."""
    record = await store.read(E1)
    assert (record.election, record.version) == (Election(), 0)
    assert [each async for each in store.elections()] == []
    assert await store.sessions() == []


async def test_what_was_written_is_read(store: Store) -> None:
    """All of it, by its full name alone, and with the version that the write answered."""
    written = await store.write(E1, ELECTION, expected=0)
    assert written is not None
    assert written.version != 0
    assert await store.read(E1) == written
    assert written.election == ELECTION
    assert (await store.read(E2)).version == 0


async def test_versions_never_come_back(store: Store) -> None:
    """Each write has a version of its own, also of a state that was there before."""
    versions = [0]
    for election in (ELECTION, Election(), ELECTION, ELECTION):
        record = await store.write(E1, election, expected=versions[-1])
        assert record is not None
        versions.append(record.version)
    assert len(set(versions)) == len(versions)


async def test_a_write_with_another_version_changes_nothing(store: Store) -> None:
    """Too old, too new, or 0 where there is something: None."""
    first = await store.write(E1, ELECTION, expected=0)
    assert first is not None
    second = await store.write(E1, Election(number=9), expected=first.version)
    assert second is not None
    for expected in (0, first.version, second.version + 1):
        assert await store.write(E1, ELECTION, expected=expected) is None
    assert await store.read(E1) == second
    assert await store.write(E2, ELECTION, expected=second.version) is None
    assert (await store.read(E2)).version == 0


async def test_the_floor_never_falls(store: Store) -> None:
    """A floor is a number that a term may have."""
    floor = (await store.read(E1)).floor
    assert floor >= 0
    await store.write(E1, ELECTION, expected=0)
    assert (await store.read(E1)).floor >= floor


async def test_all_elections_that_were_written_are_listed(store: Store) -> None:
    """Also those that are empty by now; each once, in its newest state; writing meanwhile does no harm."""
    for number in range(20):
        await store.write(ElectionId("default", f"e{number}"), ELECTION, expected=0)
    first = await store.read(ElectionId("default", "e0"))
    await store.write(ElectionId("default", "e0"), Election(number=1), expected=first.version)
    listed: dict[ElectionId, Election] = {}
    async for election_id, election in store.elections():
        assert election_id not in listed
        listed[election_id] = election
        await store.write(ElectionId("more", election_id.name), ELECTION, expected=0)
    assert {f"e{number}" for number in range(20)} == {each.name for each in listed if each.namespace == "default"}
    assert listed[ElectionId("default", "e0")] == Election(number=1)


async def test_no_incarnation_is_given_twice(store: Store) -> None:
    """Neither to the same id again, after its end too, nor to other ids."""
    sessions: set[SessionId] = set()
    incarnations: set[SessionId] = set()
    for _ in range(3):
        for namespace in ("default", "other"):
            session = await _open(store, "s", namespace)
            assert (session.namespace, session.id) == (namespace, "s")
            assert session not in sessions
            sessions.add(session)
            incarnations.add(session)
            await store.end_session(session)
    assert len(incarnations) == 6


async def test_sessions_that_were_opened_and_not_ended_are_listed(store: Store) -> None:
    """With their time-to-live; ending one ends that incarnation only, and ending it again is no error."""
    old = await _open(store, "s", ttl_s=1.5)
    new = await _open(store, "s", ttl_s=2.5)
    await store.end_session(old)
    await store.end_session(old)
    assert [(each.session, each.ttl_s) for each in await store.sessions()] == [(new, 2.5)]


async def test_kept_alive_is_remembered(store: Store) -> None:
    """A store keeps what kind of session it is."""
    session = await store.open_session("default", "s", ttl_s=1.0, kept_alive=True)
    assert [(each.session, each.kept_alive) for each in await store.sessions()] == [(session, True)]


async def test_the_owner_is_remembered(store: Store) -> None:
    """A store keeps who opened a session; nobody, where it is not said."""
    owned = await store.open_session("default", "s", ttl_s=1.0, kept_alive=True, owner="候補 b")
    other = await _open(store, "t")
    assert {each.session: each.owner for each in await store.sessions()} == {owned: "候補 b", other: ""}


async def test_a_store_has_an_identity(
    store: Store, open_store: Callable[[Path], AbstractAsyncContextManager[Store]], tmp_path: Path
) -> None:
    """It does not change, and no other store has it."""
    (tmp_path / "other").mkdir()
    async with open_store(tmp_path / "other") as other:
        assert store.id == store.id
        assert store.id
        assert store.id != other.id


async def test_of_concurrent_writes_with_one_version_one_is_done(store: Store) -> None:
    """The others hear None, and what is read is what the one wrote; writes of other elections are not held up."""
    rounds, writers = 5, 8
    version = 0
    for done in range(1, rounds + 1):
        outcomes: list[Record | None] = []

        async def write(number: int, expected: int, outcomes: list[Record | None]) -> None:
            outcomes.append(await store.write(E1, Election(number=number), expected=expected))

        async def write_elsewhere(number: int) -> None:
            name = ElectionId("more", f"{number}")
            record = await store.read(name)
            assert await store.write(name, Election(number=record.election.number + 1), expected=record.version)

        async with anyio.create_task_group() as tasks:
            for number in range(writers):
                tasks.start_soon(write, number, version, outcomes)
                tasks.start_soon(write_elsewhere, number)
        (winner,) = [each for each in outcomes if each is not None]
        assert await store.read(E1) == winner
        version = winner.version
        for number in range(writers):
            assert (await store.read(ElectionId("more", f"{number}"))).election.number == done


async def test_who_reads_and_writes_until_it_succeeds_loses_nothing(store: Store) -> None:
    """Fifty increments by five tasks make fifty."""

    async def increment() -> None:
        for _ in range(10):
            while True:
                record = await store.read(E1)
                election = Election(number=record.election.number + 1)
                if await store.write(E1, election, expected=record.version):
                    break

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(increment)
    assert (await store.read(E1)).election.number == 50


async def test_concurrent_sessions_have_incarnations_of_their_own(store: Store) -> None:
    """Also those of one id; those that ended meanwhile are not listed, and the others are, with what they are."""
    opened: list[SessionId] = []

    async def open_one(number: int) -> None:
        session = await store.open_session("default", "s", ttl_s=1.0 + number, kept_alive=number % 2 == 0)
        opened.append(session)
        if number % 3 == 0:
            await store.end_session(session)

    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(open_one, number)
    assert len({each.incarnation for each in opened}) == 30
    listed = {each.session: each for each in await store.sessions()}
    assert len(listed) == 20
    assert listed.keys() <= set(opened)
    assert all(each.kept_alive == (int(each.ttl_s - 1) % 2 == 0) for each in listed.values())


@pytest.mark.parametrize("moment", range(6))
async def test_a_cancelled_write_is_done_or_not_and_disturbs_nobody(store: Store, moment: int) -> None:
    """At whatever moment: the state is that before or after it, and all others are done."""
    async with anyio.create_task_group() as others:
        for number in range(4):
            others.start_soon(_write_once, store, ElectionId("early", f"{number}"))
        async with anyio.create_task_group() as cancelled:
            for number in range(4):
                cancelled.start_soon(_write_once, store, ElectionId("cancelled", f"{number}"))
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            cancelled.cancel_scope.cancel()
        for number in range(4):
            others.start_soon(_write_once, store, ElectionId("late", f"{number}"))
    for number in range(4):
        assert (await store.read(ElectionId("early", f"{number}"))).election == ELECTION
        assert (await store.read(ElectionId("late", f"{number}"))).election == ELECTION
        half = await store.read(ElectionId("cancelled", f"{number}"))
        assert half.election in (ELECTION, Election())
        assert await store.write(ElectionId("cancelled", f"{number}"), Election(number=1), expected=half.version)


async def _write_once(store: Store, election_id: ElectionId) -> None:
    assert await store.write(election_id, ELECTION, expected=0)


async def test_a_forgotten_election_is_gone_and_goes_on_above_what_it_had(store: Store) -> None:
    """It is listed no more, is read as one that nobody is in, and can be written again."""
    kept, written = await store.write(E2, ELECTION, expected=0), await store.write(E1, ELECTION, expected=0)
    assert written is not None
    left = await store.forget(E1, expected=written.version)
    assert left == Record(Election(number=3, revision=7), version=0)
    assert await store.read(E1) == left
    assert [each async for each in store.elections()] == [(E2, ELECTION)]
    assert await store.page(E1.namespace, after="", limit=9) == []
    assert await store.read(E2) == kept
    again = await store.write(E1, ELECTION, expected=0)
    assert again is not None
    assert again.version not in (0, written.version)
    assert await store.read(E1) == again
    assert await store.page(E1.namespace, after="", limit=9) == [(E1.name, ELECTION)]
    assert await store.forget(E1, expected=again.version)
    assert await store.page(E1.namespace, after="", limit=9) == []


async def test_forgetting_with_another_version_changes_nothing(store: Store) -> None:
    """Too old, too new, or 0 where there is something: None."""
    first = await store.write(E1, ELECTION, expected=0)
    assert first is not None
    second = await store.write(E1, ELECTION, expected=first.version)
    assert second is not None
    for expected in (0, first.version, second.version + 1):
        assert await store.forget(E1, expected=expected) is None
    assert await store.read(E1) == second
    assert await store.forget(E2, expected=second.version) is None


async def test_forgetting_what_was_never_written_leaves_no_trace(store: Store) -> None:
    """What is read is returned."""
    assert await store.forget(E1, expected=0) == Record(Election(), version=0)
    assert [each async for each in store.elections()] == []


async def test_a_floor_holds_for_its_namespace_and_never_falls(store: Store) -> None:
    """Above all that was forgotten there; a higher number comes with a higher revision; what is written has its own."""
    namesake, low, high, other = (ElectionId("default", name) for name in ("never", "low", "high", "other"))
    assert (await store.read(namesake)).election == Election()
    kept = await store.write(other, Election(number=1, revision=1), expected=0)
    for election_id, number, revision, floor in ((high, 9, 20, (9, 20)), (low, 4, 30, (9, 31)), (E2, 50, 60, (9, 31))):
        record = await store.write(election_id, Election(number=number, revision=revision), expected=0)
        assert record is not None
        assert await store.forget(election_id, expected=record.version)
        for each in (namesake, low, high) if floor[1] == 31 else (namesake, high):
            assert (await store.read(each)).election == Election(number=floor[0], revision=floor[1])
    assert await store.read(other) == kept
    assert (await store.read(E2)).election == Election(number=50, revision=60)


async def test_of_a_write_and_a_forget_with_one_version_one_is_done(store: Store) -> None:
    """Whichever: what was written is not lost, and what was forgotten not brought back below its floor."""
    for round_ in range(1, 9):
        record = await store.read(E1)
        record = await store.write(E1, Election(number=2 * round_), expected=record.version)
        assert record is not None
        outcomes: dict[str, Record | None] = {}

        async def write(version: int, number: int, outcomes: dict[str, Record | None]) -> None:
            outcomes["write"] = await store.write(E1, Election(number=number), expected=version)

        async def forget(version: int, outcomes: dict[str, Record | None]) -> None:
            outcomes["forget"] = await store.forget(E1, expected=version)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, record.version, 2 * round_ + 1, outcomes)
            tasks.start_soon(forget, record.version, outcomes)
        (done,) = [each for each in outcomes.values() if each is not None]
        assert await store.read(E1) == done
        assert done.election.number == 2 * round_ + (outcomes["write"] is not None)


async def test_a_store_that_was_not_restored_holds_nobody_off(store: Store) -> None:
    """And ending a hold that there is not is no error."""
    assert store.hold_s is None
    await store.end_hold()
    assert store.hold_s is None


async def test_pages_go_through_a_namespace_in_order_of_names(store: Store) -> None:
    """Each election once, in its newest state, whatever the size of the page; what was added since is found too."""
    names = ["b", "a", "B", "a-", "c.1", "c.10", "c.2", "~"]
    for name in names:
        await store.write(ElectionId("default", name), ELECTION, expected=0)
    record = await store.read(ElectionId("default", "a"))
    await store.write(ElectionId("default", "a"), Election(number=1), expected=record.version)
    await store.write(E2, ELECTION, expected=0)
    assert await store.page("default", after="", limit=2) == [("B", ELECTION), ("a", Election(number=1))]
    assert await store.page("default", after="a", limit=1) == [("a-", ELECTION)]
    await store.write(ElectionId("default", "aa"), ELECTION, expected=0)
    for limit in (1, 3, 100):
        listed: list[str] = []
        while page := await store.page("default", after=listed[-1] if listed else "", limit=limit):
            assert len(page) <= limit
            listed += [name for name, _ in page]
        assert listed == sorted([*names, "aa"])


async def test_a_page_begins_after_a_name_that_need_not_be_there(store: Store) -> None:
    """And nothing comes after the last one, nor in a namespace without elections."""
    for name in ("a", "c"):
        await store.write(ElectionId("default", name), ELECTION, expected=0)
    assert [name for name, _ in await store.page("default", after="b", limit=9)] == ["c"]
    assert await store.page("default", after="c", limit=9) == []
    assert await store.page("nowhere", after="", limit=9) == []


async def test_times_are_kept(store: Store) -> None:
    """They are part of an election."""
    times = MappingProxyType(dict.fromkeys(ELECTION.candidates, 17.25))
    await store.write(E1, ELECTION._replace(entered_at=times, began_at=4.5), expected=0)
    read = (await store.read(E1)).election
    assert (read.entered_at, read.began_at) == (times, 4.5)
