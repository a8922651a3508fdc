"""What is sent on one connection: the bytes, where they are cut, how it ends, and what has to be answered."""

import json
import struct
from dataclasses import dataclass
from itertools import pairwise

from tests.fuzz.heard import FRAME_HEADER_BYTES, GOAWAY, Answer, Heard
from tests.rpc.attacks import CONTINUATION, END_HEADERS, HEADERS, PREFACE

FINISH, RESET, HANG_UP = "finish", "reset", "hang up"
"""How a connection ends: with a FIN and all answers read, with a RST, or with a FIN and nothing read any more."""
MOST_LINES, MOST_DIGITS = 20, 500
"""Of frames that are shown to people, and of what is in each."""


@dataclass(frozen=True, slots=True)
class Due:
    """An answer that has to come, unless the connection is closed before.

    Args:
        stream: where.
        statuses: what it may be; empty for any that is no fault of the server.
        data: the whole of its data; None for any.
    """

    stream: int
    statuses: frozenset[int] = frozenset()
    data: bytes | None = None

    def wrong(self, answer: Answer | None) -> str | None:
        """Return what is wrong with an answer."""
        if answer is None or not answer.over:
            return f"stream {self.stream} was not answered: {answer}"
        if self.statuses and answer.status not in self.statuses:
            return f"stream {self.stream} was to be answered with a status of {sorted(self.statuses)}: {answer}"
        if self.data is not None and answer.data != self.data:
            return f"stream {self.stream} was to be answered with {self.data.hex()}: {answer}"
        return None


@dataclass(frozen=True, slots=True)
class Script:
    """All that one connection does.

    Args:
        kind: what sort of input this is, for the count.
        data: what is sent.
        cuts: where one write ends and the next one begins.
        ending: how it ends.
        due: streams that are to be answered.
        hoped: streams that may be answered, and for which it is waited a little.
        lasts: nothing of it lets a server close the connection.
        code: the error with which the server has to say good-bye; None for any, and for none.
    """

    kind: str
    data: bytes
    cuts: tuple[int, ...] = ()
    ending: str = FINISH
    due: tuple[Due, ...] = ()
    hoped: tuple[int, ...] = ()
    lasts: bool = False
    code: int | None = None

    @property
    def says_good_bye(self) -> bool:
        """Whether it may have GOAWAY in it, after which a client hears nothing."""
        return any(kind == GOAWAY for kind, *_ in frames_in(self.data)[0])

    @property
    def is_whole(self) -> bool:
        """Whether it ends where any frame may begin."""
        if not self.data.startswith(PREFACE):
            return False
        frames, rest = frames_in(self.data)
        kinds = [(kind, flags) for kind, flags, *_ in frames if kind in (HEADERS, CONTINUATION)]
        return not rest and (not kinds or bool(kinds[-1][1] & END_HEADERS))

    @property
    def pieces(self) -> list[bytes]:
        """What is written at a time."""
        places = sorted({each for each in self.cuts if 0 < each < len(self.data)})
        return [self.data[start:end] for start, end in pairwise([0, *places, len(self.data)])]

    def replay(self) -> str:
        """Return it in one line, for ``script``."""
        due = [
            [each.stream, sorted(each.statuses), None if each.data is None else each.data.hex()] for each in self.due
        ]
        said = {"pieces": [each.hex() for each in self.pieces], "due": due, "hoped": self.hoped}
        return json.dumps(said | {"ending": self.ending, "lasts": self.lasts, "code": self.code})

    def shown(self) -> str:
        """Return it frame by frame, for people."""
        frames, rest = frames_in(self.data)
        lines = [
            f"    kind {kind:#04x} flags {flags:#04x} stream {stream}, {len(data)} bytes: {data.hex()[:MOST_DIGITS]}"
            for kind, flags, stream, data in frames
        ]
        more = [f"    and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
        return "\n".join(lines[:MOST_LINES] + more + ([f"    rest: {rest.hex()[:MOST_DIGITS]}"] if rest else []))

    def check(self, heard: Heard) -> str | None:
        """Return what is wrong with what a server has said to it, before the client closes the connection."""
        gone = heard.closed or heard.goaway is not None
        if self.lasts and gone:
            return f"the server closed the connection, and had no reason to: {heard.goaway}"
        if heard.closed and not heard.broken and heard.goaway is None:
            return "the server closed the connection without a GOAWAY that says why"
        if self.code is not None and not heard.broken and (heard.goaway is None or heard.goaway[0] != self.code):
            return f"the server was to close the connection with error {self.code}: {heard.goaway}"
        if gone or not self.is_whole:
            return None
        wrong = [each.wrong(heard.answers.get(each.stream)) for each in self.due]
        return next((each for each in wrong if each is not None), None)


def script(line: str) -> Script:
    """Return what was written into one line."""
    said = json.loads(line)
    data, cuts = b"", list[int]()
    for each in said["pieces"]:
        data += bytes.fromhex(each)
        cuts.append(len(data))
    due = tuple(
        Due(stream, frozenset(statuses), None if data is None else bytes.fromhex(data))
        for stream, statuses, data in said["due"]
    )
    lasts, code, hoped = said["lasts"], said["code"], tuple(said["hoped"])
    return Script("replay", data, tuple(cuts[:-1]), said["ending"], due, hoped, lasts, code)


def frames_in(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], bytes]:
    """Return kind, flags, stream and payload of the frames that are complete, and what comes after them."""
    position = len(PREFACE) if data.startswith(PREFACE) else 0
    frames: list[tuple[int, int, int, bytes]] = []
    while len(data) - position >= FRAME_HEADER_BYTES:
        high, low, kind, flags, stream = struct.unpack(">BHBBL", data[position : position + FRAME_HEADER_BYTES])
        begin = position + FRAME_HEADER_BYTES
        if begin + (high << 16 | low) > len(data):
            break
        position = begin + (high << 16 | low)
        frames.append((kind, flags, stream, data[begin:position]))
    return frames, data[position:]
