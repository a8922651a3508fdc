"""TLS handshakes that do not come about: bounded in time and number, and no trace of them is left."""

import asyncio
import socket
import ssl
import tracemalloc
from contextlib import suppress

import anyio
import pytest

from atomix_election import ElectionServer, connect
from atomix_election.rpc import handshake
from tests.certificates import Authority
from tests.rpc.attacks import GREETING, PREFACE
from tests.rpc.conftest import Rejections
from tests.rpc.raw import WAIT_S, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

IDLE_BYTES = 64 * 1024
"""What Python may keep for both ends of an idle connection."""
CUT_OFF_S = 2.0
"""What the server says at once it has said by then."""


def open_socket(server: ElectionServer) -> socket.socket:
    """Connect, and say nothing."""
    host, _, port = server.target.removeprefix("grpcs://").rpartition(":")
    return socket.create_connection((host, int(port)))


async def until_closed(connection: socket.socket) -> None:
    """Wait until the server has closed a connection."""
    connection.setblocking(False)
    async with asyncio.timeout(WAIT_S):
        try:
            while await asyncio.get_running_loop().sock_recv(connection, 1024):
                pass
        except ConnectionError:
            pass


def under_way(server: ElectionServer) -> int:
    """Return how many handshakes the server is busy with."""
    assert server._rpc is not None
    assert server._rpc._handshakes is not None
    return len(server._rpc._handshakes._under_way)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00", b"half of nothing"[:3]])
