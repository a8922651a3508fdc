"""Rules of the contract: what is known, and written, without a task that waits."""

import threading
from collections.abc import Sequence

import anyio

from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.stores.base import Record, Store, Written
from atomix_election.testing.contract.elections import E1, E2, ELECTION
from atomix_election.testing.contract.expecting import equal, holds, named, one_of, put, turns
from atomix_election.testing.contract.rules import StoreRules
from atomix_election.testing.contract.stages import RuleLeftOut, Stage

AT_ONCE_RULES = StoreRules()

LONGEST_CHAIN = 20
"""Writes of which each is begun when the one before is told."""


class Told:
    """What ``write_now`` says of one write.

    Args:
        store: that is written.
        election_id: what is written there.
        election: the new state.
    """

    def __init__(self, store: Store, election_id: ElectionId, election: Election) -> None:
        self._store = store
        self._election_id = election_id
        self._election = election
        self._thread = threading.get_ident()
        self._is_in_thread = True
        self._known: Record | None = None
        self.outcomes: list[Written] = []
        self.once: anyio.Event = anyio.Event()

    def begin(self, expected: int) -> None:
        """Begin the write."""
        self._store.write_now(self._election_id, self._election, expected=expected, done=self.done)

    def done(self, written: Written) -> None:
        """See ``Store.write_now``."""
        self._is_in_thread = self._is_in_thread and threading.get_ident() == self._thread
        if self._is_in_thread:
            self._known = self._store.read_now(self._election_id)
            self.once.set()
        self.outcomes.append(written)

    async def outcome(self, stage: Stage, when: str) -> bool:
        """Wait until it is told, and return whether it was done."""
        if not self.outcomes:
            await stage.wait(self.once.wait(), f"`done` to be called in the event loop, after {when}")
        holds(self._is_in_thread, "`done` is called in the event loop", "a call in another thread", when)
        outcome = self.outcomes[0]
        holds(isinstance(outcome, bool), "True or False", outcome, f"{when}: what `done` was called with")
        if outcome is True and self._known is not None:
            equal(self._known.election, self._election, f"{when}: what `read_now` knew when `done` was called")
        return outcome is True


def check_told_once(told: Sequence[Told], when: str) -> None:
    """Expect that all were told, and none of them twice."""
    numbers = [len(each.outcomes) for each in told]
    holds(set(numbers) == {1}, "`done` is called once for each", f"calls: {numbers}", when)


async def known_at_once(store: Store, election_id: ElectionId) -> Record:
    """Return what is known of an election at once, after giving the store reason to know it.

    Raises:
        RuleLeftOut: the store does not do that.
    """
    record = await store.read(election_id)
    known = store.read_now(election_id)
    if known is None:
        raise RuleLeftOut("`read_now` of this store returns None, so that `write_now` is never called")
    equal(known, record, f"{named(election_id)} was read, and then known at once")
    return known


@AT_ONCE_RULES.on_stage()
async def what_is_known_at_once_is_the_newest(stage: Stage) -> None:
    """After whatever was done to it, or to others of its namespace; what is not certain is not known."""
    async with stage.open_store() as store:
        await only_the_newest_is_known([store])


async def only_the_newest_is_known(stores: Sequence[Store]) -> None:
    """See the rule; the first store is written, the last one is looked at."""
    writing, looking = stores[0], stores[-1]
    never = ElectionId(E1.namespace, "never written")
    for election_id in (E1, E2, never):
        await looking.read(election_id)

    async def look(when: str) -> None:
        for election_id in (E1, E2, never):
            known, newest = looking.read_now(election_id), await writing.read(election_id)
            one_of(known, (None, newest), f"{when}, and {named(election_id)} was known at once")
            equal(await looking.read(election_id), newest, f"{when}, and {named(election_id)} was read")

    first = await put(writing, E1, ELECTION)
    await look("an election was written for the first time")
    second = await put(writing, E1, Election(number=9, revision=9), first.version)
    await look("an election was written again")
    await writing.write(E1, ELECTION, expected=first.version)
    await look("a write was refused")
    await writing.forget(E1, expected=second.version)
    await look("an election was forgotten, and its namespace has a floor")
    third = await put(writing, E1, Election(number=20, revision=30))
    await look("an election was written after it was forgotten")
    await writing.forget(E1, expected=third.version)
    await look("an election was forgotten again, and the floor of its namespace is higher")


