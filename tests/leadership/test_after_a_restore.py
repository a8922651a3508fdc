"""Clients of a server whose store was restored: they wait for as long as nobody is admitted."""

from itertools import count

import anyio
import pytest

from atomix_election.client import client_of
from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.leadership import SessionKeeper
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing import VirtualClock
from tests.leadership.world import TTL_S

pytestmark = pytest.mark.anyio

HOLD_S = 60.0
PAUSE_S = 1.0
"""The most that a client waits between two tries."""


class RestoredStore(MemoryStore):
    """A store that has just been made of a backup."""

    @property
    def hold_s(self) -> float | None:
        """See ``Store.hold_s``."""
        return TTL_S


async def test_lead_waits_until_leaders_from_before_have_ended() -> None:
    """However long that is; then it leads at once, and sees to nothing else."""
    engine = Engine(RestoredStore(), clock=VirtualClock(), limits=SessionLimits(max_ttl_s=HOLD_S))
    async with engine.running():
        start = anyio.current_time()
        ids = map(str, count())
        connection = Connection(engine)
        keeper = SessionKeeper(
            connection,
            "default",
            clock=VirtualClock(),
            ttl_s=TTL_S,
            new_session_id=lambda: next(ids),
            chance=lambda: 0.5,
        )
        async with (
            client_of(keeper, inspection=connection) as client,
            client.election("e", candidate_id="a").lead() as leadership,
        ):
            assert leadership.token == 1
            assert start + HOLD_S <= anyio.current_time() <= start + HOLD_S + PAUSE_S
