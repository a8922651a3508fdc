"""One replica, as an application would write it: ``python -m ...demo.candidate TARGET ELECTION ID LEDGER TTL``.

While it leads it appends to a ledger, an SQLite file, which refuses tokens older than the newest that it saw. It gives
the lead up on SIGTERM.
"""

import asyncio
import sqlite3
import sys
import time
from contextlib import closing

from atomix_election import LeaderElection, Leadership
from atomix_election.demo.ledger import guard
from atomix_election.fencing import StaleToken

SLOW_STEP_S = 0.25
"""How long it takes from the check that one leads to the write, in a call that blocks the event loop."""
PAUSE_S = 0.05
"""Between two writes, so that the event loop gets to what else there is to do."""


def append(ledger: str, who: str, token: int) -> None:
    """Append a line to the ledger, unless a newer leader has written to it."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        guard.check(connection, "ledger", token)
        connection.execute("INSERT INTO ledger (who, token) VALUES (?, ?)", (who, token))
        connection.execute("COMMIT")


async def main(target: str, name: str, candidate_id: str, ledger: str, ttl_s: str) -> None:
    """Write to the ledger whenever this replica leads, until SIGTERM."""

    async def work(leadership: Leadership) -> None:
        print(f"I lead, with token {leadership.token}", flush=True)
        while True:
            leadership.ensure()
            print(f"writing under token {leadership.token}", flush=True)
            time.sleep(SLOW_STEP_S)  # noqa: ASYNC251 - just where a pause does harm
            try:
                append(ledger, candidate_id, leadership.token)
            except StaleToken as error:
                print(f"my write was refused: {error}", flush=True)
            await asyncio.sleep(PAUSE_S)

    async with LeaderElection(
        name, target=target, candidate_id=candidate_id, session_ttl=float(ttl_s), handle_signals=True
    ) as election:
        await election.run(work)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
