"""Messages decoded strictly, field by field: what counts for all that the compiled codec does not know.

betterproto2 accepts what is not a message at all: a length beyond the end, a field of the wrong wire type, four
bytes of 0xff. Requests come from strangers, so each is checked here first, against the same class.
"""

from typing import TypeVar

import betterproto2

from atomix_election.errors import InvalidRequest
from atomix_election.rpc.schema import FIXED32, FIXED64, LENGTH, VARINT, Field, fields_of

MAX_DEPTH = 32
"""How many messages may be in one another."""

_MAX_VARINT_BYTES = 10
_MAX_FIELD_NUMBER = (1 << 29) - 1
_NEGATIVE_INT32 = (1 << 64) - (1 << 31)

_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)


def decode(data: bytes, kind: type[_MessageT], depth: int = MAX_DEPTH) -> _MessageT:
    """Decode a message.

    Args:
        data: its bytes.
        kind: its class.
        depth: how many messages may be in one another, itself included.

    Raises:
        InvalidRequest: the bytes are not a message of that kind. Unknown fields are no error.
    """
    _check(data, 0, len(data), kind, depth)
    try:
        return kind.parse(data)
    except OverflowError as error:
        raise InvalidRequest(f"{kind.__name__} has a time that is none: {error}") from error


def read_value(
    data: bytes, position: int, end: int, wire_type: int, kind: type[betterproto2.Message]
) -> tuple[int, int]:
    """Return where a field's value begins and ends.

    Raises:
        InvalidRequest: it is not there, or there is no such wire type.
    """
    if wire_type == VARINT:
        return position, read_varint(data, position, end, kind)[1]
    if wire_type == LENGTH:
        size, position = read_varint(data, position, end, kind)
    elif wire_type in (FIXED32, FIXED64):
        size = 4 if wire_type == FIXED32 else 8
    else:
        raise InvalidRequest(f"{kind.__name__} has a field of wire type {wire_type}, which proto3 does not know")
    if size > end - position:
        raise InvalidRequest(f"{kind.__name__} ends inside a field")
    return position, position + size


def read_varint(data: bytes, position: int, end: int, kind: type[betterproto2.Message]) -> tuple[int, int]:
    """Return a number, and the position after it.

    Raises:
        InvalidRequest: it does not end, or has more than 64 bits.
    """
    value = 0
    for index in range(min(_MAX_VARINT_BYTES, end - position)):
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + index + 1
    raise InvalidRequest(f"{kind.__name__} has a number that does not end")


def _check(data: bytes, position: int, end: int, kind: type[betterproto2.Message], depth: int) -> None:
    if not depth:
        raise InvalidRequest(f"{kind.__name__} is nested too deeply")
    fields = fields_of(kind)
    given: set[str] = set()
    while position < end:
        key, position = read_varint(data, position, end, kind)
        number, wire_type = key >> 3, key & 7
        if not 0 < number <= _MAX_FIELD_NUMBER:
            raise InvalidRequest(f"{kind.__name__} has a field with number {number}")
        start, position = read_value(data, position, end, wire_type, kind)
        field = fields.get(number)
        if field is None:
            continue
        if wire_type != field.wire_type and not (field.packable and wire_type == LENGTH):
            raise InvalidRequest(f"field {number} of {kind.__name__} has wire type {wire_type}")
        if field.alone and field.alone in given:
            raise InvalidRequest(f"{kind.__name__} gives {field.alone} twice, which this package does not merge")
        given.add(field.alone)
        if field.message is not None:
            _check(data, start, position, field.message, depth - 1)
        elif wire_type != field.wire_type:
            _check_packed(data, start, position, field, kind)
        else:
            _check_value(data[start:position], field, kind)


def _check_packed(data: bytes, position: int, end: int, field: Field, kind: type[betterproto2.Message]) -> None:
    while position < end:
        start, position = read_value(data, position, end, field.wire_type, kind)
        _check_value(data[start:position], field, kind)


def _check_value(data: bytes, field: Field, kind: type[betterproto2.Message]) -> None:
    what = f"field {field.number} of {kind.__name__}"
    if field.enumeration and read_varint(data, 0, len(data), kind)[0] >> 31 not in (0, _NEGATIVE_INT32 >> 31):
        raise InvalidRequest(f"{what} is beyond 32 bits")
    if field.proto_type == betterproto2.TYPE_STRING:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{what} is not UTF-8") from error
