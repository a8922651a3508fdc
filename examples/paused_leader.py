"""A leader is paused between "do I lead?" and its write; another one takes over; the table refuses the late write.

This file starts a server and two workers, which are this file again: ``paused_leader.py worker TARGET NAME DATABASE``.
"""

import asyncio
import signal
import sqlite3
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import closing
from pathlib import Path

from atomix_election import ElectionServer, LeaderElection, Leadership
from atomix_election.fencing import SqlFencingGuard, StaleToken

SESSION_TTL_S = 2.0
guard = SqlFencingGuard()


def write_report(database: str, name: str, token: int) -> None:
    """Write under a token; the guard refuses one that is older than the newest it has seen."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        guard.check(connection, "report", token)
        connection.execute("INSERT INTO report (name, token) VALUES (?, ?)", (name, token))


async def worker(target: str, name: str, database: str) -> None:
    """Write one report as the leader, when told to on stdin."""

    async def work(leadership: Leadership) -> None:
        leadership.ensure()
        print(f"{name}: I lead with token {leadership.token}, and am about to write", flush=True)
        sys.stdin.readline()  # stands for anything that takes longer than one thinks; it blocks the event loop
        try:
            write_report(database, name, leadership.token)
            print(f"{name}: written", flush=True)
        except StaleToken as error:
            print(f"{name}: refused: {error}", flush=True)
        print(f"{name}: do I lead? {election.is_leader}", flush=True)
        await asyncio.Event().wait()

    async with LeaderElection("report", target=target, candidate_id=name, session_ttl=SESSION_TTL_S) as election:
        await election.run(work)


async def heard(process: Process, what: str) -> None:
    """Show what a worker says, until it has said this."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        print(line, end="", flush=True)
        if what in line:
            return
    raise SystemExit(f"the worker ended and never said {what!r}")


def tell(process: Process) -> None:
    """Let a worker write."""
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def main(database: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        guard.create_table(connection)
        connection.execute("CREATE TABLE report (name TEXT, token INTEGER)")

    workers: list[Process] = []

    async def start(name: str) -> Process:
        arguments = (__file__, "worker", server.target, name, database)
        workers.append(await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE))
        return workers[-1]

    async with ElectionServer() as server:
        try:
            anna = await start("anna")
            await heard(anna, "about to write")
            print("      anna is paused (SIGSTOP); bruno starts", flush=True)
            anna.send_signal(signal.SIGSTOP)
            bruno = await start("bruno")
            await heard(bruno, "about to write")
            tell(bruno)
            await heard(bruno, "written")
            print("      anna goes on (SIGCONT), in the middle of her write", flush=True)
            tell(anna)
            anna.send_signal(signal.SIGCONT)
            await heard(anna, "refused")
            await heard(anna, "do I lead? False")
        finally:
            for process in workers:
                process.kill()
                await process.wait()

    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT name, token FROM report").fetchall()
    print(f"      the table holds {rows}")
    if rows != [("bruno", 2)]:
        raise SystemExit("a stale write was accepted")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        asyncio.run(worker(*sys.argv[2:]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(main(str(Path(folder) / "report.db")))
