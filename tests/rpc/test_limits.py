"""Limits that are checked together, and what is counted against those that connections share."""

from dataclasses import fields

import pytest

from atomix_election import ConnectionLimits, InvalidRequest, LimitExceeded
from atomix_election.rpc.limits import Outboxes, Room


@pytest.mark.parametrize("name", [each.name for each in fields(ConnectionLimits)])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_every_limit_is_more_than_nothing(name: str, value: float) -> None:
    """And less than without end."""
    with pytest.raises(InvalidRequest, match=name):
        ConnectionLimits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second"), [("max_message_bytes", "max_request_bytes"), ("max_calls_per_connection", "max_calls")]
)
def test_limits_that_contradict_each_other_are_refused(first: str, second: str) -> None:
    """The message names both and their values."""
    with pytest.raises(InvalidRequest, match=rf"{first}, 70000, .* {second}, 60000"):
        ConnectionLimits(**{first: 70_000, second: 60_000})
    ConnectionLimits(**{first: 60_000, second: 60_000})


def test_room_is_given_back() -> None:
    """Also when the block fails."""
    room = Room(100)
    with room.take(60):
        with pytest.raises(LimitExceeded, match=r"100 bytes .*--max-request-bytes"), room.take(41):
            pass
        with pytest.raises(ZeroDivisionError), room.take(40):
            raise ZeroDivisionError
        assert room.taken_bytes == 60
    assert room.taken_bytes == 0


def test_who_has_most_unread_is_given_up() -> None:
    """What it had counts no more, and what the others have stays."""
    boxes = Outboxes(100)
    told: list[str] = []
    one, other, third = (
        boxes.open(lambda why, name=name: told.append(f"{name}{why}")) for name in ("one", "other", "third")
    )
    with one.hold(30), other.hold(50), third.hold(20):
        assert told == []
        with one.hold(1):
            assert [each[:5] for each in told] == ["other"]
            assert "100 bytes that peers do not read" in told[0]
            assert boxes.taken_bytes == 51
    assert boxes.taken_bytes == 0
    assert len(told) == 1


def test_a_connection_that_is_gone_counts_no_more() -> None:
    """Whatever its calls still hold on their way out."""
    boxes = Outboxes(100)
    box = boxes.open(lambda _: None)
    with box.hold(80):
        box.close()
        assert boxes.taken_bytes == 0
        box.close()
    assert boxes.taken_bytes == 0
