"""Calls that are not what they should be: each has the status of the wire contract, and harms nobody else."""

import pytest

from tests.rpc.conftest import Served
from tests.rpc.raw import Pairs, RawConnection, about, headers_of, message

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, OK = 3, 8, 12, 0
LIMIT_BYTES = 64 * 1024


def but(name: str, value: str | None, method: str = "GetTerm") -> Pairs:
    """Return good headers with one of them changed, or left out."""
    headers = headers_of(method, *about(session="s"))
    changed = [] if value is None else [value]
    return [(key, each) for key, old in headers for each in (changed if key == name else [old])]


UNKNOWN: dict[str, Pairs] = {
    "unknown method": headers_of("Abdicate", *about()),
    "method in lower case": headers_of("getterm", *about()),
    "unknown service": headers_of("/atomix.election.v2.LeaderElection/GetTerm", *about()),
    "path without service": headers_of("/GetTerm", *about()),
    "query": headers_of("GetTerm?x=1", *about()),
    "empty path": but(":path", ""),
    "no path": but(":path", None),
    "path that is not ASCII": but(":path", "/\xe9/\x00"),
    "GET": but(":method", "GET"),
    "PUT": but(":method", "PUT"),
    "no method": but(":method", None),
    "JSON": but("content-type", "application/json"),
    "gRPC-Web": but("content-type", "application/grpc-web"),
    "gRPC of another codec": but("content-type", "application/grpc+json"),
    "no content-type": but("content-type", None),
}


