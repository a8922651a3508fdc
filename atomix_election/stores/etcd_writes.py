"""Changing elections in etcd: each change is one transaction that compares all it rests on, and has one outcome.

An answer can be lost, also of a transaction that etcd carries out later. So a transaction whose outcome is unknown is
sent again as it was: at most one of them can be carried out, as each changes what they compare. If the repeat is not
carried out either, it reads what tells why. Was it our own first one, the record has the number of this write. That
number stays in the record for as long as the key of this server is there; so if it is not in the record, and the key
is, the first one was not carried out, and never will be: nothing that is compared here becomes true again once it is
not.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

import anyio

from atomix_election.core.election import Election
from atomix_election.core.steps import steps_through
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.etcd import (
    Compare,
    Delete,
    EtcdOutcomeUnknown,
    Get,
    GetResult,
    Operation,
    Put,
    Relation,
    Target,
    TxnResult,
    unchanged,
)
from atomix_election.model import ElectionId, SessionId, Term
from atomix_election.stores.base import Record
from atomix_election.stores.etcd_access import Access, Tries
from atomix_election.stores.etcd_keys import Envelope, NamespaceFloors, encode_envelope, encode_floors
from atomix_election.stores.etcd_mirror import Kept, Mirror
from atomix_election.stores.etcd_reads import Reads, gets_of
from atomix_election.stores.etcd_servers import Own, Servers
from atomix_election.stores.etcd_sessions import Sessions
from atomix_election.tasks import Pauses

MAX_SESSIONS_ASSUMED = 100
"""Open sessions that one change may depend on: etcd allows 128 operations in a transaction."""
WRITE_S = 5.0
"""How long a change may take, with all its tries."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What there was instead of what had to be: the election, floors, and whether this server's key is as it was."""

    kept: Kept
    begun: int
    """The revision in which the record was made that is there; 0 where there is none."""
    floors: NamespaceFloors
    is_registered: bool

    def came_back(self, expected: int, floors: NamespaceFloors) -> bool:
        """Whether the election may have been forgotten since it was in one version, or absent below these floors."""
        return self.begun > expected if expected else self.floors.version != floors.version


