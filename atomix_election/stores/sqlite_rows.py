"""What an SQLite store reads and changes: the statements, and how records become values."""

import sqlite3
from dataclasses import dataclass

from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Record, StoredSession
from atomix_election.stores.codec import decode_election, decode_session, encode_session
from atomix_election.stores.sqlite_file import Change

PAGE = 500
"""Elections that are read at once when all of them are wanted."""
EVERYWHERE = ""
"""Stands in the table of floors for all namespaces; none has that name."""


@dataclass(frozen=True, slots=True)
class ReadElection:
    """The newest state of an election."""

    election_id: ElectionId

    def __call__(self, connection: sqlite3.Connection) -> Record:
        """See ``Read``."""
        row = connection.execute(
            "SELECT version, record FROM election WHERE namespace = ? AND name = ?", self.election_id
        ).fetchone()
        if row is None:
            return Record(read_floors(connection, self.election_id.namespace).begin(), version=0)
        return Record(decode_election(row[1]), row[0])


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


def read_floors(connection: sqlite3.Connection, namespace: str) -> Floors:
    """Return what an election of a namespace begins from that has no row."""
    number, revision = connection.execute(
        "SELECT max(number), max(revision) FROM floor WHERE namespace IN (?, ?)", [namespace, EVERYWHERE]
    ).fetchone()
    return Floors(number or 0, revision or 0)


def raise_floors(connection: sqlite3.Connection, namespace: str, floors: Floors | Election) -> None:
    """Let no election of a namespace that has no row begin below these."""
    raised = read_floors(connection, namespace).over(floors)
    connection.execute(
        "INSERT INTO floor (namespace, number, revision) VALUES (?, ?, ?) ON CONFLICT (namespace) DO UPDATE"
        " SET number = excluded.number, revision = excluded.revision",
        [namespace, *raised],
    )


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


@dataclass(slots=True)
class ForgetElection:
    """The end of an election's record, if it has the expected version.

    Args:
        election_id: its name.
        expected: the version.
        left: what is read of it once it is done.
    """

    election_id: ElectionId
    expected: int
    left: Record | None = None

    def carry_out(self, connection: sqlite3.Connection, number: int) -> bool:
        """See ``Change.carry_out``."""
        record = ReadElection(self.election_id)(connection)
        if not record.version or record.version != self.expected:
            return False
        connection.execute("DELETE FROM election WHERE namespace = ? AND name = ?", self.election_id)
        raise_floors(connection, self.election_id.namespace, record.election)
        self.left = ReadElection(self.election_id)(connection)
        return True

    def undo(self, number: int) -> Change | None:
        """See ``Change.undo``: the floor has all that matters of it."""


class EndHold:
    """The end of the time after a restore in which nobody is admitted."""

    def carry_out(self, connection: sqlite3.Connection, number: int) -> bool:
        """See ``Change.carry_out``."""
        connection.execute("UPDATE store SET hold_s = NULL")
        return True

    def undo(self, number: int) -> Change | None:
        """See ``Change.undo``: the time has passed."""


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
