"""Judges what a peer sends by the headers of its frames, before anything of it is kept or costs much.

Kinds of frames and flags: RFC 9113, section 6. Whoever holds a guard says what time it is.
"""

import struct
from collections.abc import Callable

from h2.errors import ErrorCodes
from h2.exceptions import FrameDataMissingError, FrameTooLargeError, ProtocolError

from atomix_election.errors import LimitExceeded
from atomix_election.rpc.limits import ConnectionLimits, reached

MAX_FRAME_BYTES = 16 * 1024
"""The longest HTTP/2 frame; this is the protocol's own default."""
MAX_SETTINGS = 32
"""Settings that a peer may have, and that one frame may carry; HTTP/2 and gRPC know about ten."""
REFILL_S = 10.0
"""How long it takes until an allowance that was used up is full again."""

_SMALL_DATA_BYTES = 512  # more than padding can pretend
_ANSWERED = 3  # what a peer may say to each frame that it was sent: a ping and two windows
_SETTING_COST = 10
_HOARDED = 20  # times the allowance
_FRAME_HEADER_BYTES = 9
_FRAME_HEADER = struct.Struct(">BHBBL")  # of the length the first of its three bytes, and the rest
_STREAM_BITS = 0x7FFFFFFF
_PREFACE_BYTES = 24
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _CONTINUATION = 0, 1, 3, 4, 9
_ACK, _END_HEADERS = 1, 4


class PeerOverLimit(ProtocolError):
    """The peer has used up an allowance, or asks for more than one connection may have.

    Args:
        reason: which limit that is.
    """

    error_code = ErrorCodes.ENHANCE_YOUR_CALM

    def __init__(self, reason: LimitExceeded) -> None:
        super().__init__(str(reason))
        self.reason = reason


class FrameHeaders:
    """Finds the headers of frames in what comes in, and refuses a frame that is too long at once.

    h2 would wait for all of such a frame first, up to 16 MiB.

    Args:
        skip_bytes: what comes before the first frame.
    """

    def __init__(self, skip_bytes: int) -> None:
        self._left = skip_bytes
        self._header = bytearray()

    @property
    def inside_header(self) -> bool:
        """Whether the header of a frame has begun and not ended."""
        return len(self._header) > 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._left > 0 or len(self._header) > 0

    def read(self, data: bytes, on_frame: Callable[[int, int, int, int], None] | None = None) -> None:
        """Look at the next bytes.

        Args:
            data: the bytes.
            on_frame: is told kind, flags, stream and length of each frame that begins.

        Raises:
            FrameTooLargeError: a frame in them is longer than HTTP/2 allows without another setting.
        """
        position, end = 0, len(data)
        while position < end:
            if self._left:
                step = min(self._left, end - position)
                self._left -= step
            elif not self._header and end - position >= _FRAME_HEADER_BYTES:
                step = _FRAME_HEADER_BYTES
                self._begin(data, position, on_frame)
            else:
                step = min(_FRAME_HEADER_BYTES - len(self._header), end - position)
                self._header += data[position : position + step]
                if len(self._header) == _FRAME_HEADER_BYTES:
                    header, self._header = self._header, bytearray()
                    self._begin(header, 0, on_frame)
            position += step

    def _begin(
        self, data: bytes | bytearray, position: int, on_frame: Callable[[int, int, int, int], None] | None
    ) -> None:
        high, low, kind, flags, stream = _FRAME_HEADER.unpack_from(data, position)
        self._left = length = high << 16 | low
        if length > MAX_FRAME_BYTES:
            raise FrameTooLargeError(f"a frame of {length} bytes, the limit is {MAX_FRAME_BYTES}")
        if on_frame is not None:
            on_frame(kind, flags, stream & _STREAM_BITS, length)


