"""Clients in tasks of their own, so that they can leave in any order, or die without a word."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from atomix_election import Client, Event, Term, connect
from atomix_election.clock import SystemClock
from atomix_election.model import DEFAULT_NAMESPACE
from atomix_election.service import Call, ElectionService, Service
from atomix_election.targets import open_service

TTL_S = 1.0
"""Time-to-live of the sessions in this suite."""


class Candidates(Protocol):
    """Somebody who enters candidates."""

    async def enter(self, candidate_id: str, name: str = "e") -> Term:
        """Enter a candidate."""
        ...

    async def withdraw(self, candidate_id: str, name: str = "e") -> Term:
        """Withdraw a candidate."""
        ...


class Leaving:
    """The end of a guest's stay."""

    def __init__(self) -> None:
        self.leaving = anyio.Event()
        self.gone = anyio.Event()

    async def leave(self) -> None:
        """End the client's block, and wait until it has ended."""
        self.leaving.set()
        await self.gone.wait()


class Guest(Leaving):
    """A client, until it leaves."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client

    async def enter(self, candidate_id: str, name: str = "e") -> Term:
        """Enter a candidate."""
        return await self.client.election(name, candidate_id=candidate_id).enter()

    async def withdraw(self, candidate_id: str, name: str = "e") -> Term:
        """Withdraw a candidate."""
        return await self.client.election(name, candidate_id=candidate_id).withdraw()

    async def term(self, name: str = "e") -> Term:
        """Return the current term."""
        return await self.client.election(name).get_term()


class Mortal(Leaving):
    """A client like the published ones: a bare connection, whose end closes nothing."""

    def __init__(self, service: ElectionService, session: str) -> None:
        super().__init__()
        self._service = service
        self._session = session

    async def enter(self, candidate_id: str, name: str = "e") -> Term:
        """Enter a candidate."""
        call = Call(name, session=self._session)
        await self._service.create(call)
        return await self._service.enter(call, candidate_id)

    async def withdraw(self, candidate_id: str, name: str = "e") -> Term:
        """Withdraw a candidate."""
        return await self._service.withdraw(Call(name, session=self._session), candidate_id)


class Party:
    """The clients of one target."""

    def __init__(self, target: str, tasks: TaskGroup) -> None:
        self.target = target
        self._tasks = tasks
        self._guests: list[Leaving] = []

    async def join(self) -> Guest:
        """Connect a client that leaves its elections when it goes."""
        guest: Guest = await self._tasks.start(_stay, self._guest)
        self._guests.append(guest)
        return guest

    async def join_mortal(self) -> Mortal:
        """Connect a client whose connection just ends when it goes."""
        guest: Mortal = await self._tasks.start(_stay, self._mortal)
        self._guests.append(guest)
        return guest

    async def all_leave(self) -> None:
        """Let everybody go."""
        for guest in self._guests:
            await guest.leave()

    @asynccontextmanager
    async def _guest(self) -> AsyncGenerator[Guest]:
        async with connect(self.target, session_ttl=TTL_S) as client:
            yield Guest(client)

    @asynccontextmanager
    async def _mortal(self) -> AsyncGenerator[Mortal]:
        async with open_bare(self.target) as service:
            yield Mortal(service, f"mortal-{len(self._guests)}")


def open_bare(target: str) -> AbstractAsyncContextManager[Service]:
    """Connect as the published clients do."""
    clock: dict[str, Any] = {"clock": SystemClock()} if "clock" in inspect.signature(open_service).parameters else {}
    return open_service(target, session_ttl_s=TTL_S, **clock)


async def end_session(target: str, session: str, name: str = "e") -> None:
    """End somebody's session behind its back, as far as its client is concerned."""
    async with open_bare(target) as service:
        if hasattr(service, "end_session"):
            await service.end_session(DEFAULT_NAMESPACE, session)
        else:
            await service.close(Call(name, session=session))


async def _stay(
    joining: Callable[[], AbstractAsyncContextManager[Leaving]], *, task_status: TaskStatus[Leaving]
) -> None:
    async with joining() as guest:
        task_status.started(guest)
        await guest.leaving.wait()
    guest.gone.set()


async def until(events: AsyncIterator[Event], wanted: Callable[[Term], bool]) -> Term:
    """Return the first term of a watch that is as wanted."""
    async for event in events:
        if wanted(event.term):
            return event.term
    raise AssertionError("the watch ended")
