"""Stores that break the contract, each in a way in which an author may get it wrong; and one that keeps it on disk."""

import asyncio
import threading
import unicodedata
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.lowlevel

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores import Record, StoredSession, Written
from atomix_election.stores.memory import MemoryStore
from atomix_election.tasks import Callbacks


class Broken(NamedTuple):
    """A broken store.

    Args:
        store: makes one.
        rule: that finds it.
        words: which its message has.
        backends: that it is tried on.
    """

    store: Callable[[], MemoryStore]
    rule: str
    words: str
    backends: tuple[str, ...] = ("asyncio", "trio")


BROKEN: list[Broken] = []
_StoreT = TypeVar("_StoreT", bound=type[MemoryStore])


def breaks(rule: str, words: str, *backends: str) -> Callable[[_StoreT], _StoreT]:
    """Say which rule a store breaks, and what is said of it."""

    def add(store: _StoreT) -> _StoreT:
        BROKEN.append(Broken(store, rule, words, backends or ("asyncio", "trio")))
        return store

    return add


# What is read and written.


@breaks("what_was_never_written_is_empty_and_has_version_0", "and all were listed")
class MakesWhatIsRead(MemoryStore):
    async def read(self, election_id: ElectionId) -> Record:
        return self._records.setdefault(election_id, Record(Election(), 0))


@breaks("what_was_written_is_read", "other/e was read after default/e was written")
class KnowsNoNamespaces(MemoryStore):
    async def read(self, election_id: ElectionId) -> Record:
        return await super().read(election_id._replace(namespace="default"))


def without(field: str) -> type[MemoryStore]:
    """Return a store that does not keep a field of an election."""

    class KeepsNotAll(MemoryStore):
        def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
            nothing = getattr(Election(), field)
            return super()._write(election_id, election._replace(**{field: nothing}), expected)

    return breaks("all_of_an_election_is_kept", f"Election({field}=")(KeepsNotAll)


for each in Election._fields:
    without(each)


@breaks("all_of_an_election_is_kept", "operations=")
class MergesOperations(MemoryStore):
    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        former = self._newest(election_id).election.operations
        return super()._write(election_id, election._replace(operations={**former, **election.operations}), expected)


@breaks("all_of_an_election_is_kept", "number=9223372036854775807")
class CountsInFloats(MemoryStore):
    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        return super()._write(election_id, election._replace(number=int(float(election.number))), expected)


@breaks("all_of_an_election_is_kept", "candidates=")
class NormalizesIds(MemoryStore):
    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        queue = tuple(each._replace(id=unicodedata.normalize("NFC", each.id)) for each in election.candidates)
        return super()._write(election_id, election._replace(candidates=queue), expected)


@breaks("what_is_read_is_made_of_the_classes_that_were_written", '(("a", '.replace('"', "'"))
class GivesPlainTuples(MemoryStore):
    async def read(self, election_id: ElectionId) -> Record:
        record = await super().read(election_id)
        plain: Any = tuple(map(tuple, record.election.candidates))
        return Record(record.election._replace(candidates=plain), record.version)


@breaks("what_is_read_is_made_of_the_classes_that_were_written", "its name")
class ListsPlainNames(MemoryStore):
    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        async for election_id, election in super().elections():
            plain: Any = tuple(election_id)
            yield plain, election


@breaks("versions_never_come_back", "a version that is none of")
class TakesTheStateForItsVersion(MemoryStore):
    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        record = super()._write(election_id, election, expected)
        if record is not None:
            record = self._records[election_id] = Record(election, len(election.candidates) + 1)
        return record


@breaks("a_write_with_another_version_changes_nothing", "default/e was written with 0")
class LetsTheLastOneWin(MemoryStore):
    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        return super()._write(election_id, election, self._newest(election_id).version)


@breaks("a_write_with_another_version_changes_nothing", "written with a later version")
class TakesLaterVersions(MemoryStore):
    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        return super()._write(election_id, election, min(expected, self._newest(election_id).version))


