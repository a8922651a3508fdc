"""What a run asks servers itself, as any client may."""

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager

import anyio

from atomix_election import Client, ElectionError, Term
from atomix_election.testing.history import DONE, Answered, now
from tests.crash.load import ELECTIONS
from tests.soak.book import Book
from tests.soak.entrance import Entrance
from tests.soak.processes import START_S

PAUSE_S = 0.05


def client_of(entrance: Entrance, *ports: int, ttl_s: float = 5.0) -> AbstractAsyncContextManager[Client]:
    """Return a new client of all servers, or of those on these ports."""
    return entrance.settings("", "", ttl_s=ttl_s, ports=ports).connect()


async def answers(entrance: Entrance, port: int, check: Callable[[], object]) -> None:
    """Wait until a server answers a call that it has to ask its store for.

    Args:
        entrance: how to get at it.
        port: where it listens.
        check: raises if that will never be.
    """
    with anyio.fail_after(START_S):
        async with client_of(entrance, port) as client:
            while True:
                try:
                    await client.election("ready").get_term()
                    return
                except ElectionError:
                    check()
                    await anyio.sleep(PAUSE_S)


async def wait_for(client: Client, name: str, found: Callable[[Term], bool]) -> None:
    """Wait for some term of an election."""
    async with client.election(name).events() as events:
        async for event in events:
            if found(event.term):
                return


async def all_stand(entrance: Entrance, name: str, who: Collection[str]) -> None:
    """Wait until all of them are in the queue of an election."""
    async with client_of(entrance) as client:
        with anyio.fail_after(START_S):
            await wait_for(client, name, lambda term: set(who) <= set(term.candidates))


async def leader(entrance: Entrance, name: str) -> str | None:
    """Return who leads an election, if anybody does and it can be found out."""
    async with client_of(entrance) as client:
        try:
            return (await client.election(name).get_term()).leader
        except ElectionError:
            return None


async def announced_failover_s(entrance: Entrance, ttl_s: float) -> float:
    """Return how long a takeover takes at most, as servers announce it."""
    async with client_of(entrance, ttl_s=ttl_s) as client:
        election = client.election("announced")
        await election.enter()
        found = client.candidates().keeper.longest_failover_s
        await election.withdraw()
        return found


async def nobody_stands(entrance: Entrance, latest: float, book: Book) -> None:
    """See that all queues are empty when a time has come, and write down what they come to."""
    async with client_of(entrance) as client:
        for name in ELECTIONS:
            with anyio.move_on_after(latest - now()):
                await wait_for(client, name, lambda term: not term.candidates)
            begun = now()
            term = await client.election(name).get_term()
            book.write(Answered("auditor", "get_term", name, "", begun, now(), DONE, term))
            assert not term.candidates, f"{name}: they have all gone, and there is {term}"
