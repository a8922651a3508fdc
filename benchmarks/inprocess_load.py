"""The process that ``benchmarks.inprocess`` measures. It obeys ``rate WHAT SECONDS``, of which all are on one loop."""

import asyncio
from functools import partial

import anyio

from atomix_election import LeaderElection, connect
from benchmarks.load import Job, repeat
from benchmarks.processes import obey

AT_ONCE = 64
WAKE_UPS = "wake-up of a future"
ACTOR = "bare actor"
ALONE = "one election"
TOGETHER = f"{AT_ONCE} elections at once"


class Actor:
    """A queue of commands, and the one task that carries them out."""

    def __init__(self) -> None:
        self._commands: asyncio.Queue[tuple[bool, str, asyncio.Future[tuple[str, ...]]]] = asyncio.Queue()
        self._candidates: list[str] = []

    async def run(self) -> None:
        """Carry out what comes."""
        while True:
            is_entering, candidate, done = await self._commands.get()
            if is_entering:
                self._candidates.append(candidate)
            else:
                self._candidates.remove(candidate)
            done.set_result(tuple(self._candidates))

    async def submit(self, is_entering: bool, candidate: str) -> tuple[str, ...]:
        """Have a command carried out."""
        done: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()
        self._commands.put_nowait((is_entering, candidate, done))
        return await done

    async def cycle(self) -> None:
        """Enter and withdraw."""
        await self.submit(True, "candidate")
        await self.submit(False, "candidate")


async def cycle(election: LeaderElection) -> None:
    """Enter and withdraw."""
    await election.enter()
    await election.withdraw()


async def wake_up() -> None:
    """Wait for a future."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


async def main() -> None:
    """See the module."""
    actor = Actor()
    running = asyncio.create_task(actor.run())
    async with LeaderElection("alone", candidate_id="candidate") as alone, connect() as client:
        elections = [client.election(f"e{each}", candidate_id="candidate") for each in range(AT_ONCE)]
        jobs: dict[str, list[Job]] = {
            WAKE_UPS: [wake_up],
            ACTOR: [actor.cycle],
            ALONE: [partial(cycle, alone)],
            TOGETHER: [partial(cycle, each) for each in elections],
        }

        async def rate(what: str, seconds: float) -> float:
            return await repeat(seconds, jobs[what])

        await obey({"rate": rate})
    running.cancel()


if __name__ == "__main__":
    anyio.run(main)
