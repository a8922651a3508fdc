"""Sessions as leases: each incarnation is one key on a lease of its own, and is gone when etcd says so."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from operator import attrgetter
from typing import NamedTuple

from atomix_election.errors import StoreError
from atomix_election.etcd import (
    EtcdError,
    EtcdOutcomeUnknown,
    Get,
    GetResult,
    KeyValue,
    LeaseExists,
    LeaseNotFound,
    Put,
    absent,
    none_of,
    prefix_end,
)
from atomix_election.model import SessionId
from atomix_election.stores.base import StoredSession
from atomix_election.stores.etcd_access import MAX_GETS, READ_S, Access, Tries
from atomix_election.stores.etcd_feed import Progress
from atomix_election.stores.etcd_keys import decode_stored, encode_stored
from atomix_election.stores.etcd_mirror import Mirror, Place
from atomix_election.tasks import Background, Pauses

SESSION_S = 5.0
"""How long opening, ending or renewing a session may take, with all its tries."""
MAX_OPENED = 10_000
"""Sessions whose keys are remembered from when they were opened here; others are known from changes, or read."""
ELECTION_TIMEOUTS_IN_LEAST_TTL = 1.5
"""Etcd grants no lease that is shorter than so many of its own election time-outs."""
ELECTION_TIMEOUTS = 3
"""Etcd's members wait for one to two of them before they elect another leader, who lets leases last one more."""
DELETION_S = 0.5
"""How late etcd deletes the keys of a lease that has expired: it looks for such ones twice a second."""

log: logging.Logger = logging.getLogger(__name__)


class _Opening(NamedTuple):
    """A session that is being opened: its key and its lease, what the keys of others of its id begin with, and whether
    there may be none.
    """

    key: bytes
    prefix: bytes
    lease_id: int
    alone: bool


