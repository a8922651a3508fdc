"""Those who only watch, at the end of a good way: they see every change, so that more of a history is known."""

import random

import anyio

from atomix_election.errors import ElectionError
from atomix_election.model import EventType
from atomix_election.service import Call, ElectionService
from atomix_election.testing.invariants import Invariants

PAUSE = 0.1
"""The longest time between two watches, in time-to-lives."""
LONGEST_WATCH = 3.0
"""How long one watch lasts at most, in time-to-lives."""


class Observer:
    """Watches one election again and again, and always reads.

    Args:
        election: its name.
        service: its own way to the servers.
        chance: decides how long it watches.
        ttl_s: the time-to-live of sessions.
        invariants: are told of what is wrong.
        may_skip: whether several changes may be told as one that says so, though nobody was slow to read.
    """

    def __init__(
        self,
        election: str,
        service: ElectionService,
        chance: random.Random,
        ttl_s: float,
        invariants: Invariants,
        *,
        may_skip: bool,
    ) -> None:
        self.stays: anyio.Event = anyio.Event()
        """Set when the watch that is open then is to stay open."""
        self._election = election
        self._service = service
        self._chance = chance
        self._ttl_s = ttl_s
        self._invariants = invariants
        self._may_skip = may_skip
        self._seen = -1
        self._scope = anyio.CancelScope()

    async def watch(self) -> None:
        """Watch until ``end``."""
        with self._scope:
            while True:
                try:
                    with anyio.CancelScope() as scope:
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(self._end_soon, scope)
                            await self._read()
                except* ElectionError:
                    pass  # the server is gone, and maybe back soon
                await anyio.sleep(self._chance.uniform(0, PAUSE) * self._ttl_s)

    def end(self) -> None:
        """Watch no longer; it has been told of the newest change, which was a while ago."""
        self._scope.cancel()
        newest = self._invariants.revision(self._election)
        if self._seen < newest:
            self._invariants.fail(f"a watch of {self._election} has got to revision {self._seen} of {newest}")

    async def _end_soon(self, scope: anyio.CancelScope) -> None:
        await anyio.sleep(self._chance.uniform(0, LONGEST_WATCH) * self._ttl_s)
        if not self.stays.is_set():
            scope.cancel()

    async def _read(self) -> None:
        async with self._service.events(Call(self._election)) as events:
            told = 0
            async for event in events:
                # Of one that was never used it is told from which number and revision it begins; those rise with what
                # is forgotten beside it, and so its first change may come as one after a gap.
                before = self._invariants.before(self._election, event.term.revision)
                if event.skipped and before > told and not self._may_skip:
                    self._invariants.fail(f"somebody who always reads {self._election} missed what led to {event.term}")
                told = event.term.revision
                if event.type is EventType.NONE or event.term.revision > self._seen:
                    self._seen = event.term.revision
