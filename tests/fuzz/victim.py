"""Our client, which meets hostile servers: it raises an ElectionError, and leaves nothing behind."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from atomix_election import connect
from atomix_election.addresses import Endpoint
from atomix_election.errors import ElectionError
from atomix_election.rpc.client import RpcClient
from atomix_election.service import Call, Renewal
from tests.fuzz.errors import Errors
from tests.fuzz.heard import Fault
from tests.fuzz.hostile import LEAD, Answering, listening

CALL_TIMEOUT_S = 0.15
"""How long a call may take that nobody answers."""
LEAD_TTL_S = 0.3
"""Time-to-live of a whole client: its calls may take half of it."""
LONGEST_S = 10.0
"""How long an attempt may take, on a busy machine."""
TURNS = 5
"""Of the event loop, in which what has ended may go."""
CALL = Call("e", session="s")


async def _watch(client: RpcClient) -> object:
    async with client.events(CALL) as events:
        return await anext(events)


async def _renew(client: RpcClient) -> object:
    with anyio.move_on_after(CALL_TIMEOUT_S):  # who keeps a session sees to that
        async with client.keep_alive("default", "s") as stream:
            await stream.send(Renewal(1, open=True))
            return await stream.receive()
    return None


ATTEMPTS: dict[str, Callable[[RpcClient], Awaitable[object]]] = {
    "get_term": lambda client: client.get_term(CALL),
    "enter": lambda client: client.enter(Call("e", session="s", operation=1), "a"),
    "evict": lambda client: client.evict(CALL, "a"),
    "create": lambda client: client.create(CALL),
    "close": lambda client: client.close(CALL),
    "events": _watch,
    "keep_alive": _renew,
    "end_session": lambda client: client.end_session("default", "s"),
    "list": lambda client: client.list_elections("default"),
    "describe": lambda client: client.describe(CALL),
    "forget": lambda client: client.forget(CALL),
}
"""What it does, by the names of ``ASKED``."""


class Victim:
    """The client, in an event loop in which nothing may go wrong. A context manager."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._runner = asyncio.Runner()
        self._errors = Errors()

    def __enter__(self) -> "Victim":
        self._runner.__enter__()
        self._errors.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._errors.__exit__()
        self._runner.close()

    def meet(self, answering: Answering) -> None:
        """Let the client try its luck with a server.

        Raises:
            Fault: it raised something else than an ElectionError, logged an error, or left something behind.
        """
        self._errors.messages.clear()
        outcome, left = self._runner.run(self._meet(answering))
        self.outcomes[outcome] += 1
        gc.collect(0)  # what nobody has retrieved or awaited is told then
        if left:
            raise Fault(f"tasks are left: {left}")
        if self._errors.messages:
            raise Fault(f"errors were logged: {self._errors.messages}")

    async def _meet(self, answering: Answering) -> tuple[str, list[asyncio.Task[Any]]]:
        async with listening(answering) as port:
            try:
                with anyio.fail_after(LONGEST_S):
                    outcome = await (_lead(port) if answering.attempt == LEAD else _attempt(answering.attempt, port))
            except ElectionError as error:
                outcome = type(error).__name__
            except Exception as error:
                raise Fault(f"{answering.attempt} raised {error!r}") from error
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return outcome, [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]


async def _attempt(name: str, port: int) -> str:
    async with RpcClient([Endpoint("127.0.0.1", port)], call_timeout_s=CALL_TIMEOUT_S) as client:
        await ATTEMPTS[name](client)
    return "answered"


async def _lead(port: int) -> str:
    async with connect(f"grpc://127.0.0.1:{port}", session_ttl=LEAD_TTL_S) as client:
        with anyio.move_on_after(CALL_TIMEOUT_S):
            async with client.election("e", candidate_id="a").lead() as leadership:
                await leadership.lost.wait()
    return "gave up"
