"""Taking the lead from a leader on a real server, over gRPC."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from atomix_election import (
    Client,
    ElectionServer,
    InvalidRequest,
    LeadershipLost,
    LossReason,
    NotACandidate,
    connect,
)
from atomix_election.testing import depose

pytestmark = pytest.mark.anyio

WAIT_S = 10.0


@pytest.fixture
def anyio_backend() -> str:
    """What gRPC runs on."""
    return "asyncio"


@asynccontextmanager
async def a_leader() -> AsyncGenerator[tuple[Client, Client, str]]:
    """Give a client that is to lead, another one, and the target of their server."""
    async with ElectionServer() as server, connect(server.target) as leader, connect(server.target) as other:
        yield leader, other, server.target


@pytest.mark.parametrize("reason", [LossReason.EVICTED, LossReason.SUPERSEDED, LossReason.SESSION_ENDED])
async def test_a_leader_is_deposed(reason: LossReason) -> None:
    """It hears of it at once and why, and the other one leads."""
    async with a_leader() as (leader, other, target):
        rival = other.election("e", candidate_id="rival")
        lost: LeadershipLost | None = None
        token = 0
        with anyio.fail_after(WAIT_S):
            try:
                async with leader.election("e", candidate_id="leader").lead() as leadership:
                    token = leadership.token
                    await rival.enter()
                    if reason is LossReason.SESSION_ENDED:
                        term = await depose(leader, "e", reason)
                    else:
                        async with connect(target) as operator:
                            term = await depose(operator, "e", reason)
                    assert term.leader == "rival"
                    await anyio.sleep_forever()
            except LeadershipLost as error:
                lost = error
            async with rival.lead() as after:
                assert after.token == token + 1
        assert lost is not None
        assert lost.reason is reason


async def test_evicting_is_what_is_meant_by_default() -> None:
    """As it takes no other candidate, and no other client."""
    async with a_leader() as (leader, _, _), anyio.create_task_group() as tasks:
        with pytest.raises(LeadershipLost) as lost:  # noqa: PT012 - a block is what is tested
            async with leader.election("e").lead():
                tasks.start_soon(depose, leader, "e")
                with anyio.fail_after(WAIT_S):
                    await anyio.sleep_forever()
        assert lost.value.reason is LossReason.EVICTED


async def test_what_cannot_be_done_by_a_call_is_refused() -> None:
    """And says what else to do."""
    async with a_leader() as (leader, other, _):
        for reason in (LossReason.EVICTED, LossReason.SUPERSEDED, LossReason.SESSION_ENDED):
            with pytest.raises(NotACandidate, match="nobody leads 'e'"):
                await depose(leader, "e", reason)
        async with leader.election("e", candidate_id="leader").lead() as leadership:
            with pytest.raises(InvalidRequest, match="'leader' is the only candidate"):
                await depose(other, "e", LossReason.SUPERSEDED)
            with pytest.raises(InvalidRequest, match="the session of 'leader' is not its own"):
                await depose(other, "e", LossReason.SESSION_ENDED)
            for reason, advice in (
                (LossReason.EXPIRED, "cut the leader off"),
                (LossReason.STORE_CHANGED, "another store"),
                (LossReason.WITHDRAWN, "withdraw()"),
            ):
                with pytest.raises(InvalidRequest, match=advice):
                    await depose(leader, "e", reason)
            leadership.ensure()
