"""A web application with a periodic job, which one of its workers does: the one that leads.

``ELECTION_TARGET=grpc://localhost:5678 DATABASE=shop.db uvicorn --workers 4 application:application``, on any number of
machines. ``FastAPI(lifespan=lifespan)`` takes the same lifespan.
"""

import logging
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from atomix_election import LeaderElection, Leadership
from atomix_election.fencing import SqlFencingGuard

EVERY_S = float(os.environ.get("EVERY_S", "60"))
log = logging.getLogger(__name__)
guard = SqlFencingGuard()


def create_tables(path: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        guard.create_table(database)
        database.execute("CREATE TABLE IF NOT EXISTS cleanings (token INTEGER, pid INTEGER)")


def clean(path: str, token: int) -> None:
    """Do the job once, in a thread. On StaleToken nothing was done."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("BEGIN IMMEDIATE")
        guard.check(database, "cleanings", token)
        database.execute("INSERT INTO cleanings VALUES (?, ?)", (token, os.getpid()))


async def clean_while_leading(election: LeaderElection, path: str) -> None:
    """Do the job whenever this worker leads, until cancelled."""

    async def work(leadership: Leadership) -> None:
        while True:
            leadership.ensure()
            await to_thread.run_sync(clean, path, leadership.token)  # a loss waits for the end of a cleaning that began
            await anyio.sleep(EVERY_S)

    while True:
        try:
            await election.run(work)
        except Exception:  # the worker would serve on without its job, as nobody looks at a lifespan that has failed
            log.exception("this worker has left the queue of the job, and comes back in %g s", EVERY_S)
        await anyio.sleep(EVERY_S)


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncGenerator[None]:
    """Stand in the election for as long as the worker serves. Each worker is a process, and enters for itself."""
    path = os.environ["DATABASE"]
    create_tables(path)
    async with (
        LeaderElection("cleanings", target=os.environ["ELECTION_TARGET"]) as election,
        anyio.create_task_group() as tasks,
    ):
        application.state.election = election
        tasks.start_soon(clean_while_leading, election, path)
        yield
        tasks.cancel_scope.cancel()  # the queue is left, and the next worker leads at once


async def status(request: Request) -> JSONResponse:
    """Answer for this worker; every one of them answers requests, whoever leads."""
    election: LeaderElection = request.app.state.election
    return JSONResponse({"pid": os.getpid(), "leads": election.is_leader})


application = Starlette(routes=[Route("/status", status)], lifespan=lifespan)
