"""What a keep-alive stream does to its session when its connection is closed, in each way that there is.

Messages are written by hand: field 1 is the renewal's number, 2 ``open``, 3 ``ttl_ms``, 5 ``release_on_disconnect``.
"""

import asyncio

import pytest

from atomix_election.service import Call
from tests.rpc.conftest import Served
from tests.rpc.raw import RawConnection, about, eventually, headers_of, message

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

KEEP_ALIVE = "/atomix_election.v1.Sessions/KeepAlive"
OPEN = b"\x10\x01\x18\xe0\xd4\x03"
"""``open``, for a minute: longer than any test."""
RELEASE = b"\x28\x01"
ELECTION = "kept"
PROMPT_S = 5.0
"""A bound for slow machines."""


def renewal(number: int) -> bytes:
    """Return a renewal's first field."""
    return bytes([0x08, number])


async def begin(connection: RawConnection, body: bytes, session: str = "s") -> int:
    """Open a stream, send a renewal on it, and wait for its answer."""
    stream = connection.begin(headers_of(KEEP_ALIVE, ("application-id", ""), ("session-id", session)))
    connection.send(stream, message(body))
    await connection.until(lambda: bool(connection.answers[stream].messages))
    return stream


async def enter(connection: RawConnection, candidate: bytes = b"a") -> None:
    """Enter a candidate with the session."""
    body = message(b"\x0a" + bytes([len(candidate)]) + candidate)
    answer = await connection.call(headers_of("Enter", *about(ELECTION, "s")), body)
    assert answer.status == 0


async def candidates(served: Served) -> tuple[str, ...]:
    """Return who stands, as one sees it inside."""
    return (await served.inside.get_term(Call(ELECTION))).candidates


async def released(served: Served) -> None:
    """Wait until nobody stands, far sooner than the time-to-live."""
    async with asyncio.timeout(PROMPT_S), served.inside.events(Call(ELECTION)) as events:
        async for event in events:
            if not event.term.candidates:
                return


async def gone(served: Served, *, connections: int) -> None:
    """Wait until the server has done with all but so many connections, the honest one among them."""
    await eventually(lambda: len(served.rpc._connections) == connections)


@pytest.mark.parametrize("how", ["FIN", "RST", "FIN after GOAWAY"])
async def test_a_client_that_closes_its_connection_releases_its_session(served: Served, how: str) -> None:
    """Where it asked for that: at once, whichever way it closes."""
    async with RawConnection(served.port) as client:
        await begin(client, renewal(1) + OPEN + RELEASE)
        await enter(client)
        if how == "FIN after GOAWAY":
            client.h2.close_connection()
            client.flush()
        if how == "RST":
            client.abort()
        else:
            client._writer.write_eof()
        await released(served)


@pytest.mark.parametrize("how", ["never asked", "taken back", "the stream was ended first", "the server closes"])
async def test_what_releases_no_session(served: Served, how: str) -> None:
    """A connection without the wish, or without the session's stream; and the server's own closing."""
    async with RawConnection(served.port) as client:
        stream = await begin(client, renewal(1) + OPEN + (b"" if how == "never asked" else RELEASE))
        await enter(client)
        if how == "taken back":
            client.send(stream, message(renewal(2)))
            await client.until(lambda: renewal(2) in client.answers[stream].data)
        if how == "the stream was ended first":
            client.send(stream, b"", end=True)
            await client.ended(stream)
        if how == "the server closes":
            (connection,) = [each for each in served.rpc._connections if len(each.calls)]
            connection.protocol.go_away()
            await client.until_closed()
        else:
            client._writer.write_eof()
        await gone(served, connections=1)
    assert await candidates(served) == ("a",)


async def test_a_connection_that_the_session_has_left_releases_nothing(served: Served) -> None:
    """Only that of its newest stream does, whatever the older one had asked."""
    async with RawConnection(served.port) as former, RawConnection(served.port) as latter:
        await begin(former, renewal(1) + OPEN + RELEASE)
        await enter(former)
        stream = await begin(latter, renewal(1) + RELEASE)
        former.abort()
        await gone(served, connections=2)
        latter.send(stream, message(renewal(2) + RELEASE))
        await latter.until(lambda: renewal(2) in latter.answers[stream].data)
        assert await candidates(served) == ("a",)
        latter.abort()
        await released(served)


async def test_a_stream_that_is_only_half_closed_ends_well(served: Served) -> None:
    """Its session goes on, and can be taken up by another."""
    async with RawConnection(served.port) as client:
        stream = await begin(client, renewal(1) + OPEN)
        await enter(client)
        client.send(stream, b"", end=True)
        assert (await client.ended(stream)).status == 0
        await begin(client, renewal(1))
        assert await candidates(served) == ("a",)
        await served.check_serves(client)
