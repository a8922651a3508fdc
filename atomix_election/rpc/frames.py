"""Length-prefixed messages, as gRPC puts them into the data of an HTTP/2 stream.

Source: "Length-Prefixed-Message" in gRPC's own description of its protocol over HTTP/2.
"""

import struct
from collections.abc import Callable
from contextlib import nullcontext

from grpclib.protocol import Stream

from atomix_election.errors import InvalidRequest, LimitExceeded
from atomix_election.rpc.limits import SMALL_REQUEST_BYTES, Room
from atomix_election.rpc.status import unimplemented

_PREFIX = struct.Struct(">BI")


def frame(data: bytes) -> bytes:
    """Return one message with its prefix."""
    return _PREFIX.pack(0, len(data)) + data


def whole_message(data: bytes, limit_bytes: int) -> bytes | None:
    """Return the message of a request, if that is one message as it should be, and nothing else."""
    if len(data) < _PREFIX.size or len(data) > _PREFIX.size + limit_bytes:
        return None
    compressed, size = _PREFIX.unpack_from(data)
    return None if compressed or size != len(data) - _PREFIX.size else data[_PREFIX.size :]


async def read_frame(
    stream: Stream, limit_bytes: int, *, room: Room | None = None, on_begun: Callable[[], None] | None = None
) -> bytes | None:
    """Return the next message, or None at the end of the stream.

    Args:
        stream: where it comes from.
        limit_bytes: how large it may be.
        room: where a message that is not small takes its size from while it is received.
        on_begun: called when its first byte is there.

    Raises:
        InvalidRequest: the stream ended inside the message.
        LimitExceeded: the message is larger than the limit, or there is no room for it; it was not read.
        Rejected: the message is compressed.
    """
    prefix = await _read(stream, 1 if on_begun else _PREFIX.size)
    if not prefix:
        return None
    if on_begun is not None:
        on_begun()
        prefix += await _read(stream, _PREFIX.size - 1)
    if len(prefix) < _PREFIX.size:
        raise _truncated()
    compressed, size = _PREFIX.unpack(prefix)
    if compressed:
        raise unimplemented("compressed messages are not supported: send grpc-encoding identity")
    if size > limit_bytes:
        raise LimitExceeded(
            f"the message has {size} bytes, the limit is {limit_bytes} "
            "(max_message_bytes of a server, serve --max-message-bytes)",
            limit="max_message_bytes",
        )
    with nullcontext() if room is None or size <= SMALL_REQUEST_BYTES else room.take(size):
        data = await _read(stream, size)
    if len(data) < size:
        raise _truncated()
    return data


async def _read(stream: Stream, size: int) -> bytes:
    try:
        return await stream.recv_data(size)
    except AssertionError as error:  # grpclib's way to say that the stream ended early
        raise _truncated() from error


def _truncated() -> InvalidRequest:
    return InvalidRequest("the stream ended inside a message")
