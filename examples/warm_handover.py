"""A new release takes the lead only when it is warm, and the old one ends only when the new one leads.

This file shows a server, the old release and the new one in one process. In a deployment each release is ``serve``, and
whoever deploys starts the new one, waits until it leads, and then stops the old one:
``atomix-election anoint ELECTION CANDIDATE`` and ``promote`` do from outside what the new one does for itself here.
"""

import asyncio

from atomix_election import ElectionServer, LeaderElection, Leadership

ELECTION = "prices"


async def warm_up() -> dict[str, int]:
    """Stands for what takes minutes: filling caches, opening connections, compiling."""
    await asyncio.sleep(0.1)
    return {"apples": 3, "pears": 4}


async def serve(target: str, release: str, leads: asyncio.Event) -> None:
    """Stand by, warm up, take the lead, and work. After a loss it is last in the queue, still warm."""
    async with LeaderElection(ELECTION, target=target, candidate_id=release) as election:
        term = await election.enter()
        print(f"{release}: stands by, {term.leader} leads", flush=True)
        prices = await warm_up()
        print(f"{release}: is warm", flush=True)

        async def work(leadership: Leadership) -> None:
            print(f"{release}: leads with token {leadership.token} and {len(prices)} prices", flush=True)
            leads.set()
            try:
                await asyncio.Event().wait()
            finally:
                print(f"{release}: has stopped", flush=True)  # only when this is over the next one is granted the lead

        await election.anoint(release)
        await election.run(work)


async def main() -> None:
    async with ElectionServer() as server, asyncio.TaskGroup() as deployment:
        old_leads, new_leads = asyncio.Event(), asyncio.Event()
        old = deployment.create_task(serve(server.target, "release-1", old_leads))
        await old_leads.wait()
        new = deployment.create_task(serve(server.target, "release-2", new_leads))
        await new_leads.wait()
        async with LeaderElection(ELECTION, target=server.target) as observer:
            old.cancel()
            await asyncio.wait([old])
            print(f"in the queue: {', '.join((await observer.get_term()).candidates)}", flush=True)
        new.cancel()


if __name__ == "__main__":
    asyncio.run(main())
