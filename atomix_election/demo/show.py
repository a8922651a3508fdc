"""The demonstration: a server process, candidate processes, and what becomes of them, checked step by step."""

import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from atomix_election.client import LeaderElection
from atomix_election.demo.candidate import SESSION_TTL_S, guard
from atomix_election.errors import ElectionError
from atomix_election.model import Event, Term
from atomix_election.signals import cancelled_by_sigterm
from atomix_election.tasks import Background, background_tasks, shielded

ELECTION = "demo"
CANDIDATES = ("anna", "bruno", "clara")
TAKEOVER_LIMIT_S = SESSION_TTL_S + 2.0
"""A killed or paused leader is replaced within its time-to-live; the rest is for a slow machine."""
TIME_LIMIT_S = 28.0
LONGEST_LINE_BYTES = 4096


class DemoFailed(Exception):
    """Something was not as it should be."""


def run_demo() -> int:
    """Run it, and return the exit status: 0, or 1 after a message that says what was wrong."""
    try:
        anyio.run(_run)
    except BaseExceptionGroup as group:
        if group.subgroup(BrokenPipeError) is None:
            raise
        raise BrokenPipeError("whoever read the output has gone") from None
    except BrokenPipeError:
        raise
    except (DemoFailed, ElectionError, OSError) as error:
        print(f"\nThe demonstration failed: {error}", file=sys.stderr)
        return 1
    return 0


async def _run() -> None:
    with cancelled_by_sigterm(), anyio.move_on_after(TIME_LIMIT_S) as limit:
        stage = _Stage()
        with tempfile.TemporaryDirectory() as directory:
            ledger = f"{directory}/ledger.db"
            _create_ledger(ledger)
            async with (
                stage.server() as target,
                LeaderElection(ELECTION, target=target) as election,
                election.events() as events,
            ):
                await _play(stage, target, events, ledger)
            _check_ledger(stage, ledger)
        stage.say("demo", f"all went as it should, in {stage.seconds():.1f} s")
    if limit.cancelled_caught:
        raise DemoFailed(f"it was not over after {TIME_LIMIT_S:g} s")


async def _play(stage: "_Stage", target: str, events: AsyncIterator[Event], ledger: str) -> None:
    anna, bruno, clara = CANDIDATES
    async with stage.candidates(target, ledger) as candidates:
        term = Term()
        for place, name in enumerate(CANDIDATES, 1):
            await candidates.start(name)
            term = await _until(events, lambda term, place=place: len(term.candidates) == place, "a candidate to enter")
        _expect(
            term.candidates == CANDIDATES, f"{CANDIDATES} should stand in the order they came, not {term.candidates}"
        )

        await candidates.said(anna, "writing under token")
        stage.say("demo", f"killing the leader, {anna}, with SIGKILL")
        term = await _take_over(stage, events, term, bruno, partial(candidates.send, anna, signal.SIGKILL))

        await candidates.said(bruno, f"writing under token {term.number}")
        stage.say("demo", f"pausing the leader, {bruno}, with SIGSTOP, just when it is about to write")
        paused = term
        term = await _take_over(stage, events, term, clara, partial(candidates.send, bruno, signal.SIGSTOP))
        await candidates.said(clara, f"writing under token {term.number}", times=2)
        stage.say("demo", f"letting {bruno} go on: it still believes that it leads under token {paused.number}")
        candidates.send(bruno, signal.SIGCONT)
        await candidates.said(bruno, "my write was refused")
        await _until(events, lambda term: bruno in term.candidates, f"{bruno} to enter again")

        stage.say("demo", f"asking the leader, {clara}, to end, with SIGTERM")
        term = await _take_over(
            stage, events, term, bruno, lambda: candidates.send(clara, signal.SIGTERM), SESSION_TTL_S
        )
        await candidates.expect_exit(clara, -signal.SIGTERM)
        await candidates.said(bruno, f"writing under token {term.number}", times=2)
        candidates.send(bruno, signal.SIGTERM)
        await _until(events, lambda term: not term.candidates, "the last candidate to leave")
        await candidates.expect_exit(bruno, -signal.SIGTERM)


