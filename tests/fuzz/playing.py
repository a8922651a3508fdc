"""Plays scripts against a server, with a blocking socket: one connection, and all that came back."""

import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from atomix_election.model import Term
from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc.convert import term_message
from tests.fuzz.heard import ACK, Answer, Fault, Heard
from tests.fuzz.scripts import FINISH, RESET, Script
from tests.rpc.attacks import OPEN_WINDOWS, PING, block, call, http2_frame
from tests.rpc.raw import about, headers_of, message

LONGEST_S = 5.0
"""How long anything may take that a server has to do at once, on a busy machine."""
ROUNDS = 8
"""Pings in which what may be answered is waited for: each is at least one turn of the server's event loop."""
MOST_BETWEEN = 8
"""How often something is done between the writes of a script at most."""
_PAUSE_S = 0.002
_READ_BYTES = 1 << 16
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Line:
    """One connection. A context manager that closes it.

    Args:
        port: where the server listens.
    """

    def __init__(self, port: int) -> None:
        self.heard = Heard()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._pings = 0

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def write(self, data: bytes) -> None:
        """Send it, and read meanwhile. Nothing happens once the server has closed the connection."""
        deadline = time.monotonic() + LONGEST_S
        while data and not self.heard.closed:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Fault(f"the server has read nothing for {LONGEST_S:g} s") from None
                self.read(_PAUSE_S)
            except OSError:
                self.read_rest()

    def read(self, longest_s: float) -> None:
        """Wait for the next bytes, and take them."""
        if self.heard.closed or not self._poll.poll(longest_s * 1000):
            return
        try:
            data = self._socket.recv(_READ_BYTES)
        except OSError:
            self.heard.end(broken=True)
            return
        if data:
            self.heard.feed(data)
            while self.heard.pings:
                self.write(http2_frame(PING, ACK, 0, self.heard.pings.pop()))
        else:
            self.heard.end(broken=False)

    def read_rest(self) -> None:
        """Take all that comes until the server has closed the connection."""
        self.until(lambda: self.heard.closed, "close the connection")

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Read until something is true.

        Raises:
            Fault: it takes too long.
        """
        deadline = time.monotonic() + LONGEST_S
        while not true():
            self.read(deadline - time.monotonic())
            if time.monotonic() > deadline:
                raise Fault(f"it took the server more than {LONGEST_S:g} s to {what}")

    def ping(self) -> None:
        """Wait until the server has read all that was sent, or has closed the connection."""
        self._pings += 1
        payload = struct.pack(">4sL", b"fuzz", self._pings)
        self.write(http2_frame(PING, 0, 0, payload))
        self.until(lambda: payload in self.heard.pongs or self.heard.closed, "answer a ping")

    def answered(self, stream: int) -> Answer:
        """Return the answer on a stream once it is over."""
        answer = self.heard.answers.setdefault(stream, Answer())
        self.until(lambda: answer.over or self.heard.closed, f"answer on stream {stream}")
        if not answer.over:
            raise Fault(f"the server closed a connection that did nothing wrong: {self.heard.goaway}")
        return answer

    def finish(self) -> None:
        """Close this side, and read what is still to come."""
        if not self.heard.closed:
            with suppress(OSError):  # it is closed already
                self._socket.shutdown(socket.SHUT_WR)
        self.read_rest()

    def reset(self) -> None:
        """Let the connection be closed with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)


def _nothing() -> None:
    """What is done by default."""


def play(
    port: int, script: Script, between: Callable[[], None] = _nothing, settled: Callable[[], None] = _nothing
) -> Heard:
    """Play a script, and return what was heard.

    Args:
        port: where the server listens.
        script: what to send.
        between: called after writes, but not too often.
        settled: called when the server has read all; for what it says after it, it is waited too.

    Raises:
        Fault: the server said or did what it may not.
    """
    with Line(port) as line:
        pieces = script.pieces
        for place, piece in enumerate(pieces):
            line.write(piece)
            if place % (len(pieces) // MOST_BETWEEN + 1) == 0:
                between()
        if script.code is not None:
            line.read_rest()
        elif not script.says_good_bye and script.is_whole:
            _settle(line, script)
            settled()
            line.ping()
        wrong = None if script.says_good_bye else script.check(line.heard)
        if wrong is not None:
            raise Fault(wrong)
        if script.ending == FINISH:
            line.finish()
        elif script.ending == RESET:
            line.reset()
    return line.heard


def _settle(line: Line, script: Script) -> None:
    """Wait until all is answered that has to be, and a little for what may be."""
    answers = line.heard.answers
    due = {each.stream for each in script.due}
    hoped = due | set(script.hoped)
    deadline, rounds = time.monotonic() + LONGEST_S, 0
    while not line.heard.closed:
        line.ping()
        rounds += 1
        left = {each for each in hoped if each not in answers or not answers[each].over}
        if not left or (rounds >= ROUNDS and not left & due) or time.monotonic() > deadline:
            return
        if rounds >= ROUNDS:
            line.read(_PAUSE_S)


class Neighbour:
    """A client with a connection of its own, which makes a good call whenever it is asked to. A context manager.

    Args:
        port: where the server listens.
        name: of its election and its session, which nobody else has.
    """

    def __init__(self, port: int, name: str) -> None:
        self.calls = -1  # the first one is Create
        self._line = Line(port)
        self._name = name
        self._streams = count(1, 2)
        self._number = self._revision = 0
        self._line.write(OPEN_WINDOWS)
        self._ask("Create", b"", b"")

    def __enter__(self) -> "Neighbour":
        return self

    def __exit__(self, *_: object) -> None:
        self._line.__exit__()

    def call(self) -> None:
        """Enter, ask for the term, or withdraw, in turn.

        Raises:
            Fault: the answer is not the one that it has to be.
        """
        step, me = self.calls % 3, b"\n\2me"
        if step == 0:
            self._number += 1
        self._revision += step != 1
        term = Term(() if step == 2 else ("me",), self._number, self._revision)
        expected = bytes(v1.GetTermResponse(term=term_message(term)))
        self._ask(("Enter", "GetTerm", "Withdraw")[step], b"" if step == 1 else me, expected)

    def _ask(self, method: str, body: bytes, expected: bytes) -> None:
        headers = block(headers_of(method, *about(self._name, self._name, "neighbours")))
        stream = next(self._streams)
        self._line.write(call(stream, headers, message(body)))
        answer = self._line.answered(stream)
        if (answer.status, answer.data) != (0, message(expected)):
            raise Fault(f"{method} of somebody else was answered with {answer}, and not with {expected.hex()}")
        del self._line.heard.answers[stream]
        self.calls += 1
