"""Rules of the contract: sessions."""

from atomix_election.model import SessionId
from atomix_election.stores.base import Store, StoredSession
from atomix_election.testing.contract.elections import E1, ELECTION
from atomix_election.testing.contract.expecting import equal, holds, put
from atomix_election.testing.contract.rules import StoreRules

SESSION_RULES = StoreRules()


async def open_session(
    store: Store, session_id: str, namespace: str = "default", *, ttl_s: float = 60.0, owner: str = ""
) -> SessionId:
    """Open a session that connections keep."""
    return await store.open_session(namespace, session_id, ttl_s=ttl_s, kept_alive=False, owner=owner)


async def listed_sessions(store: Store) -> list[StoredSession]:
    """Return all sessions, in the order in which they were opened."""
    return sorted(await store.sessions(), key=lambda each: each.session.incarnation)


@SESSION_RULES.of_a_store
async def no_incarnation_is_given_twice(store: Store) -> None:
    """Neither to the same id again, after its end too, nor to other ids."""
    incarnations: list[int] = []
    for _ in range(3):
        for namespace, session_id in (("default", "s"), ("other", "s"), ("default", "t")):
            session = await open_session(store, session_id, namespace)
            equal((session.namespace, session.id), (namespace, session_id), "a session was opened: its names")
            expected = f"an incarnation that is none of {incarnations}"
            holds(session.incarnation not in incarnations, expected, session, "a session was opened")
            incarnations.append(session.incarnation)
            if len(incarnations) % 2:
                await store.end_session(session)


@SESSION_RULES.of_a_store
async def sessions_that_were_opened_and_not_ended_are_listed(store: Store) -> None:
    """With their time-to-live; ending one ends that incarnation only, and ending it again is no error."""
    old_ttl_s, new_ttl_s = 41.2345678, 42.2345678  # which one that is rounded to milliseconds is not
    old = await open_session(store, "s", ttl_s=old_ttl_s)
    new = await open_session(store, "s", ttl_s=new_ttl_s)
    expected = [StoredSession(old, old_ttl_s, kept_alive=False), StoredSession(new, new_ttl_s, kept_alive=False)]
    found = await listed_sessions(store)
    equal(found, expected, "two sessions of one id were opened, and all were listed")
    equal(repr(found), repr(expected), "two sessions were listed: the classes that they are made of")
    await store.end_session(old)
    equal(await store.sessions(), expected[1:], "the older of two sessions of one id was ended")
    await store.end_session(old)
    equal(await store.sessions(), expected[1:], "a session was ended again")


@SESSION_RULES.of_a_store
async def kept_alive_is_remembered(store: Store) -> None:
    """A store keeps what kind of session it is."""
    for kept_alive in (True, False):
        session = await store.open_session("default", "s", ttl_s=60.0, kept_alive=kept_alive)
        expected = [StoredSession(session, 60.0, kept_alive)]
        equal(await store.sessions(), expected, f"a session was opened with kept_alive={kept_alive}")
        await store.end_session(session)


@SESSION_RULES.of_a_store
async def the_owner_is_remembered(store: Store) -> None:
    """A store keeps who opened a session; nobody, where it is not said."""
    owned = await open_session(store, "s", owner="候補 b")
    other = await open_session(store, "t")
    owners = {each.session: each.owner for each in await store.sessions()}
    equal(owners, {owned: "候補 b", other: ""}, "two sessions were opened, one of them with an owner")


@SESSION_RULES.of_a_store
async def the_end_of_a_session_ends_no_other(store: Store) -> None:
    """Neither of the same id elsewhere, nor of another id, nor any when the one that is named is not there."""
    names = (("a", "b/c"), ("a/b", "c"), ("default", "s"), ("other", "s"), ("default", "t"), ("default", "S"))
    sessions = [await open_session(store, session_id, namespace) for namespace, session_id in names]
    never = max(each.incarnation for each in sessions) + 1_000_000
    for session in list(sessions):
        for stranger in (session._replace(incarnation=never), session._replace(id="never", incarnation=never)):
            await store.end_session(stranger)
        open_ = [each.session for each in await listed_sessions(store)]
        equal(open_, sessions, "sessions were ended that were never opened, and the others listed")
        await store.end_session(session)
        sessions.remove(session)
        open_ = [each.session for each in await listed_sessions(store)]
        equal(open_, sessions, f"{session} was ended, and the others listed")


@SESSION_RULES.of_a_store
async def the_end_of_a_session_changes_no_election(store: Store) -> None:
    """What becomes of its candidates is decided elsewhere; and an election may name a session that is not there."""
    session = await open_session(store, "s")
    theirs = ELECTION.candidates[0]._replace(session=session)
    written = await put(store, E1, ELECTION._replace(candidates=(theirs, *ELECTION.candidates[1:])))
    await store.end_session(session)
    equal(await store.read(E1), written, "a session was ended that a candidate belongs to")
