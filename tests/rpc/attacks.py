"""What hostile peers do: blocking sockets that send bytes made by hand, as fast as the server takes them."""

import os
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from tests.rpc.raw import Pairs, about, headers_of, message

LENGTH_S = 0.3
"""How long one attack goes on."""
LATE_S = 5.0
"""How much longer it may take until the limit is reached that is to stop it."""
HOLD_S = 0.2
"""How long what was built up is held."""
MANY = 500
"""Connections of an attacker, all of which are let in."""
HOARD = 1000
"""Connections of an attacker: more than there may be."""
PIECE_BYTES = 16 * 1024
"""What is sent on each of many connections in turn."""
LONG_S = 2.0
"""How long a server is given to take thousands of calls."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
WIDEST = (1 << 31) - 1

Attack = Callable[["Attacker"], None]


def http2_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """Return a frame of settings."""
    return http2_frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


GREETING = PREFACE + settings()
OPEN_WINDOWS = PREFACE + settings((4, WIDEST)) + http2_frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDEST - 65_535))


def block(headers: Sequence[tuple[str | bytes, str | bytes]]) -> bytes:
    """Return headers as HPACK that touches no dynamic table, so that it can be sent any number of times."""
    encoded = b""
    for name, value in headers:
        for text in (name, value):
            raw = text.encode("latin-1") if isinstance(text, str) else text
            prefix = b"\x10" if text is name else b""
            encoded += prefix + (bytes([len(raw)]) if len(raw) < 127 else b"\x7f" + _rest(len(raw) - 127)) + raw
    return encoded


def _rest(value: int) -> bytes:
    encoded = b""
    while value >= 128:
        encoded += bytes([value % 128 + 128])
        value //= 128
    return encoded + bytes([value])


WATCH = block(headers_of("Events", *about("big")))
GET_TERM = block(headers_of("GetTerm", *about()))


def call(stream: int, headers: bytes = GET_TERM, body: bytes | None = message(b"")) -> bytes:
    """Return a call; without a body its request stays open."""
    begun = http2_frame(HEADERS, END_HEADERS, stream, headers)
    return begun if body is None else begun + http2_frame(DATA, END_STREAM, stream, body)


def streams() -> Iterator[int]:
    """Return the numbers of a client's streams."""
    return iter(range(1, WIDEST, 2))


