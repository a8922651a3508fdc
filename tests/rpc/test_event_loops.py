"""Client and server in whatever runs them: plain asyncio, and not Trio, where it is said so."""

import asyncio

import pytest
import trio

from atomix_election.client import LeaderElection, connect
from atomix_election.errors import InvalidRequest
from atomix_election.model import EventType
from atomix_election.server import ElectionServer


def test_client_and_server_run_in_plain_asyncio() -> None:
    """``asyncio.run`` is enough: an application need not know of anyio."""

    async def run() -> None:
        async with (
            asyncio.timeout(10),
            ElectionServer() as server,
            LeaderElection("e", target=server.target, candidate_id="a") as election,
            election.events() as events,
        ):
            assert (await anext(events)).type is EventType.NONE
            assert (await election.enter()).leader == "a"
            assert (await anext(events)).term.leader == "a"

    asyncio.run(run())


def test_a_server_as_target_is_refused_under_trio() -> None:
    """By name, as gRPC needs asyncio here."""

    async def attempt() -> None:
        with pytest.raises(InvalidRequest, match=r"grpc://localhost:1.*asyncio"):
            async with connect("grpc://localhost:1"):
                pytest.fail("was connected")

    trio.run(attempt)
