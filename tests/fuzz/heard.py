"""What a server has said on one connection, read strictly and without h2: what no server may say is a ``Fault``."""

import re
import struct
from dataclasses import dataclass, field

from hpack import Decoder, HPACKError

from atomix_election import errors
from tests.rpc.attacks import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS

GOAWAY, WINDOW_UPDATE = 7, 8
ACK = 1
FRAME_HEADER_BYTES = 9
MAX_FRAME_BYTES = 16 * 1024
CANCELLED, UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS = 1, 2, 13, 14, 15
NEVER = {CANCELLED, UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS}
"""Statuses that no input may lead to on a server that is well: they stand for faults of the server or of its store."""
_PRINTABLE = re.compile(rb"[ -~]*")
_NO_CLASS = {b"ElectionError"}
"""The name that goes with a status which no class of error stands for."""


class Fault(AssertionError):
    """A promise was broken."""


@dataclass(slots=True)
class Answer:
    """What came back on one stream."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    data: bytes = b""
    trailers: list[tuple[bytes, bytes]] | None = None
    ended: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self.ended or self.reset is not None

    @property
    def status(self) -> int | None:
        """The status of gRPC, once it is there."""
        said = dict(self.trailers or self.headers).get(b"grpc-status")
        return None if said is None else int(said)

    @property
    def message(self) -> str:
        """What goes with it, for a person."""
        return dict(self.trailers or self.headers).get(b"grpc-message", b"").decode()


class Heard:
    """Reads what a server says."""

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}
        self.goaway: tuple[int, bytes] | None = None
        """Code and reason, once the server has said good-bye."""
        self.pongs: list[bytes] = []
        self.pings: list[bytes] = []
        """Those of the server that are not answered."""
        self.closed = False
        """Whether the server has closed the connection."""
        self.broken = False
        """Whether it did so with a reset, as a system does that has more to read: then something may be lost."""
        self._data = b""
        self._decoder = Decoder()
        self._decoder.max_allowed_table_size = 1 << 32  # the client may have said that
        self._frames = 0
        self._block: tuple[int, int, bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Take what came in.

        Raises:
            Fault: no server may say that.
        """
        self._data += data
        while len(self._data) >= FRAME_HEADER_BYTES:
            high, low, kind, flags, stream = struct.unpack(">BHBBL", self._data[:FRAME_HEADER_BYTES])
            length = high << 16 | low
            if length > MAX_FRAME_BYTES:
                raise Fault(f"the server sent a frame of {length} bytes")
            if len(self._data) < FRAME_HEADER_BYTES + length:
                return
            payload = self._data[FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + length]
            self._data = self._data[FRAME_HEADER_BYTES + length :]
            self._frame(kind, flags, stream, payload)

    def end(self, *, broken: bool) -> None:
        """The server has closed the connection."""
        self.closed = True
        self.broken = broken
        if self._data and not broken:
            raise Fault(f"the server ended inside a frame: {self._data.hex()}")

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if not self._frames and (kind != SETTINGS or flags & ACK):
            raise Fault(f"the server began with a frame of kind {kind}")
        self._frames += 1
        if self._block is not None and kind != CONTINUATION:
            raise Fault(f"a frame of kind {kind} among the headers of the server")
        if kind == GOAWAY:
            self.goaway = struct.unpack(">L", payload[4:8])[0], payload[8:]
        elif kind == PING:
            (self.pongs if flags & ACK else self.pings).append(payload)
        elif kind in (HEADERS, CONTINUATION):
            self._headers(kind, flags, stream, payload)
        elif kind == DATA:
            self._data_of(flags, stream, payload)
        elif kind == RST_STREAM:
            answer = self.answers.setdefault(stream, Answer())
            answer.reset = answer.reset if answer.reset is not None else struct.unpack(">L", payload)[0]
        elif kind not in (SETTINGS, WINDOW_UPDATE):
            raise Fault(f"the server sent a frame of kind {kind}")

    def _data_of(self, flags: int, stream: int, payload: bytes) -> None:
        answer = self._open(stream, "data")
        if not answer.headers:
            raise Fault(f"data before headers on stream {stream}")
        answer.data += payload
        answer.ended = bool(flags & END_STREAM)

    def _open(self, stream: int, what: str) -> Answer:
        answer = self.answers.setdefault(stream, Answer())
        if not stream % 2:
            raise Fault(f"{what} on stream {stream}, which no client can have opened")
        if answer.over:
            raise Fault(f"{what} on stream {stream} after its end")
        return answer

    def _headers(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        begun, first, block = self._block or (stream, flags, b"")
        if begun != stream or (kind == CONTINUATION) != (self._block is not None):
            raise Fault(f"headers of stream {stream} where those of {begun} are to go on")
        self._block = begun, first, block + payload
        if flags & END_HEADERS:
            self._block = None
            self._block_ended(stream, first, block + payload)

    def _block_ended(self, stream: int, flags: int, block: bytes) -> None:
        try:
            headers = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as error:
            raise Fault(f"headers on stream {stream} that cannot be read, {block.hex()}: {error}") from error
        answer = self._open(stream, "headers")
        answer.ended = bool(flags & END_STREAM)
        if answer.headers and not answer.ended:
            raise Fault(f"trailers on stream {stream} that do not end it")
        if answer.headers:
            answer.trailers = headers
        else:
            answer.headers = headers
            given = dict(headers)
            if given.get(b":status") != b"200" or given.get(b"content-type") != b"application/grpc":
                raise Fault(f"an answer on stream {stream} that is not one of gRPC: {headers}")
        if answer.ended:
            _check_status(stream, headers)


def _check_status(stream: int, headers: list[tuple[bytes, bytes]]) -> None:
    """Fail unless headers end an answer as they should."""
    names = [name for name, _ in headers]
    given = dict(headers)
    status = given.get(b"grpc-status", b"")
    if len(set(names)) < len(names) or not status.isdigit():
        raise Fault(f"an answer on stream {stream} ends with {headers}")
    if int(status) in NEVER:
        raise Fault(f"an answer on stream {stream} says that the server is at fault: {headers}")
    if not _PRINTABLE.fullmatch(given.get(b"grpc-message", b"")):
        raise Fault(f"the message of status {status.decode()} on stream {stream} is not encoded: {headers}")
    kind = given.get(b"atomix-election-error", b"")
    if int(status) and kind not in _NO_CLASS and not hasattr(errors, kind.decode()):
        raise Fault(f"the error on stream {stream} has no class: {headers}")