class Attacker:
    """Sockets to one server. A context manager.

    Args:
        port: where it listens.
        limit: the one that is to be reached; None for none that can be told from the bytes that come back.
        tls: how to speak TLS; None for plain text.
    """

    def __init__(self, port: int, limit: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._limit = limit
        self.tls = tls
        self._sockets: list[socket.socket] = []
        self.told: set[str] = set()
        """The limits that the server named."""
        self._end = time.monotonic() + LENGTH_S

    def take_time(self, length_s: float) -> None:
        """Go on for so long from now, as there is much to be sent."""
        self._end = time.monotonic() + length_s

    def __enter__(self) -> "Attacker":
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()

    @property
    def goes_on(self) -> bool:
        """Whether there is time left."""
        late = time.monotonic() - self._end
        return late < 0 or (self._limit is not None and self._limit not in self.told and late < LATE_S)

    def dial(self, *, narrow: bool = False) -> socket.socket:
        """Return a new connection, before its handshake where there is one.

        Args:
            narrow: the system is to receive as little as it can for one who does not read.
        """
        dialled = socket.socket()
        self._sockets.append(dialled)
        if narrow:
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        dialled.settimeout(5)
        dialled.connect(("127.0.0.1", self._port))
        return dialled

    def connect(self, *, narrow: bool = False) -> socket.socket:
        """Return a new connection, after its handshake where there is one; see ``dial``."""
        connected = self.dial(narrow=narrow)
        if self.tls is not None:
            self._sockets.remove(connected)
            connected = self.tls.wrap_socket(connected, server_hostname="127.0.0.1")
            self._sockets.append(connected)
        return connected

    def connect_many(self, count: int, greeting: bytes = b"") -> None:
        """Make connections that say something, not faster than they can be accepted."""
        self.repeat(count, lambda: self.connect().sendall(greeting))

    def repeat(self, count: int, begin: Callable[[], object]) -> None:
        """Begin something many times, not faster than connections can be accepted."""
        for number in range(count):
            try:
                begin()
            except OSError:
                continue
            if number % 50 == 0:
                time.sleep(0.02)

    def send_to_all(self, data: bytes) -> None:
        """Send the same on all connections, to each a piece in turn, until the time is over."""
        left = dict.fromkeys(self._sockets, data)
        for each in left:
            each.setblocking(False)
        while left and self.goes_on:
            for each in _ready(list(left), select.POLLOUT):
                try:
                    left[each] = left[each][each.send(left[each][:PIECE_BYTES]) :]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    continue
                except OSError:
                    left[each] = b""
                if not left[each]:
                    del left[each]

    def flood(self, greeting: bytes, pieces: Callable[[], Iterator[bytes]], *, reads: bool = True) -> None:
        """Send without end, on a new connection whenever the old one was closed."""
        while self.goes_on:
            connection = self.connect()
            self.send(connection, greeting, pieces(), reads=reads)
            self._sockets.remove(connection)
            connection.close()

    def send(self, connection: socket.socket, greeting: bytes, pieces: Iterator[bytes], *, reads: bool = True) -> None:
        """Send on one connection until the time is over, it is closed, or nothing is left to be sent."""
        connection.setblocking(False)
        waiting = greeting
        try:
            while self.goes_on and (waiting or pieces is not None):
                while len(waiting) < 1 << 16:
                    piece = next(pieces, None)
                    if piece is None:
                        break
                    waiting += piece
                if not waiting:
                    return
                if reads and _ready([connection], select.POLLIN, wait_s=0) and not self._goes_on(connection):
                    return
                if _ready([connection], select.POLLOUT):
                    with suppress(ssl.SSLWantWriteError):
                        waiting = waiting[connection.send(waiting) :]
        except OSError:
            self._read_rest(connection)

    def _read(self, connection: socket.socket) -> bytes:
        data = connection.recv(1 << 16)
        self.told |= {name.decode() for name in re.findall(rb"raise (\w+) of the server", data)}
        return data

    def _goes_on(self, connection: socket.socket) -> bool:
        """Read from a connection that does not block, and return whether the server has not closed it."""
        try:
            return bool(self._read(connection))
        except ssl.SSLWantReadError:
            return True  # part of a record, or nothing of the caller's

    def _read_rest(self, connection: socket.socket) -> None:
        """The server has closed the connection, perhaps with something unread; what it said before is still there."""
        with suppress(OSError):
            while self._read(connection):
                pass

    def hold(self, length_s: float = HOLD_S, *, reads: bool = False) -> None:
        """Keep the connections as they are for a while."""
        self._end = time.monotonic() + length_s
        while self.goes_on:
            for each in _ready(self._sockets, select.POLLIN) if reads else []:
                gone = True
                each.setblocking(False)
                with suppress(OSError):
                    gone = not self._goes_on(each)
                if gone:
                    self._sockets.remove(each)
                    each.close()
            if not reads:
                time.sleep(0.05)


def _ready(sockets: list[socket.socket], event: int, *, wait_s: float = 0.05) -> list[socket.socket]:
    """Return the sockets with something to read, or with room to write, after waiting for one of them."""
    poll = select.poll()
    found = {each.fileno(): each for each in sockets}
    for number in found:
        poll.register(number, event)
    return [found[number] for number, _ in poll.poll(wait_s * 1000)]


def again(piece: bytes, times: int = 100) -> Callable[[], Iterator[bytes]]:
    """Return the same bytes without end."""

    def pieces() -> Iterator[bytes]:
        while True:
            yield piece * times

    return pieces


def each_stream(make: Callable[[int], bytes]) -> Callable[[], Iterator[bytes]]:
    """Return something on each stream in turn."""
    return lambda: (make(stream) for stream in streams())


def silent(attacker: Attacker) -> None:
    """More connections than there may be, none of which says a word."""
    attacker.repeat(HOARD, attacker.dial)
    attacker.hold(reads=True)


def idle(attacker: Attacker) -> None:
    """As many connections that say hello and nothing else."""
    attacker.connect_many(HOARD, GREETING)
    attacker.hold(reads=True)


def half_a_frame(attacker: Attacker) -> None:
    """Frames of which the last byte never comes."""
    attacker.connect_many(300, GREETING + call(1, body=None) + http2_frame(DATA, 0, 1, bytes(16_000))[:-1])
    attacker.hold()


def headers_without_end(attacker: Attacker) -> None:
    """Headers that are never complete."""
    attacker.connect_many(300, GREETING + http2_frame(HEADERS, 0, 1, GET_TERM))
    attacker.hold()


def garbage(attacker: Attacker) -> None:
    """Noise, also after a good beginning."""
    noise = bytes(range(256)) * 64
    while attacker.goes_on:
        for greeting in (b"", b"GET / HTTP/1.1\r\n\r\n", PREFACE, GREETING):
            attacker.send(attacker.connect(), greeting, iter([noise]))


def continuations(attacker: Attacker) -> None:
    """Headers that are continued for ever."""
    begun = http2_frame(HEADERS, 0, 1, GET_TERM)
    attacker.flood(GREETING + begun, again(http2_frame(CONTINUATION, 0, 1, bytes(16_000)), 1))


def empty_continuations(attacker: Attacker) -> None:
    """The same with frames that are empty."""
    attacker.flood(GREETING + http2_frame(HEADERS, 0, 1, GET_TERM), again(http2_frame(CONTINUATION, 0, 1)))


def header_bomb(attacker: Attacker) -> None:
    """A long value goes into the table of HPACK, and then each byte stands for all of it."""
    entry = b"\x40\x01x\x7f" + _rest(3900 - 127) + b"v" * 3900
    attacker.flood(
        GREETING, each_stream(lambda stream: http2_frame(HEADERS, END_HEADERS, stream, entry + b"\xbe" * 12_000))
    )


def many_headers(attacker: Attacker) -> None:
    """Calls with as many headers as there may be."""
    more: Pairs = [(f"x-{number}", "1") for number in range(350)]
    headers = block(headers_of("GetTerm", *about(), *more))
    attacker.flood(GREETING, each_stream(lambda stream: call(stream, headers)))


def rapid_reset(attacker: Attacker) -> None:
    """Calls that are taken back at once."""
    attacker.flood(
        GREETING,
        each_stream(lambda stream: call(stream, WATCH) + http2_frame(RST_STREAM, 0, stream, bytes([0, 0, 0, 8]))),
    )


def made_to_reset(attacker: Attacker) -> None:
    """Calls that the server has to reset, as their window becomes too wide."""
    wider = struct.pack(">I", WIDEST)
    attacker.flood(
        GREETING,
        each_stream(lambda stream: call(stream, body=None) + http2_frame(WINDOW_UPDATE, 0, stream, wider)),
    )


def pings(attacker: Attacker) -> None:
    """Pings without end."""
    attacker.flood(GREETING, again(http2_frame(PING, 0, 0, bytes(8))))


def empty_settings(attacker: Attacker) -> None:
    """Settings without end."""
    attacker.flood(GREETING, again(settings()))


def unknown_settings(attacker: Attacker) -> None:
    """Settings that nobody knows, each another one."""
    frames = [settings(*((number, 1) for number in range(first, first + 30))) for first in range(100, 60_000, 30)]
    attacker.flood(GREETING, lambda: iter(frames))


def giant_settings(attacker: Attacker) -> None:
    """The largest table, window and frame, and calls that each fail in another way."""
    greeting = PREFACE + settings((1, 0xFFFFFFFF), (4, WIDEST), (5, (1 << 24) - 1), (6, 0xFFFFFFFF))

    def failing(stream: int) -> bytes:
        return call(stream, block(headers_of(f"{stream:0900d}", *about())))

    attacker.flood(greeting, each_stream(failing))


def empty_data(attacker: Attacker) -> None:
    """Data of nothing."""
    attacker.flood(GREETING + call(1, body=None), again(http2_frame(DATA, 0, 1)))


def tiny_data(attacker: Attacker) -> None:
    """A large message byte by byte, in padded frames."""
    begun = GREETING + call(1, body=None) + http2_frame(DATA, 0, 1, message(b"", size=65_000))
    attacker.flood(begun, again(http2_frame(DATA, 8, 1, b"\xff" + b"x" + bytes(255))))


def window_updates(attacker: Attacker) -> None:
    """The window, a byte at a time."""
    attacker.flood(GREETING, again(http2_frame(WINDOW_UPDATE, 0, 0, bytes([0, 0, 0, 1]))))


def priorities(attacker: Attacker) -> None:
    """Priorities of streams that are not there."""
    attacker.flood(GREETING, again(http2_frame(PRIORITY, 0, 1, bytes(5))))


def unknown_frames(attacker: Attacker) -> None:
    """Frames of a type that nobody knows."""
    attacker.flood(GREETING, again(http2_frame(0xEE, 0, 0)))


def giant_messages(attacker: Attacker) -> None:
    """Messages of 1 GiB, as their prefixes say."""
    prefix = message(b"", size=1 << 30) + bytes(4000)
    attacker.flood(GREETING, each_stream(lambda stream: call(stream, body=None) + http2_frame(DATA, 0, stream, prefix)))


def large_messages(attacker: Attacker) -> None:
    """The largest messages on every stream, of which the last byte never comes."""
    body = message(bytes(15_000), size=60_000)
    more = bytes(14_999)

    def begun(stream: int) -> bytes:
        frames = [http2_frame(DATA, 0, stream, each) for each in (body, bytes(15_000), bytes(15_000), more)]
        return call(stream, body=None) + b"".join(frames)

    attacker.send(attacker.connect(), GREETING, (begun(stream) for stream in range(1, 3000, 2)))
    attacker.hold(reads=True)


def open_calls(attacker: Attacker) -> None:
    """More calls than there may be, on several connections, whose requests never come."""
    attacker.take_time(LATE_S)
    for _ in range(3):
        attacker.send(attacker.connect(), GREETING, (call(stream, body=None) for stream in range(1, 2401, 2)))
    attacker.hold(LONG_S, reads=True)


def watches(attacker: Attacker) -> None:
    """As many watches as there may be, of a large election, on which nothing is read."""
    attacker.take_time(LATE_S)
    for _ in range(2):
        attacker.send(attacker.connect(), OPEN_WINDOWS, (call(n, WATCH) for n in range(1, 3201, 2)), reads=False)
    attacker.hold(LONG_S)


def narrow_windows(attacker: Attacker) -> None:
    """The same, with a window in which an answer can begin and not end."""
    for _ in range(2):
        greeting = PREFACE + settings((4, 1)) + http2_frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDEST - 65_535))
        attacker.send(attacker.connect(), greeting, (call(n, WATCH) for n in range(1, 4001, 2)))
    attacker.hold(reads=True)


