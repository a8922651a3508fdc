"""Elections as they are in etcd now: every answer is from a read that began after the call."""

from collections.abc import AsyncIterator, Mapping, Sequence

from atomix_election.core.election import Election
from atomix_election.etcd import Get, prefix_end
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import View
from atomix_election.stores.etcd_access import MAX_GETS, Access
from atomix_election.stores.etcd_keys import Layout, decode_envelope
from atomix_election.stores.etcd_mirror import Kept, Mirror
from atomix_election.stores.etcd_sessions import Sessions

_FIRST = 3


def gets_of(layout: Layout, election_id: ElectionId) -> list[Get]:
    """Return what is to be read of an election: its record, and where it begins without one."""
    return [Get(layout.election(election_id)), Get(layout.floors(election_id.namespace)), Get(layout.floor)]


class Reads:
    """Reads elections, also together with sessions.

    Args:
        access: calls to etcd.
        mirror: what is known; it is told of all that is read.
        sessions: where sessions are.
    """

    def __init__(self, access: Access, mirror: Mirror, sessions: Sessions) -> None:
        self._access = access
        self._mirror = mirror
        self._sessions = sessions

    async def election(self, election_id: ElectionId) -> Kept:
        """Read an election."""
        return (await self._look(election_id, ()))[0]

    async def look(self, election_id: ElectionId, sessions: Sequence[SessionId]) -> View:
        """See ``SharedStore.look``."""
        kept, open_ = await self._look(election_id, sessions)
        return View(kept.record, open_)

    async def confirm(self, election_id: ElectionId, *, expected: int, assuming: Mapping[SessionId, bool]) -> bool:
        """See ``SharedStore.confirm``."""
        known_floors = self._mirror.floors(election_id.namespace).version
        kept, open_ = await self._look(election_id, tuple(assuming))
        if kept.record.version != expected or open_ != assuming:
            return False
        return bool(expected) or known_floors == self._mirror.floors(election_id.namespace).version

    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        """See ``Store.page``."""
        start, end = self._access.layout.elections(namespace), prefix_end(self._access.layout.elections(namespace))
        key = start + after.encode() + b"\0" if after else start
        _, (result,) = await self._access.read([Get(key, end, limit=limit)])
        found = [(self._access.layout.election_id(each.key).name, each.value) for each in result.items]
        return [(name, decode_envelope(value).election) for name, value in found]

    async def all(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        """See ``Store.elections``."""
        async for items in self._access.read_all(self._access.layout.all_elections):
            for item in items:
                yield self._access.layout.election_id(item.key), decode_envelope(item.value).election

    async def _look(
        self, election_id: ElectionId, sessions: Sequence[SessionId]
    ) -> tuple[Kept, Mapping[SessionId, bool]]:
        """Read an election and sessions at one moment: what does not fit into one transaction, as of its revision."""
        places = await self._sessions.find(sessions)
        gets = gets_of(self._access.layout, election_id)
        there = [(session, Get(place.key, keys_only=True)) for session, place in places.items() if place is not None]
        first, rest = there[: MAX_GETS - _FIRST], there[MAX_GETS - _FIRST :]
        header, (record, floors, floor, *found) = await self._access.read([*gets, *(get for _, get in first)])
        for start in range(0, len(rest), MAX_GETS):
            part = [Get(get.key, keys_only=True, revision=header.revision) for _, get in rest[start : start + MAX_GETS]]
            found += (await self._access.read(part))[1]
        self._mirror.found_floors(election_id.namespace, floors.items)
        self._mirror.found_operator_floor(floor.items)
        open_ = dict.fromkeys(places, False)
        for (session, _), result in zip(there, found, strict=True):
            open_[session] = self._sessions.look_at(session, result)
        return self._mirror.found(election_id, header.revision, record.items), open_
