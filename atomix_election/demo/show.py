"""The demonstration: a server process, candidate processes, and what becomes of them, checked step by step."""

import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteReceiveStream, Process, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from atomix_election.client import LeaderElection
from atomix_election.errors import ElectionError
from atomix_election.model import Event, Term
from atomix_election.tasks import background_tasks

ELECTION = "demo"
CANDIDATES = ("anna", "bruno", "clara")
SESSION_TTL_S = 2.0
"""How long the server waits for a client that has gone, before the next one leads."""
TAKEOVER_LIMIT_S = SESSION_TTL_S + 2.0
TIME_LIMIT_S = 25.0
LONGEST_LINE_BYTES = 4096


class DemoFailed(Exception):
    """Something was not as it should be."""


def run_demo() -> int:
    """Run it, and return the exit status: 0, or 1 after a message that says what was wrong."""
    try:
        anyio.run(_run)
    except (DemoFailed, ElectionError) as error:
        print(f"\nThe demonstration failed: {error}", file=sys.stderr)
        return 1
    return 0


async def _run() -> None:
    with anyio.move_on_after(TIME_LIMIT_S) as limit:
        stage = _Stage()
        async with (
            stage.server() as target,
            LeaderElection(ELECTION, target=target) as election,
            election.events() as events,
        ):
            await _play(stage, target, events)
        stage.say("demo", f"all went as it should, in {stage.seconds():.1f} s")
    if limit.cancelled_caught:
        raise DemoFailed(f"it was not over after {TIME_LIMIT_S:g} s")


async def _play(stage: "_Stage", target: str, events: AsyncIterator[Event]) -> None:
    async with stage.candidates() as candidates:
        term = Term()
        for place, name in enumerate(CANDIDATES, 1):
            await candidates.start(name, target)
            term = await _until(events, lambda term, place=place: len(term.candidates) == place, "a candidate to enter")
        _expect(
            term.candidates == CANDIDATES, f"{CANDIDATES} should stand in the order they came, not {term.candidates}"
        )

        stage.say(
            "demo", f"killing the leader, {term.leader}, with SIGKILL; its session lasts {SESSION_TTL_S:g} s more"
        )
        killed_at = time.monotonic()
        candidates.send(CANDIDATES[0], signal.SIGKILL)
        after = await _next_leader(events, term)
        took_s = time.monotonic() - killed_at
        stage.say("demo", f"{after.leader} took over {took_s:.2f} s after the kill, with token {after.number}")
        _expect(after.leader == CANDIDATES[1], f"{CANDIDATES[1]} was next, but {after.leader} leads")
        _expect(after.number > term.number, f"token {after.number} does not exceed the former {term.number}")
        _expect(took_s < TAKEOVER_LIMIT_S, f"the takeover took more than {TAKEOVER_LIMIT_S:g} s")

        stage.say("demo", f"asking {after.leader} to leave, with SIGTERM")
        asked_at = time.monotonic()
        candidates.send(CANDIDATES[1], signal.SIGTERM)
        last = await _next_leader(events, after)
        took_s = time.monotonic() - asked_at
        stage.say("demo", f"{last.leader} took over {took_s * 1000:.0f} ms after that, with token {last.number}")
        _expect(last.leader == CANDIDATES[2], f"{CANDIDATES[2]} was next, but {last.leader} leads")
        _expect(last.number > after.number, f"token {last.number} does not exceed the former {after.number}")
        _expect(took_s < SESSION_TTL_S, "the hand-over should not wait for a session to end")
        await candidates.expect_exit(CANDIDATES[1], 0)

        candidates.send(CANDIDATES[2], signal.SIGTERM)
        await _until(events, lambda term: not term.candidates, "the last candidate to leave")
        await candidates.expect_exit(CANDIDATES[2], 0)


async def _next_leader(events: AsyncIterator[Event], before: Term) -> Term:
    return await _until(events, lambda term: term.leader not in (None, before.leader), "another leader")


async def _until(events: AsyncIterator[Event], wanted: Callable[[Term], bool], what: str) -> Term:
    async for event in events:
        if wanted(event.term):
            return event.term
    raise DemoFailed(f"the watch ended while waiting for {what}")


def _expect(fact: bool, otherwise: str) -> None:
    if not fact:
        raise DemoFailed(otherwise)


class _Stage:
    """Starts processes, shows what they print, and leaves none behind."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def say(self, who: str, what: str) -> None:
        print(f"{self.seconds():6.2f}  {who:<7} {what}", flush=True)

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[str]:
        """Run a server process, and give its target."""
        arguments = ["-m", "atomix_election", "serve", "--listen", "127.0.0.1:0", "--session-ttl", str(SESSION_TTL_S)]
        async with _process(arguments) as server:
            lines = _lines(server)
            ready = await anext(lines, "")
            self.say("server", ready)
            if not ready.startswith("listening on grpc://"):
                raise DemoFailed(f"the server did not start, it said {ready!r}")
            yield ready.removeprefix("listening on ")
            server.send_signal(signal.SIGTERM)
            _expect(await server.wait() == 0, f"the server ended with exit status {server.returncode}")
            self.say("server", "ended")

    @asynccontextmanager
    async def candidates(self) -> AsyncGenerator["_Candidates"]:
        """Give room for candidate processes; those that still run at the end are killed."""
        async with background_tasks() as tasks:
            yield _Candidates(self, tasks)


class _Candidates:
    def __init__(self, stage: _Stage, tasks: TaskGroup) -> None:
        self._stage = stage
        self._tasks = tasks
        self._processes: dict[str, Process] = {}

    async def start(self, name: str, target: str) -> None:
        """Start a candidate, and show what it prints until it ends."""
        await self._tasks.start(self._run, name, target)

    def send(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    async def expect_exit(self, name: str, status: int) -> None:
        found = await self._processes[name].wait()
        _expect(found == status, f"{name} ended with exit status {found}")

    async def _run(self, name: str, target: str, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with _process(["-m", "atomix_election.demo.candidate", target, ELECTION, name]) as process:
            self._processes[name] = process
            task_status.started()
            async for line in _lines(process):
                self._stage.say(name, line)
            await process.wait()


@asynccontextmanager
async def _process(arguments: list[str]) -> AsyncGenerator[Process]:
    process = await anyio.open_process([sys.executable, *arguments], stderr=None, stdin=None)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def _lines(process: Process) -> AsyncGenerator[str]:
    stream: ByteReceiveStream | None = process.stdout
    if stream is None:
        raise AssertionError("the process was started with a pipe for its output")
    buffered = BufferedByteReceiveStream(stream)
    while True:
        try:
            yield (await buffered.receive_until(b"\n", LONGEST_LINE_BYTES)).decode()
        except anyio.IncompleteRead:
            return