def unread_answers(attacker: Attacker) -> None:
    """Calls without end, whose answers are not read."""
    attacker.take_time(LONG_S)
    attacker.flood(
        OPEN_WINDOWS, each_stream(lambda stream: call(stream, block(headers_of("GetTerm", *about("big"))))), reads=False
    )


def many_unread_answers(attacker: Attacker) -> None:
    """On many connections, answers that are not read."""
    asked = OPEN_WINDOWS + call(1, block(headers_of("GetTerm", *about("big"))))
    attacker.repeat(HOARD, lambda: attacker.connect(narrow=True).sendall(asked))
    attacker.hold()


def hellos(attacker: Attacker) -> None:
    """As many connections that begin a handshake and never end it."""
    assert attacker.tls is not None
    outgoing = ssl.MemoryBIO()
    client = attacker.tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    attacker.repeat(HOARD, lambda: attacker.dial().sendall(hello))
    attacker.hold(reads=True)


def half_a_record(attacker: Attacker) -> None:
    """As many records of TLS of which the last byte never comes."""

    def begin() -> None:
        connection = attacker.connect()
        connection.sendall(GREETING)
        with socket.socket(fileno=os.dup(connection.fileno())) as beneath:
            beneath.sendall(b"\x17\x03\x03\x40\x11" + bytes(16_400))  # one more would complete it

    attacker.repeat(HOARD, begin)
    attacker.hold(reads=True)


