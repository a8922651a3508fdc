"""Messages to bytes and back, and nothing that is not a message."""

from collections.abc import Iterator
from typing import TypeVar

import betterproto2

from atomix_election.rpc import strict
from atomix_election.rpc.codec import UNUSUAL, decoders, encoders
from atomix_election.rpc.schema import LENGTH

_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)


def decode(data: bytes, kind: type[_MessageT]) -> _MessageT:
    """Decode a message.

    Raises:
        InvalidRequest: the bytes are not a message of that kind. Unknown fields are no error.
    """
    decoder = decoders[kind]
    try:
        return decoder(data, strict.MAX_DEPTH)
    except UNUSUAL:
        return strict.decode(data, kind)


def encode(message: betterproto2.Message) -> bytes:
    """Encode a message."""
    return encoders[type(message)](message)


def length_delimited_fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Return numbers and values of a message's fields that are strings, bytes or messages, without knowing its class.

    Raises:
        InvalidRequest: the bytes are not a message.
    """
    position = 0
    while position < len(data):
        key, position = strict.read_varint(data, position, len(data), betterproto2.Message)
        start, position = strict.read_value(data, position, len(data), key & 7, betterproto2.Message)
        if key & 7 == LENGTH:
            yield key >> 3, data[start:position]
