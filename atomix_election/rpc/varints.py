"""Numbers as protocol buffers write them, seven bits a byte: for compiled code, which looks most of them up."""

import betterproto2

KEPT_NUMBERS = 1024
"""How many numbers are kept for each field: the first ones that come, which are most sizes and times-to-live."""


class Unusual(Exception):  # never leaves the package: see codec.UNUSUAL
    """These bytes are not what an encoder writes: malformed, or just unusual."""


class Prefixed(dict[int, bytes]):
    """The bytes of a field's key with a number after it: its value or, of text and messages, its size.

    Args:
        key: number and wire type of the field.
    """

    def __init__(self, key: int) -> None:
        super().__init__()
        self.prefix: bytes = betterproto2.encode_varint(key)

    def __missing__(self, number: int) -> bytes:
        data = self.prefix + _varint(number)
        if len(self) < KEPT_NUMBERS:
            self[number] = data
        return data


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, which has more than one byte, and the position after it.

    Raises:
        Unusual: it has more than 64 bits.
        IndexError: it does not end.
    """
    value, byte = data[position] & 127, data[position + 1]
    if byte < 128:
        return value | byte << 7, position + 2
    for index in range(1, 10):
        byte = data[position + index]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            if value >> 64:
                break
            return value, position + index + 1
    raise Unusual


def unsigned_32(value: int) -> int:
    """Return what of a number a field of type uint32 has."""
    return value & 0xFFFF_FFFF


def signed_32(value: int) -> int:
    """Return what a number means in a field of type int32."""
    return (value & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)


def signed_64(value: int) -> int:
    """Return what a number means in a field of type int64."""
    return (value ^ 1 << 63) - (1 << 63)


def _varint(value: int) -> bytes:
    if value < 0:
        return betterproto2.encode_varint(value)
    data: list[int] = []
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)
    return bytes(data)
