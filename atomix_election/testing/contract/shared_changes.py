"""Rules of the contract for shared stores: what each hears of what another one has changed."""

from types import MappingProxyType

import anyio

from atomix_election.core.commands import Anoint, Close, Command, Create, Enter, Evict
from atomix_election.core.election import Election, apply
from atomix_election.model import Candidate, SessionId
from atomix_election.stores.base import (
    Change,
    ElectionChanged,
    Record,
    SessionGone,
    SessionOpened,
    SharedStore,
    StoredSession,
)
from atomix_election.testing.contract.elections import NOTHING
from atomix_election.testing.contract.expecting import done, equal, holds, turns
from atomix_election.testing.contract.following import (
    OWNER,
    TTL_S,
    apply_all,
    following,
    one_by_one,
    open_session,
)
from atomix_election.testing.contract.rules import SharedStoreRules
from atomix_election.testing.contract.shared_elections import E1, E2, E3, SESSION
from atomix_election.testing.contract.stages import BrokenRule

SHARED_CHANGE_RULES = SharedStoreRules()


def _stored(store: SharedStore, session: SessionId) -> StoredSession:
    """Return what is heard of a session that was opened here."""
    return StoredSession(session, store.ttl_s(TTL_S), kept_alive=True, owner=OWNER)


def _of_election(change: Change, when: str) -> ElectionChanged:
    """Expect that a change is one of an election."""
    if not isinstance(change, ElectionChanged):
        raise BrokenRule("a change of an election", repr(change), when)
    return change


@SHARED_CHANGE_RULES.of_two
async def what_one_writes_the_other_reads_and_hears_of(one: SharedStore, other: SharedStore) -> None:
    """Each change once, in order, each from the state that the one before led to, the writer included."""
    async with following(one, other) as followers:
        session = await open_session(one)
        records = [
            await apply_all(store, E1, Enter(f"c{number}", session)) for number, store in enumerate((one, other) * 3)
        ]
        for store, follower in zip((one, other), followers, strict=True):
            await store.catch_up()
            changes = follower.of(E1)
            when = "two have written six times, and one of them has caught up"
            equal([each.after for each in changes], records, f"{when}: `after` of the changes")
            equal([each.before for each in changes], [NOTHING, *records[:-1]], f"{when}: `before` of the changes")
            terms = [(each.election.term,) for each in records]
            equal([each.terms for each in changes], terms, f"{when}: `terms` of the changes")
            equal(store.latest(E1), records[-1], f"{when}: `latest`")
            equal(await store.read(E1), records[-1], f"{when}, and read")
            equal(list(store.known()), [(E1, records[-1].election)], f"{when}: `known`")


@SHARED_CHANGE_RULES.of_two
async def the_terms_that_a_write_leads_through_are_told(one: SharedStore, other: SharedStore) -> None:
    """Each of them, whatever came and went in it; none where nothing visible changed."""
    async with following(other) as (follower,):
        session, leaver = await open_session(one), await open_session(one, "leaver")
        commands: list[Command] = [
            *(Enter(f"c{number}", leaver if number % 3 else session) for number in range(30)),
            Anoint("c7"),
            Evict("c0"),
            Close(leaver),
            Anoint("c27"),
        ]
        await apply_all(one, E1, *commands)
        await apply_all(one, E1, Create(session))
        await other.catch_up()
    changes = follower.of(E1)
    equal(len(changes), 2, "two writes were made, and another one has caught up: changes")
    many, none = changes
    when = f"{len(commands)} commands were written together, and another one has heard of it"
    equal([each.revision for each in many.terms], list(range(1, len(commands) + 1)), f"{when}: revisions of the terms")
    election = Election()
    for command, term in zip(commands, many.terms, strict=True):
        election = apply(election, command, floor=many.terms[0].number).election
        equal(term.candidates, election.term.candidates, f"{when}: the term after {command}")
    equal(none.terms, (), "a write has changed nothing visible: its terms")
    equal(none.after.election.registered, frozenset({session}), "a session was registered: what is heard of it")


