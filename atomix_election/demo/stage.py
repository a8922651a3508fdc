"""What the demonstrations stand on: processes that are started, heard, struck, and never left behind."""

import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from atomix_election.errors import ElectionError
from atomix_election.model import Event, Term
from atomix_election.signals import cancelled_by_sigterm
from atomix_election.tasks import Background, background_tasks, shielded

LONGEST_LINE_BYTES = 4096


class DemoFailed(Exception):
    """Something was not as it should be."""


def run_limited(play: Callable[["Stage"], Coroutine[Any, Any, None]], limit_s: float) -> int:
    """Run a demonstration, and return the exit status: 0, or 1 after a message that says what was wrong."""
    try:
        anyio.run(partial(_run, play, limit_s))
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


async def _run(play: Callable[["Stage"], Coroutine[Any, Any, None]], limit_s: float) -> None:
    with cancelled_by_sigterm(), anyio.move_on_after(limit_s) as limit:
        stage = Stage()
        await play(stage)
        stage.say("demo", f"all went as it should, in {stage.seconds():.1f} s")
    if limit.cancelled_caught:
        raise DemoFailed(f"it was not over after {limit_s:g} s")


def expect(fact: bool, otherwise: str) -> None:
    """Fail if something is not so."""
    if not fact:
        raise DemoFailed(otherwise)


async def until(events: AsyncIterator[Event], wanted: Callable[[Term], bool], what: str) -> Term:
    """Wait for a term that is as wanted, and return it."""
    async for event in events:
        if wanted(event.term):
            return event.term
    raise DemoFailed(f"the watch ended while waiting for {what}")


class Stage:
    """Starts processes, shows what they print, and leaves none behind."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Return how long it has been going on."""
        return time.monotonic() - self._began

    def say(self, who: str, what: str) -> None:
        """Show a line."""
        print(f"{self.seconds():6.2f}  {who:<8} {what}", flush=True)

    @asynccontextmanager
    async def server(self, store: str = "memory://", *, name: str = "server") -> AsyncGenerator["Server"]:
        """Run a server process; at the end it is asked to end, unless it has already."""
        arguments = ["-m", "atomix_election", "serve", "--listen", "127.0.0.1:0", "--store", store]
        async with running([sys.executable, *arguments]) as process:
            ready = await anext(lines_of(process), "")
            self.say(name, ready)
            if not ready.startswith("listening on grpc://"):
                raise DemoFailed(f"the server did not start, it said {ready!r}")
            yield Server(ready.removeprefix("listening on "), process)
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                expect(await process.wait() == 0, f"{name} ended with exit status {process.returncode}")
                self.say(name, "ended")

    @asynccontextmanager
    async def candidates(self, target: str, election: str, ledger: str, ttl_s: float) -> AsyncGenerator["Candidates"]:
        """Give room for candidate processes; those that still run at the end are killed."""
        async with background_tasks() as tasks:
            yield Candidates(self, tasks, [target, election], [ledger, str(ttl_s)])

    async def take_over(
        self, events: AsyncIterator[Event], before: Term, heir: str, strike: Callable[[], None], limit_s: float
    ) -> Term:
        """Do something to the leader, and see that the next one takes over in time and with a newer token."""
        struck_at = time.monotonic()
        strike()
        after = await until(events, lambda term: term.leader not in (None, before.leader), "another leader")
        took_s = time.monotonic() - struck_at
        self.say("demo", f"{after.leader} took over {took_s:.3f} s after that, with token {after.number}")
        expect(after.leader == heir, f"{heir} was next, but {after.leader} leads")
        expect(after.number > before.number, f"token {after.number} does not exceed the former {before.number}")
        expect(took_s < limit_s, f"that took more than {limit_s:g} s")
        return after


class Server:
    """A server process.

    Args:
        target: what a client is given.
        process: the process.
    """

    def __init__(self, target: str, process: Process) -> None:
        self.target = target
        self._process = process

    async def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        await self._process.wait()


class Candidates:
    """The candidate processes of a demonstration, and what they have said."""

    def __init__(self, stage: Stage, tasks: Background, where: list[str], how: list[str]) -> None:
        self._stage = stage
        self._tasks = tasks
        self._where = where
        self._how = how
        self._processes: dict[str, Process] = {}
        self._heard: dict[str, int] = {}
        self._news = anyio.Condition()

    async def start(self, name: str) -> None:
        """Start a candidate, and show what it says until it ends."""
        started = anyio.Event()
        self._tasks.start_soon(self._run, name, started)
        await started.wait()

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a candidate."""
        self._processes[name].send_signal(number)

    async def said(self, name: str, beginning: str, *, times: int = 1) -> None:
        """Wait until a candidate says something from now on."""
        before = self._count(name, beginning)
        async with self._news:
            while self._count(name, beginning) < before + times:
                await self._news.wait()

    async def expect_exit(self, name: str, status: int) -> None:
        """Wait for the end of a candidate."""
        found = await self._processes[name].wait()
        expect(found == status, f"{name} ended with exit status {found}, not {status}")

    def _count(self, name: str, beginning: str) -> int:
        return sum(times for line, times in self._heard.items() if line.startswith(f"{name} {beginning}"))

    async def _run(self, name: str, started: anyio.Event) -> None:
        arguments = ["-m", "atomix_election.demo.candidate", *self._where, name, *self._how]
        async with running([sys.executable, *arguments]) as process:
            self._processes[name] = process
            started.set()
            async for line in lines_of(process):
                heard = f"{name} {line}"
                self._heard[heard] = self._heard.get(heard, 0) + 1
                if not line.startswith("writing"):
                    self._stage.say(name, line)
                async with self._news:
                    self._news.notify_all()
            await process.wait()


@asynccontextmanager
async def running(command: Sequence[str], *, stderr: int | None = None) -> AsyncGenerator[Process]:
    """Run a process, which is killed at the end of the block if it still runs."""
    starting = anyio.open_process(command, stderr=stderr, stdin=None)
    process = await shielded(starting)  # one that is half started could not be ended
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def lines_of(process: Process) -> AsyncGenerator[str]:
    """Iterate over the lines that a process prints."""
    stream: ByteReceiveStream | None = process.stdout
    if stream is None:
        raise AssertionError("the process was started with a pipe for its output")
    buffered = BufferedByteReceiveStream(stream)
    while True:
        try:
            yield (await buffered.receive_until(b"\n", LONGEST_LINE_BYTES)).decode()
        except anyio.IncompleteRead:
            return
