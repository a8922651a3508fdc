"""Puts a script together, frame by frame: which streams there are, what their headers need, what has to be answered."""

from dataclasses import replace

from hpack import Encoder
from hypothesis import strategies as st

from tests.fuzz.headers import METHODS, NAMESPACE, SHORT, Fields, call_headers, encode
from tests.fuzz.messages import INVALID_ARGUMENT, NOT_FOUND, OK, UNIMPLEMENTED
from tests.fuzz.scripts import FINISH, HANG_UP, RESET, Due, Script
from tests.rpc.attacks import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GREETING,
    HEADERS,
    block,
    http2_frame,
)
from tests.rpc.raw import message

PADDED, PRIORITY_FLAG = 8, 32
CALM = "calm"
"""A namespace in which nothing ever happens."""
NO_TERM = message(b"\n\4\x1a\2\x22\0")
_OF_NOBODY = [
    ("GetTerm", b"", Due(0, frozenset([OK]), NO_TERM)),
    ("Evict", b"\x0a\x01x", Due(0, frozenset([INVALID_ARGUMENT]), b"")),
    ("Enter", b"\x0a\x01x", Due(0, frozenset([NOT_FOUND]), b"")),
    ("Nothing", b"", Due(0, frozenset([UNIMPLEMENTED]), b"")),
    ("/grpc.health.v1.Health/Check", b"", Due(0, frozenset([OK]), message(b"\x08\x01"))),
]
"""Calls whose answers are known, whatever else a server was asked."""


class Builder:
    """What a connection sends, as it comes into being.

    Args:
        draw: Hypothesis' own, which decides all that is left open.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.data = bytearray(GREETING)
        self.due: dict[int, Due] = {}
        self.hoped: set[int] = set()
        self.open: list[int] = []
        """Streams whose requests have not ended."""
        self.ended: list[int] = []
        self.cuts: list[int] = []
        self.begins: list[int] = []
        """Where frames begin."""
        self.encoder = Encoder()
        self._next = 1

    def stream(self) -> int:
        """Return a new one."""
        self._next += 2
        return self._next - 2

    def add(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Add a frame."""
        self.begins.append(len(self.data))
        self.data += http2_frame(kind, flags, stream, payload)

    def head(self, stream: int, headers: bytes, *, pieces: int = 1) -> None:
        """Add a block of headers that begins a call, in one frame or more."""
        step = max(len(headers) // pieces, 1)
        parts = [headers[start : start + step] for start in range(0, len(headers), step)] or [b""]
        for place, part in enumerate(parts):
            self.add(CONTINUATION if place else HEADERS, END_HEADERS * (place == len(parts) - 1), stream, part)
        self.open.append(stream)

    def body(self, stream: int, data: bytes) -> None:
        """Add all data of a request and its end: in one frame or several, with padding, with empty ones between."""
        draw = self.draw
        count = draw(st.sampled_from([1, 1, 1, 1, 2, 3, 5]))
        places = sorted(draw(st.integers(0, len(data))) for _ in range(count - 1))
        parts = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
        late_end = count > 1 and draw(st.booleans())
        for place, part in enumerate(parts):
            flags, payload = END_STREAM * (place == len(parts) - 1 and not late_end), part
            if count > 1 and draw(st.booleans()):
                padding = draw(st.integers(0, 40))
                flags, payload = flags | PADDED, bytes([padding]) + part + bytes(padding)
            self.add(DATA, flags, stream, payload)
        if late_end:
            self.add(DATA, END_STREAM, stream)
        self.over(stream)

    def over(self, stream: int) -> None:
        """The request on a stream has ended."""
        if stream in self.open:
            self.open.remove(stream)
        self.ended.append(stream)

    def call(self, headers: Fields, body: bytes) -> int:
        """Add a whole call, and return its stream."""
        draw, stream = self.draw, self.stream()
        how = draw(st.sampled_from(["plain", "plain", "indexed", "huffman", "both"]))
        if how == "plain":
            made = block(headers)
        else:
            made = encode(self.encoder, headers, indexed=how != "huffman", huffman=how != "indexed")
        self.head(stream, made, pieces=draw(st.sampled_from([1, 1, 1, 2, 5])))
        self.body(stream, body)
        self.hoped.add(stream)
        return stream

    def is_due(self, due: Due) -> None:
        """An answer has to come that is known."""
        self.hoped.discard(due.stream)
        self.due[due.stream] = due

    def known_call(self) -> None:
        """Add a call whose answer is known."""
        method, data, due = self.draw(st.sampled_from(_OF_NOBODY))
        stream = self.call(call_headers(method, "calm", "calm", CALM), message(data))
        self.is_due(replace(due, stream=stream))

    def target(self) -> tuple[str, Fields]:
        """Return a method, and headers of a call of it."""
        draw = self.draw
        path = draw(st.sampled_from([*sorted(METHODS), *SHORT * 3]))
        election, session = draw(st.sampled_from("efg")), draw(st.sampled_from(["s", "t", "u"]))
        return path, call_headers(path, election, session, NAMESPACE)

    def any_stream(self) -> int:
        """Return a number of a stream: one that is open, that has ended, or that cannot be."""
        some = [0, self._next, self._next + 20, 2, (1 << 31) - 1, 1 << 31]
        return self.draw(st.sampled_from([*self.open, *self.ended[-3:], *some]))

    def touched(self, stream: int) -> None:
        """Something was done to a stream after which nobody can say what becomes of it."""
        if self.due.pop(stream, None) is not None:
            self.hoped.add(stream)

    def forget_table(self) -> None:
        """Nobody can tell what the server's table of headers is now; what is added to it from here on is known."""
        self.encoder = Encoder()

    def cut(self) -> None:
        """Let a write end here."""
        self.cuts.append(len(self.data))

    def script(self, kind: str, *, lasts: bool = False, code: int | None = None) -> Script:
        """Return what has come together, cut somewhere, and with some end."""
        draw = self.draw
        data, due = bytes(self.data), tuple(self.due.values())
        hoped = tuple(self.hoped)
        how = draw(st.sampled_from(["whole", "whole", "whole", "near", "near", "near", "here", "anywhere", "steps"]))
        cuts = tuple(self.cuts)
        if how == "near":
            begins = st.sampled_from(self.begins or [0])
            cuts = tuple(draw(st.lists(st.builds(int.__add__, begins, st.integers(-2, 18)), max_size=3)))
        elif how == "anywhere":
            cuts += tuple(draw(st.lists(st.integers(1, max(len(data) - 1, 1)), max_size=6)))
        elif how == "steps":
            cuts += tuple(range(0, len(data), draw(st.sampled_from([1, 3, 7, 9, 64]))))[:400]
        ending = FINISH if code is not None else draw(st.sampled_from([FINISH] * 6 + [RESET, HANG_UP]))
        return Script(kind, data, cuts if how != "whole" else (), ending, due, hoped, lasts, code)