@SHARED_CHANGE_RULES.of_two
async def the_first_changes_tell_of_all_that_is_there(one: SharedStore, other: SharedStore) -> None:
    """To whoever begins later, and to whoever begins anew; sessions before the elections that they are in."""
    session, ended = await open_session(one), await open_session(one, "ended")
    first = await apply_all(one, E1, Enter("a", session))
    second = await apply_all(one, E2, Enter("a", session), Evict("a"))
    await one.end_session(ended)
    stored = _stored(one, session)
    for when in ("a store was followed from then on", "it was followed anew"):
        async with following(other) as (follower,):
            await other.catch_up()
            sessions, elections = follower.changes[:1], follower.changes[1:]
            equal(sessions, [SessionOpened(stored)], f"{when}: the first change")
            expected = {
                E1: ElectionChanged(E1, NOTHING, first, (first.election.term,)),
                E2: ElectionChanged(E2, NOTHING, second, (second.election.term,)),
            }
            came = {_of_election(each, when).election_id: each for each in elections}
            equal((len(elections), came), (2, expected), f"{when}: the changes of elections")
            equal(await other.sessions(), [stored], f"{when}, and all sessions were listed")


@SHARED_CHANGE_RULES.of_two
async def a_change_is_taken_when_the_next_one_is_asked_for(one: SharedStore, other: SharedStore) -> None:
    """Before that ``latest`` does not know it, and nobody has caught up."""
    async with one_by_one(other) as changes:
        session = await open_session(one)
        equal(await changes.next(), SessionOpened(_stored(one, session)), "a session was opened: the first change")
        caught_up = anyio.Event()

        async def catch_up() -> None:
            await other.catch_up()
            caught_up.set()

        async def ask_for_more() -> None:
            await changes.next()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(catch_up)
            record = await apply_all(one, E1, Enter("a", session))
            change = _of_election(await changes.next(), "an election was written: the next change")
            equal(change.after, record, "an election was written: what is heard of it")
            equal(other.latest(E1).version, 0, "a change was handed out and not taken: the version that is known")
            known = dict(other.known())
            holds(E1 not in known, "nothing of what is not taken", known, "a change was handed out: all that is known")
            tasks.start_soon(ask_for_more)
            await caught_up.wait()
            await other.catch_up()
            equal(other.latest(E1), record, "the next change was asked for: what is known")
            tasks.cancel_scope.cancel()


@SHARED_CHANGE_RULES.of_two
async def nobody_has_caught_up_before_all_is_taken(one: SharedStore, other: SharedStore) -> None:
    """Whoever waits for that waits as long as a change from before is not taken."""
    async with one_by_one(other) as changes:
        session = await open_session(one)
        await changes.next()
        record = await apply_all(one, E1, Enter("a", session))
        known: list[Record] = []

        async def catch_up() -> None:
            await other.catch_up()
            known.append(other.latest(E1))

        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(catch_up)
                await turns(50)
                equal(known, [], "an election was written, and nobody has asked for the change: who has caught up")
                tasks.start_soon(changes.take_all)
            tasks.cancel_scope.cancel()
        equal(known, [record], "an election was written, and another one has caught up: what it knew then")


@SHARED_CHANGE_RULES.of_two
async def all_hear_of_changes_in_one_order(one: SharedStore, other: SharedStore) -> None:
    """That in which they took place, those of sessions and of all elections together."""
    async with following(one, other) as followers:
        for store in (one, other):
            await store.catch_up()
        expected: list[object] = []
        for number, store in enumerate((one, other) * 3):
            session = await open_session(store, f"s{number}")
            expected.append(session)
            for election_id in (E1, E2) if number % 2 else (E2, E1):
                record = await apply_all(store, election_id, Enter(f"c{number}", session))
                expected.append((election_id, record.version))
            if number % 3 == 0:
                await store.end_session(session)
                expected.append(("gone", session))
        for store, follower in zip((one, other), followers, strict=True):
            await store.catch_up()
            came = [_what(each) for each in follower.changes]
            equal(came, expected, "two have opened and ended sessions, and written: the changes, in order")


