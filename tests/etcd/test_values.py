"""Values are checked where they are made."""

import pytest

from atomix_election.etcd import (
    Compare,
    Endpoint,
    EtcdClient,
    Header,
    Relation,
    Status,
    Target,
    absent,
    exists,
    prefix_end,
    unchanged,
)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"a", b"b"),
        (b"a/", b"a0"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"a\xfe", b"a\xff"),
        (b"\xff", b"\x00"),
        (b"", b"\x00"),
    ],
)
def test_the_end_of_a_prefix_is_the_first_key_beyond_it(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end


@pytest.mark.parametrize(("target", "operand"), [(Target.VALUE, 1), (Target.MOD_REVISION, b"1")])
def test_a_comparison_is_with_something_of_its_kind(target: Target, operand: int | bytes) -> None:
    with pytest.raises(ValueError, match=target.name):
        Compare(b"a", target, Relation.EQUAL, operand)


def test_conditions_in_words() -> None:
    assert exists(b"a") == Compare(b"a", Target.CREATE_REVISION, Relation.GREATER, 0)
    assert absent(b"a") == Compare(b"a", Target.CREATE_REVISION, Relation.EQUAL, 0)
    assert unchanged(b"a", 7) == Compare(b"a", Target.MOD_REVISION, Relation.EQUAL, 7)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("3.5.18", (3, 5, 18)), ("3.6.0-rc.1", (3, 6, 0)), ("3.4.36+git", (3, 4)), ("", ())],
)
def test_versions_are_compared_as_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert Status(Header(1, 1, 1, 1), version, 1, 0, ()).version_numbers == numbers


def test_an_endpoint_reads_as_it_is_written() -> None:
    assert [str(Endpoint("a", 1)), str(Endpoint("::1", 2))] == ["a:1", "[::1]:2"]


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one endpoint"):
        EtcdClient([])
    with pytest.raises(ValueError, match="no user"):
        EtcdClient([("127.0.0.1", 1)], password="secret")
    with pytest.raises(ValueError, match="attempt_timeout_s"):
        EtcdClient([("127.0.0.1", 1)], attempt_timeout_s=0)