async def _take_over(
    stage: "_Stage",
    events: AsyncIterator[Event],
    before: Term,
    heir: str,
    strike: Callable[[], None],
    limit_s: float = TAKEOVER_LIMIT_S,
) -> Term:
    """Do something to the leader, and see that the next one takes over in time and with a newer token."""
    struck_at = time.monotonic()
    strike()
    after = await _next_leader(events, before)
    took_s = time.monotonic() - struck_at
    stage.say("demo", f"{after.leader} took over {took_s:.3f} s after that, with token {after.number}")
    _expect(after.leader == heir, f"{heir} was next, but {after.leader} leads")
    _expect(after.number > before.number, f"token {after.number} does not exceed the former {before.number}")
    _expect(took_s < limit_s, f"that took more than {limit_s:g} s")
    return after


def _check_ledger(stage: "_Stage", ledger: str) -> None:
    """What the leaders wrote must be in the order of their tokens."""
    with closing(sqlite3.connect(ledger)) as connection:
        tokens = [token for (token,) in connection.execute("SELECT token FROM ledger ORDER BY rowid")]
    _expect(tokens == sorted(tokens), f"the ledger was written to by an old leader: tokens {tokens}")
    stage.say("demo", f"the ledger holds {len(tokens)} writes, in the order of their tokens: {sorted(set(tokens))}")


def _create_ledger(ledger: str) -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("CREATE TABLE ledger (who TEXT, token INTEGER)")
        guard.create_table(connection)
        connection.commit()


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
        arguments = ["-m", "atomix_election", "serve", "--listen", "127.0.0.1:0", "--store", "memory://"]
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
    async def candidates(self, target: str, ledger: str) -> AsyncGenerator["_Candidates"]:
        """Give room for candidate processes; those that still run at the end are killed."""
        async with background_tasks() as tasks:
            yield _Candidates(self, tasks, [target, ELECTION], ledger)


class _Candidates:
    def __init__(self, stage: _Stage, tasks: Background, where: list[str], ledger: str) -> None:
        self._stage = stage
        self._tasks = tasks
        self._where = where
        self._ledger = ledger
        self._processes: dict[str, Process] = {}
        self._heard: dict[str, int] = {}
        self._news = anyio.Condition()

    async def start(self, name: str) -> None:
        """Start a candidate, and show what it says until it ends."""
        started = anyio.Event()
        self._tasks.start_soon(self._run, name, started)
        await started.wait()

    def send(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    async def said(self, name: str, beginning: str, *, times: int = 1) -> None:
        """Wait until a candidate says something from now on."""
        before = self._count(name, beginning)
        async with self._news:
            while self._count(name, beginning) < before + times:
                await self._news.wait()

    async def expect_exit(self, name: str, status: int) -> None:
        found = await self._processes[name].wait()
        _expect(found == status, f"{name} ended with exit status {found}, not {status}")

    def _count(self, name: str, beginning: str) -> int:
        return sum(times for line, times in self._heard.items() if line.startswith(f"{name} {beginning}"))

    async def _run(self, name: str, started: anyio.Event) -> None:
        async with _process(["-m", "atomix_election.demo.candidate", *self._where, name, self._ledger]) as process:
            self._processes[name] = process
            started.set()
            async for line in _lines(process):
                heard = f"{name} {line}"
                self._heard[heard] = self._heard.get(heard, 0) + 1
                if not line.startswith("writing"):
                    self._stage.say(name, line)
                async with self._news:
                    self._news.notify_all()
            await process.wait()


@asynccontextmanager
async def _process(arguments: list[str]) -> AsyncGenerator[Process]:
    starting = anyio.open_process([sys.executable, *arguments], stderr=None, stdin=None)
    process = await shielded(starting)  # one that is half started could not be ended
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
