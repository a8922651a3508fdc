"""Rules of the contract: what a store keeps when it is closed and opened again."""

from atomix_election.core.election import Election
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Record, Store, StoredSession
from atomix_election.testing.contract.at_once import Told
from atomix_election.testing.contract.elections import E1, E2, ELECTION, FULL, NOTHING
from atomix_election.testing.contract.expecting import equal, holds, listed, named, put
from atomix_election.testing.contract.rules import StoreRules
from atomix_election.testing.contract.sessions import listed_sessions, open_session
from atomix_election.testing.contract.stages import Stage

REOPENING_RULES = StoreRules()


@REOPENING_RULES.on_stage("reopen")
async def the_identity_stays_when_a_store_is_opened_again(stage: Stage) -> None:
    """Clients that see another one begin anew."""
    async with stage.open_store() as store:
        identity = store.id
    async with stage.reopen(store) as again:
        equal(again.id, identity, "a store was opened again: its id")
        equal(again.hold_s, None, "a store was opened again that was not restored: `hold_s`")


@REOPENING_RULES.on_stage("reopen")
async def what_was_written_is_there_when_a_store_is_opened_again(stage: Stage) -> None:
    """All elections in their newest states, however they were written, and what was forgotten stays so."""
    at_once, gone = ElectionId("default", "at once"), ElectionId("default", "gone")
    states = {E1: FULL, E2: Election()}
    async with stage.open_store() as store:
        await put(store, E1, FULL, (await put(store, E1, ELECTION)).version)
        await put(store, E2, Election())
        await store.forget(gone, expected=(await put(store, gone, Election(number=5, revision=6))).version)
        await store.read(at_once)
        if store.read_now(at_once) is not None:
            told = Told(store, at_once, ELECTION)
            told.begin(0)
            await told.outcome(stage, "`write_now` was called")
            states[at_once] = ELECTION
    async with stage.reopen(store) as again:
        for election_id, state in states.items():
            record, when = await again.read(election_id), f"a store was opened again, and {named(election_id)} read"
            equal(record.election, state, when)
            holds(record.version > 0, "a version above 0", record.version, when)
        equal(dict(await listed(again)), states, "a store was opened again, and all elections listed")
        begin = Record(Election(number=5, revision=6), 0)
        equal(await again.read(gone), begin, "a store was opened again, and an election read that was forgotten before")


@REOPENING_RULES.on_stage("reopen")
async def floors_stay_when_a_store_is_opened_again(stage: Stage) -> None:
    """Also for elections that were never written, and when others are forgotten then."""
    never = ElectionId("default", "never")
    async with stage.open_store() as store:
        await store.forget(E1, expected=(await put(store, E1, Election(number=9, revision=20))).version)
    async with stage.reopen(store) as again:
        equal(await again.read(never), Record(Election(number=9, revision=20), 0), "opened again after a forget")
        await again.forget(never, expected=(await put(again, never, Election(number=4, revision=30))).version)
    async with stage.reopen(again) as last:
        when = "opened again, another one forgotten, and opened once more"
        equal(await last.read(E1), Record(Election(number=9, revision=31), 0), when)
        equal(await last.read(E2), NOTHING, f"{when}: an election of another namespace")


@REOPENING_RULES.on_stage("reopen")
async def no_version_comes_back_when_a_store_is_opened_again(stage: Stage) -> None:
    """Also when the election was forgotten that had the highest one."""
    async with stage.open_store() as store:
        first = await put(store, E1, ELECTION)
        second = await put(store, E1, Election(number=1), first.version)
        await store.forget(E1, expected=second.version)
    async with stage.reopen(store) as again:
        third = await put(again, E1, ELECTION)
        former = [first.version, second.version]
        holds(third.version not in former, f"a version that is none of {former}", third.version, "opened again")


@REOPENING_RULES.on_stage("reopen")
async def sessions_are_there_when_a_store_is_opened_again(stage: Stage) -> None:
    """With all that is known of them, but for those that were ended."""
    async with stage.open_store() as store:
        kept = await store.open_session("default", "s", ttl_s=61.2345678, kept_alive=True, owner="候補 b")
        ended = await open_session(store, "s", "other")
        other = await open_session(store, "t", ttl_s=60.0)
        await store.end_session(ended)
    expected = [
        StoredSession(kept, 61.2345678, kept_alive=True, owner="候補 b"),
        StoredSession(other, 60.0, kept_alive=False),
    ]
    async with stage.reopen(store) as again:
        equal(await listed_sessions(again), expected, "a store was opened again, and all sessions listed")


@REOPENING_RULES.on_stage("reopen")
async def no_incarnation_comes_back_when_a_store_is_opened_again(stage: Stage) -> None:
    """Also when all sessions have ended by then: a late call of one of them must not be taken for a new one's."""
    former: list[int] = []

    async def open_and_end(store: Store) -> None:
        sessions: list[SessionId] = [await open_session(store, session_id) for session_id in "stu"]
        for session in sessions:
            expected = f"an incarnation that is none of {former}"
            holds(session.incarnation not in former, expected, session, "a session was opened in a store opened again")
            former.append(session.incarnation)
            await store.end_session(session)

    async with stage.open_store() as store:
        await open_and_end(store)
    async with stage.reopen(store) as again:
        await open_and_end(again)
    async with stage.reopen(again) as last:
        await open_and_end(last)


@REOPENING_RULES.on_stage("open_restored")
async def nobody_is_in_a_restored_store(stage: Stage) -> None:
    """What is in a backup is of the past: no candidates, whom others may have followed since, and no sessions."""
    async with stage.open_restored() as store:
        for election_id, election in await listed(store):
            left = Election(number=election.number, revision=election.revision)
            equal(election, left, f"a store was restored, and {named(election_id)} listed")
            equal(
                (await store.read(election_id)).election, left, f"a store was restored, and {named(election_id)} read"
            )
        equal(await store.sessions(), [], "a store was restored, and all sessions listed")


@REOPENING_RULES.on_stage("open_restored")
async def a_restored_store_holds_others_off(stage: Stage) -> None:
    """Until that is ended: leaders that it knows nothing of may act as long as a session lasted there."""
    async with stage.open_restored() as store:
        hold_s = store.hold_s
        holds(isinstance(hold_s, float | int) and hold_s > 0, "`hold_s` above 0", hold_s, "a store was restored")
        await put(store, ElectionId("default", "new"), ELECTION)
        equal(store.hold_s, hold_s, "a restored store was written: `hold_s`")
        await store.end_hold()
        equal(store.hold_s, None, "a hold was ended: `hold_s`")
        await store.end_hold()
        equal(store.hold_s, None, "a hold was ended again: `hold_s`")


@REOPENING_RULES.on_stage("open_restored", "reopen")
async def a_hold_lasts_until_it_is_ended(stage: Stage) -> None:
    """However often the store is opened meanwhile; and then it is over for good."""
    async with stage.open_restored() as store:
        hold_s = store.hold_s
    async with stage.reopen(store) as again:
        equal(again.hold_s, hold_s, "a restored store was opened again: `hold_s`")
        await again.end_hold()
    async with stage.reopen(again) as last:
        equal(last.hold_s, None, "a store was opened again after its hold was ended: `hold_s`")
