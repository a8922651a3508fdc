"""Asks its sidecar whether it leads before each write. The answer is one of the past: the database checks the token.

It needs the tables of ``fenced_postgresql/writer.py``.
"""

import json
import os
import signal
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from socket import gethostname
from threading import Event

import psycopg

from atomix_election.fencing import SqlFencingGuard, StaleToken

EVERY_S = 1.0
ASK_S = 1.0
"""How long the sidecar is waited for. One that is stopped says nothing, and then nobody leads here."""

guard = SqlFencingGuard()


def leading_token(sidecar: str) -> int | None:
    """Return the token to write under, None where this pod does not lead, or its sidecar does not say so."""
    with closing(HTTPConnection(sidecar, timeout=ASK_S)) as connection:
        try:
            connection.request("GET", "/leader")
            status = json.load(connection.getresponse())
        except (OSError, HTTPException):
            return None
    return status["token"] if status["phase"] == "running" else None  # before that, its --takeover-delay is not over


def write(database: str, token: int) -> None:
    """Write under the token. On StaleToken nothing was written."""
    with psycopg.connect(database, autocommit=True) as connection, connection.transaction():
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '2s'")
        guard.check(connection, "report", token)
        connection.execute("INSERT INTO report (token, text) VALUES (%s, %s)", (token, gethostname()))


def main() -> None:
    stopped = Event()
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopped.set())
    while not stopped.wait(EVERY_S):
        token = leading_token(os.environ["ELECTION_SIDECAR"])
        if token is None:
            continue
        try:
            write(os.environ["DATABASE"], token)
        except StaleToken as error:
            print(f"refused: {error}", flush=True)
        except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
            print(f"not written: {error}", flush=True)


if __name__ == "__main__":
    main()
