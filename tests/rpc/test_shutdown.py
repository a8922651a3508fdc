"""The end of a server, as it is for the sessions of its clients."""

import anyio
import pytest

from atomix_election import ElectionServer, SessionKind
from atomix_election.rpc.server_calls import Calls
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


async def test_calls_of_a_lost_connection_are_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has something to do on its way out: nothing of it goes on when the server is closed."""
    go_on, begun, ended = anyio.Event(), anyio.Event(), anyio.Event()

    async def answer(*_: object) -> None:
        begun.set()
        with anyio.CancelScope(shield=True):
            await go_on.wait()
        ended.set()

    monkeypatch.setattr(Calls, "_answer", answer)
    async with RawConnection(served.port) as client, anyio.create_task_group() as tasks:
        client.begin(headers_of("/atomix_election.v1.Sessions/KeepAlive", ("session-id", "s")))
        await begun.wait()
        client.abort()
        await eventually(lambda: len(served.rpc._connections) == 1)
        closed = anyio.Event()

        async def close() -> None:
            await served.rpc.close()
            assert ended.is_set()
            closed.set()

        tasks.start_soon(close)
        await eventually(lambda: not served.rpc._connections)
        await anyio.wait_all_tasks_blocked()
        assert not closed.is_set()
        go_on.set()
