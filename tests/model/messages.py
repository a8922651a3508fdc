"""What is under way between clients and the server, and in which units the model counts."""

from enum import Enum
from typing import NamedTuple

from atomix_election.core.campaign import Answer, Granted
from atomix_election.model import Term

ELECTION = "x"
RATES = (99, 100, 101)
"""How far a clock goes on in one instant of real time: one that is 1 % slow, a right one, one that is 1 % fast."""
TTL = 99 * 100 * 101
"""The time-to-live in ticks of a clock: divided by any rate it is a whole number of instants, so nothing is rounded."""
TICKS_PER_S = 1 << 17
"""Ticks in one second of a clock, such that campaigns, which count in seconds, add up times without an error."""
TTL_S = TTL / TICKS_PER_S
"""The time-to-live in seconds: 7.6."""
INSTANTS_PER_TTL = TTL // 100
"""How many instants of real time a time-to-live has by a right clock."""


class Kind(Enum):
    """A write of a client."""

    ENTER = "Enter"
    WITHDRAW = "Withdraw"


class Renewal(NamedTuple):
    """A renewal of a client's session, which is the nth of this client."""

    client: str
    session: int
    renewal: int
    opens: bool
    stepped_down: tuple[Granted, ...]


class Write(NamedTuple):
    """A numbered write of a client's session."""

    client: str
    session: int
    operation: int
    kind: Kind


class Answered(NamedTuple):
    """An answer to a renewal, or a further one that was pushed."""

    client: str
    session: int
    answer: Answer


class Replied(NamedTuple):
    """A reply to a write: the term after it, or None when the session has ended."""

    client: str
    session: int
    operation: int
    term: Term | None


ToServer = Renewal | Write
ToClient = Answered | Replied
Message = ToServer | ToClient
