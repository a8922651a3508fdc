"""What the class of a message says of its fields, read once from betterproto2's metadata.

The strict parser and the compiled codec both go by this, so that they cannot read the metadata in two ways.
"""

import dataclasses
from functools import cache
from typing import Any, cast, get_args, get_type_hints

import betterproto2
from betterproto2 import FieldMetadata

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types; the two others, groups, are not in proto3."""

_WIRE_TYPES = {
    **dict.fromkeys(betterproto2.WIRE_VARINT_TYPES, VARINT),
    **dict.fromkeys(betterproto2.WIRE_FIXED_64_TYPES, FIXED64),
    **dict.fromkeys(betterproto2.WIRE_LEN_DELIM_TYPES, LENGTH),
    **dict.fromkeys(betterproto2.WIRE_FIXED_32_TYPES, FIXED32),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Args:
        name: of the attribute.
        number: on the wire.
        proto_type: one of betterproto2's ``TYPE_...``, and
        wire_type: how one value of that type is encoded.
        repeated: the attribute is a list; of a map it is a dictionary, and this is False.
        presence: whether the attribute is None when the field is not set; else it has the type's default then.
        alone: what may be given once: a message that is not repeated, or one member of a group; "" where it does not
            matter, as the last one counts.
        message: class of the message; of a map that of its entries, with the fields ``key`` and ``value``.
        unwrapped: the attribute has what ``message.to_wrapped()`` returns and ``message.from_wrapped()`` takes.
        enumeration: class of the enumeration.
    """

    name: str
    number: int
    proto_type: str
    wire_type: int
    repeated: bool
    presence: bool
    alone: str
    message: type[betterproto2.Message] | None
    unwrapped: bool
    enumeration: type[betterproto2.Enum] | None

    @property
    def key(self) -> int:
        """What stands before a value on the wire; before several values that share one length it is another one."""
        return self.number << 3 | self.wire_type

    @property
    def packable(self) -> bool:
        """Whether several values may share one length."""
        return self.repeated and self.wire_type != LENGTH


@cache
def fields_of(kind: type[betterproto2.Message]) -> dict[int, Field]:
    """Return the fields of a class by number, in the order in which they are encoded."""
    hints = get_type_hints(kind)
    fields: dict[int, Field] = {}
    for each in dataclasses.fields(cast(Any, kind)):
        meta = cast(FieldMetadata, each.metadata["betterproto"])
        fields[meta.number] = _field(kind, each.name, meta, hints[each.name])
    return fields


def _field(kind: type[betterproto2.Message], name: str, meta: FieldMetadata, hint: Any) -> Field:
    once = meta.proto_type == betterproto2.TYPE_MESSAGE and not meta.repeated
    message = None
    if meta.proto_type == betterproto2.TYPE_MESSAGE:
        message = meta.unwrap() if meta.unwrap else _class_in(hint, betterproto2.Message)
    elif meta.proto_type == betterproto2.TYPE_MAP:
        # betterproto2 makes the class of a map's entries itself, and nothing public leads to it.
        message = cast(Any, kind)._betterproto.cls_by_field[name]  # noqa: SLF001
    return Field(
        name=name,
        number=meta.number,
        proto_type=meta.proto_type,
        wire_type=_WIRE_TYPES[meta.proto_type],
        repeated=bool(meta.repeated),
        presence=bool(meta.optional or meta.group or once),
        alone=meta.group or (name if once else ""),
        message=message,
        unwrapped=meta.unwrap is not None,
        enumeration=_class_in(hint, betterproto2.Enum) if meta.proto_type == betterproto2.TYPE_ENUM else None,
    )


def _class_in(hint: Any, base: type[Any]) -> Any:
    """Return the class in ``X``, ``X | None`` or ``list[X]``."""
    (found,) = (each for each in (hint, *get_args(hint)) if isinstance(each, type) and issubclass(each, base))
    return found


def key_of(kind: type[betterproto2.Message], name: str) -> int:
    """Return what stands on the wire before the field of that name."""
    (key,) = (field.key for field in fields_of(kind).values() if field.name == name)
    return key
