"""The command as it is, or with bugs: ``python -m tests.fuzz.served [--plant NAME[,NAME]] serve ...``.

SIGUSR1 makes it say on stderr how many tasks there are. The bugs are what a run of the fuzz has to find.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from grpclib.const import Status

from atomix_election import cli
from atomix_election.errors import InvalidRequest
from atomix_election.rpc import call, frame_guard, server_calls, wire
from atomix_election.rpc.frame_guard import FrameGuard
from atomix_election.rpc.http2 import Http2Protocol
from atomix_election.rpc.status import Failure

TASKS = "tasks: "
STALL_S = 1.4
CRASHED = 3
"""The status with which a process ends that is to end at once."""
CONTINUATION = 9
"""The last kind of frame that HTTP/2 itself has."""
_leaked: list[socket.socket] = []


def _unknown() -> None:
    """What is no message is answered with UNKNOWN, and a traceback."""
    decode = wire.decode

    def careless(data: bytes, kind: Any) -> Any:
        try:
            return decode(data, kind)
        except InvalidRequest as error:
            raise ValueError("not such a message") from error

    call.wire.decode = careless
    server_calls.INTERNAL_FAULT = Failure(Status.UNKNOWN, "what was that?")


def _stall() -> None:
    """The first frame of an unknown kind holds up everybody."""
    judge = FrameGuard._judge
    stalls = iter([STALL_S])

    def slow(self: FrameGuard, kind: int, flags: int, stream: int, length: int) -> None:
        if kind > CONTINUATION:
            time.sleep(next(stalls, 0.0))
        judge(self, kind, flags, stream, length)

    FrameGuard._judge = slow


def _leak() -> None:
    """Something is left of each connection that breaks the protocol."""
    note = Http2Protocol._note_closed

    def leaky(self: Http2Protocol, reason: str) -> None:
        note(self, reason)
        if reason == "protocol_error":
            _leaked.append(socket.socket())

    Http2Protocol._note_closed = leaky


def _crash() -> None:
    """A frame that is too long ends the process."""
    read = frame_guard.FrameHeaders.read

    def fatal(self: Any, data: bytes, on_frame: Any = None) -> None:
        try:
            read(self, data, on_frame)
        except frame_guard.FrameTooLargeError:
            os._exit(CRASHED)

    frame_guard.FrameHeaders.read = fatal


PLANTS: dict[str, Callable[[], None]] = {
    "unknown": _unknown,
    "stall": _stall,
    "leak": _leak,
    "crash": _crash,
}
"""Bugs by their names."""


def _say_tasks(*_: object) -> None:
    sys.stderr.write(f"{TASKS}{len(asyncio.all_tasks())}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Run the command."""
    if arguments[:1] == ["--plant"]:
        for name in arguments[1].split(","):
            PLANTS[name]()
        arguments = arguments[2:]
    signal.signal(signal.SIGUSR1, _say_tasks)
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