async def test_one_that_never_ends_is_given_up(
    said: bytes, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it began with, and soon enough."""
    monkeypatch.setattr(handshake, "HANDSHAKE_TIMEOUT_S", 0.2)
    observer = Rejections()
    async with ElectionServer(tls=authority.server(), observer=observer) as server:
        with open_socket(server) as connection:
            connection.sendall(said)
            await until_closed(connection)
        await eventually(lambda: not under_way(server))
    assert observer.closings == ["handshake_timeout_s"]
    assert handshake.HANDSHAKE_TIMEOUT_S < 10


async def test_garbage_ends_it_at_once(authority: Authority) -> None:
    """Long before its time is over."""
    observer = Rejections()
    async with ElectionServer(tls=authority.server(), observer=observer) as server:
        with open_socket(server) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await until_closed(connection)
        await eventually(lambda: not under_way(server))
    assert observer.closings == ["handshake"]


async def test_the_oldest_gives_way_to_one_too_many(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """So who only connects keeps nobody out."""
    monkeypatch.setattr(handshake, "MAX_HANDSHAKES", 3)
    async with ElectionServer(tls=authority.server()) as server:
        idle: list[socket.socket] = []
        for count in range(1, 4):
            idle.append(open_socket(server))
            await eventually(lambda count=count: under_way(server) == count)
        async with connect(server.target, tls=authority.client()) as client:
            assert (await client.election("e").get_term()).number == 0
        await until_closed(idle[0])
        await eventually(lambda: under_way(server) == 2)
        for each in idle:
            each.close()
        await eventually(lambda: not under_way(server))


async def test_many_at_once_are_bounded_as_well(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several may be accepted before the first one that gives way has ended."""
    monkeypatch.setattr(handshake, "MAX_HANDSHAKES", 3)
    observer = Rejections()
    async with ElectionServer(tls=authority.server(), observer=observer) as server:
        many = [open_socket(server) for _ in range(20)]  # while the event loop does nothing
        for each in many[:-3]:
            await until_closed(each)
        assert under_way(server) == 3
        assert observer.closings == ["max_handshakes"] * 17
        for each in many:
            each.close()
        await eventually(lambda: not under_way(server))


def connect_idly(server: ElectionServer, context: ssl.SSLContext) -> socket.socket:
    """Return a connection that has said hello, and has been heard."""
    connection = context.wrap_socket(open_socket(server), server_hostname="127.0.0.1")
    connection.sendall(GREETING)
    connection.settimeout(WAIT_S)
    assert connection.recv(9)
    return connection


async def test_an_idle_connection_keeps_little(authority: Authority) -> None:
    """asyncio's TLS would keep 256 KiB to read into. Where this fails with a new Python, ``narrow`` is to be mended."""
    context = authority.client().context()
    async with ElectionServer(tls=authority.server()) as server:
        with await anyio.to_thread.run_sync(connect_idly, server, context):
            tracemalloc.start()
            try:
                many = [await anyio.to_thread.run_sync(connect_idly, server, context) for _ in range(20)]
                kept_bytes = tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
            for each in many:
                each.close()
    assert kept_bytes / len(many) < IDLE_BYTES


async def test_what_is_made_in_another_way_stays_as_it_is() -> None:
    """Another event loop has its own TLS, and so may a later Python."""

    class Other(asyncio.BufferedProtocol):
        max_size = 1 << 18

    class Beneath(asyncio.Transport):
        def get_protocol(self) -> asyncio.BaseProtocol:
            return other

    other = Other()
    handshake.narrow(Beneath())
    assert other.max_size == 1 << 18
    assert not vars(other)


@pytest.mark.parametrize("greeting", [b"", PREFACE, GREETING], ids=["nothing", "preface", "hello"])
async def test_what_comes_after_the_fault_of_a_peer_is_passed_over(authority: Authority, greeting: bytes) -> None:
    """TLS has it already when the connection is closed, and hands it on piece by piece."""
    context = authority.client().context()
    async with ElectionServer(tls=authority.server()) as server:
        host, _, port = server.target.removeprefix("grpcs://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(greeting + bytes(range(256)) * 64)
        async with asyncio.timeout(CUT_OFF_S):
            with suppress(ConnectionError):
                while await reader.read(1 << 16):
                    pass
        writer.transport.abort()


async def test_a_server_that_closes_waits_for_none(authority: Authority) -> None:
    """And leaves none behind."""
    async with ElectionServer(tls=authority.server()) as server:
        connection = open_socket(server)
        await eventually(lambda: under_way(server) == 1)
        rpc = server._rpc
        async with asyncio.timeout(handshake.HANDSHAKE_TIMEOUT_S / 2):
            await server.__aexit__(None, None, None)
            assert rpc is not None
            assert rpc._handshakes is not None
            assert not rpc._handshakes._under_way
            await until_closed(connection)
    connection.close()


async def test_what_comes_with_the_last_word_of_the_handshake_is_not_lost(authority: Authority) -> None:
    """The client's first request may be in the same bytes."""
    context = authority.client().context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    async with ElectionServer(tls=authority.server()) as server:
        host, _, port = server.target.removeprefix("grpcs://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(1 << 16))
        secured.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        secured.write(bytes.fromhex("0000080600000000000102030405060708"))  # a ping
        writer.write(outgoing.read())
        data = b""
        async with asyncio.timeout(WAIT_S):
            while bytes.fromhex("0000080601000000000102030405060708") not in data:
                incoming.write(await reader.read(1 << 16))
                with suppress(ssl.SSLWantReadError):
                    while True:
                        data += secured.read(1 << 16)
        writer.transport.abort()


async def test_one_that_hangs_up_with_its_last_word(authority: Authority) -> None:
    """Nothing is left of it."""
    async with ElectionServer(tls=authority.server()) as server:
        for _ in range(20):
            host, _, port = server.target.removeprefix("grpcs://").rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port), ssl=authority.client().context())
            writer.transport.abort()
        rpc = server._rpc
        assert rpc is not None
        await eventually(lambda: not under_way(server) and not rpc._connections)


async def test_what_cannot_be_handed_on_is_closed(authority: Authority) -> None:
    """When the process has no means left for a connection."""

    closed: list[str] = []

    def make() -> asyncio.Protocol:
        raise OSError("out of everything")

    handshakes = handshake.Handshakes(authority.server().context(), make, closed.append)
    listener = await asyncio.get_running_loop().create_server(handshakes.accept, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port, ssl=authority.client().context())
    async with asyncio.timeout(WAIT_S):
        assert await reader.read() == b""
    assert closed == ["handshake"]
    writer.transport.abort()
    listener.close()
    await handshakes.close()


async def test_a_loss_at_the_moment_of_handing_on_is_passed_on() -> None:
    """asyncio may have it under way to the former protocol already."""

    class Secured(asyncio.Transport):
        def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
            pass

    class Next(asyncio.Protocol):
        made, lost = False, False

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.made = True

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost = True

    early, following = handshake._Early(), Next()
    assert early.hand_on(Secured({"ssl_object": object()}), lambda: following)
    early.connection_lost(None)
    assert following.made
    assert following.lost

    early = handshake._Early()
    early.connection_lost(None)
    assert not early.hand_on(Secured({"ssl_object": object()}), Next)
