"""A web application with a periodic job, which one of its workers does: the one that leads.

``ELECTION_TARGET=grpc://localhost:5678 DATABASE=shop.db uvicorn --workers 4 application:application``, on any number of
machines. FastAPI takes the same lifespan.
"""

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
from atomix_election.fencing import SqlFencingGuard, StaleToken

EVERY_S = float(os.environ.get("EVERY_S", "60"))
guard = SqlFencingGuard()


def clean(path: str, token: int) -> None:
    """Do the job once, in a thread. On StaleToken nothing was done."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("BEGIN IMMEDIATE")
        guard.check(database, "cleanings", token)
        database.execute("INSERT INTO cleanings (token, pid) VALUES (?, ?)", (token, os.getpid()))


async def work_whenever_leader(election: LeaderElection, path: str) -> None:
    """Until cancelled, as the application ends."""

    async def work(leadership: Leadership) -> None:
        while True:
            leadership.ensure()
            await to_thread.run_sync(clean, path, leadership.token)
            await anyio.sleep(EVERY_S)

    while True:
        try:
            await election.run(work)
        except StaleToken:
            await anyio.sleep(EVERY_S)  # another one has led since: wait for the next turn


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncGenerator[None]:
    """Stand in the election for as long as the worker serves. Each worker is a process, and enters for itself."""
    async with (
        LeaderElection("cleanings", target=os.environ["ELECTION_TARGET"]) as election,
        anyio.create_task_group() as tasks,
    ):
        application.state.election = election
        tasks.start_soon(work_whenever_leader, election, os.environ["DATABASE"])
        yield
        tasks.cancel_scope.cancel()  # the queue is left, and the next worker leads at once


async def status(request: Request) -> JSONResponse:
    """Answer for this worker; every one of them answers requests, whoever leads."""
    election: LeaderElection = request.app.state.election
    return JSONResponse({"pid": os.getpid(), "leads": election.is_leader})


application = Starlette(routes=[Route("/status", status)], lifespan=lifespan)
