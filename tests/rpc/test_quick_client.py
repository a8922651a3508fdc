"""Calls of a client that are made with a future each: when, what is sent, and that nothing is left of them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import h2.events
import pytest
from h2.settings import SettingCodes
from h2.stream import H2Stream

from atomix_election.errors import OutcomeUnknown, Unavailable
from atomix_election.model import Term
from atomix_election.rpc import internals, quick_client
from atomix_election.rpc.client import RpcClient
from atomix_election.rpc.client_connection import Endpoint
from atomix_election.rpc.methods import ELECTION_METHODS
from atomix_election.service import Call
from tests.rpc.attempts import CALL, TIMEOUT_S
from tests.rpc.conftest import Served
from tests.rpc.fake import OK, RESPONSE, Speaker, listening
from tests.rpc.raw import WAIT_S, eventually, message
from tests.rpc.test_client_answers import TERM

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

MANY = 2_000
AT_ONCE = 50
LONG_ID = "c" * 100


class Server:
    """One connection of a server that answers when it is told to, and notes all that comes."""

    def __init__(self) -> None:
        self.endpoint: Endpoint
        self.speaker: Speaker
        self.headers: dict[int, dict[str, str]] = {}
        self.asked: list[int] = []
        self.resets: list[int] = []

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read until the client is gone."""
        self.speaker = Speaker(reader, writer)
        while data := await reader.read(1 << 16):
            for event in self.speaker.h2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers: Any = event.headers
                    self.headers[event.stream_id] = dict(headers)
                elif isinstance(event, h2.events.StreamEnded):
                    self.asked.append(event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    self.resets.append(event.stream_id)
            self.speaker.flush()

    def answer(self, body: bytes = TERM) -> None:
        """Answer the call that has waited longest."""
        stream = self.asked.pop(0)
        self.speaker.h2.send_headers(stream, RESPONSE)
        self.speaker.h2.send_data(stream, message(body))
        self.speaker.h2.send_headers(stream, OK, end_stream=True)
        self.speaker.flush()

    def allow(self, setting: SettingCodes, value: int) -> None:
        """Change what the client may do."""
        self.speaker.h2.update_settings({setting: value})
        self.speaker.flush()


@asynccontextmanager
async def a_server() -> AsyncGenerator[Server]:
    """Listen."""
    server = Server()
    async with listening(server.speak) as server.endpoint:
        yield server


async def test_h2_is_as_it_is_known() -> None:
    """Else calls go the plain way, and are slow."""
    assert internals.are_known_to_clients()


async def test_another_h2_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a stream keeps account of something more, which nobody does for it."""
    send = H2Stream.send_headers

    def send_and_count(stream: H2Stream, *args: Any) -> Any:
        vars(stream)["blocks_sent"] = 1
        return send(stream, *args)

    internals.are_known_to_clients.cache_clear()
    monkeypatch.setattr(H2Stream, "send_headers", send_and_count)
    assert not internals.are_known_to_clients()
    monkeypatch.undo()
    internals.are_known_to_clients.cache_clear()
    assert internals.are_known_to_clients()


async def test_with_another_h2_all_goes_the_plain_way(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes well."""
    monkeypatch.setattr(internals, "are_known_to_clients", lambda: False)
    async with RpcClient([served.endpoint]) as client:
        await client._connection.get()
        assert client._connection.begin(ELECTION_METHODS["GetTerm"], CALL, b"", 1.0) is None
        assert (await client.get_term(CALL)).number == 0


async def test_a_repeated_call_is_known_to_the_server(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its headers are neither decoded nor read again, whatever number it has."""
    decoded: list[bytes] = []
    read: list[object] = []
    blocks, requests = served.rpc._common.blocks, served.rpc._common.requests
    keep, make = blocks.keep, requests._read
    monkeypatch.setattr(blocks, "keep", lambda *args: (decoded.append(args[1]), keep(*args)))
    monkeypatch.setattr(requests, "_read", lambda headers: (read.append(headers), make(headers))[1])
    async with RpcClient([served.endpoint]) as client:
        await client.create(CALL)
        await client.enter(Call("e", session="s", operation=1), "a")
        await client.get_term(CALL)
        before = len(decoded), len(read)
        assert min(before) >= 2
        for operation in (2, 30, 4_000_000):
            await client.enter(Call("e", session="s", operation=operation), "a")
            await client.get_term(CALL)
        assert (len(decoded), len(read)) == before


async def test_calls_leave_the_table_of_headers_alone() -> None:
    """It has no place for the elections of a client that has many, and calls would push each other out of it."""
    async with a_server() as server, RpcClient([server.endpoint]) as client:
        await client._connection.get()
        for number in range(200):
            task = asyncio.ensure_future(client.enter(Call(f"e{number}", session="s", operation=number + 1), "a"))
            await eventually(lambda: bool(server.asked))
            server.answer()
            await task
        assert not server.speaker.h2.decoder.header_table.dynamic_entries
        assert server.headers[399] == {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/atomix.election.v1.LeaderElection/Enter",
            ":authority": str(server.endpoint),
            "te": "trailers",
            "content-type": "application/grpc",
            "primitive-id": "e199",
            "application-id": "default",
            "session-id": "s",
            "grpc-timeout": server.headers[1]["grpc-timeout"],
            "atomix-election-operation": "200",
        }


async def test_the_plain_way_keeps_out_of_the_table_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what the client says with each call stays in it."""
    monkeypatch.setattr(internals, "are_known_to_clients", lambda: False)
    async with a_server() as server, RpcClient([server.endpoint]) as client:
        for number in range(3):
            task = asyncio.ensure_future(client.enter(Call(f"e{number}", session="s", operation=number + 1), "a"))
            await eventually(lambda: bool(server.asked))
            server.answer()
            await task
        names = {name for name, _ in server.speaker.h2.decoder.header_table.dynamic_entries}
        assert b"session-id" in names
        assert not names & {b"primitive-id", b"grpc-timeout", b"atomix-election-operation"}


async def test_the_token_is_read_for_each_call() -> None:
    """It may have been replaced."""
    tokens = iter(["first", "second", "second"])
    async with a_server() as server, RpcClient([server.endpoint], token=lambda: next(tokens)) as client:
        await client._connection.get()
        for _ in range(3):
            task = asyncio.ensure_future(client.get_term(CALL))
            await eventually(lambda: bool(server.asked))
            server.answer()
            await task
        sent = [headers["authorization"] for headers in server.headers.values()]
        assert sent == ["Bearer first", "Bearer second", "Bearer second"]


@pytest.mark.parametrize("write", [False, True])
async def test_a_cancelled_call_is_reset(write: bool) -> None:
    """The server hears of it at once, and the client forgets it."""
    async with a_server() as server, RpcClient([server.endpoint], call_timeout_s=WAIT_S) as client:
        protocol = await client._connection.get()
        task = asyncio.ensure_future(client.enter(CALL, "a") if write else client.get_term(CALL))
        await eventually(lambda: bool(server.asked))
        assert len(protocol.quick) == 1
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert not len(protocol.quick)
        assert not protocol.processor.streams
        assert not protocol._h2.open_outbound_streams
        await eventually(lambda: server.resets == [1])


async def test_a_call_cancelled_while_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the very turn in which the answer, good or bad, has come: nothing is left, and the connection goes on."""
    async with a_server() as server, RpcClient([server.endpoint]) as client:
        protocol = await client._connection.get()
        take = protocol.quick.take
        task: asyncio.Future[Term]

        def take_and_cancel(events: Any) -> Any:
            others = take(events)
            task.cancel()
            return others

        for body in (TERM, b"\xff"):
            task = asyncio.ensure_future(client.get_term(CALL))
            await eventually(lambda: bool(server.asked))
            monkeypatch.setattr(protocol.quick, "take", take_and_cancel)
            if body == TERM:
                server.answer(body)
            else:
                stream = server.asked.pop()
                server.speaker.h2.send_headers(stream, [*RESPONSE, ("grpc-status", "5")])
                server.speaker.flush()
            await asyncio.wait([task])
            monkeypatch.undo()
            assert task.cancelled()
            assert not len(protocol.quick)
            assert not protocol.processor.streams
        task = asyncio.ensure_future(client.get_term(CALL))
        await eventually(lambda: bool(server.asked))
        server.answer()
        assert (await task).leader == "a"


async def test_a_call_that_ran_out_of_time_is_reset() -> None:
    """And the next one is answered."""
    async with a_server() as server, RpcClient([server.endpoint], call_timeout_s=TIMEOUT_S) as client:
        await client._connection.get()
        with pytest.raises(OutcomeUnknown, match=f"no answer within {TIMEOUT_S:g} s"):
            await client.enter(CALL, "a")
        await eventually(lambda: server.resets == [1])
        server.asked.clear()
        task = asyncio.ensure_future(client.get_term(CALL))
        await eventually(lambda: bool(server.asked))
        server.answer()
        assert (await task).leader == "a"


async def test_the_connection_is_lost_with_calls_on_it() -> None:
    """Each hears of it at once; what was a write may have been applied."""
    async with a_server() as server, RpcClient([server.endpoint], call_timeout_s=WAIT_S) as client:
        await client._connection.get()
        read, write = (asyncio.ensure_future(each) for each in (client.get_term(CALL), client.enter(CALL, "a")))
        await eventually(lambda: len(server.asked) == 2)
        server.asked.clear()
        server.speaker._writer.transport.abort()
        with pytest.raises(OutcomeUnknown, match="Connection lost"):
            await write
        await eventually(lambda: bool(server.asked))  # the read is tried again, on another connection
        server.answer()
        assert (await read).leader == "a"


async def test_a_client_that_is_closed_ends_its_calls() -> None:
    """They do not wait for their time to be over."""
    async with a_server() as server:
        async with RpcClient([server.endpoint], call_timeout_s=WAIT_S) as client:
            await client._connection.get()
            task = asyncio.ensure_future(client.get_term(CALL))
            await eventually(lambda: bool(server.asked))
        with pytest.raises(Unavailable, match="closed"):
            await task


async def test_no_more_streams_than_the_server_allows() -> None:
    """Those that are too many wait for their turn, and all are answered."""
    async with a_server() as server, RpcClient([server.endpoint], call_timeout_s=WAIT_S) as client:
        protocol = await client._connection.get()
        server.allow(SettingCodes.MAX_CONCURRENT_STREAMS, 3)
        await eventually(lambda: protocol._h2.remote_settings.max_concurrent_streams == 3)
        tasks = [asyncio.ensure_future(client.get_term(CALL)) for _ in range(10)]
        for answered in range(10):
            await eventually(lambda so_far=answered: len(server.headers) >= min(so_far + 3, 10))
            assert protocol._h2.open_outbound_streams <= 3
            server.answer()
        assert [(await task).leader for task in tasks] == ["a"] * 10


async def test_a_server_that_takes_no_data_yet() -> None:
    """The call waits for the window, the plain way."""
    async with a_server() as server, RpcClient([server.endpoint], call_timeout_s=WAIT_S) as client:
        protocol = await client._connection.get()
        server.allow(SettingCodes.INITIAL_WINDOW_SIZE, 4)
        await eventually(lambda: protocol._h2.remote_settings.initial_window_size == 4)
        task = asyncio.ensure_future(client.enter(CALL, "a"))
        await eventually(lambda: bool(server.headers))
        assert not len(protocol.quick)
        server.speaker.h2.increment_flow_control_window(100, 1)
        server.speaker.flush()
        await eventually(lambda: bool(server.asked))
        server.answer()
        assert (await task).leader == "a"


async def test_a_server_that_reads_nothing_is_not_written_to() -> None:
    """The call waits, the plain way, and goes out when the server reads again."""
    async with a_server() as server, RpcClient([server.endpoint], call_timeout_s=WAIT_S) as client:
        protocol = await client._connection.get()
        protocol.pause_writing()
        task = asyncio.ensure_future(client.get_term(CALL))
        await asyncio.sleep(0)
        assert not len(protocol.quick)
        protocol.resume_writing()
        await eventually(lambda: bool(server.asked))
        server.answer()
        assert (await task).leader == "a"


async def test_a_connection_without_numbers_left_for_streams_is_replaced(served: Served) -> None:
    """There are a thousand million: a busy client uses them up in days."""
    async with RpcClient([served.endpoint]) as client:
        former = await client._connection.get()
        former._h2.highest_outbound_stream_id = former._h2.HIGHEST_ALLOWED_STREAM_ID
        assert (await client.get_term(CALL)).number == 0
        assert await client._connection.get() is not former


async def test_very_many_calls_leave_nothing_behind(served: Served) -> None:
    """No stream, no timer, no headers; and the window of the connection never runs dry: this is more than it has."""
    async with RpcClient([served.endpoint], call_timeout_s=30.0) as client:
        protocol = await client._connection.get()
        await client.create(CALL)
        for number in range(100):
            await client.enter(CALL, f"{LONG_ID}{number}")
        term = await client.get_term(CALL)
        assert MANY * sum(map(len, term.candidates)) > protocol.config.http2_connection_window_size
        for number in range(MANY // AT_ONCE):
            calls = [client.get_term(CALL) for _ in range(AT_ONCE)]
            assert (await asyncio.gather(client.get_term(Call(f"x{number}", session="s")), *calls))[1:] == [
                term
            ] * AT_ONCE
        h2 = protocol._h2
        assert not len(protocol.quick)
        assert len(h2.streams) <= quick_client.MIN_ENDED_STREAMS + 2 * AT_ONCE + 2
        assert len(protocol.quick._heads) <= quick_client.MAX_HEADS
        missing = protocol.config.http2_connection_window_size - h2.inbound_flow_control_window
        assert missing <= protocol.config.http2_connection_window_size / 2 + quick_client.UNACKNOWLEDGED_BYTES
        loop: Any = asyncio.get_running_loop()
        assert sum(not timer.cancelled() for timer in loop._scheduled) < AT_ONCE


async def test_the_headers_that_are_kept_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many elections a client has."""
    monkeypatch.setattr(quick_client, "MAX_HEADS", 10)
    async with RpcClient([served.endpoint]) as client:
        protocol = await client._connection.get()
        for number in range(25):
            assert (await client.get_term(Call(f"e{number}"))).number == 0
            assert len(protocol.quick._heads) <= 10
