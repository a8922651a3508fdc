"""Elections and sessions in etcd, for any number of servers at the same time."""

import logging
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.core.rendezvous import rank
from atomix_election.errors import OutcomeUnknown, StoreError
from atomix_election.etcd import (
    Delete,
    EtcdError,
    EtcdOutcomeUnknown,
    Get,
    GetResult,
    Header,
    Put,
    Status,
    absent,
    unchanged,
)
from atomix_election.etcd.interface import Etcd
from atomix_election.model import ElectionId, SessionId, Term
from atomix_election.stores.base import NOTHING_ASSUMED, Record, StoredSession, View, Written
from atomix_election.stores.etcd_access import READ_S, Access
from atomix_election.stores.etcd_feed import Changes, Progress
from atomix_election.stores.etcd_keys import (
    DEFAULT_PREFIX,
    Identity,
    Layout,
    decode_hold,
    decode_identity,
    encode_identity,
)
from atomix_election.stores.etcd_mirror import Hold, Mirror
from atomix_election.stores.etcd_reads import Reads
from atomix_election.stores.etcd_servers import Servers
from atomix_election.stores.etcd_sessions import Sessions
from atomix_election.stores.etcd_writes import Writes
from atomix_election.tasks import LONGEST_PAUSE_S, Pauses, background_tasks

SOUND_VERSIONS = {(3, 4): 36, (3, 5): 18}
"""The first releases without faults that matter here: stale leaders that end sessions, watches that lose changes."""
MAX_IDENTITY_TRIES = 10
"""How often it is tried to find or make the identity of a store."""

log: logging.Logger = logging.getLogger(__name__)


class EtcdStore:
    """See ``SharedStore``; ``open_etcd_store`` makes one."""

    def __init__(
        self,
        access: Access,
        mirror: Mirror,
        progress: Progress,
        sessions: Sessions,
        servers: Servers,
        pauses: Pauses,
        opened: AsyncExitStack,
    ) -> None:
        self._access = access
        self._mirror = mirror
        self._progress = progress
        self._sessions = sessions
        self._servers = servers
        self._reads = Reads(access, mirror, sessions)
        self._writes = Writes(access, mirror, self._reads, sessions, servers, pauses)
        self._opened = opened
        self._changes: Changes | None = None

    @property
    def id(self) -> str:
        """See ``Store.id``."""
        return self._access.identity.id

    @property
    def hold_s(self) -> float | None:
        """See ``Store.hold_s``."""
        hold = self._mirror.hold
        return None if hold is None else hold.hold_s

    async def end_hold(self) -> None:
        """See ``Store.end_hold``. A hold that was set since stays."""
        hold, key = self._mirror.hold, self._access.layout.hold
        if hold is None:
            return
        try:
            answer, _ = await self._access.write([unchanged(key, hold.version)], [Delete(key)], timeout_s=READ_S)
        except EtcdOutcomeUnknown as error:
            raise OutcomeUnknown(f"the end of the hold: {error}") from error
        if answer.succeeded:
            self._mirror.hold = None
        else:
            await _read_hold(self._access, self._mirror)

    def read_now(self, election_id: ElectionId) -> Record | None:
        """See ``Store.read_now``. Others may have changed it."""

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        """See ``Store.write_now``."""
        raise AssertionError("nothing is written without a task to a store that others may have changed")

    async def read(self, election_id: ElectionId) -> Record:
        """See ``Store.read``."""
        return (await self._reads.election(election_id)).record

    async def look(self, election_id: ElectionId, sessions: Sequence[SessionId]) -> View:
        """See ``SharedStore.look``."""
        return await self._reads.look(election_id, sessions)

    async def confirm(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED
    ) -> bool:
        """See ``SharedStore.confirm``."""
        return await self._reads.confirm(election_id, expected=expected, assuming=assuming)

    async def write(
        self,
        election_id: ElectionId,
        election: Election,
        *,
        expected: int,
        assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED,
        terms: Sequence[Term] | None = None,
    ) -> Record | None:
        """See ``SharedStore.write``. It may assume at most ``MAX_SESSIONS_ASSUMED`` sessions to be open."""
        return await self._writes.write(election_id, election, expected=expected, assuming=assuming, terms=terms)

    async def forget(
        self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool] = NOTHING_ASSUMED
    ) -> Record | None:
        """See ``SharedStore.forget``."""
        return await self._writes.forget(election_id, expected=expected, assuming=assuming)

    def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        """See ``Store.elections``."""
        return self._reads.all()

    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        """See ``Store.page``."""
        return await self._reads.page(namespace, after=after, limit=limit)

    def latest(self, election_id: ElectionId) -> Record:
        """See ``SharedStore.latest``."""
        return self._mirror.newest(election_id).record

    def known(self) -> Iterable[tuple[ElectionId, Election]]:
        """See ``SharedStore.known``."""
        return ((election_id, kept.record.election) for election_id, kept in self._mirror.elections.items())

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
        """See ``SharedStore.open_session``."""
        stored = StoredSession(SessionId(namespace, session_id, 0), ttl_s, kept_alive, owner)
        return await self._sessions.open(stored, alone=alone)

    async def end_session(self, session: SessionId) -> None:
        """See ``Store.end_session``."""
        await self._sessions.end(session)

    async def sessions(self) -> list[StoredSession]:
        """See ``Store.sessions``."""
        return await self._sessions.all()

    def ttl_s(self, wanted_s: float) -> float:
        """See ``SharedStore.ttl_s``."""
        return float(self._sessions.ttl_s(wanted_s))

    def longest_failover_s(self, ttl_s: float) -> float:
        """See ``SharedStore.longest_failover_s``."""
        return self._sessions.longest_failover_s(ttl_s)

    async def renew(self, session: SessionId) -> bool:
        """See ``SharedStore.renew``."""
        return await self._sessions.renew(session)

    async def lease_left_s(self, session: SessionId) -> float | None:
        """See ``SharedStore.lease_left_s``."""
        return await self._sessions.left_s(session)

    def changes(self) -> Changes:
        """See ``SharedStore.changes``. Another one takes the place of the one before, and begins anew."""
        if self._changes is not None:
            self._changes.end()
        self._mirror.clear()
        self._changes = Changes(self._access, self._mirror, self._progress.advanced, self._opened)
        return self._changes

    async def catch_up(self) -> None:
        """See ``SharedStore.catch_up``."""
        await self._progress.catch_up()

    def rank(self, election_id: ElectionId) -> int:
        """See ``SharedStore.rank``: rendezvous hashing among the servers that are known."""
        return rank(self._servers.own.id, self._mirror.servers, "\0".join(election_id))


