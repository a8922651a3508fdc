"""The process that ``benchmarks.commits`` measures: ``python -m benchmarks.commits_load DIRECTORY``. It obeys:

    engine ELECTIONS CALLERS SECONDS    commands a second that callers have committed, spread over so many elections
    rows A_COMMIT SECONDS               rows a second that SQLite alone has committed
    wake_ups SECONDS                    wake-ups of a future a second, for its processor time

DIRECTORY is where the files are.
"""

import sqlite3
import sys
import time
from contextlib import closing
from functools import partial

import anyio

from atomix_election import connect
from atomix_election.service import Call
from benchmarks.inprocess_load import wake_up
from benchmarks.load import repeat
from benchmarks.processes import obey

ROWS = 64
"""Rows of the table, each of which is written again and again, as the records of elections are."""
RECORD = bytes(200)
"""About as long as the record of an election with one candidate."""


def open_rows(directory: str) -> sqlite3.Connection:
    """Return a file with rows that is written to as safely as a store: all that is committed is on the disk."""
    connection = sqlite3.connect(f"{directory}/rows.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE row (namespace TEXT, name TEXT, version INTEGER, record BLOB, PRIMARY KEY (namespace, name)) "
        "WITHOUT ROWID"
    )
    connection.executemany(
        "INSERT INTO row VALUES ('default', ?, 0, ?)", [(f"e{each}", RECORD) for each in range(ROWS)]
    )
    return connection


def commit_rows(connection: sqlite3.Connection, a_commit: int, seconds: float) -> float:
    """Write rows, so many in each transaction, and return how many a second there were."""
    done, began = 0, time.monotonic()
    update = "UPDATE row SET version = ?, record = ? WHERE namespace = 'default' AND name = ?"
    while time.monotonic() - began < seconds:
        connection.execute("BEGIN IMMEDIATE")
        for each in range(done, done + a_commit):
            connection.execute(update, (each, RECORD, f"e{each % ROWS}"))
        connection.execute("COMMIT")
        done += a_commit
    return done / (time.monotonic() - began)


async def main(directory: str) -> None:
    """See the module."""
    async with connect(f"sqlite:///{directory}/elections.db") as client:
        service = client.service

        async def cycle(call: Call, candidate_id: str) -> None:
            await service.enter(call, candidate_id)
            await service.withdraw(call, candidate_id)

        async def engine(elections: int, callers: int, seconds: float) -> float:
            calls = [Call(f"{elections}-{each % elections}", session=f"s{each}") for each in range(callers)]
            for call in calls:
                await service.create(call)
            jobs = [partial(cycle, call, f"c{each}") for each, call in enumerate(calls)]
            return 2 * await repeat(seconds, jobs)

        with closing(open_rows(directory)) as connection:

            async def rows(a_commit: int, seconds: float) -> float:
                return commit_rows(connection, a_commit, seconds)

            async def wake_ups(seconds: float) -> float:
                return await repeat(seconds, [wake_up])

            await obey({"engine": engine, "rows": rows, "wake_ups": wake_ups})


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
