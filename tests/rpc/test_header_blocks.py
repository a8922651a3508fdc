"""Blocks that are remembered mean what hpack says that they mean, whoever sends them, and whatever else they are."""

import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hpack import Decoder, Encoder, HeaderTuple, HPACKError, NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.rpc import header_blocks
from atomix_election.rpc.header_blocks import (
    MAX_BLOCK_BYTES,
    MAX_DIGITS,
    MAX_HEADER_LIST_BYTES,
    MAX_KNOWN_BLOCKS,
    OPERATION,
    OPERATION_FIELD,
    CachingDecoder,
    KnownBlocks,
)

CONNECTIONS = 3
KEPT_BYTES = 32 * 1024 * 1024
"""What strangers can make a server keep of blocks."""
CALL = [(b":method", b"POST"), (b":path", b"/a/b"), (b"te", b"trailers"), (b"session-id", b"s")]


def numbered(digits: bytes) -> bytes:
    """Return the field with the number of an operation, as it is looked for."""
    return OPERATION_FIELD + bytes([len(digits)]) + digits


names = st.sampled_from([b":path", b"te", b"session-id", b"x", b"", OPERATION])
values = st.one_of(
    st.sampled_from([b"trailers", b"s", b"", b"x" * 130, numbered(b"1"), b"x" + numbered(b"12")]),
    st.integers(0, 10 ** (MAX_DIGITS + 1)).map(lambda number: str(number).encode()),
    st.binary(max_size=6),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One block, as it is made on a connection."""

    connection: int
    headers: list[tuple[bytes, bytes, bool]]
    huffman: bool
    table_size: int | None
    plain: bytes
    """What comes after what the encoder has made: fields that touch no table."""
    cut: int | None
    """Where the block ends too early."""
    changed: tuple[int, int] | None
    """A place, and what to do to the byte there."""

    def block(self, encoder: Encoder) -> bytes:
        """Return it."""
        if self.table_size is not None:
            encoder.header_table_size = self.table_size
        made = bytearray(encoder.encode(self.headers, huffman=self.huffman) + self.plain)
        if self.changed is not None and made:
            place, bits = self.changed
            made[place % len(made)] ^= bits
        return bytes(made if self.cut is None else made[: self.cut])


def literal(name: bytes, value: bytes) -> bytes:
    """Return a field that touches no table."""
    return Encoder().encode([(name, value, True)], huffman=False)


fields = st.one_of(
    st.sampled_from([numbered(digits) for digits in (b"1", b"2", b"9" * 18, b"9" * 19, b"0", b"", b"x")]),
    st.builds(literal, names, values),
    st.sampled_from([b"\x82", b"\xbe", b"\x20", b"\x3f\xe1\x1f", b"\x0f\x10\x01x", OPERATION_FIELD, b"\x40\x01a\x01b"]),
)
blocks = st.builds(
    Sent,
    connection=st.integers(0, CONNECTIONS - 1),
    headers=st.lists(st.tuples(names, values, st.booleans()), max_size=4),
    huffman=st.booleans(),
    table_size=st.sampled_from([None, None, None, None, 0, 64, 200, 4096]),
    plain=st.lists(fields, max_size=3).map(b"".join),
    cut=st.one_of(st.none(), st.none(), st.integers(0, 40)),
    changed=st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 60), st.integers(1, 255))),
)


@dataclass
class Connection:
    """Both decoders of one connection, and its encoder."""

    caching: CachingDecoder
    plain: Decoder = field(default_factory=Decoder)
    encoder: Encoder = field(default_factory=Encoder)


def outcome(decoder: Decoder, block: bytes, *, raw: bool = True) -> object:
    """Return all that can be seen of decoding a block."""
    try:
        headers = list(decoder.decode(block, raw=raw))
    except (HPACKError, ValueError) as error:
        seen: object = type(error), str(error)
    else:
        seen = [(tuple(each), each.indexable) for each in headers]
    table = decoder.header_table
    return seen, list(table.dynamic_entries), table.maxsize, table._current_size


@settings(deadline=None, print_blob=True, max_examples=200)
@given(
    script=st.lists(st.tuples(blocks, st.integers(1, 3)), min_size=1, max_size=8),
    limits=st.tuples(*[st.sampled_from([70, 160, 400, 1 << 16])] * CONNECTIONS),
)
def test_known_or_not_a_block_means_the_same(script: list[tuple[Sent, int]], limits: tuple[int, ...]) -> None:
    """Headers, errors, and what the table is after it; also on other connections, and after an error."""
    known = KnownBlocks()
    connections = [Connection(CachingDecoder(known)) for _ in limits]
    for each, limit in zip(connections, limits, strict=True):
        each.caching.max_header_list_size = each.plain.max_header_list_size = limit
    for sent, times in script:
        made = sent.block(connections[sent.connection].encoder)
        for _ in range(times):
            for each in connections if times > 1 else [connections[sent.connection]]:
                assert outcome(each.caching, made) == outcome(each.plain, made)


@settings(deadline=None, max_examples=30)
@given(made=st.binary(max_size=12))
def test_text_is_decoded_as_ever(made: bytes) -> None:
    """What asks for text gets what hpack gives."""
    assert outcome(CachingDecoder(KnownBlocks()), made, raw=False) == outcome(Decoder(), made, raw=False)


class Counting(CachingDecoder):
    """Remembers what was really decoded."""

    decoded = 0

    def _update_encoding_context(self, data: bytes | memoryview) -> int:
        self.decoded += 1
        return super()._update_encoding_context(data)

    def _decode_indexed(self, data: bytes | memoryview) -> tuple[HeaderTuple, int]:
        self.decoded += 1
        return super()._decode_indexed(data)

    def _decode_literal(self, data: bytes | memoryview, should_index: bool) -> tuple[HeaderTuple, int]:
        self.decoded += 1
        return super()._decode_literal(data, should_index)


def fields_decoded(decoder: Counting, block: bytes) -> int:
    """Return how many fields were decoded for a block."""
    before = decoder.decoded
    list(decoder.decode(block, raw=True))
    return decoder.decoded - before


def never_indexed(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a block that touches no table."""
    return Encoder().encode([NeverIndexedHeaderTuple(*each) for each in headers])


def test_a_block_that_comes_again_is_not_decoded_again() -> None:
    """Not on another connection either, as long as nothing was put into its table; whatever the number is."""
    known = KnownBlocks()
    one, two = Counting(known), Counting(known)
    call = never_indexed(CALL)
    assert [fields_decoded(one, call) for _ in range(3)] == [len(CALL), 0, 0]
    assert [fields_decoded(one, call + numbered(str(number).encode())) for number in (1, 2, 10**17)] == [0, 0, 0]
    assert fields_decoded(two, call) == 0
    assert [fields_decoded(two, b"\x40\x01a\x01b"), fields_decoded(two, call)] == [1, len(CALL)]
    assert fields_decoded(two, call) == 0
    assert fields_decoded(one, call) == 0


def test_what_only_ends_like_a_number_is_not_taken_for_one() -> None:
    """It is a value's last part: a valid block, of one header."""
    value = b"x" + numbered(b"7")
    decoder = CachingDecoder(KnownBlocks())
    for _ in range(2):
        assert list(decoder.decode(literal(b"a", value), raw=True)) == [(b"a", value)]


WRONG_NUMBERS = [
    OPERATION_FIELD,
    OPERATION_FIELD + b"\0",
    OPERATION_FIELD + b"\0021",
    OPERATION_FIELD + b"\00112",
    OPERATION_FIELD + b"\x811",
    OPERATION_FIELD + b"\x7f\0" + b"1" * 127,
    numbered(b"9" * (MAX_DIGITS + 1)),
    numbered(b"1") + b"\x82",
    2 * numbered(b"1"),
]


@pytest.mark.parametrize("wrong", WRONG_NUMBERS)
def test_what_is_no_number_after_all_means_what_hpack_says(wrong: bytes) -> None:
    """Also after a block that is known."""
    connection = Connection(CachingDecoder(KnownBlocks()))
    call = never_indexed(CALL)
    for block in (call, call + wrong, call + numbered(b"1"), call + wrong):
        assert outcome(connection.caching, block) == outcome(connection.plain, block)


def test_a_number_counts_for_the_limit_of_headers() -> None:
    """As any other header does."""
    call = never_indexed(CALL)
    decoder = CachingDecoder(KnownBlocks())
    decoder.max_header_list_size = header_blocks.size_of(CALL)
    assert list(decoder.decode(call, raw=True)) == CALL
    with pytest.raises(HPACKError, match="larger than"):
        decoder.decode(call + numbered(b"1"), raw=True)


def test_a_long_block_is_not_remembered() -> None:
    """Though its headers are not too large."""
    known = KnownBlocks()
    decoder = CachingDecoder(known)
    for size in (MAX_BLOCK_BYTES + 1, MAX_BLOCK_BYTES):
        assert not known._by_block
        decoder.decode(literal(b"a", b"b" * (size - 6)), raw=True)
    (block,) = known._by_block
    assert len(block[1]) == MAX_BLOCK_BYTES


def test_nobody_can_change_what_others_are_given() -> None:
    """The headers of a known block are the same object for all."""
    decoder = CachingDecoder(KnownBlocks())
    decoder.decode(b"\x82", raw=True)
    assert isinstance(decoder.decode(b"\x82", raw=True), tuple)


HOSTILE = {
    "many static fields": [bytes([0x80 | 21]) * (MAX_BLOCK_BYTES - 2)],
    "many empty fields": [b"\x10\0\0" * (MAX_BLOCK_BYTES // 3 - 1)],
    "as many as are kept": [bytes([0x80 | 21]) * (MAX_HEADER_LIST_BYTES // 35 - 2)],
    "long values": [literal(b"a", b"b" * (MAX_BLOCK_BYTES - 10))],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_remembered_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number, and in what one of them can take."""
    count = 64
    monkeypatch.setattr(header_blocks, "MAX_KNOWN_BLOCKS", count)
    known = KnownBlocks()
    decoder = CachingDecoder(known)
    (hostile,) = HOSTILE[kind]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count):
            decoder.decode(hostile + bytes([0x80 | (1 + number % 60), 0x80 | (1 + number // 60)]), raw=True)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count * MAX_KNOWN_BLOCKS < KEPT_BYTES
    for number in range(2 * count):
        decoder.decode(literal(b"a", str(number).encode()), raw=True)
        assert 0 < len(known._by_block) <= count
