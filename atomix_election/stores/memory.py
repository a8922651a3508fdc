"""A store that keeps nothing: for tests, and for elections inside one process."""

import secrets
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Record, StoredSession, Written


class MemoryStore:
    """Elections and sessions in this object. Its tokens start anew with it."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(16)
        self._records: dict[ElectionId, Record] = {}
        self._names: defaultdict[str, _Names] = defaultdict(_Names)
        self._sessions: dict[SessionId, StoredSession] = {}
        self._floors: dict[str, Floors] = {}
        self._versions = 0
        self._incarnations = 0

    @property
    def id(self) -> str:
        """See ``Store.id``."""
        return self._id

    @property
    def hold_s(self) -> float | None:
        """See ``Store.hold_s``. Nothing is ever restored."""
        return None

    async def end_hold(self) -> None:
        """See ``Store.end_hold``."""

    def read_now(self, election_id: ElectionId) -> Record | None:
        """See ``Store.read_now``."""
        return self._newest(election_id)

    async def read(self, election_id: ElectionId) -> Record:
        """See ``Store.read``."""
        return self._newest(election_id)

    async def write(self, election_id: ElectionId, election: Election, *, expected: int) -> Record | None:
        """See ``Store.write``."""
        return self._write(election_id, election, expected)

    def write_now(
        self, election_id: ElectionId, election: Election, *, expected: int, done: Callable[[Written], None]
    ) -> None:
        """See ``Store.write_now``. It is done on return."""
        done(self._write(election_id, election, expected) is not None)

    async def forget(self, election_id: ElectionId, *, expected: int) -> Record | None:
        """See ``Store.forget``."""
        record = self._newest(election_id)
        if record.version != expected:
            return None
        if self._records.pop(election_id, None) is not None:
            self._names[election_id.namespace].remove(election_id.name)
            floors = self._floors.get(election_id.namespace, Floors())
            self._floors[election_id.namespace] = floors.over(record.election)
        return self._newest(election_id)

    async def elections(self) -> AsyncIterator[tuple[ElectionId, Election]]:
        """See ``Store.elections``."""
        for election_id, record in list(self._records.items()):
            yield election_id, record.election

    async def page(self, namespace: str, *, after: str, limit: int) -> list[tuple[str, Election]]:
        """See ``Store.page``."""
        if namespace not in self._names:
            return []
        names = self._names[namespace].following(after, limit)
        return [(name, self._records[ElectionId(namespace, name)].election) for name in names]

    async def open_session(
        self, namespace: str, session_id: str, *, ttl_s: float, kept_alive: bool, owner: str = ""
    ) -> SessionId:
        """See ``Store.open_session``."""
        self._incarnations += 1
        session = SessionId(namespace, session_id, self._incarnations)
        self._sessions[session] = StoredSession(session, ttl_s, kept_alive, owner)
        return session

    async def end_session(self, session: SessionId) -> None:
        """See ``Store.end_session``."""
        self._sessions.pop(session, None)

    async def sessions(self) -> list[StoredSession]:
        """See ``Store.sessions``."""
        return list(self._sessions.values())

    def _write(self, election_id: ElectionId, election: Election, expected: int) -> Record | None:
        present = self._records.get(election_id)
        if expected != (present.version if present else 0):
            return None
        if present is None:
            self._names[election_id.namespace].add(election_id.name)
        self._versions += 1
        record = self._records[election_id] = Record(election, self._versions)
        return record

    def _newest(self, election_id: ElectionId) -> Record:
        record = self._records.get(election_id)
        return record or Record(self._floors.get(election_id.namespace, Floors()).begin(), version=0)


class _Names:
    """The names of a namespace's elections. Adding one costs nothing; the next one who asks sorts what is new."""

    def __init__(self) -> None:
        self._sorted: list[str] = []
        self._new: list[str] = []

    def add(self, name: str) -> None:
        """Add a name that is not there yet."""
        self._new.append(name)

    def remove(self, name: str) -> None:
        """Remove a name that is there."""
        if name in self._new:
            self._new.remove(name)
        else:
            del self._sorted[bisect_left(self._sorted, name)]

    def following(self, name: str, limit: int) -> list[str]:
        """Return the next names after one."""
        if self._new:
            self._sorted += self._new
            self._new.clear()
            self._sorted.sort()  # Python's sort finds the part that is in order already, and merges
        start = bisect_right(self._sorted, name)
        return self._sorted[start : start + limit]
