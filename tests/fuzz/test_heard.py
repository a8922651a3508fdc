"""What no server may say is noticed, and what one may say is not."""

import struct

import pytest

from tests.fuzz.heard import GOAWAY, Answer, Fault, Heard
from tests.rpc.attacks import DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, http2_frame, settings
from tests.rpc.raw import message

BEGUN = block([(":status", "200"), ("content-type", "application/grpc")])
ENDED = block([("grpc-status", "0")])


def head(data: bytes = BEGUN, flags: int = END_HEADERS, stream: int = 1) -> bytes:
    """Return headers."""
    return http2_frame(HEADERS, flags, stream, data)


def end(*headers: tuple[str, str]) -> bytes:
    """Return trailers."""
    return head(block(headers), END_HEADERS | END_STREAM)


WELL = settings() + head() + http2_frame(DATA, 0, 1, message(b"x")) + head(ENDED, END_HEADERS | END_STREAM)
REFUSED = ("grpc-status", "3"), ("grpc-message", "no"), ("atomix-election-error", "InvalidRequest")


def heard(data: bytes) -> Heard:
    """Return what is heard, byte by byte."""
    listener = Heard()
    for place in range(len(data)):
        listener.feed(data[place : place + 1])
    return listener


def test_a_good_answer_is_read() -> None:
    """With its status and its data."""
    answer = heard(WELL).answers[1]
    assert (answer.status, answer.data, answer.over) == (0, message(b"x"), True)


@pytest.mark.parametrize(
    "more",
    [
        end(*REFUSED),
        end(("grpc-status", "5"), ("atomix-election-error", "ElectionError")),
        http2_frame(RST_STREAM, 0, 1, bytes(4)),
        http2_frame(GOAWAY, 0, 0, struct.pack(">LL", 1, 11) + b"why"),
    ],
    ids=["refusal", "status without a class", "reset", "good-bye"],
)
def test_other_ends_are_read_too(more: bytes) -> None:
    """Whatever it is."""
    heard(settings() + head() + more)


WRONG = {
    "no settings": head(),
    "a frame of 16 KiB and one": settings() + struct.pack(">I", 16_385)[1:] + bytes(6),
    "a push": settings() + http2_frame(5, 4, 1, bytes(4)),
    "data first": settings() + http2_frame(DATA, 0, 1, b"x"),
    "data on an even stream": settings() + http2_frame(DATA, 0, 2, b"x"),
    "data after the end": WELL + http2_frame(DATA, 0, 1, b"x"),
    "data after a reset": settings() + head() + http2_frame(RST_STREAM, 0, 1, bytes(4)) + http2_frame(DATA, 0, 1, b"x"),
    "headers after the end": WELL + head(),
    "trailers that do not end it": settings() + head() + head(ENDED),
    "headers that cannot be read": settings() + head(b"\xff\xff\xff"),
    "another frame among headers": settings() + head(BEGUN[:5], 0) + http2_frame(DATA, 0, 1, b"x"),
    "another status of HTTP": settings() + head(block([(":status", "500"), ("content-type", "application/grpc")])),
    "no status": settings() + head() + end(("x", "y")),
    "a status that is no number": settings() + head() + end(("grpc-status", "x")),
    "two statuses": settings() + head() + end(("grpc-status", "0"), ("grpc-status", "3")),
    "UNKNOWN": settings() + head() + end(("grpc-status", "2"), ("atomix-election-error", "ElectionError")),
    "INTERNAL": settings() + head() + end(("grpc-status", "13"), ("atomix-election-error", "ElectionError")),
    "an error without a class": settings() + head() + end(("grpc-status", "3")),
    "a class that does not exist": settings() + head() + end(("grpc-status", "3"), ("atomix-election-error", "Odd")),
    "a message that is not encoded": settings() + head() + end(*REFUSED[:1], ("grpc-message", "\n"), *REFUSED[2:]),
}


@pytest.mark.parametrize("said", WRONG.values(), ids=WRONG)
def test_what_no_server_may_say_is_a_fault(said: bytes) -> None:
    """Each alone."""
    with pytest.raises(Fault):
        heard(said)


def test_an_end_inside_a_frame_is_a_fault() -> None:
    """Unless the connection was reset, when something may be lost."""
    listener = heard(WELL[:-1])
    with pytest.raises(Fault):
        listener.end(broken=False)
    listener.end(broken=True)


def test_an_answer_that_has_not_ended_is_not_over() -> None:
    """Whatever there is of it."""
    assert not Answer().over
    assert not heard(settings() + head()).answers[1].over
