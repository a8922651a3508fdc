"""Rules of the contract: elections that are read and written, one call after the other."""

from collections.abc import Mapping
from types import MappingProxyType

from atomix_election.core.commands import (
    Anoint,
    Close,
    Command,
    Create,
    Enter,
    Evict,
    ExpireSession,
    Operation,
    Promote,
    SteppedDown,
    Withdraw,
)
from atomix_election.core.election import Displaced, Election, apply
from atomix_election.model import MAX_ID_BYTES, Candidate, ElectionId, SessionId
from atomix_election.stores.base import Record, Store
from atomix_election.testing.contract.expecting import equal, holds, listed, named, put, put_all, refused
from atomix_election.testing.contract.rules import StoreRules
from atomix_election.testing.contract.stages import Stage

ELECTION_RULES = StoreRules()

E1, E2 = ElectionId("default", "e"), ElectionId("other", "e")
SESSION = SessionId("default", "s", 1)
ELECTION = Election(
    (Candidate("a", SESSION), Candidate("候補 b", SESSION)), 3, 7, frozenset({SESSION}), MappingProxyType({SESSION: 5})
)
"""A state as any other."""
NOTHING = Record(Election(), 0)
"""What an election is that was never written, where nothing was forgotten."""

LARGEST = 2**63 - 1
"""The largest number that there is."""
_SESSIONS = tuple(SessionId("name space", f"s{number}\\'\"%", 2**53 + number) for number in range(1, 4))
_IDS = ("a", "A", "é", "e\u0301", "候補 b", "🗳 e", "\"'\\{}%;--", "0", "null", "a,b", "ü" * (MAX_ID_BYTES // 2))
_CANDIDATES = tuple(Candidate(each, _SESSIONS[number % 3]) for number, each in enumerate(_IDS))
FULL = Election(
    candidates=_CANDIDATES,
    number=LARGEST,
    revision=LARGEST - 1,
    registered=frozenset(_SESSIONS),
    operations=MappingProxyType({each: 2**53 + number for number, each in enumerate(_SESSIONS)}),
    displaced=(Displaced(Candidate("gone", _SESSIONS[2]), LARGEST - 2), Displaced(_CANDIDATES[1], 5)),
    entered_at=MappingProxyType({each: 1_700_000_000.1 + number for number, each in enumerate(_CANDIDATES)}),
    began_at=1_700_000_000.123456,
)
"""A state with everything that a state can have."""

NAMES = tuple(
    ElectionId(namespace, name)
    for namespace, name in (
        *(("a", "b"), ("A", "b"), ("a", "B"), ("a", "b."), ("a", "b  c"), ("a", "b c"), ("ab", "c")),
        *(("a", "bc"), ("a/b", "c"), ("a", "b/c"), ("a:b", "c"), ("a", "b:c"), ("a.b", "c"), ("a", "b.c")),
        *(("a", "."), ("a", ".."), ("a", "../a/b"), ("a", "b%2Fc"), ("a", "b_"), ("a", "b%"), ("a", "b*"), ("a", "'")),
        *(("a", '"'), ("a", "\\"), ("a", "b\\c"), ("0", "1"), ("00", "1"), ("0", "01"), ("0", "1.0"), ("a", "~")),
        *(("a", "x" * MAX_ID_BYTES), ("a", "x" * (MAX_ID_BYTES - 1)), ("x" * MAX_ID_BYTES, "x" * MAX_ID_BYTES)),
    )
)
"""Names that a store may take for each other, or for something else."""

_WHO = Candidate("a", SESSION)
_SMALL = Election(
    candidates=(_WHO, Candidate("b", SESSION)),
    number=3,
    revision=7,
    registered=frozenset({SESSION}),
    operations=MappingProxyType({SESSION: 5}),
    displaced=(Displaced(_WHO, 2),),
    entered_at=MappingProxyType({_WHO: 17.0}),
    began_at=18.0,
)
"""A state with at most one of everything that has no order, so that its text says which classes it is made of."""
_COMMANDS: tuple[Command, ...] = (
    Enter("c", SESSION),
    Enter("a", SessionId("default", "s", 2)),
    Withdraw("a", SESSION),
    Anoint("b"),
    Promote("b"),
    Evict("a"),
    Create(SessionId("default", "t", 3)),
    Close(SESSION),
    ExpireSession(SESSION),
    SteppedDown(SESSION, 2),
)


@ELECTION_RULES.of_a_store
async def what_was_never_written_is_empty_and_has_version_0(store: Store) -> None:
    """Reading it leaves no trace."""
    when = "an election was read that was never written"
    record = await store.read(E1)
    equal(record, NOTHING, when)
    equal(await listed(store), [], f"{when}, and all were listed")
    equal(await store.page(E1.namespace, after="", limit=9), [], f"{when}, and a page")
    equal(await store.sessions(), [], f"{when}, and all sessions were listed")


@ELECTION_RULES.of_a_store
async def what_was_written_is_read(store: Store) -> None:
    """All of it, by its full name alone, and with the version that the write answered."""
    written = await put(store, E1, ELECTION)
    equal(written.election, ELECTION, "an election was written: what `write` returned")
    holds(written.version > 0, "a version above 0", written.version, "an election was written")
    equal(await store.read(E1), written, f"{named(E1)} was read after it was written")
    equal(await store.read(E2), NOTHING, f"{named(E2)} was read after {named(E1)} was written")


@ELECTION_RULES.of_a_store
async def all_of_an_election_is_kept(store: Store) -> None:
    """Every field, with large numbers, exact times and ids of all kinds; and what a later write leaves out is gone."""
    nothing = Election()
    states = [FULL]
    for name in Election._fields:
        gone = {"candidates", "entered_at"} if name == "candidates" else {name}  # times go with their candidates
        states += [FULL._replace(**{each: getattr(nothing, each) for each in gone}), FULL]
    queue = tuple(Candidate(f"{number}", SESSION) for number in range(300))
    states += [nothing, Election(queue[::-1], 1, 1), Election(queue, 1, 2)]
    version = 0
    for state in states:
        written = await put(store, E1, state, version)
        version = written.version
        equal(written.election, state, "a state was written: what `write` returned")
        equal((await store.read(E1)).election, state, "a state was read after it was written")
        equal(dict(await listed(store))[E1], state, "a state was listed after it was written")


@ELECTION_RULES.of_a_store
async def what_is_read_is_made_of_the_classes_that_were_written(store: Store) -> None:
    """So that the rules of elections go on from it: equal values of other classes are not enough."""
    await put(store, E1, _SMALL)
    read = (await store.read(E1)).election
    ((listed_id, shown),) = await listed(store)
    ((name, paged),) = await store.page(E1.namespace, after="", limit=1)
    for came, where in ((read, "read"), (shown, "listed"), (paged, "in a page")):
        equal(_classes(came), _classes(_SMALL), f"an election was {where} after it was written")
    equal(repr(listed_id), repr(E1), "an election was listed: its name")
    equal(type(name), str, "an election was in a page: the class of its name")
    for command in _COMMANDS:
        equal(_applied(read, command), _applied(_SMALL, command), f"{command} was applied to what was read")


def _classes(election: Election) -> dict[str, str]:
    """Return the fields as text, which shows of which classes they are; any mapping will do."""
    return {
        name: repr(dict(value) if isinstance(value, Mapping) else value)  # pyright: ignore[reportUnknownArgumentType]
        for name, value in election._asdict().items()
    }


def _applied(election: Election, command: Command) -> tuple[Election, str]:
    transition = apply(election, command, operation=Operation(SESSION, 6), at=19.0)
    return transition.election, repr(transition.refusal)


@ELECTION_RULES.of_a_store
async def versions_never_come_back(store: Store) -> None:
    """Each write has a version of its own, also of a state that was there before."""
    versions = [0]
    for election in (ELECTION, Election(), ELECTION, ELECTION):
        record = await put(store, E1, election, versions[-1])
        holds(record.version not in versions, f"a version that is none of {versions}", record.version, "it was written")
        versions.append(record.version)


@ELECTION_RULES.of_a_store
async def a_write_with_another_version_changes_nothing(store: Store) -> None:
    """Too old, too new, or 0 where there is something: None."""
    first = await put(store, E1, ELECTION)
    second = await put(store, E1, Election(number=9), first.version)
    for expected, what in ((0, "0"), (first.version, "the version before"), (second.version + 1, "a later version")):
        when = f"{named(E1)} was written with {what}"
        refused(await store.write(E1, ELECTION, expected=expected), when)
        equal(await store.read(E1), second, f"{when}, and read")
    when = f"{named(E2)}, which was never written, was written with the version of {named(E1)}"
    refused(await store.write(E2, ELECTION, expected=second.version), when)
    equal(await store.read(E2), NOTHING, f"{when}, and read")


@ELECTION_RULES.of_a_store
async def similar_names_are_names_of_different_elections(store: Store) -> None:
    """Whatever they have in them: a separator, a dot, a wildcard, another case, as many bytes as there may be."""
    states = {election_id: Election(number=number) for number, election_id in enumerate(NAMES, 1)}
    records = await put_all(store, states)
    for election_id, record in records.items():
        equal(await store.read(election_id), record, f"{named(election_id)} was read, among others that are similar")
    all_of_them = sorted(await listed(store), key=lambda each: each[0])
    equal(all_of_them, sorted(states.items()), "elections with similar names were listed")
    for namespace in {each.namespace for each in NAMES}:
        page = await store.page(namespace, after="", limit=len(NAMES))
        expected = sorted((each.name, state) for each, state in states.items() if each.namespace == namespace)
        equal(page, expected, f"namespace {namespace} was paged through, among others with similar names")
    gone = NAMES[0]
    await store.forget(gone, expected=records[gone].version)
    equal(dict(await listed(store)).keys(), {*NAMES} - {gone}, f"{named(gone)} was forgotten, and the others listed")


@ELECTION_RULES.of_a_store
async def the_floor_never_falls(store: Store) -> None:
    """Whatever is written and forgotten. A floor is a number that a term may have."""
    floor = 0

    async def look(when: str) -> None:
        nonlocal floor
        for election_id in (E1, E2):
            came = (await store.read(election_id)).floor
            holds(type(came) is int and came >= floor, f"a floor of at least {floor}", came, when)
            floor = came

    await look("a store was new")
    record = await put(store, E1, ELECTION)
    await look("an election was written")
    await store.forget(E1, expected=record.version)
    await look("an election was forgotten")
    await put(store, E1, ELECTION)
    await look("it was written again")


@ELECTION_RULES.on_stage()
async def a_store_has_an_identity(stage: Stage) -> None:
    """It does not change, and no other store has it."""
    async with stage.open_store() as store, stage.open_store() as other:
        identity = store.id
        holds(type(identity) is str and bool(identity), "an id, as text", identity, "a store was opened")
        await put(store, E1, ELECTION)
        equal(store.id, identity, "an election was written: the id")
        holds(other.id != identity, f"another id than {identity!r}", other.id, "another store was opened")


@ELECTION_RULES.of_a_store
async def a_store_that_was_not_restored_holds_nobody_off(store: Store) -> None:
    """And ending a hold that there is not is no error."""
    equal(store.hold_s, None, "a store was new: `hold_s`")
    await store.end_hold()
    equal(store.hold_s, None, "a hold was ended that there was not: `hold_s`")
