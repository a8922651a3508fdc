"""Every class of message in rpc, messages of them, and bytes that are nearly messages."""

import datetime
from collections.abc import Callable
from typing import Any, cast

import betterproto2
from hypothesis import strategies as st

from atomix_election.errors import InvalidRequest
from atomix_election.model import Event
from atomix_election.rpc import standard_methods
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.message_pool import default_message_pool
from atomix_election.rpc.convert import term_message
from atomix_election.rpc.schema import Field, fields_of

assert standard_methods.REFLECTION_METHOD  # all services together register all classes with the pool
KINDS: dict[str, type[betterproto2.Message]] = {
    url.rpartition("/")[2]: kind for url, kind in sorted(default_message_pool.url_to_type.items())
}
"""Each class by its full name."""
FILLED = {name: kind for name, kind in KINDS.items() if fields_of(kind)}
"""Those that have fields."""
_DEEPEST = 4

texts = st.text(max_size=6) | st.text(min_size=100, max_size=200, alphabet="aé\N{SNOWMAN}")
unsigned = st.integers(0, 300) | st.integers(0, (1 << 64) - 1)
_values: dict[str, st.SearchStrategy[Any]] = {
    "string": texts,
    "bytes": st.binary(max_size=6) | st.binary(min_size=120, max_size=300),
    "bool": st.booleans(),
    "uint64": unsigned,
    "uint32": st.integers(0, 300) | st.integers(0, (1 << 32) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-3, 300),
    "int32": st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-3, 300),
}
_times = st.datetimes(timezones=st.just(datetime.UTC))


def varint(value: int) -> bytes:
    """Return a number as protocol buffers write it."""
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def messages_of(kind: type[betterproto2.Message], *, usual: bool = False, depth: int = 0) -> st.SearchStrategy[Any]:
    """Return messages of a class.

    Args:
        kind: the class.
        usual: leave out what the compiled decoders leave to others: unknown fields, and values without names.
        depth: in how many others it is.
    """
    return _message(kind, usual=usual, depth=depth)


@st.composite
def _message(draw: st.DrawFn, kind: type[betterproto2.Message], *, usual: bool, depth: int) -> betterproto2.Message:
    given: dict[str, Any] = {}
    groups: set[str] = set()
    for field in fields_of(kind).values():
        grouped = bool(field.alone) and field.alone != field.name
        if (field.alone in groups and grouped) or (field.message and depth > _DEEPEST) or not draw(st.booleans()):
            continue
        groups.add(field.alone)
        given[field.name] = draw(_attribute(field, usual=usual, depth=depth))
    message = kind(**given)
    if not usual:
        message._unknown_fields = draw(st.just(b"") | unknown_fields)
    return message


def _attribute(field: Field, *, usual: bool, depth: int) -> st.SearchStrategy[Any]:
    if field.proto_type == "map" and field.message is not None:
        key, value = fields_of(field.message).values()
        return st.dictionaries(
            _value(key, usual=usual, depth=depth), _value(value, usual=usual, depth=depth), max_size=3
        )
    values = _value(field, usual=usual, depth=depth)
    return st.lists(values, max_size=3) if field.repeated else values


def _value(field: Field, *, usual: bool, depth: int) -> st.SearchStrategy[Any]:
    if field.unwrapped:
        return _times
    if field.message is not None:
        return messages_of(field.message, usual=usual, depth=depth + 1)
    if field.enumeration is not None:
        named = st.sampled_from(field.enumeration)
        return named if usual else named | st.integers(-(1 << 31), (1 << 31) - 1).map(field.enumeration)
    return _values[field.proto_type]


def full(kind: type[betterproto2.Message], member: int, depth: int = 0) -> Any:
    """Return a message in which everything is set, as far as that goes.

    Args:
        kind: its class.
        member: which one of a group is set.
        depth: in how many others it is.
    """
    given: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    for field in fields_of(kind).values():
        groups.setdefault(field.alone or field.name, []).append(field.name)
    chosen = {members[member % len(members)] for members in groups.values()}
    for field in fields_of(kind).values():
        if field.name in chosen and not (field.message and depth > _DEEPEST):
            value = _one(field, member, depth)
            given[field.name] = [value, value] if field.repeated else value
    return kind(**given)


def _one(field: Field, member: int, depth: int) -> Any:
    if field.unwrapped:
        return datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000, datetime.UTC)
    if field.proto_type == "map" and field.message is not None:
        key, value = fields_of(field.message).values()
        return {_one(key, member, depth): _one(value, member, depth)}
    if field.message is not None:
        return full(field.message, member, depth + 1)
    if field.enumeration is not None:
        return list(field.enumeration)[-1]
    return {"string": "é", "bytes": b"\xff\0", "bool": True}.get(field.proto_type, 300)


def fields(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    """Return fields, well-formed, of any wire type of proto3."""
    return st.one_of(
        st.builds(lambda number, value: varint(number << 3) + varint(value), numbers, unsigned),
        st.builds(lambda number, value: varint(number << 3 | 1) + value, numbers, st.binary(min_size=8, max_size=8)),
        st.builds(
            lambda number, value: varint(number << 3 | 2) + varint(len(value)) + value,
            numbers,
            st.binary(max_size=9) | st.just(b"\x0a\x01a\x12\x00"),
        ),
        st.builds(lambda number, value: varint(number << 3 | 5) + value, numbers, st.binary(min_size=4, max_size=4)),
    )


unknown_fields = st.lists(fields(st.integers(100, 2_000)), max_size=2).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes in which something is changed, cut off, put in or said twice."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        action = draw(st.sampled_from(["set", "cut", "put", "drop", "twice", "add"]))
        if action == "cut":
            del data[place:]
        elif action == "put":
            data[place:place] = draw(st.binary(min_size=1, max_size=3))
        elif action == "twice":
            data += data[:place]
        elif action == "add":
            data += draw(fields(st.integers(0, 8)))
        elif place < len(data):
            data[place : place + 1] = b"" if action == "drop" else draw(st.binary(min_size=1, max_size=1))
    return bytes(data)


def content(value: Any) -> Any:
    """Return all that a message is made of as plain data: types, unknown fields and names of values as well."""
    if isinstance(value, betterproto2.Message):
        return type(value).__name__, {name: content(each) for name, each in vars(value).items()}
    if isinstance(value, list):
        return [content(each) for each in cast(list[Any], value)]
    if isinstance(value, dict):
        return {name: content(each) for name, each in cast(dict[Any, Any], value).items()}
    return type(value), value, str(value)


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returned, as plain data, or how it refused; anything but InvalidRequest is not caught."""
    try:
        return content(function(*arguments))
    except InvalidRequest as error:
        return type(error), str(error)


def event_message(event: Event) -> v1.EventsResponse:
    """Return the message of an event, the plain way: with message objects."""
    return v1.EventsResponse(event=v1.Event(type=v1.EventType(event.type.value), term=term_message(event.term)))
