"""Rules of the contract for shared stores: elections that are read and written by two at the same time."""

import anyio

from atomix_election.core.commands import Enter, Evict
from atomix_election.core.election import Election, apply
from atomix_election.model import Candidate, ElectionId, SessionId
from atomix_election.stores.base import Record, SharedStore, View
from atomix_election.testing.contract.at_once import only_the_newest_is_known
from atomix_election.testing.contract.concurrency import (
    a_write_or_a_forget_is_done,
    after,
    increments_are_all_there,
    numbers_are_given_once,
    one_of_the_writes_is_done,
    sessions_are_told_apart,
    writes_are_seen_whole,
)
from atomix_election.testing.contract.elections import NOTHING
from atomix_election.testing.contract.expecting import done, equal, holds, listed, named, refused
from atomix_election.testing.contract.following import apply_all, following, open_session
from atomix_election.testing.contract.rules import SharedStoreRules
from atomix_election.testing.contract.stages import SharedStage

SHARED_ELECTION_RULES = SharedStoreRules()

E1, E2, E3 = ElectionId("default", "e1"), ElectionId("other", "e1"), ElectionId("default", "e3")
SESSION = SessionId("default", "s", 1)
SESSIONS_ASSUMED = 100
"""So many open sessions a write has to be able to assume: an engine asks for somewhat less."""


@SHARED_ELECTION_RULES.of_two
async def two_are_one_store(one: SharedStore, other: SharedStore) -> None:
    """Both have one identity."""
    equal(other.id, one.id, "a store was opened twice: its id")
    equal((one.hold_s, other.hold_s), (None, None), "a store was new: `hold_s`")


@SHARED_ELECTION_RULES.of_two
async def what_one_has_done_the_other_reads_at_once(one: SharedStore, other: SharedStore) -> None:
    """Whatever it knew before, and without having taken any change."""
    async with following(other):
        await apply_all(one, E1, Enter("a", SESSION))
        await other.catch_up()
    await only_the_newest_is_known([one, other])
    when = "one has written, and the other one"
    record = await _enter_another(one)
    equal(await other.read(E1), record, f"{when} read")
    record = await _enter_another(one)
    equal((await other.look(E1, [])).record, record, f"{when} looked")
    former, record = record, await _enter_another(one)
    equal(await other.confirm(E1, expected=former.version), False, f"{when} confirmed a version from before")
    equal(await other.confirm(E1, expected=record.version), True, f"{when} confirmed the new version")
    record = await _enter_another(one)
    equal(dict(await listed(other)).get(E1), record.election, f"{when} listed all")
    record = await _enter_another(one)
    page = await other.page(E1.namespace, after="", limit=9)
    equal(dict(page).get(E1.name), record.election, f"{when} read a page")
    session = await open_session(one)
    when = "one has opened a session, and the other one"
    equal((await other.look(E1, [session])).open, {session: True}, f"{when} looked")
    equal([each.session for each in await other.sessions()], [session], f"{when} listed all")


async def _enter_another(store: SharedStore) -> Record:
    """Change an election."""
    number = (await store.read(E1)).election.revision
    return await apply_all(store, E1, Enter(f"c{number}", SESSION))


@SHARED_ELECTION_RULES.of_two
async def of_concurrent_writes_of_two_with_one_version_one_is_done(one: SharedStore, other: SharedStore) -> None:
    """The others hear None, and both read what the one wrote."""
    await one_of_the_writes_is_done([one, other])


@SHARED_ELECTION_RULES.of_two
async def two_who_read_and_write_until_they_succeed_lose_nothing(one: SharedStore, other: SharedStore) -> None:
    """Fifty increments make fifty."""
    await increments_are_all_there([one, other])


@SHARED_ELECTION_RULES.of_two
async def of_a_write_and_a_forget_of_two_with_one_version_one_is_done(one: SharedStore, other: SharedStore) -> None:
    """Whichever."""
    await a_write_or_a_forget_is_done([one, other])


@SHARED_ELECTION_RULES.on_stage
async def no_number_is_given_twice_by_two(stage: SharedStage) -> None:
    """By whatever writes and forgets at the same time: a number is a token."""
    async with stage.open_stores() as stores:

        async def write_next(place: int, election_id: ElectionId) -> Record | None:
            record = await stores[place].read(election_id)
            election = after(record)
            return await stores[place].write(election_id, election, expected=record.version, terms=[election.term])

        await numbers_are_given_once(stores, write_next, stage)


@SHARED_ELECTION_RULES.of_two
async def concurrent_sessions_of_two_have_incarnations_of_their_own(one: SharedStore, other: SharedStore) -> None:
    """Also those of one id."""
    await sessions_are_told_apart([one, other])


@SHARED_ELECTION_RULES.of_two
async def nobody_sees_half_a_write_of_another(one: SharedStore, other: SharedStore) -> None:
    """However it is looked at; and who has seen a state does not see an earlier one."""
    await writes_are_seen_whole([one, other])


@SHARED_ELECTION_RULES.of_two
async def a_write_that_assumes_wrongly_changes_nothing(one: SharedStore, other: SharedStore) -> None:
    """Whether a session is open, of others, of its own, known here or not."""
    session, ended = await open_session(one), await open_session(one)
    await one.end_session(ended)
    never = SessionId("default", "never", 10**9)
    for store in (one, other):
        for wrong in ({session: False}, {ended: True}, {never: True}, {session: True, ended: True}):
            when = f"it was assumed wrongly which sessions are open: {wrong}"
            refused(await store.write(E1, Election(number=1), expected=0, assuming=wrong), f"{when}, in a write")
            equal(await store.confirm(E1, expected=0, assuming=wrong), False, f"{when}, and that was to be confirmed")
            refused(await store.forget(E1, expected=0, assuming=wrong), f"{when}, in a forget")
    equal(await other.read(E1), NOTHING, "all writes had assumed wrongly, and the election was read")
    right = {session: True, ended: False, never: False}
    when = "it was assumed rightly which sessions are open"
    election = Election(number=1, revision=1)
    written = done(await other.write(E1, election, expected=0, assuming=right), when)
    equal(
        await one.confirm(E1, expected=written.version, assuming=right), True, f"{when}, and that was to be confirmed"
    )
    equal(await one.confirm(E1, expected=0, assuming=right), False, f"{when}, but another version")
    refused(await one.forget(E1, expected=written.version, assuming={session: False}), "a forget assumed wrongly")
    left = await one.forget(E1, expected=written.version, assuming=right)
    equal(left, Record(election, 0), f"{when}, in a forget")


