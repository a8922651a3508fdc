"""The limits of a server's connections, checked together, and what is counted against those that all share."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from atomix_election.errors import InvalidRequest, LimitExceeded
from atomix_election.rpc.notices import Notices

SMALL_REQUEST_BYTES = 1024
"""A request up to this size needs no room of ``max_request_bytes``, so that others cannot keep it out."""
RESERVED_CALLS = 4
"""A connection may always have as many calls open, so that others cannot keep it out with ``max_calls``."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections and the calls on them may cost a server. Each field's ``help`` says what it limits.

    Sizes are in bytes and time in seconds. ``max_resets`` and ``max_control_frames`` are allowances: so many at once,
    refilled within ten seconds.

    Raises:
        InvalidRequest: a limit is not more than 0, or two contradict each other.
    """

    max_connections: int = field(default=800, metadata={"help": "connections at a time"})
    max_calls: int = field(
        default=3000, metadata={"help": f"open calls of all connections; {RESERVED_CALLS} of each are always let in"}
    )
    max_calls_per_connection: int = field(default=2000, metadata={"help": "open calls of one connection"})
    max_message_bytes: int = field(default=64 * 1024, metadata={"help": "size of one request message"})
    max_header_bytes: int = field(default=16 * 1024, metadata={"help": "headers of one call, as HTTP/2 counts them"})
    max_request_bytes: int = field(
        default=8 * 1024 * 1024, metadata={"help": "larger messages that are being received, of all connections"}
    )
    max_unsent_bytes: int = field(
        default=8 * 1024 * 1024,
        metadata={"help": "answers and events begun that peers do not read, of all connections"},
    )
    max_resets: int = field(default=2000, metadata={"help": "streams reset on one connection in 10 s"})
    max_control_frames: int = field(
        default=1000, metadata={"help": "frames on one connection in 10 s that carry next to nothing"}
    )
    header_timeout_s: float = field(
        default=10.0, metadata={"help": "time for the HTTP/2 preface, a frame, and the headers of a call"}
    )
    request_timeout_s: float = field(default=30.0, metadata={"help": "time for a request message, once it may begin"})
    send_timeout_s: float = field(default=30.0, metadata={"help": "how long an answer or event may wait to be read"})

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 < getattr(self, each.name) < float("inf"):
                raise InvalidRequest(f"{each.name} must be a number more than 0, not {getattr(self, each.name)!r}")
        if self.max_message_bytes > self.max_request_bytes:
            raise InvalidRequest(
                f"max_message_bytes, {self.max_message_bytes}, must not be more than max_request_bytes, "
                f"{self.max_request_bytes}: no message of that size could be received"
            )
        if self.max_calls_per_connection > self.max_calls:
            raise InvalidRequest(
                f"max_calls_per_connection, {self.max_calls_per_connection}, must not be more than max_calls, "
                f"{self.max_calls}, which is for all connections together"
            )


class Room:
    """Bytes that are taken while something lasts.

    Args:
        limit_bytes: how many there are.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.taken_bytes: int = 0

    @contextmanager
    def take(self, count: int) -> Generator[None]:
        """Take bytes for as long as the block lasts.

        Raises:
            LimitExceeded: there are not so many left.
        """
        if self.taken_bytes + count > self.limit_bytes:
            raise reached("max_request_bytes", self.limit_bytes, "bytes of larger requests that are being received")
        self.taken_bytes += count
        try:
            yield
        finally:
            self.taken_bytes -= count


class Outboxes:
    """What all peers of a server were to read, and have not read.

    Args:
        limit_bytes: how much that may be; where it is more, the connection that has most of it is given up.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.taken_bytes: int = 0
        self._limit_bytes = limit_bytes
        self._boxes: set[Outbox] = set()

    def open(self, give_up: Callable[[LimitExceeded], None]) -> "Outbox":
        """Return the part of a connection.

        Args:
            give_up: closes the connection; is told why.
        """
        box = Outbox(self, give_up)
        self._boxes.add(box)
        return box

    def close(self, box: "Outbox") -> None:
        """The connection is gone, or as good as that."""
        if box in self._boxes:
            self._boxes.remove(box)
            self.taken_bytes -= box.taken_bytes

    def change(self, box: "Outbox", count: int) -> None:
        """One of them has so many bytes more."""
        box.taken_bytes += count
        if box in self._boxes:
            self.taken_bytes += count
        if self.taken_bytes > self._limit_bytes:
            worst = max(self._boxes, key=lambda each: each.taken_bytes)
            self.close(worst)
            worst.give_up(reached("max_unsent_bytes", self._limit_bytes, "bytes that peers do not read"))


class Outbox:
    """What the peer of one connection was to read, and has not read. Made by ``Outboxes``."""

    def __init__(self, boxes: Outboxes, give_up: Callable[[LimitExceeded], None]) -> None:
        self.taken_bytes = 0
        self.give_up = give_up
        self._boxes = boxes

    @contextmanager
    def hold(self, count: int) -> Generator[None]:
        """Count bytes that wait for the peer, for as long as the block lasts."""
        self._boxes.change(self, count)
        try:
            yield
        finally:
            self._boxes.change(self, -count)

    def close(self) -> None:
        """The connection is gone."""
        self._boxes.close(self)


class Shared:
    """What all connections of a server have together.

    Args:
        limits: how much that may be.
        notices: where to say that a limit was reached.
    """

    def __init__(self, limits: ConnectionLimits, notices: Notices) -> None:
        self.limits = limits
        self.notices = notices
        self.room: Room = Room(limits.max_request_bytes)
        self.outboxes: Outboxes = Outboxes(limits.max_unsent_bytes)
        self.calls: int = 0
        self.tasks: set[asyncio.Task[None]] = set()
        """Those of calls, also of connections that are lost."""


def reached(name: str, value: float, what: str) -> LimitExceeded:
    """Return a refusal, which says what limit it is, and how to raise it."""
    option = "--" + name.removesuffix("_s").replace("_", "-")
    message = f"the limit of {value:g} {what} is reached: try later, or raise {name} of the server (serve {option})"
    return LimitExceeded(message, limit=name)
