"""The source of functions that encode and decode the messages of one class, written from what its metadata says.

The functions that are written know, besides their arguments, what ``codec`` gives them for each field:
``head_<field>``, the field's key with a number after it; ``message_<field>``, a class; ``values_<field>``, what a byte
stands for.
"""

from collections.abc import Callable, Iterator

import betterproto2

from atomix_election.rpc.schema import VARINT, Field, fields_of
from atomix_election.rpc.varints import signed_32, signed_64, unsigned_32

_Kind = type[betterproto2.Message]

_MAX_NUMBER = 15
"""The highest number of a field whose key is one byte."""
_SIZED = (betterproto2.TYPE_STRING, betterproto2.TYPE_BYTES, betterproto2.TYPE_MESSAGE)
_NAMED = (betterproto2.TYPE_BOOL, betterproto2.TYPE_ENUM)
"""One byte that stands for one of a few values."""
_CONVERSIONS: dict[str, Callable[[int], int] | None] = {
    betterproto2.TYPE_UINT64: None,
    betterproto2.TYPE_UINT32: unsigned_32,
    betterproto2.TYPE_INT64: signed_64,
    betterproto2.TYPE_INT32: signed_32,
}
"""What a number means that has more than one byte."""


def is_known(kind: _Kind) -> bool:
    """Return whether all fields of a class are of kinds that are known here."""
    return all(field.number <= _MAX_NUMBER and _is_known(field) for field in fields_of(kind).values())


def encoder_source(kind: _Kind) -> str:
    """Return the source of a class's encoder."""
    lines = ["def encode(message):", "    parts = []"]
    for field in fields_of(kind).values():
        lines += [f"    value = message.{field.name}", *_indented(1, _write_field(field))]
    return "\n".join([*lines, "    parts.append(message._unknown_fields)", "    return b''.join(parts)", ""])


def decoder_source(kind: _Kind) -> str:
    """Return the source of a class's decoder."""
    fields = fields_of(kind).values()
    lines = ["def decode(data, depth):", "    if not depth:", "        raise Unusual"]
    lines += [f"    field_{field.name} = {_default(field)}" for field in fields]
    lines += [f"    given_{alone} = False" for alone in dict.fromkeys(field.alone for field in fields if field.alone)]
    lines += ["    position, end = 0, len(data)", "    while position < end:", "        key = data[position]"]
    for field in fields:
        lines += [f"        if key == {field.key}:", *_indented(3, _read_field(field)), "            continue"]
    lines += ["        raise Unusual", "    if position > end:", "        raise Unusual"]
    return "\n".join([*lines, f"    return kind({', '.join(f'field_{field.name}' for field in fields)})", ""])


def _is_known(field: Field) -> bool:
    if field.proto_type == betterproto2.TYPE_MAP and field.message is not None:
        return is_known(field.message)
    return field.proto_type in _SIZED or (
        not field.repeated and (field.proto_type in _CONVERSIONS or field.proto_type in _NAMED)
    )


def _write_field(field: Field) -> Iterator[str]:
    if field.proto_type == betterproto2.TYPE_MAP and field.message is not None:
        key, value = fields_of(field.message).values()
        yield "for each_key, each_value in value.items():"
        yield "    entry = []"
        yield from _indented(1, _write_value(key, f"{field.name}_key", "each_key", "entry"))
        yield from _indented(1, _write_value(value, f"{field.name}_value", "each_value", "entry"))
        yield "    data = b''.join(entry)"
        yield f"    parts.append(head_{field.name}[len(data)])"
        yield "    parts.append(data)"
    elif field.repeated:
        yield "for each in value:"
        yield from _indented(1, _write_value(field, field.name, "each", "parts"))
    else:
        yield "if value is not None:" if field.presence else "if value:"
        yield from _indented(1, _write_value(field, field.name, "value", "parts"))


def _write_value(field: Field, name: str, value: str, parts: str) -> Iterator[str]:
    """Return the lines that add one value to a list: its key, its size if it has one, and itself."""
    if field.wire_type == VARINT:
        yield f"{parts}.append(head_{name}[{f'int({value})' if field.enumeration else value}])"
        return
    if field.message is not None:
        value = f"message_{name}.from_wrapped({value})" if field.unwrapped else value
        yield f"data = encoders[message_{name}]({value})"
    else:
        yield f"data = {value}.encode()" if field.proto_type == betterproto2.TYPE_STRING else f"data = {value}"
    yield f"{parts}.append(head_{name}[len(data)])"
    yield f"{parts}.append(data)"


def _read_field(field: Field) -> Iterator[str]:
    if field.alone:
        yield f"if given_{field.alone}:"
        yield "    raise Unusual"
        yield f"given_{field.alone} = True"
    if field.proto_type in _NAMED:
        yield f"field_{field.name} = values_{field.name}[data[position + 1]]"
        yield "position += 2"
    elif field.wire_type == VARINT:
        yield "value, position = data[position + 1], position + 2"
        yield "if value > 127:"
        yield "    value, position = read_varint(data, position - 1)"
        if conversion := _CONVERSIONS[field.proto_type]:
            yield f"    value = {conversion.__name__}(value)"
        yield f"field_{field.name} = value"
    else:
        yield "size, start = data[position + 1], position + 2"
        yield "if size > 127:"
        yield "    size, start = read_varint(data, position + 1)"
        yield "position = start + size"
        yield from _read_sized(field)


def _read_sized(field: Field) -> Iterator[str]:
    """Return the lines that take a value that reaches from ``start`` to ``position``."""
    value = "data[start:position]"
    if field.message is not None:
        value = f"decoders[message_{field.name}]({value}, depth - 1){'.to_wrapped()' if field.unwrapped else ''}"
    elif field.proto_type == betterproto2.TYPE_STRING:
        value += ".decode()"
    if field.proto_type == betterproto2.TYPE_MAP:
        yield f"entry = {value}"
        yield f"field_{field.name}[entry.key] = entry.value"
    else:
        yield f"field_{field.name}.append({value})" if field.repeated else f"field_{field.name} = {value}"


def _default(field: Field) -> str:
    if field.repeated:
        return "[]"
    if field.presence:
        return "None"
    defaults = {
        betterproto2.TYPE_STRING: "''",
        betterproto2.TYPE_BYTES: "b''",
        betterproto2.TYPE_MAP: "{}",
        betterproto2.TYPE_BOOL: "False",
        betterproto2.TYPE_ENUM: f"values_{field.name}[0]",
    }
    return defaults.get(field.proto_type, "0")


def _indented(steps: int, lines: Iterator[str]) -> Iterator[str]:
    return (f"{'    ' * steps}{line}" for line in lines)