class Writes:
    """Writes and forgets elections.

    Args:
        access: calls to etcd.
        mirror: what is known; it is told of all that is written.
        reads: reads elections.
        sessions: where sessions are.
        servers: this server, and those that are gone.
        pauses: between tries.
    """

    def __init__(
        self, access: Access, mirror: Mirror, reads: Reads, sessions: Sessions, servers: Servers, pauses: Pauses
    ) -> None:
        self._access = access
        self._mirror = mirror
        self._reads = reads
        self._sessions = sessions
        self._servers = servers
        self._pauses = pauses
        self._turns = _Turns()

    async def write(
        self,
        election_id: ElectionId,
        election: Election,
        *,
        expected: int,
        assuming: Mapping[SessionId, bool],
        terms: Sequence[Term] | None,
    ) -> Record | None:
        """See ``SharedStore.write``."""
        conditions = await self._conditions(assuming)
        if conditions is None:
            return None
        async with self._turns.take(election_id):
            base = await self._base(election_id, expected)
            if base is None:
                return None
            own, batch = self._servers.own, self._servers.next_batch()
            batches = {**await self._servers.pruned(base.batches), own.id: batch}
            steps = steps_through(base.record.election.term, terms or ())
            kept = Kept(Record(election, 0), batches)
            put = Put(self._key(election_id), encode_envelope(Envelope(election, batches, expected, steps)))
            tries = Tries(WRITE_S, self._pauses)
            floors = self._mirror.floors(election_id.namespace)
            while expected or tries.is_unknown or _follows(self._mirror.absent(election_id).election, election, terms):
                # What may have been carried out is sent again as it was.
                floors = floors if tries.is_unknown else self._mirror.floors(election_id.namespace)
                compares = [unchanged(put.key, expected), *conditions]
                if not expected:
                    compares.append(unchanged(self._access.layout.floors(election_id.namespace), floors.version))
                done = await self._try(election_id, own, compares, [put], tries)
                match done:
                    case None:
                        continue
                    case TxnResult():
                        return self._wrote(election_id, done.revision, kept)
                    case _Found() if done.kept.record.version != expected:
                        came_back = done.came_back(expected, floors)
                        return _became_of(election_id, done, own, batch, tries, came_back=came_back)
                    case _Found() if done.floors.version == floors.version or expected:
                        return None  # a session is not open
                    case _Found() if tries.is_unknown:
                        _forgotten(election_id)  # it may be ours that was
                    case _:
                        continue
            return None

    async def forget(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool]
    ) -> Record | None:
        """See ``SharedStore.forget``. The floors of the namespace have the number of this write, not a record."""
        if not expected:
            view = await self._reads.look(election_id, tuple(assuming))
            return None if view.record.version or view.open != assuming else view.record
        conditions = await self._conditions(assuming)
        if conditions is None:
            return None
        async with self._turns.take(election_id.namespace):
            base = await self._base(election_id, expected)
            if base is None:
                return None
            own, batch = self._servers.own, self._servers.next_batch()
            tries = Tries(WRITE_S, self._pauses)
            while True:
                floors = self._mirror.floors(election_id.namespace)
                batches = {**await self._servers.pruned(floors.batches), own.id: batch}
                raised = NamespaceFloors(floors.floors.over(base.record.election), batches)
                key = self._access.layout.floors(election_id.namespace)
                compares = [unchanged(self._key(election_id), expected), unchanged(key, floors.version), *conditions]
                operations = [Delete(self._key(election_id)), Put(key, encode_floors(raised))]
                done = await self._try(election_id, own, compares, operations, tries)
                match done:
                    case None:
                        continue
                    case TxnResult():
                        return self._forgot(election_id, done.revision, raised)
                    case _Found() if tries.is_unknown and done.floors.batches.get(own.id) == batch:
                        came_back = done.kept.record.version  # what is there by now is not what this has left
                        left = self._mirror.absent(election_id, {election_id.namespace: raised})
                        return left if came_back else done.kept.record
                    case _Found() if done.kept.record.version == expected and done.floors.version != floors.version:
                        continue
                    case _Found() if tries.is_unknown and done.floors.version != floors.version:
                        return None if done.is_registered else _forgotten(election_id)
                    case _:
                        return None

    async def _try(
        self,
        election_id: ElectionId,
        own: Own,
        compares: Sequence[Compare],
        operations: Sequence[Operation],
        tries: Tries,
    ) -> TxnResult | _Found | None:
        """Send a transaction once.

        Returns:
            Its result if it was carried out; what was there if it was not; None if that is not known.

        Raises:
            OutcomeUnknown: there is no time to find out what became of this one, or of one before.
            StoreError: nothing was changed.
        """
        layout, what = self._access.layout, f"a change of {election_id}"
        gets = [*gets_of(layout, election_id), Get(layout.server(own.id), keys_only=True)]
        puts = [*operations, Put(layout.head, b"")]
        try:
            answer, found = await self._access.write(compares, puts, gets, timeout_s=tries.left_s)
        except EtcdOutcomeUnknown as error:
            await tries.unknown(what, error)
            return None
        except StoreError as error:
            raise tries.failed(what, error) from error
        return answer if answer.succeeded else self._found(election_id, own, answer.revision, found)

    def _found(self, election_id: ElectionId, own: Own, revision: int, results: Sequence[GetResult]) -> _Found:
        record, floors, floor, server = results
        found = self._mirror.found_floors(election_id.namespace, floors.items)
        self._mirror.found_operator_floor(floor.items)
        kept = self._mirror.found(election_id, revision, record.items)
        begun = max((each.create_revision for each in record.items), default=0)
        return _Found(kept, begun, found, self._servers.is_there(own, server.items))

    async def _conditions(self, assuming: Mapping[SessionId, bool]) -> list[Compare] | None:
        """Return what has to be compared for sessions that are to be open; None if an assumption is wrong.

        A session that is to be gone needs no comparison: once it is, it is so for ever.
        """
        places = await self._sessions.find(assuming)
        doubtful = [session for session, place in places.items() if place is not None and not assuming[session]]
        if doubtful and not await self._sessions.are_gone(doubtful):
            return None
        there = [(session, place) for session, place in places.items() if place is not None and assuming[session]]
        if len(there) != sum(assuming.values()):
            return None
        if len(there) > MAX_SESSIONS_ASSUMED:
            raise StoreError(
                f"a change depends on {len(there)} open sessions, and etcd can check {MAX_SESSIONS_ASSUMED} at once: "
                "make fewer changes in one go"
            )
        return [
            Compare(place.key, Target.CREATE_REVISION, Relation.EQUAL, session.incarnation) for session, place in there
        ]

    async def _base(self, election_id: ElectionId, expected: int) -> Kept | None:
        """Return the election in the version that is to be changed; None if it has another one."""
        if not expected:
            return Kept(self._mirror.absent(election_id))
        kept = self._mirror.newest(election_id)
        if kept.record.version != expected:
            kept = await self._reads.election(election_id)
        return kept if kept.record.version == expected else None

    def _key(self, election_id: ElectionId) -> bytes:
        return self._access.layout.election(election_id)

    def _wrote(self, election_id: ElectionId, revision: int, kept: Kept) -> Record:
        record = Record(kept.record.election, revision, self._mirror.floor(revision))
        self._mirror.wrote(election_id, revision, kept._replace(record=record))
        return record

    def _forgot(self, election_id: ElectionId, revision: int, raised: NamespaceFloors) -> Record:
        self._mirror.knows_floors(election_id.namespace, raised._replace(version=revision))
        record = replace(self._mirror.absent(election_id), floor=self._mirror.floor(revision))
        self._mirror.wrote(election_id, revision, Kept(record))
        return record