def many_at_once(attacker: Attacker) -> None:
    """On many connections at once, as much as the window of a call lets in."""
    data = b"".join(http2_frame(DATA, 0, 1, bytes(16_000)) for _ in range(4))
    attacker.connect_many(MANY, GREETING + call(1, body=None))
    attacker.take_time(LONG_S)
    attacker.send_to_all(data)
    attacker.hold(reads=True)


def handshakes(attacker: Attacker) -> None:
    """Handshakes, one after the other, after which nothing is said."""
    while attacker.goes_on:
        attacker.connect().close()


def scrapes(attacker: Attacker) -> None:
    """To the port of the metrics, 1,500 connections that say nothing."""
    attacker.repeat(1500, attacker.dial)
    attacker.hold()


def calls(attacker: Attacker) -> None:
    """Good calls, as many as the server takes."""
    attacker.flood(OPEN_WINDOWS, each_stream(call))


FLOODS: dict[Attack, str | None] = {
    garbage: None,
    continuations: "max_header_bytes",
    empty_continuations: None,
    header_bomb: None,
    many_headers: None,
    rapid_reset: "max_resets",
    made_to_reset: "max_resets",
    pings: "max_control_frames",
    empty_settings: "max_control_frames",
    unknown_settings: "max_control_frames",
    giant_settings: None,
    empty_data: "max_control_frames",
    tiny_data: "max_control_frames",
    window_updates: "max_control_frames",
    priorities: "max_control_frames",
    unknown_frames: "max_control_frames",
    giant_messages: None,
    calls: None,
}
"""What costs time, and the limit that ends it; where there is none, HTTP/2 is broken, or everything is in order."""

HOARDS: dict[Attack, str | None] = {
    silent: "max_connections",
    idle: "max_connections",
    half_a_frame: None,
    headers_without_end: None,
    large_messages: None,
    open_calls: None,
    watches: None,
    narrow_windows: "max_unsent_bytes",
    unread_answers: None,
}
"""What costs memory."""

OF_TLS: dict[Attack, str | None] = {
    hellos: None,
    half_a_record: "max_connections",
    handshakes: None,
    many_unread_answers: None,
    many_at_once: None,
}
"""What only TLS makes possible, or dearer than plain text, as it has buffers of its own."""

OF_A_LARGE_ELECTION = {watches, narrow_windows, unread_answers, many_unread_answers}
"""They ask for one with the name "big"."""
