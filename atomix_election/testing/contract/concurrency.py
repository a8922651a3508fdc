"""Rules of the contract: many tasks at the same time.

Those that take several stores are also checked with one store that several engines use.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from types import MappingProxyType

import anyio

from atomix_election.core.election import Election
from atomix_election.model import Candidate, ElectionId, SessionId
from atomix_election.stores.base import Record, Store
from atomix_election.testing.contract.elections import E1
from atomix_election.testing.contract.expecting import equal, holds, listed, named, put, shown, turns
from atomix_election.testing.contract.rules import StoreRules
from atomix_election.testing.contract.stages import BrokenRule, Circumstances, Stage

CONCURRENCY_RULES = StoreRules()


@CONCURRENCY_RULES.of_a_store
async def of_concurrent_writes_with_one_version_one_is_done(store: Store) -> None:
    """The others hear None, and what is read is what the one wrote; writes of other elections are not held up."""
    await one_of_the_writes_is_done([store])


async def one_of_the_writes_is_done(stores: Sequence[Store]) -> None:
    """See the rule; writers take turns with the stores, which are one."""
    rounds, writers = 5, 8
    version = 0
    for round_ in range(1, rounds + 1):
        outcomes: list[Record | None] = []

        async def write(store: Store, number: int, expected: int, outcomes: list[Record | None]) -> None:
            outcomes.append(await store.write(E1, Election(number=number), expected=expected))

        async def write_elsewhere(store: Store, number: int) -> None:
            election_id = ElectionId("more", f"{number}")
            record = await store.read(election_id)
            await put(store, election_id, Election(number=record.election.number + 1), record.version)

        async with anyio.create_task_group() as tasks:
            for number, store in zip(range(writers), cycle(stores), strict=False):
                tasks.start_soon(write, store, number, version, outcomes)
                tasks.start_soon(write_elsewhere, store, number)
        winner = _the_one(outcomes, f"{writers} tasks wrote one election with the same version")
        for store in stores:
            equal(await store.read(E1), winner, "several tasks wrote with one version, and the election was read")
            for number in range(writers):
                came = (await store.read(ElectionId("more", f"{number}"))).election.number
                equal(came, round_, "an election was read that others wrote meanwhile: its number")
        version = winner.version


@CONCURRENCY_RULES.of_a_store
async def who_reads_and_writes_until_it_succeeds_loses_nothing(store: Store) -> None:
    """Fifty increments by five tasks make fifty."""
    await increments_are_all_there([store])


async def increments_are_all_there(stores: Sequence[Store]) -> None:
    """See the rule."""

    async def increment(store: Store) -> None:
        for _ in range(10):
            while True:
                record = await store.read(E1)
                election = Election(number=record.election.number + 1)
                if await store.write(E1, election, expected=record.version):
                    break

    async with anyio.create_task_group() as tasks:
        for _, store in zip(range(5), cycle(stores), strict=False):
            tasks.start_soon(increment, store)
    for store in stores:
        equal((await store.read(E1)).election.number, 50, "five tasks added one ten times each: the number")


@CONCURRENCY_RULES.of_a_store
async def concurrent_sessions_have_incarnations_of_their_own(store: Store) -> None:
    """Also those of one id; those that ended meanwhile are not listed, and the others are, with what they are."""
    await sessions_are_told_apart([store])


async def sessions_are_told_apart(stores: Sequence[Store]) -> None:
    """See the rule."""
    opened: list[SessionId] = []
    kept: dict[SessionId, tuple[float, bool]] = {}

    async def open_one(store: Store, number: int) -> None:
        ttl_s, kept_alive = 60.0 + number, number % 2 == 0
        session = await store.open_session("default", "s", ttl_s=ttl_s, kept_alive=kept_alive)
        opened.append(session)
        if number % 3 == 0:
            await store.end_session(session)
        else:
            kept[session] = ttl_s, kept_alive

    async with anyio.create_task_group() as tasks:
        for number, store in zip(range(30), cycle(stores), strict=False):
            tasks.start_soon(open_one, store, number)
    equal(len({each.incarnation for each in opened}), 30, "30 sessions were opened at the same time: incarnations")
    for store in stores:
        found = {each.session: (each.ttl_s, each.kept_alive) for each in await store.sessions()}
        equal(found, kept, "30 sessions were opened at the same time, and 10 of them ended")


@CONCURRENCY_RULES.of_a_store
async def of_a_write_and_a_forget_with_one_version_one_is_done(store: Store) -> None:
    """Whichever: what was written is not lost, and what was forgotten not brought back below its floor."""
    await a_write_or_a_forget_is_done([store])


async def a_write_or_a_forget_is_done(stores: Sequence[Store]) -> None:
    """See the rule."""
    writing, forgetting = stores[0], stores[-1]
    for round_ in range(1, 9):
        record = await writing.read(E1)
        record = await put(writing, E1, Election(number=2 * round_), record.version)
        outcomes: dict[str, Record | None] = {}

        async def write(version: int, number: int, outcomes: dict[str, Record | None]) -> None:
            outcomes["write"] = await writing.write(E1, Election(number=number), expected=version)

        async def forget(version: int, outcomes: dict[str, Record | None]) -> None:
            outcomes["forget"] = await forgetting.forget(E1, expected=version)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, record.version, 2 * round_ + 1, outcomes)
            tasks.start_soon(forget, record.version, outcomes)
        when = "one task wrote and one forgot an election with the same version"
        done = _the_one(list(outcomes.values()), when)
        equal(await writing.read(E1), done, f"{when}, and it was read")
        equal(done.election.number, 2 * round_ + (outcomes["write"] is not None), f"{when}: its number")


@CONCURRENCY_RULES.on_stage()
async def no_number_is_given_twice(stage: Stage) -> None:
    """By whatever writes and forgets at the same time, of which one begins an election: a number is a token."""
    async with stage.open_store() as store:
        beginning = {election_id: anyio.Lock() for election_id in RIVALS}

        async def write_next(_: int, election_id: ElectionId) -> Record | None:
            record = await store.read(election_id)
            if record.version:
                return await store.write(election_id, after(record), expected=record.version)
            async with beginning[election_id]:  # version 0 does come back, so an engine does that alone
                record = await store.read(election_id)
                return await store.write(election_id, after(record), expected=record.version)

        await numbers_are_given_once([store], write_next, stage)


RIVALS = (ElectionId("default", "e"), ElectionId("default", "f"))
"""Elections that many work at, of one namespace."""


def after(record: Record) -> Election:
    """Return the state that follows, with the next number."""
    return Election(number=record.election.number + 1, revision=record.election.revision + 1)


async def numbers_are_given_once(
    stores: Sequence[Store], write_next: Callable[[int, ElectionId], Awaitable[Record | None]], stage: Circumstances
) -> None:
    """See the rule.

    Args:
        stores: that are one.
        write_next: is told which of them, and gives an election the next number, unless somebody else did.
        stage: its chance decides what is done.
    """
    given: list[tuple[ElectionId, int]] = []

    async def work(place: int) -> None:
        store = stores[place % len(stores)]
        for _ in range(12):
            election_id = stage.chance.choice(RIVALS)
            await turns(stage.chance.randrange(3))
            if stage.chance.random() < 0.4:
                record = await store.read(election_id)
                if record.version:
                    await store.forget(election_id, expected=record.version)
            elif (written := await write_next(place % len(stores), election_id)) is not None:
                given.append((election_id, written.election.number))

    async with anyio.create_task_group() as tasks:
        for place in range(6):
            tasks.start_soon(work, place)
    when = f"several tasks wrote the next number, and forgot, by chance of seed {stage.seed}"
    twice = sorted({each for each in given if given.count(each) > 1})
    holds(not twice, "each number once", twice, when)
    for store in stores:
        for election_id in RIVALS:
            highest = max([0, *(number for each, number in given if each == election_id)])
            came = (await store.read(election_id)).election.number
            holds(
                came >= highest, f"at least {highest}", came, f"{when}, and {named(election_id)} was read: its number"
            )


def whole_state(number: int) -> Election:
    """Return a state in which every part has its number."""
    session = SessionId("default", "s", number)
    queue = tuple(Candidate(f"{number}-{place}", session) for place in range(number % 5 + 1))
    operations = MappingProxyType({session: number})
    return Election(queue, number, number, frozenset({session}), operations, began_at=float(number))


@CONCURRENCY_RULES.of_a_store
async def nobody_sees_half_a_write(store: Store) -> None:
    """Whether it is read, known at once, listed or in a page; and who has seen a state does not see an earlier one."""
    await writes_are_seen_whole([store])


async def writes_are_seen_whole(stores: Sequence[Store]) -> None:
    """See the rule; the first store is written, the last one is looked at."""
    writing, looking, is_over = stores[0], stores[-1], False

    async def write() -> None:
        nonlocal is_over
        version = 0
        for number in range(1, 21):
            version = (await put(writing, E1, whole_state(number), version)).version
            await turns(2)
        is_over = True

    async def look() -> None:
        newest = 0
        while not is_over:
            await turns(1)
            for how, election in await _seen(looking):
                whole = whole_state(election.number) if election.number else Election()
                equal(election, whole, f"an election was {how} while it was written")
                holds(election.number >= newest, f"number {newest}, or a later one", election.number, f"it was {how}")
                newest = election.number

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        tasks.start_soon(look)
        tasks.start_soon(look)


async def _seen(store: Store) -> list[tuple[str, Election]]:
    """Return one election in all ways in which it can be seen, in this order."""
    found = [("read", (await store.read(E1)).election)]
    known = store.read_now(E1)
    if known is not None:
        found.append(("known at once", known.election))
    found += [("in a page", election) for _, election in await store.page(E1.namespace, after="", limit=1)]
    found += [("listed", election) for _, election in await listed(store)]
    return found


def _the_one(outcomes: Sequence[Record | None], when: str) -> Record:
    """Return what came of the one write that was done."""
    done: Iterator[Record] = (each for each in outcomes if each is not None)
    found = list(done)
    if len(found) != 1:
        raise BrokenRule("exactly one of them is done", f"{len(found)}: {shown(found)}", when)
    return found[0]
