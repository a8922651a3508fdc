"""Rules of the contract for shared stores: sessions that the store itself ends."""

from typing import Any

import anyio

from atomix_election.core.commands import Create, Enter
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Record, SharedStore
from atomix_election.testing.contract.expecting import equal, holds, turns
from atomix_election.testing.contract.following import (
    OWNER,
    TTL_S,
    apply_all,
    following,
    one_by_one,
    open_session,
)
from atomix_election.testing.contract.rules import SharedStoreRules
from atomix_election.testing.contract.shared_elections import E1
from atomix_election.testing.contract.stages import SharedStage

SHARED_SESSION_RULES = SharedStoreRules()

SHORT_TTL_S = 0.5
"""Time-to-live of a session that is to expire; what a store makes of it."""
AT_ONCE = 5
"""How many open one session on each store at the same time."""
RENEWALS_IN_A_TIME_TO_LIVE = 10
CLOCKS_DIFFER_S = 0.05
"""How much earlier than by the rule's clock a session may end by the store's."""
LATER_S = 1.0
"""How much later than the store says the end of a session may be heard of, on a machine that has other things to do."""


@SHARED_SESSION_RULES.of_two
async def sessions_are_heard_of(one: SharedStore, other: SharedStore) -> None:
    """Who opened them, and that they ended."""
    async with following(one, other) as followers:
        kept, ended = await open_session(one), await open_session(other)
        await one.end_session(ended)
        await apply_all(one, E1, Create(kept))
        for store, follower in zip((one, other), followers, strict=True):
            await store.catch_up()
            equal(follower.open, {kept}, "two sessions were opened, and one of them ended: those that are heard of")


@SHARED_SESSION_RULES.of_two
async def a_session_that_one_ends_has_ended_for_both(one: SharedStore, other: SharedStore) -> None:
    """At once: nobody can renew it, and it has no time left."""
    async with following(one, other):
        kept, ended = await open_session(one), await open_session(one, "ended")
        await other.end_session(ended)
        for store in (one, other):
            when = "one has ended a session that another one opened"
            equal(await store.renew(ended), False, f"{when}: whether it could be renewed")
            equal(await store.lease_left_s(ended), None, f"{when}: how long it lasts")
            open_ = (await store.look(E1, [ended, kept])).open
            equal(open_, {ended: False, kept: True}, f"{when}, and both were looked at")
            equal([each.session for each in await store.sessions()], [kept], f"{when}, and all were listed")
            equal(await store.renew(kept), True, f"{when}: whether another one could be renewed")
            await store.end_session(ended)


@SHARED_SESSION_RULES.of_two
async def who_opens_a_session_alone_gets_the_one_that_is_there(one: SharedStore, other: SharedStore) -> None:
    """Whichever store opened it, and as whoever did; when it has ended, another one is opened."""
    opened: list[SessionId] = []

    async def open_alone(store: SharedStore, owner: str) -> SessionId:
        settings: dict[str, Any] = {"ttl_s": store.ttl_s(TTL_S), "kept_alive": True, "owner": owner}
        opened.append(await store.open_session("default", "alone", alone=True, **settings))
        return opened[-1]

    async with anyio.create_task_group() as tasks:
        for store in (one, other) * AT_ONCE:
            tasks.start_soon(open_alone, store, OWNER)
    session = opened[0]
    when = f"{2 * AT_ONCE} opened it alone at once"
    equal(set(opened), {session}, f"{when}: what they got")
    equal([each.session for each in await one.sessions()], [session], f"{when}: the sessions that are there")
    when = "another one opened it alone"
    equal(await open_alone(other, "another"), session, f"{when}: what it got")
    equal([each.owner for each in await one.sessions()], [OWNER], f"{when}: whose it is")
    await one.end_session(session)
    again = await open_alone(other, OWNER)
    holds(again != session, "another session", again, "it has ended, and was opened alone once more")