@AT_ONCE_RULES.on_stage()
async def a_write_begun_at_once_is_told_once(stage: Stage) -> None:
    """Whether it is done or refused, in the event loop, with the newest state known by then or nothing."""
    async with stage.open_store() as store:
        version = (await known_at_once(store, E1)).version
        told: list[Told] = []
        for number, (expected_offset, is_done) in enumerate(((0, True), (0, True), (1, False), (-1, False), (0, True))):
            election, before = Election(number=number), await store.read(E1)
            told.append(Told(store, E1, election))
            told[-1].begin(max(version + expected_offset, 0))
            what = "the newest version" if is_done else "another version"
            when = f"`write_now` was called with {what}"
            equal(await told[-1].outcome(stage, when), is_done, f"{when}: what `done` was called with")
            after = await store.read(E1)
            equal(after.election, election if is_done else before.election, f"{when}, and it was read")
            holds((after.version != version) == is_done, "a new version if it is done", after.version, when)
            version = after.version
        await put(store, E1, ELECTION, version)
        await turns(10)
        check_told_once(told, "`write_now` was called several times, one after the other")


@AT_ONCE_RULES.on_stage()
async def of_writes_begun_at_once_with_one_version_one_is_done(stage: Stage) -> None:
    """However many are begun before the first one is told, and whoever else writes; others are not held up."""
    async with stage.open_store() as store:
        record, when = await known_at_once(store, E1), "several writes were begun at once"
        rivals = [Told(store, E1, Election(number=number)) for number in range(1, 7)]
        others = [Told(store, ElectionId("more", f"{number}"), ELECTION) for number in range(6)]
        waited: list[Record | None] = []

        async def write() -> None:
            waited.append(await store.write(E1, Election(number=99), expected=record.version))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for rival, other in zip(rivals, others, strict=True):
                rival.begin(record.version)
                other.begin(0)
        outcomes = [await each.outcome(stage, when) for each in rivals]
        numbers = [number for number, is_done in enumerate(outcomes, 1) if is_done] + [99] * (waited[0] is not None)
        holds(len(numbers) == 1, "exactly one of those with one version is done", f"done: {numbers}", when)
        equal((await store.read(E1)).election.number, numbers[0], f"{when}, and it was read: its number")
        for number, other in enumerate(others):
            equal(await other.outcome(stage, when), True, f"{when}, one of them alone in its election")
            equal((await store.read(ElectionId("more", f"{number}"))).election, ELECTION, f"{when}, and read")
        check_told_once([*rivals, *others], when)


@AT_ONCE_RULES.on_stage()
async def a_write_can_be_begun_when_one_is_told(stage: Stage) -> None:
    """An engine goes on from there, without a task: it looks what is known, and writes again."""
    async with stage.open_store() as store:
        await known_at_once(store, E1)
        begun: list[Told] = []

        class Link(Told):
            def done(self, written: Written) -> None:
                super().done(written)
                record = store.read_now(E1)
                if len(self.outcomes) == 1 and record is not None:
                    begin(record)

        def begin(record: Record) -> None:
            if len(begun) < LONGEST_CHAIN:
                begun.append(Link(store, E1, Election(number=record.election.number + 1)))
                begun[-1].begin(record.version)

        while len(begun) < LONGEST_CHAIN:  # whoever knows nothing in between is asked
            begin(await store.read(E1))
            while not begun[-1].outcomes:
                await begun[-1].outcome(stage, "a write was begun when another one was told")
        when = "writes were begun one after the other, each when the one before was told"
        for each in begun:
            equal(await each.outcome(stage, when), True, f"{when}: what `done` was called with")
        equal((await store.read(E1)).election.number, LONGEST_CHAIN, f"{when}: the number in the end")
        check_told_once(begun, when)


@AT_ONCE_RULES.on_stage()
async def a_write_begun_at_once_is_done_whatever_becomes_of_its_caller(stage: Stage) -> None:
    """The task that has called it may be cancelled at once."""
    async with stage.open_store() as store:
        await known_at_once(store, E1)
        told = [Told(store, ElectionId("more", f"{number}"), ELECTION) for number in range(4)]
        begun = anyio.Event()

        async def begin() -> None:
            for each in told:
                each.begin(0)
            begun.set()
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
            await begun.wait()
            tasks.cancel_scope.cancel()
        when = "`write_now` was called by a task that was then cancelled"
        for number, each in enumerate(told):
            equal(await each.outcome(stage, when), True, f"{when}: what `done` was called with")
            equal((await store.read(ElectionId("more", f"{number}"))).election, ELECTION, f"{when}, and it was read")
        check_told_once(told, when)