@pytest.mark.parametrize("headers", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("body", [None, message(b"")], ids=["no body", "body"])
async def test_what_the_server_does_not_do_is_unimplemented(served: Served, headers: Pairs, body: bytes | None) -> None:
    """Another method, service, verb or encoding."""
    async with RawConnection(served.port) as raw:
        answer = await raw.call(headers, body)
        assert (answer.status, answer.error) == (UNIMPLEMENTED, "InvalidRequest")
        await served.check_serves(raw)


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;charset=utf-8"])
async def test_other_names_of_the_encoding_are_good(served: Served, content_type: str) -> None:
    """As gRPC's protocol over HTTP/2 allows."""
    assert (await served.honest.call(but("content-type", content_type))).status == OK


GARBAGE = {
    "four bytes of ff": b"\xff\xff\xff\xff",
    "varint where text belongs": b"\x08\x05",
    "fixed64 where text belongs": b"\x09" + bytes(8),
    "fixed32 where text belongs": b"\x0d" + bytes(4),
    "group begins": b"\x0b\x0c",
    "group ends": b"\x0c",
    "unknown group": b"\x13\x14",
    "wire type 6": b"\x0e",
    "wire type 7": b"\x0f",
    "length beyond the end": b"\x0a\x05abc",
    "no length": b"\x0a",
    "length of 2 to the 63": b"\x0a" + b"\xff" * 8 + b"\x7f",
    "unknown field beyond the end": b"\x12\x7f",
    "unknown fixed64 cut off": b"\x11" + bytes(7),
    "field number 0": b"\x02\x00",
    "field number 2 to the 29": b"\x82\x80\x80\x80\x10\x00",
    "key of 11 bytes": b"\x8a" + b"\x80" * 9 + b"\x00\x00",
    "unknown varint of 11 bytes": b"\x10" + b"\xff" * 10 + b"\x01",
    "unknown varint that does not end": b"\x10\x80",
    "invalid UTF-8": b"\x0a\x02\xc3\x28",
    "surrogate": b"\x0a\x03\xed\xa0\x80",
    "over-long UTF-8": b"\x0a\x02\xc0\x80",
    "good field, then garbage": b"\x0a\x01a\xff",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_an_invalid_argument(served: Served, garbage: bytes) -> None:
    """What is not a message has no effect."""
    async with RawConnection(served.port) as raw:
        metadata = about(session="s")
        assert (await raw.call(headers_of("Create", *metadata), message(b"\n\0"))).status == OK
        answer = await raw.call(headers_of("Enter", *metadata), message(garbage))
        assert (answer.status, answer.error) == (INVALID_ARGUMENT, "InvalidRequest")
        assert (await raw.call(headers_of("GetTerm", *metadata))).messages == [b"\n\4\x1a\2\x22\0"]
        await served.check_serves(raw)


async def test_unknown_fields_are_passed_over(served: Served) -> None:
    """A newer client may say more than this server knows."""
    metadata = about(session="s")
    assert (await served.honest.call(headers_of("Create", *metadata), message(b"\n\0"))).status == OK
    unknown = b"\x10\x96\x01" + b"\x1d" + bytes(4) + b"\x21" + bytes(8) + b"\x2a\x03\xff\xff\xff"
    answer = await served.honest.call(headers_of("Enter", *metadata), message(unknown + b"\x0a\x01a" + unknown))
    assert answer.messages == [b"\n\x0e" + b"\n\1a" + b"\x12\1a" + b"\x1a\6\x22\4\x08\1\x10\1"]


TRUNCATED = {
    "no body": None,
    "empty body": b"",
    "one byte of the prefix": b"\0",
    "four bytes of the prefix": b"\0\0\0\0",
    "prefix only": message(b"", size=3),
    "half the body": message(b"\x0a\x01", size=3),
    "two messages": message(b"") + message(b""),
    "a message and half a prefix": message(b"") + b"\0\0",
    "a message and half another": message(b"") + message(b"", size=9),
}


@pytest.mark.parametrize("method", ["GetTerm", "Events"])
@pytest.mark.parametrize("body", TRUNCATED.values(), ids=TRUNCATED)
async def test_anything_but_one_whole_message_is_an_invalid_argument(
    served: Served, method: str, body: bytes | None
) -> None:
    """None, less than one, and more than one."""
    async with RawConnection(served.port) as raw:
        answer = await raw.call(headers_of(method, *about()), body)
        assert (answer.status, answer.error) == (INVALID_ARGUMENT, "InvalidRequest")
        await served.check_serves(raw)


async def test_a_message_may_come_byte_by_byte(served: Served) -> None:
    """Frames have nothing to do with messages; empty ones say nothing."""
    metadata = about(session="s")
    assert (await served.honest.call(headers_of("Create", *metadata), message(b"\n\0"))).status == OK
    stream = served.honest.begin(headers_of("Enter", *metadata))
    for byte in message(b"\x0a\x01a"):
        served.honest.send(stream, bytes([byte]))
    served.honest.send(stream, b"", end=True)
    assert (await served.honest.ended(stream)).status == OK


@pytest.mark.parametrize("position", [0, 2, 5, 6])
async def test_an_empty_frame_in_the_middle_says_nothing(served: Served, position: int) -> None:
    """HTTP/2 allows DATA frames without data anywhere in a stream."""
    body = message(b"\x0a\x01a")
    stream = served.honest.begin(headers_of("Evict", *about()))
    served.honest.send(stream, body[:position])
    served.honest.send(stream, b"")
    served.honest.send(stream, body[position:], end=True)
    assert (await served.honest.ended(stream)).error == "NotACandidate"


@pytest.mark.parametrize("flag", [1, 2, 255])
async def test_a_compressed_message_is_unimplemented(served: Served, flag: int) -> None:
    """Whatever encoding was named."""
    async with RawConnection(served.port) as raw:
        headers = headers_of("GetTerm", *about(), ("grpc-encoding", "gzip"))
        answer = await raw.call(headers, message(b"", compressed=flag))
        assert (answer.status, answer.error) == (UNIMPLEMENTED, "InvalidRequest")
        await served.check_serves(raw)


@pytest.mark.parametrize("size", [LIMIT_BYTES + 1, 1 << 30, (1 << 32) - 1])
async def test_a_message_above_the_limit_is_refused_before_it_comes(served: Served, size: int) -> None:
    """The prefix is enough, although the stream is still open; the server wants no more of it."""
    async with RawConnection(served.port) as raw:
        stream = raw.begin(headers_of("GetTerm", *about()))
        raw.send(stream, message(b"", size=size))
        answer = await raw.ended(stream)
        assert (answer.status, answer.error) == (RESOURCE_EXHAUSTED, "LimitExceeded")
        await raw.until(lambda: answer.reset is not None)
        await served.check_serves(raw)


async def test_a_message_at_the_limit_is_read(served: Served) -> None:
    """64 KiB of an unknown field; it comes in as the window allows."""
    body = message(b"\x12\xfc\xff\x03" + bytes(LIMIT_BYTES - 4))
    assert len(body) == 5 + LIMIT_BYTES
    async with RawConnection(served.port) as raw:
        stream = raw.begin(headers_of("GetTerm", *about()))
        raw.send(stream, body[:60_000])
        await raw.until(lambda: raw.h2.local_flow_control_window(stream) >= len(body) - 60_000)
        raw.send(stream, body[60_000:], end=True)
        assert (await raw.ended(stream)).status == OK


async def test_refused_bodies_use_up_no_window(served: Served) -> None:
    """Four times the connection's window is sent in bodies that are refused; the next call has room."""
    body = message(bytes(60_000), size=LIMIT_BYTES + 1)
    async with RawConnection(served.port) as raw:
        for _ in range(70):
            await raw.until(lambda: raw.h2.outbound_flow_control_window > len(body))
            stream = raw.begin(headers_of("GetTerm", *about()))
            raw.send(stream, body)
            assert (await raw.ended(stream)).status == RESOURCE_EXHAUSTED
        await served.check_serves(raw)
