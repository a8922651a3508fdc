"""What the candidates of a demonstration write to: an SQLite file that refuses the token of a former leader."""

import sqlite3
from contextlib import closing

from atomix_election.demo.stage import Stage, expect
from atomix_election.fencing import SqlFencingGuard

guard: SqlFencingGuard = SqlFencingGuard()


def create_ledger(ledger: str) -> None:
    """Make the file."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("CREATE TABLE ledger (who TEXT, token INTEGER)")
        guard.create_table(connection)
        connection.commit()


def check_ledger(stage: Stage, ledger: str) -> None:
    """What the leaders wrote must be in the order of their tokens."""
    with closing(sqlite3.connect(ledger)) as connection:
        tokens = [token for (token,) in connection.execute("SELECT token FROM ledger ORDER BY rowid")]
    expect(tokens == sorted(tokens), f"the ledger was written to by an old leader: tokens {tokens}")
    stage.say("demo", f"the ledger holds {len(tokens)} writes, in the order of their tokens: {sorted(set(tokens))}")
