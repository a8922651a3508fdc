"""Messages encoded and decoded by straight-line functions, one for each class, compiled from what its metadata says.

betterproto2 consults the metadata of each field of each message again. Here it is read once: for each class a function
is written out (by ``codec_source``) and compiled that does what betterproto2 does for that class, and nothing else.
To read one:

    from atomix_election.rpc import codec_source
    from atomix_election.rpc._generated.atomix.election import v1
    print(codec_source.encoder_source(v1.Term), codec_source.decoder_source(v1.Term))

A decoder knows only what encoders write. Whatever else it finds, malformed or just unusual (a field that the class does
not have, a value without name), it does not judge: it raises one of ``UNUSUAL``, and ``strict`` decides. So what is
refused, and why, is written in one place. A class with a field of a kind that is not known here goes the plain way
as a whole: betterproto2 is its encoder, and ``strict`` its decoder.
"""

import linecache
from collections.abc import Callable
from typing import Any

import betterproto2

from atomix_election.errors import InvalidRequest
from atomix_election.rpc import strict
from atomix_election.rpc.codec_source import decoder_source, encoder_source, is_known
from atomix_election.rpc.schema import Field, fields_of
from atomix_election.rpc.varints import Prefixed, Unusual, read_varint, signed_32, signed_64, unsigned_32

UNUSUAL = (Unusual, LookupError, UnicodeDecodeError, OverflowError, InvalidRequest)
"""What a decoder raises for bytes that it does not know. Besides its own: that they end, or that a byte stands for no
value; text that is not UTF-8; a time that is none; what ``strict`` refuses of a class that goes the plain way."""

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes, int], Any]
_Kind = type[betterproto2.Message]


class _Encoders(dict[_Kind, Encoder]):
    def __missing__(self, kind: _Kind) -> Encoder:
        self[kind] = _compiled(kind, "encode", encoder_source(kind)) if is_known(kind) else bytes
        return self[kind]


class _Decoders(dict[_Kind, Decoder]):
    def __missing__(self, kind: _Kind) -> Decoder:
        def strictly(data: bytes, depth: int) -> Any:
            return strict.decode(data, kind, depth)

        self[kind] = _compiled(kind, "decode", decoder_source(kind)) if is_known(kind) else strictly
        return self[kind]


encoders: _Encoders = _Encoders()
"""For each class a function that returns a message's bytes. It is made when it is first asked for."""
decoders: _Decoders = _Decoders()
"""For each class a function that returns the message that some bytes are; its second argument is how many messages may
be in one another, itself included. It raises one of ``UNUSUAL``. It is made when it is first asked for."""

_FUNCTIONS = {each.__name__: each for each in (read_varint, signed_32, signed_64, unsigned_32)}


def _compiled(kind: _Kind, name: str, source: str) -> Any:
    """Return the function of that name in the source, which stays readable in tracebacks."""
    file = f"<{name} {kind.__module__}.{kind.__name__}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    known: dict[str, Any] = {"kind": kind, "encoders": encoders, "decoders": decoders, "Unusual": Unusual, **_FUNCTIONS}
    for field in fields_of(kind).values():
        known |= _about(field, field.name)
    exec(compile(source, file, "exec"), known)  # noqa: S102 -- written from the metadata of a class, and nothing else
    return known[name]


def _about(field: Field, name: str) -> dict[str, Any]:
    """Return what the functions of a class know of a field."""
    known: dict[str, Any] = {f"head_{name}": Prefixed(field.key)}
    if field.message is not None:
        known[f"message_{name}"] = field.message
    if field.proto_type == betterproto2.TYPE_MAP and field.message is not None:
        for each in fields_of(field.message).values():
            known |= _about(each, f"{name}_{each.name}")
    if field.enumeration is not None:
        known[f"values_{name}"] = {each.value: each for each in field.enumeration if 0 <= each.value <= 127}
    elif field.proto_type == betterproto2.TYPE_BOOL:
        known[f"values_{name}"] = {0: False, 1: True}
    return known
