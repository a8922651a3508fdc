"""Requests of all methods: as they should be, with something changed, and with prefixes that lie."""

import struct
from functools import cache
from importlib.resources import files

import betterproto2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from hypothesis import strategies as st

from tests.fuzz.headers import METHODS
from tests.rpc.messages import fields, messages_of, mutated, varint
from tests.rpc.raw import message

OK, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 0, 3, 5, 8, 12
LIMIT_BYTES = 64 * 1024
"""The default of a server."""

GARBAGE = [
    b"\xff" * 4,
    b"\x0a",
    b"\x0a\x7fa",
    b"\x08\x05",
    b"\x0b\x0c",
    b"\x0f",
    b"\x02\x00",
    b"\x0a\x02\xc3\x28",
    b"\x0a\x03\xed\xa0\x80",
    b"\x0a\x00",
    b"\x0a\x01\x00",
    b"\x0a\x01a\x0a\x01b",
    b"\x10" + b"\xff" * 10 + b"\x01",
    b"\x8a\x80\x80\x80\x80\x01\x01a",
    b"\x0a\xfb\x01" + b"c" * 251,
    b"\x0a\xfa\x01" + b"c" * 250,
]
candidates = st.sampled_from(["a", "b", "c", ""]).map(lambda name: b"\x0a" + varint(len(name)) + name.encode())


def nested(depth: int) -> bytes:
    """Return messages in one another."""
    data = b""
    for _ in range(depth):
        data = b"\x0a" + varint(len(data)) + data
    return data


_OF_CANDIDATES = {f"{each}Request" for each in ("Enter", "Withdraw", "Anoint", "Promote", "Evict")}

Kind = type[betterproto2.Message]


@cache
def valid_as(kind: Kind) -> st.SearchStrategy[bytes]:
    """Messages of a class, encoded."""
    made = messages_of(kind).map(bytes)
    return candidates | made if kind.__name__ in _OF_CANDIDATES else made


@cache
def odd_as(kind: Kind) -> st.SearchStrategy[bytes]:
    """Bytes that are such messages, or nearly, or not at all."""
    whole = valid_as(kind)
    return st.one_of(
        mutated(whole),
        st.builds(bytes.__add__, whole, st.lists(fields(st.integers(0, 20)), max_size=3).map(b"".join)),
        st.sampled_from(GARBAGE),
        st.sampled_from([5, 31, 32, 33, 100, 2000]).map(nested),
        st.binary(max_size=20),
        st.sampled_from([1000, 5000]).map(lambda size: b"\x7a" + varint(size) + bytes(size)),
    )


@st.composite
def framed_as(draw: st.DrawFn, kind: Kind) -> bytes:
    """Data that should be one message with its prefix."""
    data = draw(odd_as(kind) | valid_as(kind))
    how = draw(st.sampled_from(["well", "well", "size", "flag", "two", "more", "cut", "none", "prefix", "bytes"]))
    if how == "size":
        sizes = [max(len(data) - 1, 0), len(data) + 1, LIMIT_BYTES, LIMIT_BYTES + 1, 1 << 31, (1 << 32) - 1]
        return message(data, size=draw(st.sampled_from(sizes)))
    if how == "flag":
        return message(data, compressed=draw(st.sampled_from([1, 2, 128, 255])))
    if how == "two":
        return message(data) + message(draw(valid_as(kind)))
    if how == "more":
        return message(data) + draw(st.binary(min_size=1, max_size=7))
    if how == "cut":
        whole = message(data)
        return whole[: draw(st.integers(0, len(whole) - 1))]
    if how == "none":
        return b""
    if how == "prefix":
        return draw(st.binary(max_size=5))
    return draw(st.binary(max_size=40)) if how == "bytes" else message(data)


def valid(path: str) -> st.SearchStrategy[bytes]:
    """Messages that a method may be sent, encoded."""
    return valid_as(METHODS[path].request)


def framed(path: str) -> st.SearchStrategy[bytes]:
    """The data of a request."""
    return framed_as(METHODS[path].request)


def statuses_of(path: str, body: bytes) -> frozenset[int]:
    """Return the statuses with which a well-formed unary call may end that has such data; empty for any.

    What is said here of messages is what protobuf's own parser says, which shares no code with the package: what that
    refuses has to be refused.
    """
    if len(body) < 5:
        return frozenset([INVALID_ARGUMENT])
    compressed, size = struct.unpack(">BI", body[:5])
    if compressed:
        return frozenset([UNIMPLEMENTED])
    if size > LIMIT_BYTES:
        return frozenset([RESOURCE_EXHAUSTED])
    if len(body) - 5 < size or not _is_message(path, body[5 : 5 + size]):
        return frozenset([INVALID_ARGUMENT])
    if len(body) - 5 > size:
        return frozenset([INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED])
    return frozenset()


@cache
def _published_requests() -> dict[str, type[Message]]:
    """Return protobuf's own classes of all requests, by the paths of the methods."""
    pool = descriptor_pool.DescriptorPool()
    described = (files("atomix_election.rpc._generated") / "descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described).file:
        pool.Add(file)
    found: dict[str, type[Message]] = {}
    for path, method in METHODS.items():
        service = pool.FindServiceByName(method.service)
        found[path] = message_factory.GetMessageClass(service.methods_by_name[method.name].input_type)
    return found


def _is_message(path: str, data: bytes) -> bool:
    try:
        _published_requests()[path].FromString(data)
    except DecodeError:
        return False
    return True
