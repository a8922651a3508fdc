"""Numbers as bytes."""

import betterproto2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atomix_election.errors import InvalidRequest
from atomix_election.rpc import strict
from atomix_election.rpc.varints import KEPT_NUMBERS, Prefixed, Unusual, read_varint, signed_32, signed_64, unsigned_32

CALM = settings(deadline=None, print_blob=True)


@CALM
@given(st.integers(1, 15), st.lists(st.integers(-(1 << 63), 1 << 70), max_size=4))
def test_a_number_comes_after_its_key(number: int, values: list[int]) -> None:
    """As betterproto2 writes both; the second time as the first."""
    numbers = Prefixed(number << 3)
    for value in [*values, *values]:
        assert numbers[value] == betterproto2.encode_varint(number << 3) + betterproto2.encode_varint(value)


def test_a_bounded_number_of_them_is_kept() -> None:
    """Whoever sends others makes nothing grow, and gets what is right."""
    numbers = Prefixed(8)
    for value in range(2 * KEPT_NUMBERS):
        assert numbers[value] == b"\x08" + betterproto2.encode_varint(value)
    assert len(numbers) == KEPT_NUMBERS


@CALM
@given(st.binary(min_size=1, max_size=12).map(lambda data: bytes([data[0] | 128]) + data[1:]))
@example(b"\xff" * 9 + b"\x01")
@example(b"\xff" * 9 + b"\x02")
@example(b"\x80" * 9 + b"\x00")
@example(b"\x80" * 10 + b"\x00")
def test_numbers_are_read_as_by_the_strict_parser(data: bytes) -> None:
    """Also those in more bytes than they need."""
    try:
        expected = strict.read_varint(data, 0, len(data), betterproto2.Message)
    except InvalidRequest:
        with pytest.raises((Unusual, IndexError)):
            read_varint(data, 0)
    else:
        assert read_varint(data, 0) == expected


def test_numbers_of_fewer_bits() -> None:
    """On either side of the sign, and with bits beyond."""
    assert [unsigned_32(value) for value in (0, (1 << 32) - 1, 1 << 32)] == [0, (1 << 32) - 1, 0]
    assert [signed_32(value) for value in (0, (1 << 31) - 1, 1 << 31, (1 << 64) - 1)] == [
        0, (1 << 31) - 1, -(1 << 31), -1,
    ]  # fmt: skip
    assert [signed_64(value) for value in (0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)] == [
        0, (1 << 63) - 1, -(1 << 63), -1,
    ]  # fmt: skip