def _what(change: Change) -> object:
    match change:
        case SessionOpened(stored):
            return stored.session
        case SessionGone(session):
            return ("gone", session)
        case ElectionChanged(election_id, _, after, _):
            return (election_id, after.version)


@SHARED_CHANGE_RULES.of_two
async def forgetting_is_heard_of(one: SharedStore, other: SharedStore) -> None:
    """The state afterwards is that from which it goes on."""
    async with following(one, other) as followers:
        session = await open_session(one)
        await apply_all(one, E1, Enter("a", session))
        record = await apply_all(one, E1, Evict("a"))
        left = done(await other.forget(E1, expected=record.version), "an election was forgotten")
        equal(left, Record(Election(number=record.election.number, revision=2), 0), "an election was forgotten")
        again = await apply_all(one, E1, Enter("b", session))
        for store, follower in zip((one, other), followers, strict=True):
            await store.catch_up()
            changes = follower.of(E1)[2:]
            expected = [
                ElectionChanged(E1, record, left, ()),
                ElectionChanged(E1, left, again, (again.election.term,)),
            ]
            equal(changes, expected, "an election was forgotten and written again: the changes")
    holds(again.election.number > record.election.number, "a higher number", again.election, "it was written again")
    equal(again.election.revision, 3, "an election was written after it was forgotten: its revision")


@SHARED_CHANGE_RULES.of_two
async def what_is_heard_of_a_forget_is_what_it_was_then(one: SharedStore, other: SharedStore) -> None:
    """Also by who has read meanwhile that another election was forgotten, which had higher numbers."""
    await apply_all(one, E1, Enter("a", SESSION))
    record = await apply_all(one, E1, Evict("a"))
    async with one_by_one(other) as changes:
        await changes.next()
        left = await one.forget(E1, expected=record.version)
        again = await apply_all(one, E1, Enter("b", SESSION))
        last = await apply_all(one, E3, Enter("a", SESSION), Evict("a"), Enter("a", SESSION), Evict("a"))
        done(await one.forget(E3, expected=last.version), "another election was forgotten")
        floor = (await other.read(E3)).election.revision
        holds(floor > again.election.revision, f"above {again.election.revision}", floor, "another one was forgotten")
        forgotten = _of_election(await changes.next(), "an election was forgotten: the next change")
        came = (forgotten.before, forgotten.after, forgotten.terms)
        equal(came, (record, left, ()), "an election was forgotten, and then another one: what is heard of the first")
        entered = _of_election(await changes.next(), "an election was written after it was forgotten: the next change")
        equal((entered.after, entered.terms), (again, (again.election.term,)), "it was written again: what is heard")


@SHARED_CHANGE_RULES.of_two
async def who_has_caught_up_knows_what_there_is(one: SharedStore, other: SharedStore) -> None:
    """Also where nothing has ever changed: the first changes were taken."""
    async with following(one) as (follower,):
        await one.catch_up()
        session = await open_session(other)
        await one.catch_up()
        equal(follower.changes, [SessionOpened(_stored(one, session))], "a session was opened elsewhere: the changes")


@SHARED_CHANGE_RULES.of_two
async def all_of_a_state_is_heard_of(one: SharedStore, other: SharedStore) -> None:
    """Operations and all else, as it was written."""
    session = await open_session(one)
    election = Election(
        (Candidate("候補", session),), 3, 4, frozenset({session}), MappingProxyType({session: 9}), began_at=2.5
    )
    async with following(other) as (follower,):
        await other.catch_up()
        done(await one.write(E1, election, expected=0), "an election was written")
        await other.catch_up()
    equal([each.after.election for each in follower.of(E1)], [election], "an election was written: what is heard of it")
