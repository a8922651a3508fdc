"""Writes to PostgreSQL while it leads; the database refuses what a leader of yesterday still sends.

``python writer.py create postgresql:///shop`` once, as part of a deployment; then
``python writer.py run postgresql:///shop grpc://localhost:5678``, on as many machines as are to stand by.
"""

import sys
import time

import psycopg

from atomix_election.fencing import SqlFencingGuard, StaleToken
from atomix_election.sync import LeaderElection, Leadership

ELECTION = "report"
EVERY_S = 1.0
LONGEST_IDLE_S = 2.0
"""How long a transaction may do nothing: for so long a leader that is paused in one, or gone, can hold up the next."""

guard = SqlFencingGuard()


def connect(database: str) -> psycopg.Connection:
    """Connect, so that ``connection.transaction()`` is a whole transaction and never a part of another one.

    Behind a pooler, which passes no options on, set the time limit with ALTER ROLE.
    """
    limit = f"-c idle_in_transaction_session_timeout={LONGEST_IDLE_S:g}s"
    return psycopg.connect(database, autocommit=True, options=limit)


def create_tables(connection: psycopg.Connection) -> None:
    with connection.transaction():
        guard.create_table(connection)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS report"
            " (line BIGINT GENERATED ALWAYS AS IDENTITY, token BIGINT NOT NULL, text TEXT NOT NULL)"
        )


def write(connection: psycopg.Connection, token: int, text: str) -> None:
    """Write under a token. On StaleToken, and on any other error, nothing was written."""
    with connection.transaction():
        # It takes the lock of the row that holds the newest token, and so waits for a leader that is in the middle of
        # its write, and lets none in before this transaction has ended.
        guard.check(connection, ELECTION, token)
        connection.execute("INSERT INTO report (token, text) VALUES (%s, %s)", (token, text))


def main(order: str, database: str, *target: str) -> None:
    if order == "create":
        with connect(database) as connection:
            create_tables(connection)
        return

    def work(leadership: Leadership) -> None:
        """Write now and then, until the lead is lost. Nothing cancels a thread: it has to look for itself."""
        with connect(database) as connection:
            while True:
                leadership.ensure()
                write(connection, leadership.token, f"written at {time.time():.3f}")
                leadership.lost.wait(EVERY_S)

    with LeaderElection(ELECTION, target=target[0], handle_signals=True) as election:
        while True:
            try:
                election.run(work)
            except StaleToken as error:
                print(f"refused: {error}", flush=True)  # another one has led since: wait for the next turn
            except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
                print(f"not written: {error}", flush=True)  # perhaps another machine reaches the database
                time.sleep(EVERY_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
