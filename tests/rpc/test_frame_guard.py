"""What a client may send, frame by frame, with time that the test makes."""

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import FrameTooLargeError, ProtocolError

from atomix_election.rpc.frame_guard import MAX_FRAME_BYTES, MAX_SETTINGS, REFILL_S, FrameGuard, PeerOverLimit
from atomix_election.rpc.limits import ConnectionLimits
from tests.rpc.attacks import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GREETING,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    http2_frame,
    settings,
)

LIMITS = ConnectionLimits(max_control_frames=100, max_resets=20, max_header_bytes=1000)
OPENING = http2_frame(HEADERS, END_HEADERS, 1, b"h")


class Peer:
    """A guard and the time that it is told."""

    def __init__(self, limits: ConnectionLimits = LIMITS) -> None:
        self.guard = FrameGuard(limits, now=0.0)
        self.now = 0.0
        self.answers = 0

    def say(self, *pieces: bytes) -> "Peer":
        """Send something."""
        for each in pieces:
            self.guard.check(each, now=self.now, answers=self.answers)
        return self


def greeted() -> Peer:
    """Return a peer whose greeting is through, and cost nothing that is left."""
    peer = Peer().say(GREETING)
    peer.now += REFILL_S
    return peer


CHEAP = {
    "ping": http2_frame(PING, 0, 0, bytes(8)),
    "priority": http2_frame(PRIORITY, 0, 1, bytes(5)),
    "window": http2_frame(WINDOW_UPDATE, 0, 0, bytes([0, 0, 0, 1])),
    "unknown": http2_frame(0xEE, 0, 0),
    "empty data": http2_frame(DATA, 0, 1),
    "padded data": http2_frame(DATA, 8, 1, b"\xff" + bytes(256)),
    "empty end": http2_frame(DATA, END_STREAM, 1),
    "trailers": OPENING,
    "acknowledged settings": http2_frame(4, 1, 0),
}


@pytest.mark.parametrize("frame", CHEAP.values(), ids=CHEAP)
def test_frames_that_carry_next_to_nothing_are_limited(frame: bytes) -> None:
    """So many at once, refilled with time; in whatever pieces they come."""
    peer = greeted().say(OPENING)  # which earns two more
    peer.say(*[frame] * 102)
    with pytest.raises(PeerOverLimit, match=r"100 frames .* raise max_control_frames .*--max-control-frames") as caught:
        peer.say(frame)
    assert caught.value.error_code == ErrorCodes.ENHANCE_YOUR_CALM
    peer = greeted().say(OPENING, frame * 102)
    peer.now += REFILL_S / 10
    peer.say(frame * 10)
    with pytest.raises(PeerOverLimit):
        peer.say(frame)


def test_settings_cost_as_many_frames_as_they_have_tens() -> None:
    """Each one is looked at and may be kept."""
    peer = greeted().say(*[settings((4, 1))] * 10)
    with pytest.raises(PeerOverLimit):
        peer.say(settings())
    with pytest.raises(PeerOverLimit):
        greeted().say(settings(*[(number, 1) for number in range(11)]))


def test_too_many_settings_in_a_frame_are_refused() -> None:
    """Whatever is left of the allowance."""
    peer = Peer(ConnectionLimits()).say(GREETING, settings(*[(number, 1) for number in range(MAX_SETTINGS)]))
    with pytest.raises(PeerOverLimit, match="more than 32 settings"):
        peer.say(settings(*[(number, 1) for number in range(MAX_SETTINGS + 1)]))


def test_good_calls_cost_nothing() -> None:
    """As many as one likes, at once: a request in one frame and its end in another."""
    peer = greeted()
    for stream in range(1, 20_001, 2):
        body = http2_frame(DATA, 0, stream, bytes(5)) + http2_frame(DATA, END_STREAM, stream)
        peer.say(http2_frame(HEADERS, END_HEADERS, stream, b"h"), body)


