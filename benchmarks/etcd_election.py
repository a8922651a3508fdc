"""Etcd's election service (``v3election.proto``), called as cheaply as Python can.

Messages are put together and taken apart by hand, so that no library for them costs anything. The calls are made by one
of three clients, and a benchmark uses the one that is the fastest in its own run. ``python -m benchmarks.etcd_election
CLIENT TARGET`` obeys ``rate AT_ONCE SECONDS``: cycles of Campaign and Resign a second.
"""

import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

import anyio
import grpc
import grpc.aio
from anyio.to_thread import run_sync
from grpclib.client import Channel, UnaryUnaryMethod

from benchmarks.load import repeat
from benchmarks.processes import obey

CAMPAIGN = "/v3electionpb.Election/Campaign"
RESIGN = "/v3electionpb.Election/Resign"
GRANT = "/etcdserverpb.Lease/LeaseGrant"
RANGE = "/etcdserverpb.KV/Range"
PATHS = (CAMPAIGN, RESIGN, GRANT, RANGE)

LEASE_S = 600
"""Longer than any benchmark, so that none is renewed."""
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
"""What keeps channels of grpcio from sharing one."""


def varint(value: int) -> bytes:
    """Return a number as protobuf has it."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))


def text(field: int, value: bytes) -> bytes:
    """Return a field of bytes."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def number(field: int, value: int) -> bytes:
    """Return a field that is a number."""
    return varint(field << 3) + varint(value)


def fields(data: bytes) -> dict[int, Any]:
    """Return the fields of a message that has only numbers and bytes, none of them twice."""
    found: dict[int, Any] = {}
    position = 0

    def read() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while position < len(data):
        key = read()
        value = read()
        if key & 7 == 2:
            found[key >> 3] = data[position : position + value]
            position += value
        else:
            found[key >> 3] = value
    return found


def lease_request(ttl_s: int) -> bytes:
    """Return a LeaseGrantRequest."""
    return number(1, ttl_s)


def lease_of(response: bytes) -> int:
    """Return the lease in a LeaseGrantResponse."""
    return fields(response)[2]


def campaign_request(election: str, lease: int) -> bytes:
    """Return a CampaignRequest."""
    return text(1, election.encode()) + number(2, lease) + text(3, b"candidate")


def resign_request(campaign_response: bytes) -> bytes:
    """Return the ResignRequest of who has won with this CampaignResponse."""
    return text(1, fields(campaign_response)[2])


def count_request(election: str) -> bytes:
    """Return a RangeRequest for the number of candidates; etcd's service has a key for each below the name."""
    return text(1, f"{election}/".encode()) + text(2, f"{election}0".encode()) + number(9, 1)


def count_of(response: bytes) -> int:
    """Return the number in a RangeResponse."""
    return fields(response).get(4, 0)


class Answer(NamedTuple):
    """The answer to a call, and when the call was sent and answered, by the clock that all processes share."""

    response: bytes
    sent_s: float
    answered_s: float


class EtcdElections(Protocol):
    """A client."""

    async def rate(self, at_once: int, seconds: float) -> float:
        """Campaign and resign over and over in so many elections, and return how many cycles a second there were."""
        ...

    async def call(self, path: str, request: bytes) -> Answer:
        """Make one call."""
        ...


class _Blocking:
    """Grpcio's blocking client; where several calls are made at once, its futures, so that no thread waits for one."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._methods = {path: channel.unary_unary(path) for path in PATHS}

    async def call(self, path: str, request: bytes) -> Answer:
        return await run_sync(self._call, path, request)

    async def rate(self, at_once: int, seconds: float) -> float:
        lease = lease_of(self._methods[GRANT](lease_request(LEASE_S)))
        return await run_sync(self._alone if at_once == 1 else self._together, lease, at_once, seconds)

    def _call(self, path: str, request: bytes) -> Answer:
        sent_s = time.monotonic()
        return Answer(self._methods[path](request), sent_s, time.monotonic())

    def _alone(self, lease: int, _: int, seconds: float) -> float:
        campaign, resign = self._methods[CAMPAIGN], self._methods[RESIGN]
        request, done, began = campaign_request("etcd-0", lease), 0, time.monotonic()
        while time.monotonic() - began < seconds:
            resign(resign_request(campaign(request)))
            done += 1
        return done / (time.monotonic() - began)

    def _together(self, lease: int, at_once: int, seconds: float) -> float:
        done, began, running, over = 0, time.monotonic(), at_once, threading.Event()
        lock = threading.Lock()

        def campaign(request: bytes) -> None:
            self._methods[CAMPAIGN].future(request).add_done_callback(lambda won: resign(request, won))

        def resign(request: bytes, won: Any) -> None:
            resigning = self._methods[RESIGN].future(resign_request(won.result()))
            resigning.add_done_callback(lambda left: end(request, left))

        def end(request: bytes, left: Any) -> None:
            nonlocal done, running
            left.result()
            goes_on = time.monotonic() - began < seconds
            with lock:
                done += 1
                running -= not goes_on
            if goes_on:
                campaign(request)
            elif not running:
                over.set()

        for each in range(at_once):
            campaign(campaign_request(f"etcd-{each}", lease))
        over.wait()
        return done / (time.monotonic() - began)


class _Asynchronous:
    """Any client that can be awaited."""

    def __init__(self, methods: Mapping[str, Callable[[bytes], Any]]) -> None:
        self._methods = methods

    async def call(self, path: str, request: bytes) -> Answer:
        sent_s = time.monotonic()
        return Answer(await self._methods[path](request), sent_s, time.monotonic())

    async def rate(self, at_once: int, seconds: float) -> float:
        campaign, resign = self._methods[CAMPAIGN], self._methods[RESIGN]
        lease = lease_of(await self._methods[GRANT](lease_request(LEASE_S)))
        requests = [campaign_request(f"etcd-{each}", lease) for each in range(at_once)]

        async def cycle(request: bytes) -> None:
            await resign(resign_request(await campaign(request)))

        return await repeat(seconds, [lambda each=each: cycle(each) for each in requests])


class _Bytes(bytes):
    """A message for grpclib that is bytes already."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - grpclib calls it so
        return self

    @classmethod
    def FromString(cls, data: bytes) -> "_Bytes":  # noqa: N802 - grpclib calls it so
        return cls(data)


@asynccontextmanager
async def blocking(target: str) -> AsyncGenerator[EtcdElections]:
    """Give grpcio's blocking client."""
    with grpc.insecure_channel(target, OWN_CONNECTION) as channel:
        yield _Blocking(channel)


@asynccontextmanager
async def asynchronous(target: str) -> AsyncGenerator[EtcdElections]:
    """Give grpcio's asyncio client."""
    async with grpc.aio.insecure_channel(target, OWN_CONNECTION) as channel:
        yield _Asynchronous({path: channel.unary_unary(path) for path in PATHS})


@asynccontextmanager
async def pure(target: str) -> AsyncGenerator[EtcdElections]:
    """Give grpclib's client."""
    host, _, port = target.rpartition(":")
    async with Channel(host, int(port)) as channel:

        def method(path: str) -> Callable[[bytes], Any]:
            call = UnaryUnaryMethod[Any, Any](channel, path, _Bytes, _Bytes)
            return lambda request: call(_Bytes(request))

        yield _Asynchronous({path: method(path) for path in PATHS})


CLIENTS = {"grpcio": blocking, "grpcio's asyncio": asynchronous, "grpclib": pure}


async def main(client: str, target: str) -> None:
    """See the module."""
    async with CLIENTS[client](target) as elections:
        await obey({"rate": elections.rate})


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
