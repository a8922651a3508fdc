"""Rules of the contract: elections that are forgotten, and where they go on from when they come back."""

from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.stores.base import Record, Store
from atomix_election.testing.contract.elections import E1, E2, ELECTION, LARGEST, NOTHING
from atomix_election.testing.contract.expecting import done, equal, holds, listed, named, put, refused
from atomix_election.testing.contract.rules import StoreRules

FORGETTING_RULES = StoreRules()


async def _forget(store: Store, election_id: ElectionId, record: Record) -> Record:
    """Forget an election that nobody else changes."""
    return done(await store.forget(election_id, expected=record.version), f"{named(election_id)} was forgotten")


@FORGETTING_RULES.of_a_store
async def a_forgotten_election_is_gone_and_goes_on_above_what_it_had(store: Store) -> None:
    """It is listed no more, is read as one that nobody is in, and can be written again."""
    kept, written = await put(store, E2, ELECTION), await put(store, E1, ELECTION)
    left = await _forget(store, E1, written)
    equal(left, Record(Election(number=3, revision=7), version=0), "an election was forgotten: what `forget` returned")
    equal(await store.read(E1), left, "an election was read after it was forgotten")
    equal(await listed(store), [(E2, ELECTION)], "one of two elections was forgotten, and all were listed")
    equal(await store.page(E1.namespace, after="", limit=9), [], "an election was forgotten, and a page read")
    equal(await store.read(E2), kept, "another election was read after one was forgotten")
    again = await put(store, E1, ELECTION)
    holds(again.version not in (0, written.version), "a new version", again.version, "it was written again")
    equal(await store.read(E1), again, "an election was read that was written again")
    page = await store.page(E1.namespace, after="", limit=9)
    equal(page, [(E1.name, ELECTION)], "an election was written again, and a page read")
    await _forget(store, E1, again)
    equal(await store.page(E1.namespace, after="", limit=9), [], "it was forgotten again, and a page read")


@FORGETTING_RULES.of_a_store
async def forgetting_with_another_version_changes_nothing(store: Store) -> None:
    """Too old, too new, or 0 where there is something: None."""
    first = await put(store, E1, ELECTION)
    second = await put(store, E1, ELECTION, first.version)
    for expected, what in ((0, "0"), (first.version, "the version before"), (second.version + 1, "a later version")):
        refused(await store.forget(E1, expected=expected), f"an election was forgotten with {what}")
        equal(await store.read(E1), second, f"an election was forgotten with {what}, and read")
    when = "an election that was never written was forgotten with the version of another one"
    refused(await store.forget(E2, expected=second.version), when)
    equal(await store.read(E1), second, f"{when}, which was then read")


@FORGETTING_RULES.of_a_store
async def forgetting_what_was_never_written_leaves_no_trace(store: Store) -> None:
    """What is read is returned."""
    when = "an election was forgotten that was never written"
    equal(await store.forget(E1, expected=0), NOTHING, when)
    equal(await listed(store), [], f"{when}, and all were listed")
    equal(await store.read(E1), NOTHING, f"{when}, and it was read")


@FORGETTING_RULES.of_a_store
async def no_version_comes_back_after_a_forget(store: Store) -> None:
    """Whoever has read an election before it was forgotten can neither write nor forget the one that came after."""
    versions: list[int] = []
    for _ in range(3):
        record = await put(store, E1, ELECTION)
        holds(record.version not in versions, f"a version that is none of {versions}", record.version, "written anew")
        versions.append(record.version)
        record = await put(store, E1, ELECTION, record.version)
        holds(record.version not in versions, f"a version that is none of {versions}", record.version, "written again")
        versions.append(record.version)
        for former in versions[:-1]:
            refused(await store.write(E1, Election(), expected=former), "written with a version from before a forget")
            refused(await store.forget(E1, expected=former), "forgotten with a version from before a forget")
        await _forget(store, E1, record)
        for former in versions:
            refused(await store.write(E1, Election(), expected=former), "written with a version that was forgotten")


@FORGETTING_RULES.of_a_store
async def a_floor_holds_for_its_namespace_and_never_falls(store: Store) -> None:
    """Above all that was forgotten there; a higher number comes with a higher revision; what is written has its own."""
    namesake, low, high, other = (ElectionId("default", name) for name in ("never", "low", "high", "other"))
    equal((await store.read(namesake)).election, Election(), "nothing was forgotten yet: an election without a record")
    kept = await put(store, other, Election(number=1, revision=1))
    for election_id, number, revision, floor in ((high, 9, 20, (9, 20)), (low, 4, 30, (9, 31)), (E2, 50, 60, (9, 31))):
        await _forget(store, election_id, await put(store, election_id, Election(number=number, revision=revision)))
        for each in (namesake, low, high) if floor[1] == 31 else (namesake, high):
            begin = Election(number=floor[0], revision=floor[1])
            when = f"{named(election_id)} was forgotten with number {number}, and {named(each)} read"
            equal((await store.read(each)).election, begin, when)
    equal(await store.read(other), kept, "others of its namespace were forgotten, and an election with a record read")
    equal((await store.read(E2)).election, Election(number=50, revision=60), "it was forgotten in another namespace")


@FORGETTING_RULES.of_a_store
async def a_floor_keeps_the_largest_numbers(store: Store) -> None:
    """Exactly, as tokens of a restored store are large."""
    for number, revision in ((2**53 + 1, 2**53 + 3), (LARGEST - 1, LARGEST)):
        await _forget(store, E1, await put(store, E1, Election(number=number, revision=revision)))
        begin = Record(Election(number=number, revision=revision), 0)
        equal(await store.read(E1), begin, "an election with large numbers was forgotten")
