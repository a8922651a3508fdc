"""Shared stores that break the contract: a store in a simulated etcd, in front of which something goes wrong."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple, TypeVar

from atomix_election.core.election import Election
from atomix_election.errors import StoreError
from atomix_election.model import ElectionId, SessionId, Term
from atomix_election.stores import (
    NOTHING_ASSUMED,
    Change,
    ElectionChanged,
    Record,
    SessionGone,
    SessionOpened,
    SharedStore,
    StoredSession,
    View,
    Written,
)
from atomix_election.testing.contract.expecting import turns

Batches = AsyncIterator[Sequence[Change]]


class Handle:
    """One of those who have opened a store, and is right.

    Args:
        store: what they have opened.
    """

    def __init__(self, store: SharedStore) -> None:
        self.store = store

    @property
    def id(self) -> str:
        return self.store.id

    @property
    def hold_s(self) -> float | None:
        return self.store.hold_s

    async def end_hold(self) -> None:
        await self.store.end_hold()

    def read_now(self, election_id: ElectionId) -> Record | None:
        return self.store.read_now(election_id)

    async def read(self, election_id: ElectionId) -> Record:
        return await self.store.read(election_id)

    async def write(
        self,
        election_id: ElectionId,
        election: Election,
        *,
        expected: int,
        assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED,
        terms: Sequence[Term] | None = None,
    ) -> Record | None:
        return await self.store.write(election_id, election, expected=expected, assuming=assuming, terms=terms)

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        raise AssertionError("nothing is known at once")

    async def forget(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED
    ) -> Record | None:
        return await self.store.forget(election_id, expected=expected, assuming=assuming)

    def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        return self.store.elections()

    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        return await self.store.page(namespace, after=after, limit=limit)

    async def open_session(
        self,
        namespace: str,
        session_id: str,
        *,
        ttl_s: float,
        kept_alive: bool,
        owner: str = "",
        alone: bool = False,
    ) -> SessionId:
        return await self.store.open_session(
            namespace, session_id, ttl_s=ttl_s, kept_alive=kept_alive, owner=owner, alone=alone
        )

    async def end_session(self, session: SessionId) -> None:
        await self.store.end_session(session)

    async def sessions(self) -> list[StoredSession]:
        return await self.store.sessions()

    def ttl_s(self, wanted_s: float) -> float:
        return self.store.ttl_s(wanted_s)

    def longest_failover_s(self, ttl_s: float) -> float:
        return self.store.longest_failover_s(ttl_s)

    def latest(self, election_id: ElectionId) -> Record:
        return self.store.latest(election_id)

    async def look(self, election_id: ElectionId, sessions: Sequence[SessionId]) -> View:
        return await self.store.look(election_id, sessions)

    async def confirm(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED
    ) -> bool:
        return await self.store.confirm(election_id, expected=expected, assuming=assuming)

    async def renew(self, session: SessionId) -> bool:
        return await self.store.renew(session)

    async def lease_left_s(self, session: SessionId) -> float | None:
        return await self.store.lease_left_s(session)

    def changes(self) -> Batches:
        return self.store.changes()

    def known(self) -> Iterable[tuple[ElectionId, Election]]:
        return self.store.known()

    async def catch_up(self) -> None:
        await self.store.catch_up()

    def rank(self, election_id: ElectionId) -> int:
        return self.store.rank(election_id)


class BrokenHandle(NamedTuple):
    """A handle that breaks a rule, and the words of the message."""

    handle: type[Handle]
    rule: str
    words: str


BROKEN_HANDLES: list[BrokenHandle] = []
_HandleT = TypeVar("_HandleT", bound=type[Handle])


def breaks(rule: str, words: str) -> Callable[[_HandleT], _HandleT]:
    """Say which rule a handle breaks, and what is said of it."""

    def add(handle: _HandleT) -> _HandleT:
        BROKEN_HANDLES.append(BrokenHandle(handle, rule, words))
        return handle

    return add


# What is read and written.


@breaks("two_are_one_store", "a store was opened twice: its id")
class HasItsOwnIdentity(Handle):
    @property
    def id(self) -> str:
        return f"{id(self)}"


@breaks("what_one_has_done_the_other_reads_at_once", "and default/e was read")
class ReadsWhatItKnows(Handle):
    async def read(self, election_id: ElectionId) -> Record:
        return self.store.latest(election_id)


@breaks("what_one_has_done_the_other_reads_at_once", "was known at once")
class KnowsAtOnce(Handle):
    def read_now(self, election_id: ElectionId) -> Record | None:
        return self.store.latest(election_id)


@breaks("what_one_has_done_the_other_reads_at_once", "looked")
class LooksAtWhatItKnows(Handle):
    async def look(self, election_id: ElectionId, sessions: Sequence[SessionId]) -> View:
        known = self.store.latest(election_id)
        return View(known, (await self.store.look(election_id, sessions)).open)


@breaks("what_one_has_done_the_other_reads_at_once", "confirmed a version from before")
class ConfirmsEverything(Handle):
    async def confirm(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED
    ) -> bool:
        return True


@breaks("of_concurrent_writes_of_two_with_one_version_one_is_done", "exactly one of them is done")
@breaks("two_who_read_and_write_until_they_succeed_lose_nothing", "the number")
@breaks("of_a_write_and_a_forget_of_two_with_one_version_one_is_done", "exactly one of them is done")
@breaks("no_number_is_given_twice_by_two", "each number once")
class LetsTheLastOneWin(Handle):
    async def write(self, election_id: ElectionId, election: Election, **settings: Any) -> Record | None:
        while True:
            newest = (await self.store.read(election_id)).version
            if written := await self.store.write(election_id, election, expected=newest):
                return written

    async def forget(self, election_id: ElectionId, **settings: Any) -> Record | None:
        while True:
            newest = (await self.store.read(election_id)).version
            if left := await self.store.forget(election_id, expected=newest):
                return left


@breaks("concurrent_sessions_of_two_have_incarnations_of_their_own", "incarnations")
class CountsIncarnationsItself(Handle):
    def __init__(self, store: SharedStore) -> None:
        super().__init__(store)
        self._numbers = count(1)

    async def open_session(self, namespace: str, session_id: str, **settings: Any) -> SessionId:
        await self.store.open_session(namespace, session_id, **settings)
        return SessionId(namespace, session_id, next(self._numbers))


@breaks("nobody_sees_half_a_write_of_another", "while it was written")
class WritesInTwoSteps(Handle):
    async def write(self, election_id: ElectionId, election: Election, *, expected: int, **_: Any) -> Record | None:
        half = await self.store.write(election_id, election._replace(candidates=()), expected=expected)
        await turns(50)
        return half and await self.store.write(election_id, election, expected=half.version)


@breaks("a_write_that_assumes_wrongly_changes_nothing", "it was assumed wrongly which sessions are open")
@breaks("a_session_that_ends_is_gone_for_a_write_under_way", "that another one took for open")
class AssumesNothing(Handle):
    async def write(self, election_id: ElectionId, election: Election, *, expected: int, **_: Any) -> Record | None:
        return await self.store.write(election_id, election, expected=expected)


@breaks("a_write_that_assumes_wrongly_changes_nothing", "and that was to be confirmed")
class ConfirmsVersionsOnly(Handle):
    async def confirm(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED
    ) -> bool:
        return await self.store.confirm(election_id, expected=expected)


@breaks("a_write_that_assumes_wrongly_changes_nothing", "in a forget")
class ForgetsWithoutAsking(Handle):
    async def forget(self, election_id: ElectionId, *, expected: int, **_: Any) -> Record | None:
        return await self.store.forget(election_id, expected=expected)


@breaks("a_look_sees_record_and_sessions_at_one_moment", "130 sessions were looked at")
class LooksAtAFew(Handle):
    async def look(self, election_id: ElectionId, sessions: Sequence[SessionId]) -> View:
        view = await self.store.look(election_id, sessions[:100])
        return View(view.record, dict.fromkeys(sessions, True) | dict(view.open))


@breaks("a_look_sees_record_and_sessions_at_one_moment", "StoreError('too many')")
class AssumesAFew(Handle):
    async def write(self, election_id: ElectionId, election: Election, **settings: Any) -> Record | None:
        if sum(settings.get("assuming", NOTHING_ASSUMED).values()) > 64:
            raise StoreError("too many")
        return await self.store.write(election_id, election, **settings)


@breaks("what_was_decided_before_a_forget_is_not_written", "was written after it")
class WritesWhateverWasDecided(Handle):
    async def write(self, election_id: ElectionId, election: Election, **settings: Any) -> Record | None:
        settings.pop("terms", None)
        return await self.store.write(election_id, election, **settings)


@breaks("who_is_told_that_nothing_is_there_is_told_where_it_goes_on", "was asked for")
class KnowsNoFloors(Handle):
    def latest(self, election_id: ElectionId) -> Record:
        record = self.store.latest(election_id)
        return record if record.version else Record(Election(), 0)


@breaks("floors_fall_for_nobody", "and it was looked at")
class LooksAtNoFloors(Handle):
    async def look(self, election_id: ElectionId, sessions: Sequence[SessionId]) -> View:
        view = await self.store.look(election_id, sessions)
        return View(replace(view.record, floor=0), view.open)


# What is heard of.


class Hears(Handle):
    """Hears something else than what has happened."""

    def changes(self) -> Batches:
        return self._hear(self.store.changes())

    async def _hear(self, batches: Batches) -> Batches:
        async for batch in batches:
            yield self.heard(batch)

    def heard(self, batch: Sequence[Change]) -> Sequence[Change]:
        """Return what is heard of what has happened together."""
        return [self.of_change(each) for each in batch]

    def of_change(self, change: Change) -> Change:
        """Return what is heard of a change."""
        return self.of_election(change) if isinstance(change, ElectionChanged) else change

    def of_election(self, change: ElectionChanged) -> ElectionChanged:
        """Return what is heard of a change of an election."""
        return change


@breaks("what_one_writes_the_other_reads_and_hears_of", "`after` of the changes")
class HearsTwice(Hears):
    def heard(self, batch: Sequence[Change]) -> Sequence[Change]:
        return [*batch, *batch]


@breaks("what_one_writes_the_other_reads_and_hears_of", "`before` of the changes")
class HearsNothingOfBefore(Hears):
    def of_election(self, change: ElectionChanged) -> ElectionChanged:
        return replace(change, before=Record(Election(), 0))


@breaks("what_one_writes_the_other_reads_and_hears_of", "`known`")
class KnowsNothing(Handle):
    def known(self) -> Iterable[tuple[ElectionId, Election]]:
        return []


@breaks("the_terms_that_a_write_leads_through_are_told", "revisions of the terms")
class HearsTheLastTerm(Hears):
    def of_election(self, change: ElectionChanged) -> ElectionChanged:
        return replace(change, terms=change.terms[-1:])


@breaks("the_terms_that_a_write_leads_through_are_told", "changed nothing visible")
class HearsATermAlways(Hears):
    def of_election(self, change: ElectionChanged) -> ElectionChanged:
        return replace(change, terms=change.terms or (change.after.election.term,))


@breaks("the_first_changes_tell_of_all_that_is_there", "the first change")
class HearsElectionsFirst(Hears):
    def heard(self, batch: Sequence[Change]) -> Sequence[Change]:
        return batch[::-1]


@breaks("the_first_changes_tell_of_all_that_is_there", "it was followed anew: the first change")
class HearsWhatIsThereOnce(Hears):
    def __init__(self, store: SharedStore) -> None:
        super().__init__(store)
        self._begun = 0

    async def _hear(self, batches: Batches) -> Batches:
        self._begun += 1
        is_first = True
        async for batch in batches:
            yield [] if is_first and self._begun > 1 else batch
            is_first = False


@breaks("a_change_is_taken_when_the_next_one_is_asked_for", "a change was handed out and not taken")
class KnowsWhatItHandsOut(Hears):
    def __init__(self, store: SharedStore) -> None:
        super().__init__(store)
        self._handed_out = dict[ElectionId, Record]()

    def of_election(self, change: ElectionChanged) -> ElectionChanged:
        self._handed_out[change.election_id] = change.after
        return change

    def latest(self, election_id: ElectionId) -> Record:
        return self._handed_out.get(election_id) or self.store.latest(election_id)


@breaks("nobody_has_caught_up_before_all_is_taken", "who has caught up")
class NeedsNotCatchUp(Handle):
    async def catch_up(self) -> None:
        """There is nothing to wait for."""


@breaks("all_hear_of_changes_in_one_order", "the changes, in order")
class HearsOfSessionsLater(Hears):
    async def _hear(self, batches: Batches) -> Batches:
        later: list[Change] = []
        async for batch in batches:
            elections = [each for each in batch if isinstance(each, ElectionChanged)]
            later += [each for each in batch if not isinstance(each, ElectionChanged)]
            if elections:
                yield [*elections, *later]
                later = []


@breaks("forgetting_is_heard_of", "the changes")
class HearsOfNoForget(Hears):
    def heard(self, batch: Sequence[Change]) -> Sequence[Change]:
        return [each for each in batch if not isinstance(each, ElectionChanged) or each.after.version]


@breaks("what_is_heard_of_a_forget_is_what_it_was_then", "what is heard of the first")
class HearsOfTheNewestFloor(Hears):
    async def _hear(self, batches: Batches) -> Batches:
        async for batch in batches:
            newest = {each.election_id: await self.store.read(each.election_id) for each in _elections(batch)}
            yield [self._newer(each, newest) for each in batch]

    def _newer(self, change: Change, newest: Mapping[ElectionId, Record]) -> Change:
        if not isinstance(change, ElectionChanged) or change.after.version:
            return change
        return replace(change, after=Record(newest[change.election_id].election, 0))


def _elections(batch: Sequence[Change]) -> list[ElectionChanged]:
    return [each for each in batch if isinstance(each, ElectionChanged)]


@breaks("who_has_caught_up_knows_what_there_is", "a session was opened elsewhere")
class HearsOfNoSessions(Hears):
    def heard(self, batch: Sequence[Change]) -> Sequence[Change]:
        return [each for each in batch if not isinstance(each, SessionOpened)]


@breaks("all_of_a_state_is_heard_of", "what is heard of it")
class HearsOfNoOperations(Hears):
    def of_election(self, change: ElectionChanged) -> ElectionChanged:
        return replace(change, after=replace(change.after, election=change.after.election._replace(operations={})))


# Sessions.


@breaks("sessions_are_heard_of", "those that are heard of")
@breaks("a_session_that_nobody_renews_is_gone", "it waited for a session to be gone that nobody renews")
class HearsOfNoEnds(Hears):
    def heard(self, batch: Sequence[Change]) -> Sequence[Change]:
        return [each for each in batch if not isinstance(each, SessionGone)]


@breaks("a_session_that_one_ends_has_ended_for_both", "whether it could be renewed")
class EndsItsOwnOnly(Handle):
    def __init__(self, store: SharedStore) -> None:
        super().__init__(store)
        self._own = set[SessionId]()

    async def open_session(self, namespace: str, session_id: str, **settings: Any) -> SessionId:
        session = await super().open_session(namespace, session_id, **settings)
        self._own.add(session)
        return session

    async def end_session(self, session: SessionId) -> None:
        if session in self._own:
            await super().end_session(session)


@breaks("who_opens_a_session_alone_gets_the_one_that_is_there", "opened it alone at once")
class OpensBesideOthers(Handle):
    async def open_session(self, namespace: str, session_id: str, *, alone: bool = False, **settings: Any) -> SessionId:
        return await self.store.open_session(namespace, session_id, **settings)


@breaks("who_opens_a_session_alone_gets_the_one_that_is_there", "another one opened it alone")
class TakesSessionsOver(Handle):
    async def open_session(
        self, namespace: str, session_id: str, *, owner: str = "", alone: bool = False, **settings: Any
    ) -> SessionId:
        for stored in await self.store.sessions() if alone else []:
            if stored.session.id == session_id and stored.owner != owner:
                await self.store.end_session(stored.session)
        return await self.store.open_session(namespace, session_id, owner=owner, alone=alone, **settings)


@breaks("who_opens_a_session_alone_gets_the_one_that_is_there", "it has ended")
class BringsSessionsBack(Handle):
    _opened: SessionId | None = None

    async def open_session(self, namespace: str, session_id: str, *, alone: bool = False, **settings: Any) -> SessionId:
        if not alone or self._opened is None:
            self._opened = await self.store.open_session(namespace, session_id, alone=alone, **settings)
        return self._opened


@breaks("who_has_renewed_knows_what_there_was", "nobody has taken the change: what a renewal returned")
class RenewsWithoutKnowing(Handle):
    async def renew(self, session: SessionId) -> bool:
        return (await self.store.look(ElectionId("default", "e"), [session])).open[session]


@breaks("a_session_that_nobody_renews_is_gone", "it was renewed: seconds left")
class RenewsNothing(Handle):
    async def renew(self, session: SessionId) -> bool:
        return await self.store.lease_left_s(session) is not None or session.id == "kept"


@breaks("a_session_that_nobody_renews_is_gone", "at least 2")
class EndsTooSoon(Handle):
    def ttl_s(self, wanted_s: float) -> float:
        return 2 * self.store.ttl_s(wanted_s)

    async def open_session(self, namespace: str, session_id: str, *, ttl_s: float, **settings: Any) -> SessionId:
        return await super().open_session(namespace, session_id, ttl_s=ttl_s / 2, **settings)


@breaks("a_session_that_nobody_renews_is_gone", "as `longest_failover_s` says")
class PromisesTooMuch(Handle):
    def longest_failover_s(self, ttl_s: float) -> float:
        return -1.0


@breaks("times_to_live_are_no_less_than_wanted", "a time-to-live of 10 s is wanted")
class GrantsLittle(Handle):
    def ttl_s(self, wanted_s: float) -> float:
        return min(self.store.ttl_s(wanted_s), 5.0)


@breaks("times_to_live_are_no_less_than_wanted", "what again")
class GrantsMoreEachTime(Handle):
    def ttl_s(self, wanted_s: float) -> float:
        return self.store.ttl_s(wanted_s) + 1.0


@breaks("times_to_live_are_no_less_than_wanted", "`longest_failover_s`")
class FailsOverAtOnce(Handle):
    def longest_failover_s(self, ttl_s: float) -> float:
        return 0.0


@breaks("each_comes_first_for_some", "how many come before each")
class ComesFirstAlways(Handle):
    def rank(self, election_id: ElectionId) -> int:
        return 0