@SHARED_SESSION_RULES.of_two
async def who_has_renewed_knows_what_there_was(one: SharedStore, other: SharedStore) -> None:
    """A renewal returns when all changes from before it are taken: leadership is granted by what is known then."""
    async with one_by_one(other) as changes:
        session = await open_session(one)
        await changes.next()
        record = await apply_all(one, E1, Enter("a", session))
        known: list[tuple[bool, Record]] = []

        async def renew() -> None:
            known.append((await other.renew(session), other.latest(E1)))

        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(renew)
                await turns(50)
                equal(known, [], "an election was written, and nobody has taken the change: what a renewal returned")
                tasks.start_soon(changes.take_all)
            tasks.cancel_scope.cancel()
        equal(known, [(True, record)], "an election was written, and a session renewed: what it returned, and knew")


@SHARED_SESSION_RULES.on_stage
async def a_session_that_nobody_renews_is_gone(stage: SharedStage) -> None:
    """After its time-to-live and not before, for both; one that is renewed stays."""
    async with stage.open_stores() as (one, other), following(one, other) as followers:
        clock, ttl_s = stage.clock, one.ttl_s(SHORT_TTL_S)
        dying, kept = await open_session(one, "dying", SHORT_TTL_S), await open_session(one, "kept", SHORT_TTL_S)
        await other.catch_up()

        async def keep() -> None:
            while True:
                equal(await other.renew(kept), True, "a session was renewed in time: whether it was still there")
                await clock.sleep_until(clock.now() + ttl_s / RENEWALS_IN_A_TIME_TO_LIVE)

        began = clock.now()
        equal(await other.renew(dying), True, "a session was renewed by another one: whether it was still there")
        renewed = gone = clock.now()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep)
            await stage.wait(followers[1].until_gone(dying), "a session to be gone that nobody renews")
            gone = clock.now()
            tasks.cancel_scope.cancel()
        when = f"a session of {ttl_s:g} s was renewed, and then by nobody: seconds until its end was heard of"
        holds(gone - began >= ttl_s - CLOCKS_DIFFER_S, f"at least {ttl_s:g}", gone - began, when)
        longest_s = one.longest_failover_s(ttl_s)
        in_time = gone - renewed <= longest_s + LATER_S
        holds(in_time, f"at most {longest_s:g}, as `longest_failover_s` says", gone - renewed, when)
        when = "a session has expired"
        for store in (one, other):
            equal(await store.renew(dying), False, f"{when}: whether it could be renewed")
            equal(await store.lease_left_s(dying), None, f"{when}: how long it lasts")
        left_s = await other.lease_left_s(kept)
        holds(left_s is not None and 0 <= left_s <= ttl_s, f"0 to {ttl_s:g}", left_s, "it was renewed: seconds left")
        equal((await one.look(E1, [dying, kept])).open, {dying: False, kept: True}, f"{when}, and one was renewed")


@SHARED_SESSION_RULES.of_two
async def times_to_live_are_no_less_than_wanted(one: SharedStore, other: SharedStore) -> None:
    """One that a store grants it grants again, and whoever asks; the end of a session takes no less than it lasts."""
    least = one.ttl_s(0.001)
    for wanted in (0.1, least, least + 0.5, 10.0, 10.2, 300.0):
        ttl_s = one.ttl_s(wanted)
        when = f"a time-to-live of {wanted:g} s is wanted"
        holds(ttl_s >= max(wanted, least), f"at least {max(wanted, least):g}", ttl_s, when)
        equal((one.ttl_s(ttl_s), other.ttl_s(wanted)), (ttl_s, ttl_s), f"{when}, and {ttl_s:g} s granted: what again")
        longest_s = one.longest_failover_s(ttl_s)
        holds(longest_s >= ttl_s, f"at least {ttl_s:g}", longest_s, f"{when}: `longest_failover_s`")


@SHARED_SESSION_RULES.of_two
async def each_comes_first_for_some(one: SharedStore, other: SharedStore) -> None:
    """And all agree on the order."""
    async with following(one, other):
        for store in (one, other):
            await store.catch_up()
        elections = [ElectionId("default", f"e{number}") for number in range(50)]
        ranks = [tuple(store.rank(each) for store in (one, other)) for each in elections]
    equal(set(ranks), {(0, 1), (1, 0)}, "two use a store: how many come before each, for many elections")
