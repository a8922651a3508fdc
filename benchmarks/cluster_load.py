"""A process of clients that ``benchmarks.cluster`` measures with: ``python -m benchmarks.cluster_load WHAT ...``.

    renew TARGET SESSIONS SECONDS       renew so many sessions as fast as they are answered, and print how many a second
    cycle TARGETS ELECTIONS SECONDS     enter and withdraw in so many elections at once, and print how many a second
    sessions TARGET NUMBER              open sessions with a stream each, say so, and keep them until the input ends
    elections TARGET NUMBER             enter so many elections, say so, and end
    lead TARGETS ELECTION CANDIDATE TTL lead whenever that is possible, and say so

TARGETS are separated by blanks; each is one server, or several as in ``grpc://host:port,host:port``.
"""

import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

import anyio

from atomix_election import Leadership, connect
from atomix_election.rpc.client import RpcClient
from atomix_election.service import Call, Renewal
from atomix_election.targets import parse_endpoints
from benchmarks.load import repeat
from benchmarks.processes import READY

SESSIONS_A_CONNECTION = 50
TTL_S = 60.0
TOGETHER = 50
"""Elections that are entered at the same time."""


@asynccontextmanager
async def clients(targets: Sequence[str]) -> AsyncGenerator[list[RpcClient]]:
    """Give a connection for each target."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(RpcClient(parse_endpoints(each, each.partition("://")[2])))
            for each in targets
        ]


@asynccontextmanager
async def kept_sessions(target: str, number: int) -> AsyncGenerator[list[Callable[[], Awaitable[None]]]]:
    """Open sessions, and give what renews each of them once."""
    async with clients([target] * -(-number // SESSIONS_A_CONNECTION)) as opened, AsyncExitStack() as stack:
        renewals: list[Callable[[], Awaitable[None]]] = []
        for each in range(number):
            keeping = opened[each % len(opened)].keep_alive("default", f"bench-{time.time_ns()}-{each}")
            stream, numbers = await stack.enter_async_context(keeping), count(1)

            async def renew(stream=stream, numbers=numbers) -> None:
                number = next(numbers)
                await stream.send(Renewal(number, open=number == 1, ttl_s=TTL_S))
                await stream.receive()

            await renew()
            renewals.append(renew)
        yield renewals


async def renew(target: str, number: str, seconds: str) -> None:
    """See the module."""
    async with kept_sessions(target, int(number)) as renewals:
        print(await repeat(float(seconds), renewals))


async def cycle(targets: str, number: str, seconds: str) -> None:
    """See the module."""
    elections = int(number)
    async with clients(targets.split()) as opened:
        stands = max(elections, len(opened))  # with one election and two servers a candidate on each
        calls = [Call(f"bench-{each % elections}", session=f"bench-{time.time_ns()}-{each}") for each in range(stands)]

        async def enter_and_withdraw(each: int) -> None:
            service = opened[each % len(opened)]
            await service.enter(calls[each], f"candidate-{each}")
            await service.withdraw(calls[each], f"candidate-{each}")

        for each, call in enumerate(calls):
            await opened[each % len(opened)].create(call)
        jobs = [lambda each=each: enter_and_withdraw(each) for each in range(stands)]
        print(await repeat(float(seconds), jobs))


async def sessions(target: str, number: str) -> None:
    """See the module."""
    async with kept_sessions(target, int(number)):
        print(READY, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)


async def elections(target: str, number: str) -> None:
    """See the module."""
    limiter = anyio.CapacityLimiter(TOGETHER)
    async with clients([target]) as (service,), anyio.create_task_group() as tasks:

        async def enter(each: int) -> None:
            async with limiter:
                call = Call(f"filler-{each:08}", session="filler")
                await service.enter(call, "candidate")
                await service.withdraw(call, "candidate")

        await service.create(Call("filler", session="filler"))
        for each in range(int(number)):
            tasks.start_soon(enter, each)
    print(READY, flush=True)


async def lead(targets: str, name: str, candidate_id: str, ttl_s: str) -> None:
    """See the module."""

    async def work(_: Leadership) -> None:
        print(READY, flush=True)
        await anyio.sleep_forever()

    async with connect(targets, session_ttl=float(ttl_s)) as client:
        await client.election(name, candidate_id=candidate_id).run(work)


if __name__ == "__main__":
    jobs: dict[str, Callable[..., Awaitable[None]]] = {
        each.__name__: each for each in (renew, cycle, sessions, elections, lead)
    }
    what, *arguments = sys.argv[1:]
    anyio.run(jobs[what], *arguments)
