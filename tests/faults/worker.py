"""What a candidate does while it leads, and says about it. The same in this process and in one of its own."""

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import anyio

from atomix_election import LeaderElection, Leadership, LeadershipLost
from atomix_election.fencing import SqlFencingGuard, StaleToken

Say = Callable[..., None]
STEP_S = 0.02
"""Between two writes."""
guard = SqlFencingGuard()


def now() -> float:
    """Return the time that all processes of a machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Worker:
    """Writes for as long as it leads, each time after asking whether it does.

    Args:
        election: where it stands.
        say: is told what happens, when.
        ledger: a database to write to; "" for none.
        wait_for_line: before each write, wait for a line on stdin, in a call that blocks the event loop.
        drain_s: how long it takes to stop.
    """

    def __init__(
        self,
        election: LeaderElection,
        say: Say,
        *,
        ledger: str = "",
        wait_for_line: bool = False,
        drain_s: float = 0.0,
    ) -> None:
        self.election = election
        self._say = say
        self._ledger = ledger
        self._wait_for_line = wait_for_line
        self._drain_s = drain_s

    async def work(self, leadership: Leadership) -> None:
        """Work until it is cancelled."""
        self._tell("begin", leadership)
        try:
            while True:
                leadership.ensure()
                self._tell("write", leadership)
                if self._ledger:
                    self._write(leadership.token)
                await anyio.sleep(STEP_S)
        finally:
            reason = ""
            try:
                leadership.ensure()
            except LeadershipLost as error:
                reason = error.reason.name
            self._tell("stopping", leadership, reason=reason)
            if self._drain_s:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(self._drain_s)
            self._tell("end", leadership, reason=reason)

    def _write(self, token: int) -> None:
        if self._wait_for_line:
            sys.stdin.readline()
            self._say("woke", token=token, is_leader=self.election.is_leader)
        try:
            append(self._ledger, self.election.candidate_id, token)
        except StaleToken:
            self._say("refused", token=token)

    def _tell(self, what: str, leadership: Leadership, **more: Any) -> None:
        at = now()  # before what is left, so that the deadline is no later than it was
        deadline = at + leadership.remaining
        self._say(what, token=leadership.token, deadline=deadline, is_leader=self.election.is_leader, **more)


def make_ledger(ledger: str) -> None:
    """Make the database."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("CREATE TABLE ledger (who TEXT, token INTEGER)")
        guard.create_table(connection)
        connection.commit()


def append(ledger: str, who: str, token: int) -> None:
    """Write a line, unless a newer leader has written to it."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        guard.check(connection, "ledger", token)
        connection.execute("INSERT INTO ledger (who, token) VALUES (?, ?)", (who, token))
        connection.execute("COMMIT")


def tokens_in(ledger: str) -> list[int]:
    """Return the tokens under which lines were written, in their order."""
    with closing(sqlite3.connect(ledger)) as connection:
        return [token for (token,) in connection.execute("SELECT token FROM ledger ORDER BY rowid")]
