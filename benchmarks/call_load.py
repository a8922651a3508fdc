"""A process of clients for ``benchmarks.call`` and others: ``python -m benchmarks.call_load KIND TARGET``.

KIND is ``ours`` for this package's client, ``stock`` for grpclib's, ``raw`` and ``raw-stock`` for the bytes alone. It
obeys:

    latency WHAT SECONDS        the median of how long one call takes, in microseconds
    rate WHAT AT_ONCE SECONDS   calls a second

WHAT is ``enter`` (for a rate: enter and withdraw, two calls) or ``get_term``; a stock server has one call.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from grpclib.client import Channel

from atomix_election import connect
from benchmarks import raw
from benchmarks.load import Job, latency_us, repeat
from benchmarks.processes import obey
from benchmarks.raw import Prepared, RawConnection, Request
from benchmarks.stock import SERVICE, Nothing, call_of

AT_ONCE = 64
ELECTIONS = "/atomix.election.v1.LeaderElection/"


@asynccontextmanager
async def ours(target: str) -> AsyncGenerator[dict[str, Any]]:
    """Give the jobs of this package's own client: one connection, one session."""
    async with connect(target, session_ttl=60) as client:
        elections = [client.election(f"e{each}", candidate_id="candidate") for each in range(AT_ONCE)]

        async def cycle(each: int) -> None:
            await elections[each].enter()
            await elections[each].withdraw()

        async def latency(what: str, seconds: float) -> float:
            first = elections[0]
            if what == "enter":
                return await latency_us(seconds, first.enter, first.withdraw)
            return await latency_us(seconds, first.get_term)

        async def rate(what: str, at_once: int, seconds: float) -> float:
            if what == "enter":
                return 2 * await repeat(seconds, [partial(cycle, each) for each in range(at_once)])
            return await repeat(seconds, [elections[0].get_term] * at_once)

        yield {"latency": latency, "rate": rate}


@asynccontextmanager
async def stock(target: str) -> AsyncGenerator[dict[str, Any]]:
    """Give the jobs of grpclib's client."""
    async with Channel("127.0.0.1", int(target)) as channel:
        call = call_of(channel)
        job: Job = partial(call, Nothing())

        async def latency(_: str, seconds: float) -> float:
            return await latency_us(seconds, job)

        async def rate(_: str, at_once: int, seconds: float) -> float:
            return await repeat(seconds, [job] * at_once)

        yield {"latency": latency, "rate": rate}


@asynccontextmanager
async def raw_ours(target: str) -> AsyncGenerator[dict[str, Any]]:
    """Give the jobs of the bytes alone, as a published client: its session is kept by the connection."""
    connection = await RawConnection.connect(target)
    session = ("session-id", "session")
    term = Request(f"{ELECTIONS}GetTerm", [("primitive-id", "e0"), session])
    cycles: list[Request] = []
    for each in range(AT_ONCE):
        metadata = [("primitive-id", f"e{each}"), session]
        if each == 0:
            await connection.call(Request(f"{ELECTIONS}Create", metadata, b"\n\0"))
        cycles += [Request(f"{ELECTIONS}{name}", metadata) for name in ("Enter", "Withdraw")]
    for request in [term, *cycles]:
        await connection.call(request)
    get_term, *changes = connection.prepare([term, *cycles])

    async def rate(what: str, at_once: int, seconds: float) -> float:
        lanes: list[list[Prepared]] = [[get_term]] * at_once
        if what == "enter":
            lanes = [changes[2 * each : 2 * each + 2] for each in range(at_once)]
        return await raw.rate(connection, lanes, seconds)

    yield {"rate": rate}
    connection.close()


@asynccontextmanager
async def raw_stock(target: str) -> AsyncGenerator[dict[str, Any]]:
    """Give the job of the bytes alone, for a stock server."""
    connection = await RawConnection.connect(f"127.0.0.1:{target}")
    request = Request(f"{SERVICE}Call")
    await connection.call(request)
    calls = connection.prepare([request])

    async def rate(_: str, at_once: int, seconds: float) -> float:
        return await raw.rate(connection, [calls] * at_once, seconds)

    yield {"rate": rate}
    connection.close()


async def main(kind: str, target: str) -> None:
    """See the module."""
    async with {"ours": ours, "stock": stock, "raw": raw_ours, "raw-stock": raw_stock}[kind](target) as jobs:
        await obey(jobs)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
