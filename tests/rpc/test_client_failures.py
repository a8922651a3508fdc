"""Our client and servers that are down, go away, or are something else: a clear error within the time of a call."""

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable

import anyio
import pytest

from atomix_election.addresses import Endpoint
from atomix_election.client import connect
from atomix_election.errors import ElectionError, OutcomeUnknown, Unavailable
from atomix_election.model import EventType
from atomix_election.rpc.client import RpcClient
from atomix_election.rpc.http2 import Http2Protocol
from tests.rpc import fake
from tests.rpc.attempts import CALL, SOON_S, TIMEOUT_S, outcomes, watch
from tests.rpc.conftest import Served
from tests.rpc.fake import Script, Speaker, listening

RST = struct.pack("ii", 1, 0)
"""How long to linger: what is closed so ends like the connection of a dead process."""

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]


@pytest.fixture
def closed_endpoint() -> Endpoint:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", taken.getsockname()[1])


async def test_a_refused_connection_names_the_address(closed_endpoint: Endpoint) -> None:
    """Nothing was sent, so that a write too is Unavailable."""
    async with RpcClient([closed_endpoint]) as client:
        for error in await outcomes(client):
            assert type(error) is Unavailable
            assert str(closed_endpoint) in str(error)


async def test_connect_works_while_the_server_is_down(closed_endpoint: Endpoint) -> None:
    """It is the call that fails, at the public door too."""
    async with connect(f"grpc://{closed_endpoint}") as client:
        with pytest.raises(Unavailable, match=str(closed_endpoint.port)):
            await client.election("e").get_term()


async def test_the_second_endpoint_is_used_when_the_first_is_down(served: Served, closed_endpoint: Endpoint) -> None:
    """And kept."""
    async with RpcClient([closed_endpoint, served.endpoint]) as client:
        assert (await client.get_term(CALL)).number == 0
        assert (await client.get_term(CALL)).number == 0
        assert len(served.rpc._connections) <= 2


@pytest.mark.parametrize("script", [fake.silent, fake.http1, fake.hanging_up], ids=lambda each: each.__name__)
async def test_a_server_that_speaks_no_http2_is_a_clear_error(script: Script) -> None:
    """Nothing is sent to it, so that the outcome of a write is known."""
    async with listening(script) as endpoint, RpcClient([endpoint], call_timeout_s=TIMEOUT_S) as client:
        for error in await outcomes(client):
            assert type(error) is Unavailable
            assert re.search("HTTP/2|no answer", str(error))


async def test_a_server_that_goes_away_in_the_middle() -> None:
    """Of a read: Unavailable. Of a write that was sent: nobody knows. Of a watch: Unavailable."""
    called = asyncio.Event()
    gone = asyncio.Event()

    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not called.is_set():
            await Speaker(reader, writer).ended(3)
            called.set()
            await gone.wait()
        writer.transport.abort()

    errors: dict[str, ElectionError] = {}

    async def note(name: str, attempt: Awaitable[object]) -> None:
        with pytest.raises(ElectionError) as raised:
            await attempt
        errors[name] = raised.value

    with anyio.fail_after(SOON_S):
        async with listening(leaving) as endpoint, RpcClient([endpoint]) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(note, "read", client.get_term(CALL))
            tasks.start_soon(note, "write", client.enter(CALL, "a"))
            tasks.start_soon(note, "watch", watch(client, CALL))
            await called.wait()
            gone.set()
    assert {name: type(error) for name, error in errors.items()} == {
        "read": Unavailable,
        "write": OutcomeUnknown,
        "watch": Unavailable,
    }


async def test_a_server_that_dies_before_the_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is made and lost before anybody can use it: a server that is not there, like any other."""
    made = Http2Protocol.connection_made
    with socket.create_server(("127.0.0.1", 0)) as dying:

        def hang_up_and_go_on(protocol: Http2Protocol, transport: asyncio.BaseTransport) -> None:
            accepted, _ = dying.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            accepted.close()
            made(protocol, transport)

        monkeypatch.setattr(Http2Protocol, "connection_made", hang_up_and_go_on)
        async with RpcClient([Endpoint(*dying.getsockname())], call_timeout_s=TIMEOUT_S) as client:
            for error in await outcomes(client):
                assert type(error) is Unavailable
                assert str(dying.getsockname()[1]) in str(error)


async def test_a_watcher_outlives_its_server(served: Served) -> None:
    """Calls meanwhile say that nobody is there; what happened until it is back is one change."""
    async with RpcClient([served.endpoint], call_timeout_s=TIMEOUT_S) as client, client.events(CALL) as events:
        assert (await anext(events)).type is EventType.NONE
        await served.rpc.close()
        with pytest.raises(Unavailable, match=str(served.port)):
            await client.get_term(CALL)
        await served.inside.create(CALL)
        for candidate in "ab":
            await served.inside.enter(CALL, candidate)
        await served.rpc.start(*served.endpoint)
        with anyio.fail_after(SOON_S):
            event = await anext(events)
        assert (event.type, event.term.candidates) == (EventType.CHANGED, ("a", "b"))


async def test_a_client_that_was_closed_says_so(served: Served) -> None:
    """Calls and watches; it does not connect again."""
    async with RpcClient([served.endpoint]) as client:
        await client.get_term(CALL)
    for error in await outcomes(client):
        assert type(error) is Unavailable
        assert "closed" in str(error)
    await served.until_idle()
