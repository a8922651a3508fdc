"""What is not etcd, or answers what etcd never would, is said to be so; a write then has an unknown outcome."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream

from atomix_election import ElectionServer
from atomix_election.etcd import (
    Endpoint,
    EtcdClient,
    EtcdMalformed,
    EtcdOutcomeUnknown,
    EtcdRefused,
    EtcdUnavailable,
    Get,
    Put,
    absent,
)
from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd.connection import EtcdConnection
from tests.etcd.cluster import free_ports

pytestmark = pytest.mark.anyio

HEADER = pb.ResponseHeader(cluster_id=1, member_id=1, revision=1, raft_term=1)


class _Raw(CodecBase):
    """Bytes as they are."""

    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class _Impostor:
    """Answers every call with the same messages."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers

    async def _answer(self, stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        for each in self._answers:
            await stream.send_message(each)

    def __mapping__(self) -> dict[str, Handler]:
        handler = Handler(self._answer, Cardinality.STREAM_STREAM, bytes, bytes)
        paths = ("KV/Range", "KV/Put", "KV/Txn", "Lease/LeaseKeepAlive", "Watch/Watch")
        return {f"/etcdserverpb.{path}": handler for path in paths}


@asynccontextmanager
async def impostor(*answers: bytes) -> AsyncGenerator[EtcdClient]:
    """Start one, and a client of it."""
    server = Server([_Impostor(list(answers))], codec=_Raw())
    (port,) = free_ports(1)
    await server.start("127.0.0.1", port)
    try:
        async with EtcdClient([("127.0.0.1", port)], attempt_timeout_s=0.2) as client:
            yield client
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "answers",
    [
        [b"\xff\xff\xff\xff"],
        [b"\x0a\x7f"],
        [b""],
        [bytes(pb.RangeResponse(count=1))],
        [bytes(pb.RangeResponse(header=pb.ResponseHeader(revision=1)))],
        [bytes(pb.RangeResponse(header=HEADER))] * 2,
    ],
    ids=["garbage", "cut short", "empty", "no header", "no cluster", "two"],
)
async def test_garbled_answers_are_errors(answers: list[bytes]) -> None:
    async with impostor(*answers) as client:
        with pytest.raises(EtcdMalformed, match="Range at 127"):
            await client.get(Get(b"a"))
        with pytest.raises(EtcdOutcomeUnknown):
            await client.put(Put(b"a", b""))
        with pytest.raises(EtcdUnavailable):
            await client.keep_alive(1, timeout_s=0.2)


async def test_an_answer_about_other_operations_is_an_error() -> None:
    answer = pb.TxnResponse(header=HEADER, succeeded=True, responses=[pb.ResponseOp()])
    async with impostor(bytes(answer)) as client:
        for success in ([Get(b"a")], []):
            with pytest.raises(EtcdMalformed, match="operations"):
                await client.txn([absent(b"a")], success)
        with pytest.raises(EtcdOutcomeUnknown, match="operations"):
            await client.txn([absent(b"a")], [Put(b"a", b"")])


async def test_another_service_is_not_taken_for_etcd() -> None:
    async with ElectionServer() as server:
        host, port = server.target.removeprefix("grpc://").split(":")
        async with EtcdClient([(host, int(port))]) as client:
            for call in (client.get(Get(b"a")), client.put(Put(b"a", b"")), client.status()):
                with pytest.raises(EtcdRefused, match="is that etcd"):
                    await call


async def _close(_stream: anyio.abc.SocketStream) -> None:
    """Say nothing."""


async def _greet(stream: anyio.abc.SocketStream) -> None:
    await stream.send(b"220 ready when you are\r\n")
    await stream.receive()


async def _wait(stream: anyio.abc.SocketStream) -> None:
    while True:
        await stream.receive()


@pytest.mark.parametrize(
    ("behave", "words"),
    [(_close, "the connection was closed"), (_greet, "does not speak HTTP/2"), (_wait, "no answer")],
)
async def test_what_speaks_something_else_is_not_connected(
    behave: Callable[[anyio.abc.SocketStream], Awaitable[None]], words: str
) -> None:
    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                await behave(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with EtcdClient([("127.0.0.1", port)]) as client:
            with pytest.raises(EtcdUnavailable, match=words):
                await client.put(Put(b"a", b""), timeout_s=0.3)
        tasks.cancel_scope.cancel()


async def test_who_waits_for_the_same_connection_shares_its_failure() -> None:
    """Else as many would be made as there are calls, one after the other."""
    connections = 0
    failures: list[str] = []
    everybody = anyio.Event()

    async def refuse(stream: anyio.abc.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await everybody.wait()
        await stream.aclose()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        connection = EtcdConnection([Endpoint("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port))], None)

        async def connect() -> None:
            with pytest.raises(EtcdUnavailable) as raised:
                await connection.get()
            failures.append(str(raised.value))

        async with anyio.create_task_group() as callers:
            for _ in range(10):
                callers.start_soon(connect)
            await anyio.wait_all_tasks_blocked()
            everybody.set()
        await connection.close()
        tasks.cancel_scope.cancel()
    assert (connections, len(failures)) == (1, 10)
