"""The end of a server, as it is for the sessions of its clients."""

import anyio
import pytest

from atomix_election import ElectionServer, SessionKind
from atomix_election.service import Call
from tests.rpc.conftest import Served
from tests.rpc.raw import RawConnection, about, eventually, headers_of, message

pytestmark = pytest.mark.anyio

OPEN_AND_RELEASE_ON_DISCONNECT = message(b"\x08\x01\x10\x01\x28\x01")


async def test_a_client_that_leaves_a_server_that_goes_keeps_its_session(served: Served) -> None:
    """Its stream was ended by the server: it looks for another one, and that is no reason to take its place away.

    The connection is closed by the client while the server still waits for a call of another one.
    """
    async with RawConnection(served.port) as client, anyio.create_task_group() as tasks:
        stream = client.begin(headers_of("/atomix_election.v1.Sessions/KeepAlive", ("session-id", "s")))
        client.send(stream, OPEN_AND_RELEASE_ON_DISCONNECT)
        await client.until(lambda: bool(client.answers[stream].messages))
        assert (await client.call(headers_of("Enter", *about("e", "s")), message(b"\x0a\x01a"))).status == 0
        slow = served.honest.begin(headers_of("GetTerm", *about("e")))
        await served.honest.call(headers_of("GetTerm", *about("e")))
        tasks.start_soon(served.rpc.close)
        assert (await client.ended(stream)).status == 14
        client.abort()
        await eventually(lambda: len(served.rpc._connections) == 1)
        served.honest.send(slow, message(b""), end=True)
        assert (await served.honest.ended(slow)).status == 0
    description = await served.inside.describe(Call("e"))
    assert [each.id for each in description.candidates] == ["a"]
    assert description.candidates[0].session.kind is SessionKind.RENEWALS


async def test_a_server_can_be_closed_and_begin_again() -> None:
    """Health follows it."""
    server = ElectionServer()
    for _ in range(2):
        async with server, RawConnection(int(server.target.rpartition(":")[2])) as client:
            answer = await client.call(headers_of("/grpc.health.v1.Health/Check"), message(b""))
            assert answer.messages == [b"\x08\x01"]