class Renaming(MemoryStore):
    """Calls elections otherwise."""

    def called(self, election_id: ElectionId) -> ElectionId:
        """Return what it calls one."""
        return election_id

    async def read(self, election_id: ElectionId) -> Record:
        return await super().read(self.called(election_id))

    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        return super()._write(self.called(election_id), election, expected)

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        return await super().forget(self.called(election_id), expected=expected)


@breaks("similar_names_are_names_of_different_elections", "as if somebody had changed it")
class JoinsNames(Renaming):
    def called(self, election_id: ElectionId) -> ElectionId:
        return ElectionId("", "/".join(election_id))


@breaks("similar_names_are_names_of_different_elections", "as if somebody had changed it")
class KnowsNoCase(Renaming):
    def called(self, election_id: ElectionId) -> ElectionId:
        return ElectionId(election_id.namespace.lower(), election_id.name.lower())


@breaks("similar_names_are_names_of_different_elections", "x was written with version 0")
class CutsNames(Renaming):
    def called(self, election_id: ElectionId) -> ElectionId:
        return ElectionId(election_id.namespace[:255], election_id.name[:255])


@breaks("the_floor_never_falls", "a floor of at least")
class LetsFloorsFall(MemoryStore):
    floor = 5

    async def read(self, election_id: ElectionId) -> Record:
        self.floor -= 1
        record = await super().read(election_id)
        return Record(record.election, record.version, self.floor)


@breaks("a_store_has_an_identity", "an id, as text")
class HasNoIdentity(MemoryStore):
    @property
    def id(self) -> str:
        return ""


@breaks("a_store_has_an_identity", "another id than 'store'")
class HasOneIdentity(MemoryStore):
    @property
    def id(self) -> str:
        return "store"


@breaks("a_store_has_an_identity", "an election was written: the id")
class ChangesItsIdentity(MemoryStore):
    @property
    def id(self) -> str:
        return f"{self._versions}-{id(self)}"


@breaks("a_store_that_was_not_restored_holds_nobody_off", "a store was new: `hold_s`")
class HoldsForNothing(MemoryStore):
    @property
    def hold_s(self) -> float | None:
        return 10.0


# What is forgotten.


@breaks("a_forgotten_election_is_gone_and_goes_on_above_what_it_had", "what `forget` returned")
class OnlyEmpties(MemoryStore):
    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        former = self._newest(election_id).election
        return self._write(election_id, Election(number=former.number, revision=former.revision), expected)


@breaks("a_forgotten_election_is_gone_and_goes_on_above_what_it_had", "what `forget` returned")
@breaks("a_floor_holds_for_its_namespace_and_never_falls", "and default/never read")
@breaks("no_number_is_given_twice", "each number once")
@breaks("no_number_is_given_twice", "of seed 0")
@breaks("any_calls_do_what_they_do_to_a_memory_store", "of seed 0: ")
class HasNoFloors(MemoryStore):
    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        left = await super().forget(election_id, expected=expected)
        self._floors.clear()
        return left and self._newest(election_id)


@breaks("forgetting_with_another_version_changes_nothing", "forgotten with 0")
class ForgetsWhateverIsThere(MemoryStore):
    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        return await super().forget(election_id, expected=self._newest(election_id).version)


@breaks("forgetting_what_was_never_written_leaves_no_trace", "came:     None")
class RefusesToForgetNothing(MemoryStore):
    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        return await super().forget(election_id, expected=expected) if expected else None


@breaks("no_version_comes_back_after_a_forget", "a version that is none of")
class CountsVersionsOfEach(MemoryStore):
    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        record = super()._write(election_id, election, expected)
        if record is not None:
            record = self._records[election_id] = Record(election, expected + 1)
        return record


@breaks("a_floor_holds_for_its_namespace_and_never_falls", "and default/never read")
class KnowsTheLastFloor(MemoryStore):
    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        former = self._floors.pop(election_id.namespace, None)
        left = await super().forget(election_id, expected=expected)
        if left is None and former is not None:
            self._floors[election_id.namespace] = former
        return left