class Sessions:
    """Opens, finds, renews and ends sessions.

    Args:
        access: calls to etcd.
        mirror: what is known.
        progress: finds out whether that is enough.
        least_ttl_s: the shortest lease that etcd grants.
        background: where leases are given back that nobody needs.
        unique: returns ids that nobody else has, in hexadecimal.
        pauses: between tries.
    """

    def __init__(
        self,
        access: Access,
        mirror: Mirror,
        progress: Progress,
        least_ttl_s: int,
        background: Background,
        unique: Callable[[], str],
        pauses: Pauses,
    ) -> None:
        self._access = access
        self._mirror = mirror
        self._progress = progress
        self._least_ttl_s = least_ttl_s
        self._background = background
        self._unique = unique
        self._pauses = pauses
        self._opened: dict[SessionId, Place] = {}

    def ttl_s(self, wanted_s: float) -> int:
        """See ``SharedStore.ttl_s``: etcd keeps whole seconds."""
        return max(ceil(wanted_s), self._least_ttl_s)

    def longest_failover_s(self, ttl_s: float) -> float:
        """See ``SharedStore.longest_failover_s``.

        The worst is that etcd's leader dies just before a session ends: its successor gives every lease its whole
        time-to-live again, and one of its own election time-outs more.
        """
        election_s = ELECTION_TIMEOUTS * self._least_ttl_s / ELECTION_TIMEOUTS_IN_LEAST_TTL
        return 2 * self.ttl_s(ttl_s) + election_s + DELETION_S

    async def open(self, stored: StoredSession, *, alone: bool) -> SessionId:
        """See ``SharedStore.open_session``. A lease whose session did not come about is given back, or expires.

        It is not given back where the session may be there: its client may have gone on with it at another server.

        Args:
            stored: what is to be opened; its incarnation is known only afterwards.
            alone: whether another one of that id is taken instead, if it is open.
        """
        self._access.check()
        (namespace, session_id, _), ttl_s = stored.session, self.ttl_s(stored.ttl_s)
        lease_id = max(int(self._unique(), 16) >> 1, 1)
        prefix = self._access.layout.sessions(namespace, session_id)
        opening = _Opening(prefix + self._unique().encode(), prefix, lease_id, alone)
        value = encode_stored(namespace, session_id, stored.ttl_s, kept_alive=stored.kept_alive, owner=stored.owner)
        tries = Tries(SESSION_S, self._pauses)
        try:
            await self._grant(lease_id, ttl_s, tries)
        except BaseException:
            self._give_back_soon(lease_id)
            raise
        place = await self._put(opening, value, stored, tries)
        self._remember(place)
        return place.stored.session

    async def end(self, session: SessionId) -> None:
        """See ``Store.end_session``."""
        place = (await self.find([session]))[session]
        if place is None:
            return
        tries = Tries(SESSION_S, self._pauses)
        while True:
            try:
                await self._access.etcd.revoke(place.lease, timeout_s=tries.left_s)
            except LeaseNotFound:
                break
            except EtcdOutcomeUnknown as error:
                await tries.unknown("a session's end", error)
            except EtcdError as error:
                raise tries.failed("a session's end", StoreError(str(error))) from error
            else:
                break
        self._ended(session)

    async def renew(self, session: SessionId) -> bool:
        """See ``SharedStore.renew``.

        A leader of etcd that was deposed may still answer renewals, without effect. So what is read afterwards, which a
        majority has confirmed, must be of the same raft term.
        """
        place = (await self.find([session]))[session]
        tries = Tries(SESSION_S, self._pauses)
        while place is not None:
            lease = await self._access.call(self._access.etcd.keep_alive(place.lease, timeout_s=tries.left_s))
            raft_term = await self._progress.catch_up()
            if self._mirror.is_gone(session):
                return False
            if lease.ttl_s and raft_term == lease.header.raft_term:
                return True
            if not lease.ttl_s and not await self._is_open(place):
                return False  # a new leader that is not up to date may say so of one that is there
            if tries.is_over:
                raise StoreError("etcd changes its leader too often for a session to be renewed: try again")
        return False

    async def left_s(self, session: SessionId) -> float | None:
        """See ``SharedStore.lease_left_s``."""
        place = (await self.find([session]))[session]
        if place is None:
            return None
        state = await self._access.call(self._access.etcd.time_to_live(place.lease, timeout_s=READ_S))
        return None if state.is_gone else float(state.ttl_s)

    async def all(self) -> list[StoredSession]:
        """See ``Store.sessions``."""
        stored: list[StoredSession] = []
        async for items in self._access.read_all(self._access.layout.all_sessions):
            stored += map(decode_stored, items)
        return stored

    async def find(self, sessions: Iterable[SessionId]) -> Mapping[SessionId, Place | None]:
        """Return where sessions are; None for each that is gone, and so is gone for ever."""
        places = {each: self._place(each) for each in sessions}
        unknown = [each for each, place in places.items() if place is None and not self._mirror.is_gone(each)]
        for start in range(0, len(unknown), MAX_GETS):
            part = unknown[start : start + MAX_GETS]
            prefixes = [self._access.layout.sessions(each.namespace, each.id) for each in part]
            _, results = await self._access.read([Get(each, prefix_end(each)) for each in prefixes])
            for session, result in zip(part, results, strict=True):
                item = next((each for each in result.items if each.create_revision == session.incarnation), None)
                if item is None:
                    self._ended(session)
                else:
                    places[session] = place = Place(item.key, item.lease, decode_stored(item))
                    self._remember(place)
        return places

    async def are_gone(self, sessions: Sequence[SessionId]) -> bool:
        """Read whether sessions are gone that are not known to be."""
        found = await self.find(sessions)
        places = [(session, place) for session, place in found.items() if place is not None]
        for start in range(0, len(places), MAX_GETS):
            part = places[start : start + MAX_GETS]
            _, results = await self._access.read([Get(place.key, keys_only=True) for _, place in part])
            if any(self.look_at(session, result) for (session, _), result in zip(part, results, strict=True)):
                return False
        return True

    def look_at(self, session: SessionId, result: GetResult) -> bool:
        """Return whether a session is open whose key was just read."""
        is_open = any(each.create_revision == session.incarnation for each in result.items)
        if not is_open:
            self._ended(session)
        return is_open

    async def _grant(self, lease_id: int, ttl_s: int, tries: Tries) -> None:
        while True:
            try:
                await self._access.call(self._access.etcd.grant(ttl_s, lease_id, timeout_s=tries.left_s))
            except EtcdOutcomeUnknown as error:
                await tries.unknown("a session's lease", error)
            except StoreError as error:
                if isinstance(error.__cause__, LeaseExists) and tries.is_unknown:
                    return
                raise
            else:
                return

    async def _put(self, opening: _Opening, value: bytes, stored: StoredSession, tries: Tries) -> Place:
        """Write the key of a session, and return where it is, or where the one is that there was already."""
        puts = [Put(opening.key, value, opening.lease_id), Put(self._access.layout.head, b"")]
        get = Get(opening.prefix, prefix_end(opening.prefix)) if opening.alone else Get(opening.key)
        absences = [absent(opening.key), *([none_of(get.key, get.end)] if opening.alone else [])]
        while True:
            try:
                answer, found = await self._access.write(absences, puts, [get], timeout_s=tries.left_s)
            except EtcdOutcomeUnknown as error:
                await tries.unknown("a new session", error)
            except StoreError:
                if not tries.is_unknown:
                    self._give_back_soon(opening.lease_id)
                raise
            else:
                break
        if answer.succeeded:
            session = stored.session._replace(incarnation=answer.revision)
            return Place(opening.key, opening.lease_id, replace(stored, session=session))
        item = _newest(found[0].items)
        if item.key != opening.key:
            self._give_back_soon(opening.lease_id)
        return Place(item.key, item.lease, decode_stored(item))

    def _give_back_soon(self, lease_id: int) -> None:
        if not self._background.is_over:  # a store that is closed leaves it to expire
            self._background.start_soon(self._give_back, lease_id)

    async def _give_back(self, lease_id: int) -> None:
        try:
            await self._access.etcd.revoke(lease_id, timeout_s=SESSION_S)
        except EtcdError as error:
            log.debug("a session's lease in etcd is left to expire: %s", error)

    async def _is_open(self, place: Place) -> bool:
        _, (result,) = await self._access.read([Get(place.key, keys_only=True)])
        return self.look_at(place.stored.session, result)

    def _place(self, session: SessionId) -> Place | None:
        if self._mirror.is_gone(session):
            return None
        return self._mirror.sessions.get(session) or self._opened.get(session)

    def _remember(self, place: Place) -> None:
        self._opened[place.stored.session] = place
        if len(self._opened) > MAX_OPENED:
            del self._opened[next(iter(self._opened))]

    def _ended(self, session: SessionId) -> None:
        self._opened.pop(session, None)
        self._mirror.found_gone(session)


def _newest(items: Iterable[KeyValue]) -> KeyValue:
    newest = max(items, key=attrgetter("create_revision"), default=None)
    if newest is None:
        raise StoreError("the session ended before it was known to be there: open another one")
    return newest