@asynccontextmanager
async def open_etcd_store(
    etcd: Etcd,
    *,
    prefix: str = DEFAULT_PREFIX,
    unique: Callable[[], str] = lambda: secrets.token_hex(8),
    chance: Callable[[], float] = random.random,
) -> AsyncGenerator[EtcdStore]:
    """Use a store in etcd for the length of the block. The first one to do so makes it.

    Args:
        etcd: a client that is open for longer than the block.
        prefix: what all keys of the store begin with. Elections of another prefix are others.
        unique: returns numbers that nobody else has, as 16 digits in hexadecimal.
        chance: returns numbers from 0 to 1, for the pauses between tries.

    Raises:
        StoreError: etcd cannot be reached or refuses; what is there is of a newer version, or is no store.
    """
    layout = Layout(prefix)
    header, identity = await _identity(etcd, layout, unique)
    access = Access(etcd, layout, identity, header)
    _warn_of_old(await access.call(etcd.status(timeout_s=READ_S)))
    least_ttl_s = await _least_ttl_s(access)
    mirror = Mirror(layout, identity.floors)
    await _read_hold(access, mirror)
    progress = Progress(access, lambda: mirror.revision)
    servers, pauses = Servers(access, mirror, unique), Pauses(LONGEST_PAUSE_S, chance)
    access.on_failure(progress.failed)
    async with AsyncExitStack() as opened, background_tasks() as background:
        sessions = Sessions(access, mirror, progress, least_ttl_s, background, unique, pauses)
        await servers.register()
        background.start_soon(progress.run)
        background.start_soon(servers.keep)
        try:
            yield EtcdStore(access, mirror, progress, sessions, servers, pauses, opened)
        finally:
            await servers.leave()


async def _identity(etcd: Etcd, layout: Layout, unique: Callable[[], str]) -> tuple[Header, Identity]:
    """Return what store it is, made now if there is none."""
    for _ in range(MAX_IDENTITY_TRIES):
        try:
            answer = await etcd.txn([], [Get(layout.store), Get(layout.prefix, layout.end, limit=1, keys_only=True)])
            store, anything = answer.responses
            assert isinstance(store, GetResult)
            assert isinstance(anything, GetResult)
            if store.items:
                return answer.header, decode_identity(store.items[0])
            if anything.items:
                raise StoreError(
                    f"etcd has keys that begin with {layout.prefix.decode()!r}, but no key {layout.store.decode()!r} "
                    "that says which store they belong to: either this prefix is used by something else, or moving "
                    "elections here broke off; go on with that (`atomix-election migrate`), delete these keys, or name "
                    "another prefix"
                )
            identity = encode_identity(unique() + unique(), Floors())
            await etcd.txn([absent(layout.store), absent(layout.origin)], [Put(layout.store, identity)])
        except EtcdOutcomeUnknown:
            continue  # it is read again
        except EtcdError as error:
            raise StoreError(str(error)) from error
    raise StoreError(f"the key {layout.store.decode()!r} could not be written to etcd: it gave no answer")


async def _least_ttl_s(access: Access) -> int:
    """Return the shortest time-to-live that etcd grants."""
    try:
        lease = await access.call(access.etcd.grant(1, timeout_s=READ_S))
    except EtcdOutcomeUnknown as error:
        raise StoreError(str(error)) from error
    try:
        await access.etcd.revoke(lease.id, timeout_s=READ_S)
    except EtcdError as error:
        log.debug("a lease in etcd is left to expire: %s", error)
    return lease.ttl_s


async def _read_hold(access: Access, mirror: Mirror) -> None:
    _, (hold, floor) = await access.read([Get(access.layout.hold), Get(access.layout.floor)])
    mirror.hold = Hold(decode_hold(hold.items[0].value), hold.items[0].mod_revision) if hold.items else None
    mirror.found_operator_floor(floor.items)


def _warn_of_old(status: Status) -> None:
    """Say once that this etcd has faults that matter."""
    *release, patch = (*status.version_numbers, 0, 0, 0)[:3]
    sound = SOUND_VERSIONS.get((release[0], release[1]))
    if tuple(release) < min(SOUND_VERSIONS) or (sound is not None and patch < sound):
        wanted = " or ".join(f"{major}.{minor}.{patch}" for (major, minor), patch in SOUND_VERSIONS.items())
        log.warning(
            "etcd (member %x) is of version %s, which may end sessions too early and lose changes: update it to %s, or "
            "newer",
            status.header.member_id,
            status.version,
            wanted,
        )