@breaks("a_floor_holds_for_its_namespace_and_never_falls", "other/e was forgotten with number 50, and default/")
class HasOneFloorForAll(MemoryStore):
    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        left = await super().forget(election_id, expected=expected)
        for namespace in ("default", "other"):
            self._floors[namespace] = Floors().over(self._floors[election_id.namespace])
        return left


@breaks("a_floor_keeps_the_largest_numbers", "an election with large numbers was forgotten")
class HasFloorsInFloats(MemoryStore):
    def _newest(self, election_id: ElectionId) -> Record:
        record = super()._newest(election_id)
        if record.version:
            return record
        return Record(record.election._replace(number=int(float(record.election.number))), 0)


# What is listed.


@breaks("all_elections_that_were_written_are_listed", "dictionary changed size")
class ListsWhatChanges(MemoryStore):
    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        for election_id, record in self._records.items():
            yield election_id, record.election


@breaks("all_elections_that_were_written_are_listed", "all were listed while others were written")
class ListsWhereSomebodyIs(MemoryStore):
    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        async for election_id, election in super().elections():
            if election.candidates:
                yield election_id, election


@breaks("what_is_forgotten_while_all_are_listed_hides_no_other", "all that were never forgotten")
class ListsByPlace(MemoryStore):
    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        place = 0
        while place < len(self._records):
            election_id = list(self._records)[place]
            yield election_id, self._records[election_id].election
            place += 1


@breaks("what_is_forgotten_while_all_are_listed_hides_no_other", "all were listed while others were forgotten")
class ListsForOneAtATime(MemoryStore):
    left: list[tuple[ElectionId, Election]] | None = None

    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        if not self.left:
            self.left = [(election_id, record.election) for election_id, record in self._records.items()]
        while self.left:
            yield self.left.pop()


@breaks("pages_go_through_a_namespace_in_order_of_names", "the first page of two was read")
class PagesAsWritten(MemoryStore):
    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        names = [each.name for each in self._records if each.namespace == namespace]
        start = names.index(after) + 1 if after else 0
        return [(each, self._records[ElectionId(namespace, each)].election) for each in names[start:][:limit]]


@breaks("pages_go_through_a_namespace_in_order_of_names", "the first page of two was read")
class PagesAsInADictionary(MemoryStore):
    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        everything = await super().page(namespace, after="", limit=len(self._records))
        ordered = sorted(everything, key=lambda each: each[0].lower())
        return [each for each in ordered if not after or each[0].lower() > after.lower()][:limit]


@breaks("a_page_begins_after_a_name_that_need_not_be_there", "ValueError")
class PagesAfterWhatIsThere(MemoryStore):
    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        everything = await super().page(namespace, after="", limit=len(self._records))
        start = [name for name, _ in everything].index(after) + 1 if after else 0
        return everything[start:][:limit]


@breaks("a_page_is_full_unless_it_is_the_last", "a page of 5 was read")
class PagesOfAPrefix(MemoryStore):
    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        ours = [each for each in self._records if each.namespace.startswith(namespace)]
        return [(each.name, self._records[each].election) for each in sorted(ours, key=lambda each: each.name)[:limit]]


