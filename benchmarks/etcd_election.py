"""Etcd's election service (``v3election.proto``), called as cheaply as Python can.

Messages are put together and taken apart by hand, so that no library for them costs anything. The calls are made by one
of three clients, and a benchmark uses the one that is the fastest in its own run. ``python -m benchmarks.etcd_election
CLIENT TARGET`` obeys ``rate AT_ONCE SECONDS``: cycles of Campaign and Resign a second.
"""

import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

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


class EtcdElections(Protocol):
    """A client, with a lease of its own."""

    async def rate(self, at_once: int, seconds: float) -> float:
        """Campaign and resign over and over in so many elections, and return how many cycles a second there were."""
        ...


class _Blocking:
    """Grpcio's blocking client; where several calls are made at once, its futures, so that no thread waits for one."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._campaign = channel.unary_unary(CAMPAIGN)
        self._resign = channel.unary_unary(RESIGN)
        self._lease = lease_of(channel.unary_unary(GRANT)(lease_request(LEASE_S)))

    async def rate(self, at_once: int, seconds: float) -> float:
        return await run_sync(self._alone if at_once == 1 else self._together, at_once, seconds)

    def _alone(self, _: int, seconds: float) -> float:
        request, done, began = campaign_request("etcd-0", self._lease), 0, time.monotonic()
        while time.monotonic() - began < seconds:
            self._resign(resign_request(self._campaign(request)))
            done += 1
        return done / (time.monotonic() - began)

    def _together(self, at_once: int, seconds: float) -> float:
        done, began, running, over = 0, time.monotonic(), at_once, threading.Event()
        lock = threading.Lock()

        def campaign(request: bytes) -> None:
            self._campaign.future(request).add_done_callback(lambda won: resign(request, won))

        def resign(request: bytes, won: Any) -> None:
            self._resign.future(resign_request(won.result())).add_done_callback(lambda left: end(request, left))

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
            campaign(campaign_request(f"etcd-{each}", self._lease))
        over.wait()
        return done / (time.monotonic() - began)


class _Asynchronous:
    """Any client that can be awaited."""

    def __init__(self, campaign: Callable[[bytes], Any], resign: Callable[[bytes], Any], lease: int) -> None:
        self._campaign = campaign
        self._resign = resign
        self._lease = lease

    async def rate(self, at_once: int, seconds: float) -> float:
        requests = [campaign_request(f"etcd-{each}", self._lease) for each in range(at_once)]

        async def cycle(request: bytes) -> None:
            await self._resign(resign_request(await self._campaign(request)))

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
    with grpc.insecure_channel(target) as channel:
        yield _Blocking(channel)


@asynccontextmanager
async def asynchronous(target: str) -> AsyncGenerator[EtcdElections]:
    """Give grpcio's asyncio client."""
    async with grpc.aio.insecure_channel(target) as channel:
        lease = lease_of(await channel.unary_unary(GRANT)(lease_request(LEASE_S)))
        yield _Asynchronous(channel.unary_unary(CAMPAIGN), channel.unary_unary(RESIGN), lease)


@asynccontextmanager
async def pure(target: str) -> AsyncGenerator[EtcdElections]:
    """Give grpclib's client."""
    host, _, port = target.rpartition(":")
    async with Channel(host, int(port)) as channel:

        def method(path: str) -> Callable[[bytes], Any]:
            call = UnaryUnaryMethod[Any, Any](channel, path, _Bytes, _Bytes)
            return lambda request: call(_Bytes(request))

        lease = lease_of(await method(GRANT)(lease_request(LEASE_S)))
        yield _Asynchronous(method(CAMPAIGN), method(RESIGN), lease)


CLIENTS = {"grpcio": blocking, "grpcio's asyncio": asynchronous, "grpclib": pure}


async def main(client: str, target: str) -> None:
    """See the module."""
    async with CLIENTS[client](target) as elections:
        await obey({"rate": elections.rate})


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
