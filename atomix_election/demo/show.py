"""The demonstration: a server process, candidate processes, and what becomes of them, checked step by step."""

import signal
import tempfile
from collections.abc import AsyncIterator
from functools import partial

from atomix_election.client import LeaderElection
from atomix_election.demo.ledger import check_ledger, create_ledger
from atomix_election.demo.stage import Stage, expect, run_limited, until
from atomix_election.model import Event, Term

ELECTION = "demo"
CANDIDATES = ("anna", "bruno", "clara")
SESSION_TTL_S = 2.0
TAKEOVER_LIMIT_S = SESSION_TTL_S + 2.0
"""A killed or paused leader is replaced within its time-to-live; the rest is for a slow machine."""
TIME_LIMIT_S = 28.0


def run_demo() -> int:
    """Run it, and return the exit status: 0, or 1 after a message that says what was wrong."""
    return run_limited(_run, TIME_LIMIT_S)


async def _run(stage: Stage) -> None:
    with tempfile.TemporaryDirectory() as directory:
        ledger = f"{directory}/ledger.db"
        create_ledger(ledger)
        async with (
            stage.server() as server,
            LeaderElection(ELECTION, target=server.target) as election,
            election.events() as events,
        ):
            await _play(stage, server.target, events, ledger)
        check_ledger(stage, ledger)


async def _play(stage: Stage, target: str, events: AsyncIterator[Event], ledger: str) -> None:
    anna, bruno, clara = CANDIDATES
    async with stage.candidates(target, ELECTION, ledger, SESSION_TTL_S) as candidates:
        term = Term()
        for place, name in enumerate(CANDIDATES, 1):
            await candidates.start(name)
            term = await until(events, lambda term, place=place: len(term.candidates) == place, "a candidate to enter")
        expect(
            term.candidates == CANDIDATES, f"{CANDIDATES} should stand in the order they came, not {term.candidates}"
        )

        await candidates.said(anna, "writing under token")
        stage.say("demo", f"killing the leader, {anna}, with SIGKILL")
        kill = partial(candidates.send, anna, signal.SIGKILL)
        term = await stage.take_over(events, term, bruno, kill, TAKEOVER_LIMIT_S)

        await candidates.said(bruno, f"writing under token {term.number}")
        stage.say("demo", f"pausing the leader, {bruno}, with SIGSTOP, just when it is about to write")
        paused = term
        pause = partial(candidates.send, bruno, signal.SIGSTOP)
        term = await stage.take_over(events, term, clara, pause, TAKEOVER_LIMIT_S)
        await candidates.said(clara, f"writing under token {term.number}", times=2)
        stage.say("demo", f"letting {bruno} go on: it still believes that it leads under token {paused.number}")
        candidates.send(bruno, signal.SIGCONT)
        await candidates.said(bruno, "my write was refused")
        await until(events, lambda term: bruno in term.candidates, f"{bruno} to enter again")

        stage.say("demo", f"asking the leader, {clara}, to end, with SIGTERM")
        ask = partial(candidates.send, clara, signal.SIGTERM)
        term = await stage.take_over(events, term, bruno, ask, SESSION_TTL_S)
        await candidates.expect_exit(clara, -signal.SIGTERM)
        await candidates.said(bruno, f"writing under token {term.number}", times=2)
        candidates.send(bruno, signal.SIGTERM)
        await until(events, lambda term: not term.candidates, "the last candidate to leave")
        await candidates.expect_exit(bruno, -signal.SIGTERM)