def test_a_peer_may_react_to_what_it_was_sent() -> None:
    """With a ping and two windows for each frame."""
    peer = greeted()
    peer.answers = 500
    peer.say(*[CHEAP["window"]] * 1600)
    with pytest.raises(PeerOverLimit):
        peer.say(CHEAP["window"])


def test_what_was_earned_does_not_grow_for_ever() -> None:
    """Else a peer could save up for a flood."""
    peer = greeted()
    peer.answers = 1_000_000
    peer.say(CHEAP["ping"] * 2100)
    with pytest.raises(PeerOverLimit):
        peer.say(CHEAP["ping"])


def test_resets_are_limited() -> None:
    """So many at once, refilled with time; by the peer, or caused by it."""
    reset = http2_frame(RST_STREAM, 0, 1, bytes(4))
    peer = greeted().say(reset * 19)
    peer.guard.reset()
    peer.now += REFILL_S / 20
    peer.say(reset)
    with pytest.raises(PeerOverLimit, match=r"20 streams .* raise max_resets .*--max-resets"):
        peer.say(reset)


def test_headers_are_limited_however_many_frames_they_are_in() -> None:
    """Before they are complete."""
    peer = greeted().say(http2_frame(HEADERS, 0, 1, bytes(900)), http2_frame(CONTINUATION, 0, 1, bytes(100)))
    with pytest.raises(PeerOverLimit, match=r"1000 bytes of headers .*--max-header-bytes"):
        peer.say(http2_frame(CONTINUATION, END_HEADERS, 1, bytes(1)))
    greeted().say(*[http2_frame(HEADERS, END_HEADERS, stream, bytes(1000)) for stream in (1, 3, 5)])


def test_a_frame_that_is_too_long_is_refused_by_its_header() -> None:
    """In the preface's own packet, or cut into bytes."""
    long = (MAX_FRAME_BYTES + 1).to_bytes(3, "big") + bytes(6)
    with pytest.raises(FrameTooLargeError):
        Peer().say(PREFACE + settings() + long)
    peer = greeted().say(*[bytes([each]) for each in long[:-1]])
    with pytest.raises(ProtocolError):
        peer.say(long[-1:])


UNFINISHED = {
    "nothing": b"",
    "half a preface": PREFACE[:10],
    "preface alone": PREFACE,
    "half of the settings": GREETING[:-1],
}


@pytest.mark.parametrize("data", UNFINISHED.values(), ids=UNFINISHED)
def test_a_greeting_has_to_be_complete(data: bytes) -> None:
    """It began with the connection."""
    peer = Peer()
    peer.now = 5.0
    assert peer.say(data).guard.unfinished_since == 0.0
    assert peer.say(GREETING[len(data) :]).guard.unfinished_since is None


def test_a_frame_has_to_be_complete() -> None:
    """It began with its first byte, whatever came before it, in the same packet or long ago."""
    peer = greeted()
    ping = CHEAP["ping"]
    for before in (ping, b""):
        peer.now += 100
        begun = peer.now
        peer.say(before + ping[:3])
        assert peer.guard.unfinished_since == begun
        for piece in (ping[3:8], ping[8:12]):
            peer.now += 1
            peer.say(piece)
            assert peer.guard.unfinished_since == begun
        peer.say(ping[12:] + ping[:10])
        assert peer.guard.unfinished_since == peer.now
        peer.say(ping[10:])
        assert peer.guard.unfinished_since is None


def test_headers_have_to_be_complete() -> None:
    """They began with their first frame, and more frames do not give them more time."""
    peer = greeted()
    begun = peer.now
    peer.say(http2_frame(HEADERS, 0, 1, b"h"))
    for _ in range(3):
        peer.now += 1
        peer.say(http2_frame(CONTINUATION, 0, 1, b"h"))
        assert peer.guard.unfinished_since == begun
    peer.say(http2_frame(CONTINUATION, END_HEADERS, 1, b"h"))
    assert peer.guard.unfinished_since is None
