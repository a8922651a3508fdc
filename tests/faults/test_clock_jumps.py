"""A machine of a client was suspended, by libfaketime: all of its clocks jump, and by its own view it leads no more."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.faults.diary import SLACK_S, WAIT_S, Entry
from tests.faults.stage import TTL_S, Server, Stage
from tests.faults.worker import now
from tests.soak.faked_clocks import ABSENT, CACHE_S, FakedClock, library
from tests.soak.processes import end_process, start_process

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(library() is None, reason=ABSENT)]

SUSPENDED_S = 3600


class Candidate:
    """A candidate process with clocks of its own, by which it says when things happen."""

    def __init__(self, said: BufferedByteReceiveStream) -> None:
        self._said = said
        self.entries: list[Entry] = []

    async def says(self, what: str, *, token: int = 0) -> Entry:
        """Wait until it says something, of some token if it is not 0."""
        with anyio.fail_after(WAIT_S):
            while True:
                entry = Entry(**json.loads(await self._said.receive_until(b"\n", 10_000)))
                self.entries.append(entry)
                if entry.what == what and token in (0, entry.token):
                    return entry


@asynccontextmanager
async def candidate(target: str, clock: FakedClock, log: Path) -> AsyncGenerator[Candidate]:
    """Run one."""
    settings = {"target": target, "who": "a", "work": {}, "options": {"session_ttl": TTL_S}}
    process = await start_process(["-m", "tests.faults.candidate", json.dumps(settings)], log, clock.environment)
    try:
        assert process.stdout is not None
        yield Candidate(BufferedByteReceiveStream(process.stdout))
    finally:
        await end_process(process)


async def test_a_leader_whose_machine_was_suspended_leads_no_more(stage: Stage, server: Server, tmp_path: Path) -> None:
    """It knows at once, writes nothing any more under its old token, and leads again under a new one."""
    found = library()
    assert found is not None
    clock = FakedClock(found, tmp_path / "clock", elapsing=True)
    async with candidate(server.target, clock, tmp_path / "log") as a:
        first = await a.says("write")
        await stage.queue(await stage.observer(server.target), "a")
        jumped = now()
        clock.set(SUSPENDED_S)
        ended = await a.says("end")
        assert now() - jumped < CACHE_S + TTL_S / 10 + SLACK_S
        assert (ended.token, ended.is_leader, ended.reason) == (first.token, False, "EXPIRED")
        assert ended.at > first.at + SUSPENDED_S
        assert all(each.at < each.deadline for each in a.entries if each.what == "write")
        assert all(each.at < first.at + SUSPENDED_S for each in a.entries if each.what == "write")
        assert (await a.says("begin")).token > first.token
        await a.says("write", token=first.token + 1)
