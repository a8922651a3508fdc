"""The demonstration of a cluster: etcd, servers and candidates, of which one after the other is killed."""

import signal
import tempfile
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from atomix_election.client import LeaderElection
from atomix_election.demo.etcd import Etcd, etcd_cluster
from atomix_election.demo.ledger import check_ledger, create_ledger
from atomix_election.demo.stage import Candidates, Server, Stage, expect, run_limited, until
from atomix_election.model import Event, Term

ELECTION = "demo"
CANDIDATES = ("anna", "bruno", "clara", "david")
SESSION_TTL_S = 5.0
"""Long enough for etcd to elect a leader of its own meanwhile, which takes it up to 2 s with its default settings."""
TAKEOVER_LIMIT_S = SESSION_TTL_S + 3.0
TIME_LIMIT_S = 60.0


def run_cluster_demo() -> int:
    """Run it, and return the exit status: 0, or 1 after a message that says what was wrong."""
    return run_limited(_run, TIME_LIMIT_S)


async def _run(stage: Stage) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ledger = str(directory / "ledger.db")
        create_ledger(ledger)
        async with (
            etcd_cluster(stage, directory) as etcd,
            stage.server(etcd.target, name="server-1") as first,
            stage.server(etcd.target, name="server-2") as second,
        ):
            target = f"{first.target},{second.target.removeprefix('grpc://')}"
            async with LeaderElection(ELECTION, target=target) as election, election.events() as events:
                await _play(stage, etcd, [first, second], target, events, ledger)
        check_ledger(stage, ledger)


async def _play(
    stage: Stage, etcd: Etcd, servers: list[Server], target: str, events: AsyncIterator[Event], ledger: str
) -> None:
    anna, bruno, *others = CANDIDATES
    async with stage.candidates(target, ELECTION, ledger, SESSION_TTL_S) as candidates:
        term = Term()
        for place, name in enumerate(CANDIDATES, 1):
            await candidates.start(name)
            term = await until(events, lambda term, place=place: len(term.candidates) == place, "a candidate to enter")
        await candidates.said(anna, f"writing under token {term.number}")

        struck_at = time.monotonic()
        stage.say("demo", f"killed {await etcd.kill_leader()}, which led the cluster, with SIGKILL")
        await _goes_on(stage, candidates, anna, term, struck_at)

        struck_at = time.monotonic()
        await servers[0].kill()
        stage.say("demo", "killed server-1 with SIGKILL")
        await _goes_on(stage, candidates, anna, term, struck_at)

        stage.say("demo", f"killing the leader, {anna}, with SIGKILL")
        kill = partial(candidates.send, anna, signal.SIGKILL)
        term = await stage.take_over(events, term, bruno, kill, TAKEOVER_LIMIT_S)
        await candidates.said(bruno, f"writing under token {term.number}", times=2)
        expect(list(term.candidates) == [bruno, *others], f"the queue should have stayed, and is {term.candidates}")

        stage.say("demo", f"asking the leader, {bruno}, to end, with SIGTERM")
        ask = partial(candidates.send, bruno, signal.SIGTERM)
        term = await stage.take_over(events, term, others[0], ask, SESSION_TTL_S)
        await candidates.said(others[0], f"writing under token {term.number}", times=2)
        for name in others:
            candidates.send(name, signal.SIGTERM)
        await until(events, lambda term: not term.candidates, "the last candidate to leave")
        for name in (bruno, *others):
            await candidates.expect_exit(name, -signal.SIGTERM)


async def _goes_on(stage: Stage, candidates: Candidates, leader: str, term: Term, struck_at: float) -> None:
    """See that the leader goes on under the same token, for longer than its lease could have lasted."""
    while time.monotonic() - struck_at < SESSION_TTL_S + 1:
        await candidates.said(leader, f"writing under token {term.number}")
    stage.say("demo", f"{leader} has gone on leading for {SESSION_TTL_S + 1:g} s, still with token {term.number}")
