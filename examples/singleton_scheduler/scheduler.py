"""Puts jobs into a queue when they are due, on one machine at a time, as Celery's beat does on the only one.

``python scheduler.py grpc://localhost:5678 jobs.db report=60 clean=3600``, on as many machines as are to stand by.
Where the queue is a broker that checks no token, a job that is due when the leader changes may be queued twice.
"""

import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing

from atomix_election.fencing import SqlFencingGuard, StaleToken
from atomix_election.sync import LeaderElection, Leadership

ELECTION = "scheduler"
PAUSE_S = 0.5
"""How long one that was refused stays away: others are to get their turn."""
guard = SqlFencingGuard()


def create_tables(database: sqlite3.Connection) -> None:
    guard.create_table(database)
    with database:
        database.execute("CREATE TABLE IF NOT EXISTS schedule (job TEXT PRIMARY KEY, due_at REAL NOT NULL)")
        database.execute("CREATE TABLE IF NOT EXISTS queue (job TEXT, due_at REAL, token INTEGER)")


class Scheduler:
    """What is due stands in the table, so that whoever leads next goes on where the former leader stopped.

    Args:
        every_s: for each job, how often it is due, in seconds.
    """

    def __init__(
        self, database: sqlite3.Connection, every_s: Mapping[str, float], *, now: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._every_s = every_s
        self._now = now

    def work(self, leadership: Leadership) -> None:
        """Queue what is due, until the lead is lost. Nothing cancels a thread: it has to look for itself."""
        while not leadership.lost.wait(self.queue_due(leadership.token)):
            leadership.ensure()

    def queue_due(self, token: int) -> float:
        """Queue all jobs that are due, and return how long to wait then. On StaleToken nothing was queued."""
        now = self._now()
        next_at: list[float] = []
        with self._database as database:  # commits at its end, rolls back on an error
            database.execute("BEGIN IMMEDIATE")
            guard.check(database, "schedule", token)
            due_at: dict[str, float] = dict(database.execute("SELECT job, due_at FROM schedule"))
            for job, every_s in self._every_s.items():
                due = due_at.get(job, now)
                if due <= now:
                    database.execute("INSERT INTO queue VALUES (?, ?, ?)", (job, due, token))
                    due = max(due + every_s, now)  # one run makes up for all that were missed
                    database.execute("INSERT OR REPLACE INTO schedule VALUES (?, ?)", (job, due))
                next_at.append(due)
        return max(0.0, min(next_at) - self._now())


def main(target: str, path: str, *jobs: str) -> None:
    every_s = {name: float(interval) for name, _, interval in (job.partition("=") for job in jobs)}
    with closing(sqlite3.connect(path)) as database:
        create_tables(database)
        scheduler = Scheduler(database, every_s)
        with LeaderElection(ELECTION, target=target, handle_signals=True) as election:
            while True:
                try:
                    election.run(scheduler.work)
                except StaleToken:
                    time.sleep(PAUSE_S)  # another one has led since: wait for the next turn


if __name__ == "__main__":
    main(*sys.argv[1:])
