"""Some of those who compete in ``benchmarks.handover``: ``python -m benchmarks.handover_load KIND TARGET ELECTION``.

KIND is ``ours``, or a client of etcd. Each has a connection and a session of its own. It obeys:

    stand NUMBER BEFORE     begin to wait; returns when that one is in the queue, behind so many others
    led NUMBER              wait until that one leads, and return when that was
    leave NUMBER COUNT      end that one's leadership, stand again as one of so many, and return when it was ended

Times are those of the clock that all processes share.
"""

import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

from atomix_election import LeaderElection
from benchmarks.etcd_election import (
    CAMPAIGN,
    CLIENTS,
    GRANT,
    LEASE_S,
    RANGE,
    RESIGN,
    EtcdElections,
    campaign_request,
    count_of,
    count_request,
    lease_of,
    lease_request,
    resign_request,
)
from benchmarks.processes import obey

_PAUSE_S = 0.005


class Competitor(Protocol):
    """Somebody who wants to lead."""

    async def lead(self, leading: Callable[[float], Awaitable[None]]) -> float:
        """Wait to lead, call ``leading`` with the time, and return the time when it had returned."""
        ...

    async def count(self) -> int:
        """Return how many are in the queue."""
        ...


class Ours:
    """Who leads with a block."""

    def __init__(self, election: LeaderElection) -> None:
        self._election = election

    async def lead(self, leading: Callable[[float], Awaitable[None]]) -> float:
        """See ``Competitor``."""
        async with self._election.lead():
            await leading(time.monotonic())
            return time.monotonic()
        raise AssertionError("the block returns")

    async def count(self) -> int:
        """See ``Competitor``."""
        return len((await self._election.get_term()).candidates)


class Theirs:
    """Who leads with etcd's calls."""

    def __init__(self, client: EtcdElections, name: str, lease: int) -> None:
        self._client = client
        self._name = name
        self._request = campaign_request(name, lease)

    async def lead(self, leading: Callable[[float], Awaitable[None]]) -> float:
        """See ``Competitor``."""
        won = await self._client.call(CAMPAIGN, self._request)
        await leading(won.answered_s)
        return (await self._client.call(RESIGN, resign_request(won.response))).sent_s

    async def count(self) -> int:
        """See ``Competitor``."""
        return count_of((await self._client.call(RANGE, count_request(self._name))).response)


@asynccontextmanager
async def ours(_: str, target: str, name: str, number: int) -> AsyncGenerator[Competitor]:
    """Connect one of ours."""
    async with LeaderElection(name, target=target, candidate_id=f"c{number}", session_ttl=60) as election:
        yield Ours(election)


@asynccontextmanager
async def theirs(kind: str, target: str, name: str, _: int) -> AsyncGenerator[Competitor]:
    """Connect one of etcd's."""
    async with CLIENTS[kind](target) as client:
        lease = lease_of((await client.call(GRANT, lease_request(LEASE_S))).response)
        yield Theirs(client, name, lease)


class Turns:
    """One competitor, again and again."""

    def __init__(self, connecting: AbstractAsyncContextManager[Competitor]) -> None:
        self._connecting = connecting
        self._leads = anyio.Event()
        self._leave = anyio.Event()
        self._left = anyio.Event()
        self._led_s = self._left_s = 0.0

    async def run(self, *, task_status: TaskStatus[Competitor]) -> None:
        """Lead whenever it is one's turn."""
        async with self._connecting as competitor:
            task_status.started(competitor)
            while True:
                self._left_s = await competitor.lead(self._leading)
                self._left.set()

    async def _leading(self, led_s: float) -> None:
        self._led_s = led_s
        self._leads.set()
        await self._leave.wait()
        self._leads, self._leave = anyio.Event(), anyio.Event()

    async def led(self) -> float:
        """Wait until it leads, and return since when."""
        await self._leads.wait()
        return self._led_s

    async def leave(self) -> float:
        """End its turn, and return when that was."""
        self._leave.set()
        await self._left.wait()
        self._left = anyio.Event()
        return self._left_s


async def main(kind: str, target: str, name: str) -> None:
    """See the module."""
    connect = ours if kind == "ours" else theirs
    turns: dict[int, Turns] = {}
    competitors: dict[int, Competitor] = {}

    async def wait_for(competitor: Competitor, count: int) -> None:
        while await competitor.count() < count:  # noqa: ASYNC110 - etcd tells nobody
            await anyio.sleep(_PAUSE_S)

    async def stand(number: int, before: int) -> None:
        turns[number] = Turns(connect(kind, target, name, number))
        competitors[number] = await tasks.start(turns[number].run)
        await wait_for(competitors[number], before + 1)

    async def led(number: int) -> float:
        return await turns[number].led()

    async def leave(number: int, count: int) -> float:
        left_s = await turns[number].leave()
        await wait_for(competitors[number], count)
        return left_s

    async with anyio.create_task_group() as tasks:
        await obey({"stand": stand, "led": led, "leave": leave})
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