class _Turns:
    """Whoever wants to change the same thing takes turns, so that the number of the last write is that of each."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, anyio.Lock] = {}
        self._users: defaultdict[Hashable, int] = defaultdict(int)

    @asynccontextmanager
    async def take(self, what: Hashable) -> AsyncGenerator[None]:
        """Wait for one's turn, which lasts as long as the block."""
        lock = self._locks.setdefault(what, anyio.Lock())
        self._users[what] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[what] -= 1
            if not self._users[what]:
                del self._users[what], self._locks[what]


def _follows(begin: Election, election: Election, terms: Sequence[Term] | None) -> bool:
    """Whether a first state was decided upon from where an election without a record begins by now.

    Floors rise when another election is forgotten. Then what was decided before may repeat a number of this very one.
    Whoever tells no terms knows what it does.
    """
    if terms is None:
        return True
    if terms and terms[0].revision != begin.revision + 1:
        return False
    if (terms or election.revision == begin.revision) and election.number < begin.number:
        return False
    return election.revision >= begin.revision


def _became_of(
    election_id: ElectionId, found: _Found, own: Own, batch: int, tries: Tries, *, came_back: bool
) -> Record | None:
    """Return what became of a write that is not carried out any more: it was, or somebody else's was.

    One that was forgotten and came back has lost the numbers of the writes from before.
    """
    if not tries.is_unknown:
        return None
    if found.kept.batches.get(own.id) == batch:
        return found.kept.record
    if not found.kept.record.version or not found.is_registered or came_back:
        _forgotten(election_id)
    return None


def _forgotten(election_id: ElectionId) -> NoReturn:
    raise OutcomeUnknown(
        f"a change of {election_id}: its answer was lost, and what would tell whether it was carried out is gone, as "
        "the election was forgotten meanwhile, or this server was out of reach for too long; read to see what is there"
    )
