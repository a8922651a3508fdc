"""What an SQLite store reads and changes: the statements, and how records become values."""

import sqlite3
from dataclasses import dataclass

from atomix_election.core.election import Election
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Record, StoredSession
from atomix_election.stores.codec import decode_election, decode_session, encode_session
from atomix_election.stores.sqlite_file import Change

PAGE = 500
"""Elections that are read at once when all of them are wanted."""
NEVER_WRITTEN = Record(Election(), version=0)


@dataclass(frozen=True, slots=True)
class ReadElection:
    """The newest state of an election."""

    election_id: ElectionId

    def __call__(self, connection: sqlite3.Connection) -> Record:
        """See ``Read``."""
        row = connection.execute(
            "SELECT version, record FROM election WHERE namespace = ? AND name = ?", self.election_id
        ).fetchone()
        return NEVER_WRITTEN if row is None else Record(decode_election(row[1]), row[0])


@dataclass(frozen=True, slots=True)
class ReadPage:
    """The elections that follow one, in the order of their names."""

    after: ElectionId

    def __call__(self, connection: sqlite3.Connection) -> list[tuple[ElectionId, Election]]:
        """See ``Read``."""
        rows = connection.execute(
            "SELECT namespace, name, record FROM election WHERE (namespace, name) > (?, ?)"
            " ORDER BY namespace, name LIMIT ?",
            [*self.after, PAGE],
        )
        return [(ElectionId(namespace, name), decode_election(record)) for namespace, name, record in rows]


@dataclass(frozen=True, slots=True)
class ReadNames:
    """The elections of one namespace that follow a name, in the order of their names."""

    namespace: str
    after: str
    limit: int

    def __call__(self, connection: sqlite3.Connection) -> list[tuple[str, Election]]:
        """See ``Read``."""
        rows = connection.execute(
            "SELECT name, record FROM election WHERE namespace = ? AND name > ? ORDER BY name LIMIT ?",
            [self.namespace, self.after, self.limit],
        )
        return [(name, decode_election(record)) for name, record in rows]


def read_sessions(connection: sqlite3.Connection) -> list[StoredSession]:
    """All sessions."""
    return [decode_session(record) for (record,) in connection.execute("SELECT record FROM session")]


@dataclass(frozen=True, slots=True)
class WriteElection:
    """A new state of an election, if the present one has the expected version."""

    election_id: ElectionId
    election: Election
    record: bytes
    expected: int

    def carry_out(self, connection: sqlite3.Connection, number: int) -> bool:
        """See ``Change.carry_out``."""
        if self.expected:
            statement = "UPDATE election SET version = ?, record = ? WHERE namespace = ? AND name = ? AND version = ?"
            values = [number, self.record, *self.election_id, self.expected]
        else:
            statement = (
                "INSERT INTO election (version, record, namespace, name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
            )
            values = [number, self.record, *self.election_id]
        return connection.execute(statement, values).rowcount == 1

    def undo(self, number: int) -> Change | None:
        """See ``Change.undo``: an election goes on from what is there."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that there was never before: its incarnation is the number of this change."""

    namespace: str
    session_id: str
    ttl_s: float
    kept_alive: bool
    owner: str = ""

    def carry_out(self, connection: sqlite3.Connection, number: int) -> bool:
        """See ``Change.carry_out``."""
        session = SessionId(self.namespace, self.session_id, number)
        record = encode_session(StoredSession(session, self.ttl_s, self.kept_alive, self.owner))
        connection.execute("INSERT INTO session (incarnation, record) VALUES (?, ?)", [number, record])
        return True

    def undo(self, number: int) -> Change | None:
        """See ``Change.undo``: nobody would ever end it."""
        return EndSession(number)


@dataclass(frozen=True, slots=True)
class EndSession:
    """The end of a session."""

    incarnation: int

    def carry_out(self, connection: sqlite3.Connection, number: int) -> bool:
        """See ``Change.carry_out``."""
        statement = "DELETE FROM session WHERE incarnation = ?"
        return connection.execute(statement, [self.incarnation]).rowcount == 1

    def undo(self, number: int) -> Change | None:
        """See ``Change.undo``: it is as its caller wanted."""
