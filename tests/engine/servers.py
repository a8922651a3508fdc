"""Shortcuts to call several servers on one simulated etcd with, and to see what they know."""

from typing import Any

import anyio

from atomix_election.core.campaign import Answer
from atomix_election.engine import Connection
from atomix_election.model import DEFAULT_NAMESPACE, Event, EventType, Term
from atomix_election.service import Renewal
from atomix_election.testing.etcd_servers import Servers
from tests.engine.fakes import about

EXPIRY_S = 0.5
"""How late etcd deletes a session that has expired."""


def shape(term: Term) -> tuple[str, int]:
    """Return the queue and the revision of a term: its number depends on all that etcd has written before."""
    return " ".join(term.candidates), term.revision


async def settle() -> None:
    """Let everybody do what is to be done now: virtual time goes on only when nobody has anything to do."""
    await anyio.sleep(1e-6)


async def renew(
    connection: Connection, session: str = "s", *, open_: bool = False, ttl_s: float | None = None, **more: Any
) -> Answer:
    """Send a renewal on a stream of its own, and return the answer to it."""
    async with connection.keep_alive(DEFAULT_NAMESPACE, session) as stream:
        await stream.send(Renewal(1, open=open_, ttl_s=ttl_s, **more))
        while (answer := await stream.receive()).renewal != 1:
            pass
        return answer


async def keep_renewing(connection: Connection, session: str, every_s: float = 3.0) -> None:
    """Renew a session until cancelled."""
    while True:
        assert not (await renew(connection, session)).ended
        await anyio.sleep(every_s)


async def watch(servers: Servers, connection: Connection, name: str = "e") -> list[Event]:
    """Begin to watch an election, and return where the events go."""
    events: list[Event] = []
    servers.start_soon(_collect, connection, events, name)
    await settle()
    assert [event.type for event in events] == [EventType.NONE]
    return events


async def _collect(connection: Connection, into: list[Event], name: str) -> None:
    async with connection.events(about(name=name)) as events:
        async for event in events:
            into.append(event)  # noqa: PERF401 - who looks sees what there is by then
