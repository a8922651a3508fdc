"""Protocol buffers, decoded strictly.

betterproto2 accepts what is not a message at all: a length beyond the end, a field of the wrong wire type, four
bytes of 0xff. Requests come from strangers, so each is checked here first, against the same class.
"""

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_type_hints

import betterproto2
from betterproto2 import FieldMetadata

from atomix_election.errors import InvalidRequest

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_FIELD_NUMBER = (1 << 29) - 1
_MAX_DEPTH = 32
_NEGATIVE_INT32 = (1 << 64) - (1 << 31)

_MessageT = TypeVar("_MessageT", bound=betterproto2.Message)


def decode(data: bytes, kind: type[_MessageT]) -> _MessageT:
    """Decode a message.

    Raises:
        InvalidRequest: the bytes are not a message of that kind. Unknown fields are no error.
    """
    _check(data, 0, len(data), kind, _MAX_DEPTH)
    return kind.parse(data)


def encode(message: betterproto2.Message) -> bytes:
    """Encode a message."""
    return bytes(message)


def length_delimited_fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Return numbers and values of a message's fields that are strings, bytes or messages, without knowing its class.

    Raises:
        InvalidRequest: the bytes are not a message.
    """
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position, len(data), betterproto2.Message)
        start, position = _read_value(data, position, len(data), key & 7, betterproto2.Message)
        if key & 7 == _LENGTH:
            yield key >> 3, data[start:position]


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    wire_types: tuple[int, ...]
    text: bool
    enumeration: bool
    message: type[betterproto2.Message] | None
    alone: str
    """What may be given once: a message that is not repeated, or one member of a group; "" where it does not matter."""


@cache
def _fields(kind: type[betterproto2.Message]) -> dict[int, _Field]:
    hints = get_type_hints(kind)
    fields: dict[int, _Field] = {}
    for each in dataclasses.fields(cast(Any, kind)):
        meta = cast(FieldMetadata, each.metadata["betterproto"])
        wire_type = _wire_type(meta.proto_type)
        packable = bool(meta.repeated) and wire_type != _LENGTH
        message = None
        if meta.proto_type == betterproto2.TYPE_MESSAGE:
            message = meta.unwrap() if meta.unwrap else _message_class(hints[each.name])
        fields[meta.number] = _Field(
            wire_types=(wire_type, _LENGTH) if packable else (wire_type,),
            text=meta.proto_type == betterproto2.TYPE_STRING,
            enumeration=meta.proto_type == betterproto2.TYPE_ENUM,
            message=message,
            alone=meta.group or (each.name if message and not meta.repeated else ""),
        )
    return fields


def _wire_type(proto_type: str) -> int:
    if proto_type in betterproto2.WIRE_VARINT_TYPES:
        return _VARINT
    if proto_type in betterproto2.WIRE_FIXED_32_TYPES:
        return _FIXED32
    return _FIXED64 if proto_type in betterproto2.WIRE_FIXED_64_TYPES else _LENGTH


def _message_class(hint: object) -> type[betterproto2.Message]:
    """Return the class in ``X | None`` or ``list[X]``."""
    (found,) = (each for each in get_args(hint) if isinstance(each, type) and issubclass(each, betterproto2.Message))
    return found


def _check(data: bytes, position: int, end: int, kind: type[betterproto2.Message], depth: int) -> None:
    if not depth:
        raise InvalidRequest(f"{kind.__name__} is nested too deeply")
    fields = _fields(kind)
    given: set[str] = set()
    while position < end:
        key, position = _read_varint(data, position, end, kind)
        number, wire_type = key >> 3, key & 7
        if not 0 < number <= _MAX_FIELD_NUMBER:
            raise InvalidRequest(f"{kind.__name__} has a field with number {number}")
        start, position = _read_value(data, position, end, wire_type, kind)
        field = fields.get(number)
        if field is None:
            continue
        if wire_type not in field.wire_types:
            raise InvalidRequest(f"field {number} of {kind.__name__} has wire type {wire_type}")
        if field.alone and field.alone in given:
            raise InvalidRequest(f"{kind.__name__} gives {field.alone} twice, which this package does not merge")
        given.add(field.alone)
        if field.message is not None:
            _check(data, start, position, field.message, depth - 1)
        else:
            _check_value(data[start:position], field, f"field {number} of {kind.__name__}", kind)


def _read_value(
    data: bytes, position: int, end: int, wire_type: int, kind: type[betterproto2.Message]
) -> tuple[int, int]:
    """Return where a field's value begins and ends."""
    if wire_type == _VARINT:
        return position, _read_varint(data, position, end, kind)[1]
    if wire_type == _LENGTH:
        size, position = _read_varint(data, position, end, kind)
    elif wire_type in (_FIXED32, _FIXED64):
        size = 4 if wire_type == _FIXED32 else 8
    else:
        raise InvalidRequest(f"{kind.__name__} has a field of wire type {wire_type}, which proto3 does not know")
    if size > end - position:
        raise InvalidRequest(f"{kind.__name__} ends inside a field")
    return position, position + size


def _read_varint(data: bytes, position: int, end: int, kind: type[betterproto2.Message]) -> tuple[int, int]:
    value = 0
    for index in range(min(_MAX_VARINT_BYTES, end - position)):
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + index + 1
    raise InvalidRequest(f"{kind.__name__} has a number that does not end")


def _check_value(data: bytes, field: _Field, what: str, kind: type[betterproto2.Message]) -> None:
    if field.enumeration and _read_varint(data, 0, len(data), kind)[0] >> 31 not in (0, _NEGATIVE_INT32 >> 31):
        raise InvalidRequest(f"{what} is beyond 32 bits")
    if field.text:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{what} is not UTF-8") from error