@SHARED_ELECTION_RULES.of_two
async def a_session_that_ends_is_gone_for_a_write_under_way(one: SharedStore, other: SharedStore) -> None:
    """The other one knows it as open, and is wrong: the comparison is made in the store."""
    async with following(other):
        session = await open_session(one)
        await other.catch_up()
    await one.end_session(session)
    entered = Election((Candidate("a", session),), 1, 1)
    when = "a session was ended that another one took for open"
    refused(await other.write(E1, entered, expected=0, assuming={session: True}), when)
    equal(await one.read(E1), NOTHING, f"{when}, and the election was read")


@SHARED_ELECTION_RULES.of_two
async def a_look_sees_record_and_sessions_at_one_moment(one: SharedStore, other: SharedStore) -> None:
    """Also many sessions; and a write, a forget and a confirmation may assume a hundred of them to be open."""
    sessions: list[SessionId] = []

    async def open_one(number: int) -> None:
        session = await open_session(one, f"s{number}")
        if number % 5:
            sessions.append(session)
        else:
            await one.end_session(session)
            ended.append(session)

    ended: list[SessionId] = []
    async with anyio.create_task_group() as tasks:
        for number in range(130):
            tasks.start_soon(open_one, number)
    record = await apply_all(one, E1, Enter("a", sessions[0]))
    expected = dict.fromkeys(sessions, True) | dict.fromkeys(ended, False)
    view = await other.look(E1, list(expected))
    equal(view.record, record, "another one has written, and an election was looked at: its record")
    equal(dict(view.open), expected, "130 sessions were looked at, of which 26 had ended")
    equal(await other.look(E1, []), View(record, {}), "an election was looked at without sessions")
    assumed = dict.fromkeys(sessions[:SESSIONS_ASSUMED], True) | dict.fromkeys(ended, False)
    when = f"it was assumed that {SESSIONS_ASSUMED} sessions are open"
    equal(await one.confirm(E1, expected=record.version, assuming=assumed), True, f"{when}, to be confirmed")
    done(await one.write(E1, Election(number=9), expected=record.version, assuming=assumed), f"{when}, in a write")


@SHARED_ELECTION_RULES.of_two
async def what_was_decided_before_a_forget_is_not_written(one: SharedStore, other: SharedStore) -> None:
    """Or its number could be one that the election had before it was forgotten."""
    decided = apply(Election(), Enter("late", SESSION)).election
    await apply_all(other, E1, Enter("a", SESSION))
    record = await apply_all(other, E1, Evict("a"))
    done(await other.forget(E1, expected=record.version), "an election was forgotten")
    when = "what was decided before an election was forgotten was written after it"
    refused(await one.write(E1, decided, expected=0, terms=[decided.term]), when)
    batch = decided._replace(number=record.election.number, revision=2)  # no lower than the floor, after two commands
    refused(await one.write(E1, batch, expected=0, terms=[decided.term, batch.term]), f"{when}, by two commands")
    equal((await other.read(E1)).version, 0, f"{when}, and the election was read: its version")


@SHARED_ELECTION_RULES.of_two
async def who_is_told_that_nothing_is_there_is_told_where_it_goes_on(one: SharedStore, other: SharedStore) -> None:
    """What is known of an election that has no record follows what is known of others that were forgotten."""
    await one.read(E1)
    await apply_all(other, E3, Enter("a", SESSION))
    record = await apply_all(other, E3, Evict("a"))
    done(await other.forget(E3, expected=record.version), "an election was forgotten")
    await one.read(E3)
    when = "another election of the namespace was forgotten, and what is known of one without a record"
    latest = one.latest(E1)
    equal(await one.confirm(E1, expected=latest.version), True, f"{when} was to be confirmed")
    begin = Election(number=record.election.number, revision=2)
    equal((await other.read(E1)).election, begin, f"{when} was read")
    equal(latest.election, begin, f"{when} was asked for")


@SHARED_ELECTION_RULES.of_two
async def floors_fall_for_nobody(one: SharedStore, other: SharedStore) -> None:
    """Whoever reads, looks or writes: a floor that one was told of is the least that others are told of later."""
    floor = 0

    def see(came: int, when: str) -> None:
        nonlocal floor
        holds(type(came) is int and came >= floor, f"a floor of at least {floor}", came, when)
        floor = came

    for number, (store, another) in enumerate(((one, other), (other, one)) * 2):
        for election_id in (E1, E2):
            see((await store.read(election_id)).floor, f"{named(election_id)} was read")
            see((await apply_all(store, election_id, Enter(f"c{number}", SESSION))).floor, "an election was written")
            see((await another.look(election_id, [])).record.floor, "another one has written, and it was looked at")
            record = await another.read(election_id)
            see(record.floor, "another one has written, and it was read")
    forgotten = await one.forget(E1, expected=(await one.read(E1)).version)
    see(done(forgotten, "an election was forgotten").floor, "an election was forgotten")
    see((await other.read(E3)).floor, "an election without a record was read")
