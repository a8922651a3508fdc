"""Rules of the contract: tasks that are cancelled while they change something."""

import anyio

from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.stores.base import Store
from atomix_election.testing.contract.concurrency import after
from atomix_election.testing.contract.elections import ELECTION, NOTHING
from atomix_election.testing.contract.expecting import equal, listed, named, one_of, put, put_all, turns
from atomix_election.testing.contract.rules import StoreRules
from atomix_election.testing.contract.stages import BrokenRule

CANCELLING_RULES = StoreRules()

MOMENTS = 12
"""Turns of the event loop after which something is cancelled, one after the other."""


@CANCELLING_RULES.of_a_store
async def a_cancelled_write_is_done_or_not_and_disturbs_nobody(store: Store) -> None:
    """At whatever moment: the state is that before or after it, all others are done, and it does not come back."""
    for moment in range(MOMENTS):
        early, cancelled, late = (
            _names(f"early-{moment}", 2),
            _names(f"cancelled-{moment}", 4),
            _names(f"late-{moment}", 2),
        )
        written = await put_all(store, dict.fromkeys(cancelled[::2], Election(number=1, revision=1)))
        before = dict.fromkeys(cancelled, NOTHING) | written
        async with anyio.create_task_group() as others:
            for election_id in early:
                others.start_soon(put, store, election_id, ELECTION)
            async with anyio.create_task_group() as leaving:
                for election_id, record in before.items():
                    leaving.start_soon(put, store, election_id, ELECTION, record.version)
                await turns(moment)
                leaving.cancel_scope.cancel()
            for election_id in late:
                others.start_soon(put, store, election_id, ELECTION)
        for election_id in (*early, *late):
            when = f"{named(election_id)} was written while other writes were cancelled after {moment} turns"
            equal((await store.read(election_id)).election, ELECTION, when)
        async with anyio.create_task_group() as settling:
            for election_id, record in before.items():
                when = f"the write of {named(election_id)} was cancelled after {moment} turns"
                settling.start_soon(_settle, store, election_id, (record.election, ELECTION), when)


@CANCELLING_RULES.of_a_store
async def a_cancelled_forget_is_done_or_not(store: Store) -> None:
    """At whatever moment: the election is there as it was, or gone, and its numbers are kept in either case."""
    gone = Election(number=ELECTION.number, revision=ELECTION.revision)
    for moment in range(MOMENTS):
        records = await put_all(store, dict.fromkeys(_names(f"forgotten-{moment}", 4), ELECTION))
        async with anyio.create_task_group() as leaving:
            for election_id, record in records.items():
                leaving.start_soon(_forget, store, election_id, record.version)
            await turns(moment)
            leaving.cancel_scope.cancel()
        async with anyio.create_task_group() as settling:
            for election_id in records:
                when = f"the forget of {named(election_id)} was cancelled after {moment} turns"
                settling.start_soon(_settle, store, election_id, (ELECTION, gone), when)


async def _forget(store: Store, election_id: ElectionId, version: int) -> None:
    await store.forget(election_id, expected=version)


async def _settle(store: Store, election_id: ElectionId, allowed: tuple[Election, Election], when: str) -> None:
    """Write an election of which a change was cancelled, and expect that nothing else happens to it any more.

    What was cancelled may be under way still, but only once: so at most one write is refused.
    """
    for _ in range(2):
        record = await store.read(election_id)
        one_of(record.election, allowed, when)
        written = await store.write(election_id, after(record), expected=record.version)
        if written is not None:
            break
    else:
        raise BrokenRule("a write with the newest version is done the second time", "None again", when)
    when = f"{when}, and it was written"
    equal(await store.read(election_id), written, when)
    found = [each for name, each in await listed(store) if name == election_id]
    equal(found, [written.election], f"{when}, and all were listed")
    page = await store.page(election_id.namespace, after="", limit=9)
    equal([each for name, each in page if name == election_id.name], [written.election], f"{when}, and a page read")


def _names(namespace: str, how_many: int) -> list[ElectionId]:
    return [ElectionId(namespace, f"{number}") for number in range(how_many)]
