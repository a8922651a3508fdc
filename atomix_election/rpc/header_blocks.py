"""Header blocks (HPACK, RFC 7541): one that comes again is not decoded again.

What a block means depends on the table that both sides keep for the connection. As long as that does not change, equal
blocks mean the same; and it stays as it is while a client says what it has said before, or what it asks not to be
kept. Only what differs with each call, the number of an operation, has to come last and in the one form that is looked
for: then the rest is known.
"""

from collections.abc import Iterable
from typing import NamedTuple

from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hpack.table import HeaderTable, table_entry_size

MAX_KNOWN_BLOCKS = 4096
"""Blocks, of all connections of a server, that are remembered; then it begins anew."""
MAX_BLOCK_BYTES = 512
"""A longer block is not remembered."""
MAX_HEADER_LIST_BYTES = 1024
"""Nor is one whose headers take more, as HPACK counts them: 32 bytes for each beside what it says, as it costs more."""
MAX_DIGITS = 18
"""Of the number of an operation."""

OPERATION_KEY = "atomix-election-operation"
OPERATION = OPERATION_KEY.encode()
_NEVER_INDEXED = b"\x10"
OPERATION_FIELD = _NEVER_INDEXED + bytes([len(OPERATION)]) + OPERATION
"""What comes before the length of the number, which is in plain digits: a literal that is never indexed."""
_NUMBER_BYTES = table_entry_size(OPERATION, b"9" * MAX_DIGITS)


def lasting_block(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a block that means the same at any time and on any connection: it neither uses nor changes a table.

    So it can be made once and sent again and again; and there is no end to how many there can be, as of the entries of
    a table.
    """
    return Encoder().encode([NeverIndexedHeaderTuple(name, value) for name, value in headers], huffman=False)


def operation_field(operation: int) -> bytes:
    """Return what is added to such a block for the number of an operation, in the form that is looked for here."""
    digits = b"%d" % operation
    return OPERATION_FIELD + bytes([len(digits)]) + digits


class Known(NamedTuple):
    """What a block means.

    Args:
        headers: which headers.
        size: what they take, as HPACK counts them.
    """

    headers: tuple[HeaderTuple, ...]
    size: int


class KnownBlocks:
    """What blocks mean that have come before, on any of the connections that share this."""

    def __init__(self) -> None:
        self._by_block: dict[tuple[object, bytes], Known] = {}

    def find(self, state: object, block: bytes) -> Known | None:
        """Return what a block means when a table is in some state, if that is known."""
        return self._by_block.get((state, block))

    def keep(self, state: object, block: bytes, headers: Iterable[HeaderTuple]) -> None:
        """Remember what a block means."""
        known = Known(tuple(headers), size_of(headers))
        if len(block) > MAX_BLOCK_BYTES or known.size > MAX_HEADER_LIST_BYTES:
            return
        if len(self._by_block) >= MAX_KNOWN_BLOCKS:
            self._by_block.clear()
        self._by_block[state, block] = known


def size_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return what headers take, as HPACK counts them."""
    return sum(table_entry_size(*header) for header in headers)


_UNCHANGED = object()
"""The state of all tables that nothing was put into yet."""


class _Table(HeaderTable):
    """Has another state after each change."""

    def __init__(self) -> None:
        super().__init__()
        self.state: object = _UNCHANGED

    def add(self, name: bytes, value: bytes) -> None:
        super().add(name, value)
        self.state = object()

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        HeaderTable.maxsize.__set__(self, newmax)
        self.state = object()


class CachingDecoder(Decoder):
    """hpack's decoder, which looks first whether a block is known.

    Args:
        known: those that are.
    """

    def __init__(self, known: KnownBlocks) -> None:
        super().__init__()
        self._table = _Table()
        self.header_table: HeaderTable = self._table
        self._known = known

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """See ``Decoder.decode``."""
        if not raw:
            return super().decode(data, raw)
        place = data.rfind(OPERATION_FIELD)
        operation = None if place < 0 else _operation_in(data[place + len(OPERATION_FIELD) :])
        last = () if operation is None else (operation,)
        block = data[:place] if last else data
        state = self._table.state
        known = self._known.find(state, block)
        if known is not None and known.size + _NUMBER_BYTES <= self.max_header_list_size:  # else hpack counts
            return known.headers + last
        headers = tuple(super().decode(data, raw=True))
        rest = len(headers) - len(last)
        if self._table.state is state and headers[rest:] == last:  # else it only looks so: it is part of some value
            self._known.keep(state, block, headers[:rest])
        return headers


def _operation_in(rest: bytes) -> HeaderTuple | None:
    """Return the header of an operation's number, where that and nothing else follows."""
    digits = rest[1:]
    if not 0 < len(digits) <= MAX_DIGITS or rest[0] != len(digits) or not digits.isdigit():
        return None
    return NeverIndexedHeaderTuple(OPERATION, digits)
