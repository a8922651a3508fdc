"""Servers, candidates and clients: real processes and real sockets, which leave nothing behind."""

import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any, TypeVar

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from atomix_election import Client, LeaderElection, connect
from atomix_election.tasks import Background, background_tasks
from tests.faults.diary import WAIT_S, Diary, Entry
from tests.faults.proxy import Proxy
from tests.faults.worker import Worker, now

PROJECT = Path(__file__).parents[2]
TTL_S = 2.0
"""Time-to-live of the sessions; a tenth of it is how long a machine may be busy without a loss of safety."""
NOTHING: Mapping[str, Any] = {}
_ContextT = TypeVar("_ContextT")


@dataclass
class Server:
    """A server process."""

    process: Process
    target: str

    async def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()


class Candidate:
    """A candidate process."""

    def __init__(self, process: Process, who: str, diary: Diary) -> None:
        self.process = process
        self.who = who
        self._diary = diary

    async def kill(self) -> Entry:
        """Kill it with SIGKILL, and return when."""
        entry = self._diary.note(self.who, "killed")
        self.process.kill()
        await self.process.wait()
        return entry

    def pause(self) -> Entry:
        """Stop it in its tracks, and return when."""
        self.process.send_signal(signal.SIGSTOP)
        return self._diary.note(self.who, "paused")

    def wake(self) -> Entry:
        """Let it go on, and return when."""
        entry = self._diary.note(self.who, "continued")
        self.process.send_signal(signal.SIGCONT)
        return entry

    async def say(self, line: str = "") -> None:
        """Write a line to its stdin."""
        assert self.process.stdin is not None
        await self.process.stdin.send(f"{line}\n".encode())


class Actor:
    """A candidate in this process, with a client of its own, until ``leave``."""

    def __init__(self, client: Client, election: LeaderElection) -> None:
        self.client = client
        self.election = election
        self.scope = anyio.CancelScope()
        self.gone = anyio.Event()

    async def leave(self) -> None:
        """Cancel it, and wait until its client is closed."""
        self.scope.cancel()
        await self.gone.wait()


class Stage:
    """Starts everything, and ends what it started."""

    def __init__(self, ending: AsyncExitStack, tasks: Background) -> None:
        self.diary = Diary()
        self._ending = ending
        self._tasks = tasks
        self._actors: list[Actor] = []

    async def enter(self, context: AbstractAsyncContextManager[_ContextT]) -> _ContextT:
        """Enter a context that is left at the end."""
        return await self._ending.enter_async_context(context)

    async def server(self, listen: str = "127.0.0.1:0", *options: str) -> Server:
        """Start a server, and wait until it is ready."""
        arguments = ["-m", "atomix_election", "serve", "--listen", listen, "--store", "memory://", *options]
        process = await self._process(arguments, log=os.devnull)
        assert process.stdout is not None
        line = (await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1000)).decode()
        match = re.fullmatch(r"listening on (grpc://\S+:\d+)", line)
        assert match, line
        return Server(process, match[1])

    async def proxy(self, target: str) -> Proxy:
        """Start a proxy before a server."""
        return await self.enter(Proxy(int(target.rpartition(":")[2])))

    async def candidate(
        self,
        target: str,
        who: str,
        *,
        backend: str = "asyncio",
        work: Mapping[str, Any] = NOTHING,
        log: str = os.devnull,
        **options: Any,
    ) -> Candidate:
        """Start a candidate process, and wait until it is connected; ``options`` are those of LeaderElection."""
        options = {"session_ttl": TTL_S, **options}
        settings = {"target": target, "who": who, "backend": backend, "work": dict(work), "options": options}
        process = await self._process(["-m", "tests.faults.candidate", json.dumps(settings)], log=log)
        self._tasks.start_soon(self._listen, process)
        candidate = Candidate(process, who, self.diary)
        since = now() - 1
        await self.diary.wait(who, "ready", since=since)
        return candidate

    async def actor(self, target: str, who: str, *, work: Mapping[str, Any] = NOTHING, **options: Any) -> Actor:
        """Start a candidate in this process; ``options`` are those of ``connect``."""
        ready: list[Actor] = []
        settings: dict[str, Any] = {"session_ttl": TTL_S, **options}
        started = anyio.Event()

        async def act() -> None:
            async with connect(target, **settings) as client:
                actor = Actor(client, client.election("e", candidate_id=who))
                ready.append(actor)
                self._actors.append(actor)
                started.set()
                with actor.scope:
                    await actor.election.run(Worker(actor.election, self._say(who), **work).work)
            actor.gone.set()

        self._tasks.start_soon(act)
        await started.wait()
        return ready[0]

    async def observer(self, target: str) -> LeaderElection:
        """Return the election as somebody sees it who is no candidate."""
        return await self.enter(LeaderElection("e", target=target, session_ttl=TTL_S))

    async def queue(self, election: LeaderElection, *wanted: str, in_order: bool = True) -> None:
        """Wait until the candidates are as wanted."""
        with anyio.fail_after(WAIT_S):
            async with election.events() as events:
                async for event in events:
                    found = event.term.candidates
                    if found == wanted or (not in_order and sorted(found) == sorted(wanted)):
                        return

    def tell(self, what: str) -> None:
        """Show a measurement: ``pytest -s``."""
        sys.stdout.write(f"\n{what}\n")

    async def all_leave(self) -> None:
        """Let the candidates of this process go."""
        for actor in self._actors:
            with anyio.move_on_after(WAIT_S):
                await actor.leave()

    def _say(self, who: str) -> Any:
        def say(what: str, **more: Any) -> None:
            self.diary.add(Entry(who, what, now(), **more))

        return say

    async def _process(self, arguments: list[str], *, log: str) -> Process:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
        with Path(log).open("a") as errors:  # noqa: ASYNC230 - a local file, and nothing else goes on meanwhile
            process = await anyio.open_process(
                [sys.executable, *arguments], cwd=PROJECT, env=ours, stdin=PIPE, stdout=PIPE, stderr=errors
            )
        self._ending.push_async_callback(_end, process)
        return process

    async def _listen(self, process: Process) -> None:
        assert process.stdout is not None
        stream = BufferedByteReceiveStream(process.stdout)
        while True:
            try:
                line = await stream.receive_until(b"\n", 10_000)
            except (anyio.IncompleteRead, anyio.ClosedResourceError):
                return
            self.diary.add(Entry(**json.loads(line)))


@asynccontextmanager
async def staged() -> AsyncGenerator[Stage]:
    """Give a stage, and clear it; what the candidates said must keep the rules."""
    async with background_tasks() as tasks, AsyncExitStack() as ending:
        stage = Stage(ending, tasks)
        yield stage
        await stage.all_leave()
        stage.diary.check()


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.kill()
        await process.aclose()