class Allowance:
    """So many at once, refilled within ``REFILL_S``.

    Args:
        size: how many.
        now: what time it is.
    """

    def __init__(self, size: int, now: float) -> None:
        self._size = size
        self._left = float(size)
        self._earned = 0
        self._filled = now

    def earn(self, count: int) -> None:
        """Allow so many more, whenever they are taken."""
        self._earned = min(self._earned + count, _HOARDED * self._size)

    def take(self, count: int, now: float) -> bool:
        """Take some, and return whether they were there."""
        from_earned = min(count, self._earned)
        self._earned -= from_earned
        self._left = min(self._left + (now - self._filled) * self._size / REFILL_S, self._size)
        self._filled = now
        self._left -= count - from_earned
        return self._left >= 0


class FrameGuard:
    """What the client of one connection may send.

    Args:
        limits: how much.
        now: what time it is.
    """

    def __init__(self, limits: ConnectionLimits, now: float) -> None:
        self._limits = limits
        self._now = now
        self._frames = FrameHeaders(_PREFACE_BYTES)
        self._control = Allowance(limits.max_control_frames, now)
        self._resets = Allowance(limits.max_resets, now)
        self._begun = 0
        self._header_began_before = False
        self._began = now
        self._block_bytes: int | None = None
        self._newest_stream = 0
        self._answers = 0

    @property
    def unfinished_since(self) -> float | None:
        """When it began what is not complete: the preface, a frame, or the headers of a call. None: nothing is."""
        unfinished = not self._begun or self._frames.inside or self._block_bytes is not None
        return self._began if unfinished else None

    def check(self, data: bytes, *, now: float, answers: int) -> None:
        """Look at the next bytes.

        Args:
            data: the bytes.
            now: what time it is.
            answers: how many frames the peer was sent up to now, each of which it may react to.

        Raises:
            ProtocolError: the peer goes too far; the connection is to be closed.
        """
        self._now = now
        self._control.earn((answers - self._answers) * _ANSWERED)
        self._answers = answers
        self._header_began_before = self._frames.inside_header
        if self._begun and not self._frames.inside and self._block_bytes is None:
            self._began = now
        self._frames.read(data, self._judge)

    def reset(self) -> None:
        """Count a stream that was reset, by the peer or by its fault.

        Raises:
            PeerOverLimit: these were too many.
        """
        if not self._resets.take(1, self._now):
            raise PeerOverLimit(reached("max_resets", self._limits.max_resets, "streams reset on one connection"))

    def _judge(self, kind: int, flags: int, stream: int, length: int) -> None:
        if self._begun and self._block_bytes is None and not self._header_began_before:
            self._began = self._now
        self._header_began_before = False
        self._begun += 1
        if kind in (_HEADERS, _CONTINUATION):
            self._judge_headers(kind, flags, stream, length)
        elif kind == _RST_STREAM:
            self.reset()
        elif kind == _SETTINGS:
            if flags & _ACK and length:
                raise FrameDataMissingError(f"an acknowledgement of settings with {length} bytes")
            if length > MAX_SETTINGS * 6:
                raise too_many_settings()
            self._charge(1 if flags & _ACK else _SETTING_COST * max(length // 6, 1))
        elif kind != _DATA or length < _SMALL_DATA_BYTES:
            self._charge(1)

    def _judge_headers(self, kind: int, flags: int, stream: int, length: int) -> None:
        if kind == _HEADERS and stream > self._newest_stream:
            self._newest_stream = stream
            self._control.earn(2)  # a message in one piece, and the end of the request
        else:
            self._charge(1)
        block_bytes = (self._block_bytes or 0) + length
        if block_bytes > self._limits.max_header_bytes:
            raise PeerOverLimit(reached("max_header_bytes", self._limits.max_header_bytes, "bytes of headers"))
        self._block_bytes = None if flags & _END_HEADERS else block_bytes

    def _charge(self, count: int) -> None:
        if not self._control.take(count, self._now):
            raise PeerOverLimit(
                reached("max_control_frames", self._limits.max_control_frames, "frames that carry next to nothing")
            )


def too_many_settings() -> PeerOverLimit:
    """Return what refuses a peer that has, or sends at a time, more than ``MAX_SETTINGS`` settings."""
    return PeerOverLimit(LimitExceeded(f"more than {MAX_SETTINGS} settings", limit="max_settings"))