@breaks("a_page_is_full_unless_it_is_the_last", "and others were forgotten")
class CountsWhatIsForgotten(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._ever = defaultdict[str, set[str]](set)

    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        self._ever[election_id.namespace].add(election_id.name)
        return super()._write(election_id, election, expected)

    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        names = [each for each in sorted(self._ever[namespace]) if each > after][:limit]
        found = [(each, self._records.get(ElectionId(namespace, each))) for each in names]
        return [(each, record.election) for each, record in found if record is not None]


# Sessions.


@breaks("no_incarnation_is_given_twice", "an incarnation that is none of")
class CountsIncarnationsOfEachId(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._counts = defaultdict[tuple[str, str], int](int)

    async def open_session(
        self, namespace: str, session_id: str, *, ttl_s: float, kept_alive: bool, owner: str = ""
    ) -> SessionId:
        self._counts[namespace, session_id] += 1
        session = SessionId(namespace, session_id, self._counts[namespace, session_id])
        self._sessions[session] = StoredSession(session, ttl_s, kept_alive, owner)
        return session


@breaks("sessions_that_were_opened_and_not_ended_are_listed", "the older of two sessions of one id was ended")
class EndsByName(MemoryStore):
    async def end_session(self, session: SessionId) -> None:
        for each in [each for each in self._sessions if each[:2] == session[:2]]:
            del self._sessions[each]


@breaks("sessions_that_were_opened_and_not_ended_are_listed", "KeyError")
class EndsOnceOnly(MemoryStore):
    async def end_session(self, session: SessionId) -> None:
        del self._sessions[session]


@breaks("sessions_that_were_opened_and_not_ended_are_listed", "'tuple' object has no attribute 'incarnation'")
class ListsPlainSessions(MemoryStore):
    async def sessions(self) -> list[StoredSession]:
        plain: list[Any] = [tuple(each.session) for each in self._sessions.values()]
        stored = zip(plain, self._sessions.values(), strict=True)
        return [StoredSession(one, each.ttl_s, each.kept_alive, each.owner) for one, each in stored]


@breaks("sessions_that_were_opened_and_not_ended_are_listed", "the classes that they are made of")
class KeepsFlagsAsNumbers(MemoryStore):
    async def sessions(self) -> list[StoredSession]:
        stored = await super().sessions()
        return [replace(each, kept_alive=int(each.kept_alive)) for each in stored]


class RemembersLess(MemoryStore):
    """Forgets something of sessions."""

    async def sessions(self) -> list[StoredSession]:
        return [self.remembered(each) for each in await super().sessions()]

    def remembered(self, stored: StoredSession) -> StoredSession:
        """Return what it remembers."""
        return stored


@breaks("kept_alive_is_remembered", "kept_alive=True")
class TakesAllForPublishedClients(RemembersLess):
    def remembered(self, stored: StoredSession) -> StoredSession:
        return StoredSession(stored.session, stored.ttl_s, kept_alive=False, owner=stored.owner)


@breaks("kept_alive_is_remembered", "kept_alive=False")
class TakesAllForOurClients(RemembersLess):
    def remembered(self, stored: StoredSession) -> StoredSession:
        return StoredSession(stored.session, stored.ttl_s, kept_alive=True, owner=stored.owner)


@breaks("sessions_that_were_opened_and_not_ended_are_listed", "41.2345678")
class RoundsTimesToMilliseconds(RemembersLess):
    def remembered(self, stored: StoredSession) -> StoredSession:
        return replace(stored, ttl_s=round(stored.ttl_s, 3))


@breaks("the_owner_is_remembered", "one of them with an owner")
class ForgetsOwners(RemembersLess):
    def remembered(self, stored: StoredSession) -> StoredSession:
        return StoredSession(stored.session, stored.ttl_s, stored.kept_alive)


@breaks("the_end_of_a_session_ends_no_other", "was ended, and the others listed")
class EndsInAllNamespaces(MemoryStore):
    async def end_session(self, session: SessionId) -> None:
        if session in self._sessions:
            for each in [each for each in self._sessions if each.id == session.id]:
                del self._sessions[each]


@breaks("the_end_of_a_session_ends_no_other", "sessions were ended that were never opened")
class EndsWhateverIncarnation(MemoryStore):
    async def end_session(self, session: SessionId) -> None:
        for each in [each for each in self._sessions if each[:2] == session[:2]]:
            del self._sessions[each]


@breaks("the_end_of_a_session_changes_no_election", "a session was ended that a candidate belongs to")
class CleansUpAfterSessions(MemoryStore):
    async def end_session(self, session: SessionId) -> None:
        await super().end_session(session)
        for election_id, record in list(self._records.items()):
            left = tuple(each for each in record.election.candidates if each.session != session)
            self._write(election_id, record.election._replace(candidates=left), record.version)


# Many at the same time.


@breaks("of_concurrent_writes_with_one_version_one_is_done", "exactly one of them is done")
@breaks("who_reads_and_writes_until_it_succeeds_loses_nothing", "the number")
@breaks("of_a_write_and_a_forget_with_one_version_one_is_done", "exactly one of them is done")
@breaks("no_number_is_given_twice", "each number once")
class ComparesAndThenSets(MemoryStore):
    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        if self._newest(election_id).version != expected:
            return None
        await anyio.lowlevel.checkpoint()
        return self._write(election_id, election, self._newest(election_id).version)

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        if self._newest(election_id).version != expected:
            return None
        await anyio.lowlevel.checkpoint()
        return await super().forget(election_id, expected=self._newest(election_id).version)


@breaks("concurrent_sessions_have_incarnations_of_their_own", "incarnations")
class CountsAndThenOpens(MemoryStore):
    async def open_session(
        self, namespace: str, session_id: str, *, ttl_s: float, kept_alive: bool, owner: str = ""
    ) -> SessionId:
        incarnation = self._incarnations + 1
        await anyio.lowlevel.checkpoint()
        self._incarnations = incarnation
        session = SessionId(namespace, session_id, incarnation)
        self._sessions[session] = StoredSession(session, ttl_s, kept_alive, owner)
        return session


@breaks("nobody_sees_half_a_write", "while it was written")
@breaks("a_cancelled_write_is_done_or_not_and_disturbs_nobody", "the write of cancelled-")
class WritesInTwoSteps(MemoryStore):
    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        former = self._newest(election_id).election
        half = self._write(election_id, former._replace(candidates=election.candidates), expected)
        if half is None:
            return None
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        return self._write(election_id, election, half.version)


@breaks("nobody_sees_half_a_write", "it was listed")
class ListsWhatWasThere(MemoryStore):
    shown: dict[ElectionId, Election] | None = None

    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        if not self.shown:
            self.shown = {election_id: record.election for election_id, record in self._records.items()}
        for each in self.shown.items():
            yield each


@breaks("a_cancelled_write_is_done_or_not_and_disturbs_nobody", "none after", "trio")
class KeepsItsLock(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._lock = anyio.Semaphore(1)

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        await self._lock.acquire()
        await anyio.lowlevel.checkpoint()
        record = self._write(election_id, election, expected)
        self._lock.release()
        return record


@breaks("a_cancelled_forget_is_done_or_not", "the forget of forgotten-")
class ForgetsInTwoSteps(MemoryStore):
    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        floors = dict(self._floors)
        if await super().forget(election_id, expected=expected) is None:
            return None
        self._floors, floors = floors, self._floors
        await anyio.lowlevel.checkpoint()
        self._floors |= floors
        return self._newest(election_id)


# What is known and written at once.


@breaks("what_is_known_at_once_is_the_newest", "written for the first time, and default/e was known at once")
class KnowsWhatItHasRead(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._read = dict[ElectionId, Record]()

    async def read(self, election_id: ElectionId) -> Record:
        self._read[election_id] = await super().read(election_id)
        return self._read[election_id]

    def read_now(self, election_id: ElectionId) -> Record | None:
        return self._read.get(election_id)


@breaks("what_is_known_at_once_is_the_newest", "default/never written was known at once")
class KnowsFormerFloors(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._absent = dict[ElectionId, Record]()

    async def read(self, election_id: ElectionId) -> Record:
        record = await super().read(election_id)
        return record if record.version else self._absent.setdefault(election_id, record) and record

    def read_now(self, election_id: ElectionId) -> Record | None:
        record = self._newest(election_id)
        return record if record.version else self._absent.get(election_id)

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        self._absent.pop(election_id, None)
        return await super().forget(election_id, expected=expected)


class WritesAtOnce(MemoryStore):
    """Does something else than to write and to tell."""

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        self.tell(self._write(election_id, election, expected) is not None, done)

    def tell(self, written: bool, done: Callable[[Written], None]) -> None:
        """Tell what came of it."""


@breaks("a_write_begun_at_once_is_told_once", "calls: [2, 2, 2, 2, 2]")
class TellsTwice(WritesAtOnce):
    def tell(self, written: bool, done: Callable[[Written], None]) -> None:
        done(written)
        Callbacks().soon(done, written)


@breaks("a_write_begun_at_once_is_told_once", "it waited for `done` to be called in the event loop", "trio")
class NeverTells(WritesAtOnce):
    def tell(self, written: bool, done: Callable[[Written], None]) -> None:
        """Nobody knows."""


@breaks("a_write_begun_at_once_is_told_once", "it waited for `done` to be called", "trio")
class TellsOfSuccessOnly(WritesAtOnce):
    def tell(self, written: bool, done: Callable[[Written], None]) -> None:
        if written:
            done(written)


@breaks("a_write_begun_at_once_is_told_once", "RuntimeError('somebody has changed it')")
class RaisesInsteadOfTelling(WritesAtOnce):
    def tell(self, written: bool, done: Callable[[Written], None]) -> None:
        if not written:
            raise RuntimeError("somebody has changed it")
        done(written)


@breaks("a_write_begun_at_once_is_told_once", "a call in another thread")
class TellsInAThread(WritesAtOnce):
    def tell(self, written: bool, done: Callable[[Written], None]) -> None:
        thread = threading.Thread(target=done, args=(written,))
        thread.start()
        thread.join()


@breaks("a_write_begun_at_once_is_told_once", "True or False")
class TellsARecord(WritesAtOnce):
    def tell(self, written: bool, done: Callable[[Any], None]) -> None:
        done(Record(Election(), 1) if written else None)


@breaks("a_write_begun_at_once_is_told_once", "what `read_now` knew when `done` was called")
class TellsTooSoon(MemoryStore):
    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        done(self._newest(election_id).version == expected)
        self._write(election_id, election, expected)


@breaks("of_writes_begun_at_once_with_one_version_one_is_done", "exactly one of those with one version is done")
class ComparesAtOnceAndSetsLater(MemoryStore):
    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        def set_it() -> None:
            self._write(election_id, election, self._newest(election_id).version)
            done(True)

        if self._newest(election_id).version == expected:
            Callbacks().soon(set_it)
        else:
            done(False)


@breaks("a_write_can_be_begun_when_one_is_told", "RuntimeError('busy')")
class IsBusyWhileItTells(MemoryStore):
    busy = False

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        if self.busy:
            raise RuntimeError("busy")
        self.busy = True
        done(self._write(election_id, election, expected) is not None)
        self.busy = False


@breaks("a_write_begun_at_once_is_done_whatever_becomes_of_its_caller", "what `done` was called with", "asyncio")
class GivesUpWithItsCaller(MemoryStore):
    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        caller, loop = asyncio.current_task(), asyncio.get_running_loop()

        def later(turns: int) -> None:
            if turns:
                loop.call_soon(later, turns - 1)
            elif caller is not None and caller.cancelled():
                done(False)
            else:
                done(self._write(election_id, election, expected) is not None)

        later(20)


# What is kept when a store is closed.


class Kept(MemoryStore):
    """Keeps everything, and is right."""

    def again(self) -> "Kept":
        """Return the same store, opened again."""
        store = type(self)()
        store._id, store._versions, store._incarnations = self._id, self._versions, self._incarnations
        store._records, store._names = dict(self._records), self._names
        store._sessions, store._floors = dict(self._sessions), dict(self._floors)
        return store


@breaks("the_identity_stays_when_a_store_is_opened_again", "its id")
class HasANewIdentity(Kept):
    def again(self) -> Kept:
        store = super().again()
        store._id = MemoryStore().id
        return store


@breaks("what_was_written_is_there_when_a_store_is_opened_again", "and other/e read")
class LosesWhereNobodyIs(Kept):
    def again(self) -> Kept:
        store = super().again()
        store._records = {each: record for each, record in self._records.items() if record.election.candidates}
        return store


@breaks("what_was_written_is_there_when_a_store_is_opened_again", "displaced=")
class LosesTheDisplaced(Kept):
    def again(self) -> Kept:
        store = super().again()
        for election_id, record in self._records.items():
            store._records[election_id] = Record(record.election._replace(displaced=()), record.version)
        return store


@breaks("what_was_written_is_there_when_a_store_is_opened_again", "and default/at once read")
class LosesWritesAtOnce(Kept):
    def __init__(self) -> None:
        super().__init__()
        self._at_once = set[ElectionId]()

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        self._at_once.add(election_id)
        super().write_now(election_id, election, expected=expected, done=done)

    def again(self) -> Kept:
        store = super().again()
        for election_id in self._at_once:
            del store._records[election_id]
        return store


@breaks("what_was_written_is_there_when_a_store_is_opened_again", "an election read that was forgotten before")
@breaks("floors_stay_when_a_store_is_opened_again", "opened again after a forget")
class LosesFloors(Kept):
    def again(self) -> Kept:
        store = super().again()
        store._floors = {}
        return store


@breaks("no_version_comes_back_when_a_store_is_opened_again", "a version that is none of")
class CountsVersionsAnew(Kept):
    def again(self) -> Kept:
        store = super().again()
        store._versions = max((each.version for each in self._records.values()), default=0)
        return store


@breaks("sessions_are_there_when_a_store_is_opened_again", "and all sessions listed")
class LosesSessions(Kept):
    def again(self) -> Kept:
        store = super().again()
        store._sessions = {}
        return store


@breaks("sessions_are_there_when_a_store_is_opened_again", "and all sessions listed")
class BringsSessionsBack(Kept):
    def __init__(self) -> None:
        super().__init__()
        self._ended = dict[SessionId, StoredSession]()

    async def end_session(self, session: SessionId) -> None:
        self._ended[session] = self._sessions[session]
        await super().end_session(session)

    def again(self) -> Kept:
        store = super().again()
        store._sessions |= self._ended
        return store


@breaks("no_incarnation_comes_back_when_a_store_is_opened_again", "an incarnation that is none of")
class CountsIncarnationsAnew(Kept):
    def again(self) -> Kept:
        store = super().again()
        store._incarnations = max((each.incarnation for each in self._sessions), default=0)
        return store


# What is restored.


class Restored(Kept):
    """Was just restored where it is asked to say so, and is right."""

    hold: float | None = None

    @property
    def hold_s(self) -> float | None:
        return self.hold

    async def end_hold(self) -> None:
        self.hold = None

    def again(self) -> Kept:
        store = super().again()
        assert isinstance(store, Restored)
        store.hold = self.hold
        return store

    def restore(self) -> None:
        """Be what a backup was restored to."""
        self.hold = 30.0
        for election_id in self._records:
            self._records[election_id] = Record(Election(number=100, revision=100), 1)
        self._sessions.clear()


@breaks("nobody_is_in_a_restored_store", "listed")
class KeepsCandidates(Restored):
    def restore(self) -> None:
        self.hold = 30.0
        self._sessions.clear()


@breaks("nobody_is_in_a_restored_store", "all sessions listed")
class KeepsSessions(Restored):
    def restore(self) -> None:
        sessions = dict(self._sessions)
        super().restore()
        self._sessions = sessions


@breaks("a_restored_store_holds_others_off", "`hold_s` above 0")
class HoldsNobodyOff(Restored):
    def restore(self) -> None:
        super().restore()
        self.hold = None


@breaks("a_restored_store_holds_others_off", "a hold was ended: `hold_s`")
class HoldsForEver(Restored):
    async def end_hold(self) -> None:
        """Goes on."""


@breaks("a_hold_lasts_until_it_is_ended", "a restored store was opened again: `hold_s`")
class ForgetsTheHold(Restored):
    def again(self) -> Kept:
        store = super().again()
        assert isinstance(store, Restored)
        store.hold = None
        return store


@breaks("a_hold_lasts_until_it_is_ended", "after its hold was ended: `hold_s`")
class ForgetsTheEndOfTheHold(Restored):
    def again(self) -> Kept:
        store = super().again()
        assert isinstance(store, Restored)
        store.hold = 30.0
        return store
