"""Removes carts that have expired, on one machine at a time: ``python cleaner.py grpc://localhost:5678 shop.db``.

Its tests, beside it, show the fixtures of the pytest plugin: ``python -m pytest examples/tested_application``.
"""

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing

import anyio

from atomix_election import LeaderElection, Leadership, connect
from atomix_election.fencing import SqlFencingGuard, StaleToken

ELECTION = "cleaner"
guard = SqlFencingGuard()


def create_tables(database: sqlite3.Connection) -> None:
    guard.create_table(database)
    with database:
        database.execute("CREATE TABLE IF NOT EXISTS carts (name TEXT PRIMARY KEY, expires_at REAL)")
        database.execute("CREATE TABLE IF NOT EXISTS cleanings (token INTEGER, removed INTEGER)")


def remove_expired(database: sqlite3.Connection, token: int, now: float) -> None:
    """Remove what has expired, as the leader with this token. On StaleToken, of a former leader, nothing is done."""
    with database:  # commits at its end, rolls back on an error
        database.execute("BEGIN IMMEDIATE")
        guard.check(database, "carts", token)
        removed = database.execute("DELETE FROM carts WHERE expires_at <= ?", (now,)).rowcount
        database.execute("INSERT INTO cleanings (token, removed) VALUES (?, ?)", (token, removed))


class Cleaner:
    """The job. It is given its election and its clock, so that a test decides which ones these are."""

    def __init__(
        self,
        election: LeaderElection,
        database: sqlite3.Connection,
        *,
        every_s: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.leads = False
        self._election = election
        self._database = database
        self._every_s = every_s
        self._now = now

    async def run(self) -> None:
        """Clean whenever this one leads, until cancelled."""
        while True:
            try:
                await self._election.run(self._clean)
            except StaleToken:
                await anyio.sleep(self._every_s)  # another one has led since: wait for the next turn

    async def _clean(self, leadership: Leadership) -> None:
        self.leads = True
        try:
            while True:
                leadership.ensure()
                remove_expired(self._database, leadership.token, self._now())
                await anyio.sleep(self._every_s)
        finally:
            self.leads = False


async def main(target: str, path: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        create_tables(database)
        async with connect(target) as client:
            await Cleaner(client.election(ELECTION), database).run()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
