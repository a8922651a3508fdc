"""A table that refuses a leader of yesterday: every write brings its token, checked in the same transaction.

In an application the token is ``leadership.token``; here two numbers stand for two leaders.
"""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from atomix_election.fencing import SqlFencingGuard, StaleToken

guard = SqlFencingGuard()


def write_report(connection: sqlite3.Connection, token: int, text: str) -> None:
    """Write under a token. On StaleToken nothing was written, and the caller must stop leading."""
    with connection:  # commits at its end, rolls back on an error
        connection.execute("BEGIN IMMEDIATE")
        guard.check(connection, "report", token)
        connection.execute("INSERT INTO report (token, text) VALUES (?, ?)", (token, text))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "reports.db"
        with closing(sqlite3.connect(database)) as paused, closing(sqlite3.connect(database)) as successor:
            guard.create_table(paused)
            paused.execute("CREATE TABLE report (token INTEGER, text TEXT)")

            write_report(paused, 33, "begun by the first leader")
            # The first leader is paused for longer than its lease: another one is elected.
            write_report(successor, 34, "taken over by the second leader")
            write_report(successor, 34, "carried on by the second leader")
            # The first leader wakes up, and does not know yet.
            try:
                write_report(paused, 33, "written by nobody")
            except StaleToken as error:
                print(f"refused: {error}")
            else:
                raise SystemExit("a stale token was accepted")

            for token, text in successor.execute("SELECT token, text FROM report ORDER BY rowid"):
                print(f"{token}: {text}")


if __name__ == "__main__":
    main()
