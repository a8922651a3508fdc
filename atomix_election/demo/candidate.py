"""One candidate, as an application would write it: ``python -m atomix_election.demo.candidate TARGET ELECTION ID``.

It prints who leads whenever that changes, and leaves the election on SIGTERM.
"""

import asyncio
import signal
import sys

from atomix_election import LeaderElection


async def stand(target: str, name: str, candidate_id: str) -> None:
    """Enter the election and tell what comes of it."""
    async with LeaderElection(name, target=target, candidate_id=candidate_id) as election:
        await election.enter()
        async with election.events() as events:
            async for event in events:
                if event.term.leader == candidate_id:
                    print(f"I lead, with token {event.term.number}", flush=True)
                else:
                    print(f"{event.term.leader or 'nobody'} leads, I wait", flush=True)


async def main() -> None:
    """Stand until SIGTERM."""
    standing = asyncio.ensure_future(stand(*sys.argv[1:]))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, standing.cancel)
    await asyncio.wait([standing])
    if not standing.cancelled():
        standing.result()


if __name__ == "__main__":
    asyncio.run(main())
