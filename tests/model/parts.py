"""What the states of the model are made of, and how far it is explored."""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Generic, NamedTuple, TypeVar

from tests.model.client import Client
from tests.model.messages import Message
from tests.model.server import Server

T = TypeVar("T")


class One(Generic[T]):
    """A part of a state of which no two are equal: so it is compared and hashed by what it is, and not by its value."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


class Pool(Generic[T]):
    """Holds each value once."""

    def __init__(self) -> None:
        self._ones: dict[T, One[T]] = {}

    def __call__(self, value: T) -> One[T]:
        """Return the only one that holds this value."""
        found = self._ones.get(value)
        if found is None:
            found = self._ones[value] = One(value)
        return found


class Faults(NamedTuple):
    """How often each thing may still happen that need not.

    Args:
        cuts: a client loses its connection.
        pauses: time stops on its way to the next deadline: halfway, or when a leader has to begin to step down.
        changes: a clock begins to go at another rate.
        duplicates: a message that has come comes again.
        departures: a client ends its work by itself.
        given_up: a client waits for the reply to Withdraw no longer.
        commands: an operator evicts the leader, or puts another candidate in its place.
        restarts: the server starts anew.
        restores: it starts anew with a backup in the place of its store.
    """

    cuts: int = 0
    pauses: int = 0
    changes: int = 0
    duplicates: int = 0
    departures: int = 0
    given_up: int = 0
    commands: int = 0
    restarts: int = 0
    restores: int = 0


NO_FAULTS = Faults()


@cache
def spent(faults: Faults, fault: str) -> Faults | None:
    """Return what may still happen when a fault has happened, "" for none; None where it may not happen any more."""
    if not fault:
        return faults
    left = getattr(faults, fault) - 1
    return None if left < 0 else faults._replace(**{fault: left})


Rates = tuple[int, ...]
"""The rates of the server's clock and of each client's."""
RIGHT: Rates = (100, 100, 100)
"""All clocks are right."""
WORST: Rates = (101, 99, 99)
"""The server's clock is as fast as can be, and its clients' are as slow."""
CORNERS: tuple[Rates, ...] = (RIGHT, *product((99, 101), repeat=3))
"""All clocks are right, or each is as slow or as fast as can be, in all ways."""


@dataclass(frozen=True)
class Bounds:
    """How far is explored.

    Args:
        faults: how often each may happen.
        rates: with which clocks it begins: once with each of these.
        renewals: how many a client sends at most in one session.
        sessions: how many a client has at most, one after the other.
        terms: how many there are at most before a restore, and after it.
        begun: whether all sessions are open and all clients in the queue in the beginning; else nothing has happened.
        timeless: whether everything happens at one moment, so that more can be explored of what does not need time.
    """

    faults: Faults = NO_FAULTS
    rates: tuple[Rates, ...] = (WORST,)
    renewals: int = 2
    sessions: int = 1
    terms: int = 3
    begun: bool = True
    timeless: bool = False


class Side(NamedTuple):
    """A client, and what is under way between it and the server."""

    client: Client
    mail: frozenset[Message] = frozenset()


class State(NamedTuple):
    """Everything at one moment."""

    rates: Rates
    server: One[Server]
    sides: tuple[One[Side], ...]
    faults: Faults


class Label(NamedTuple):
    """What happens: to whom, what, by which message, and how many instants pass by it."""

    who: str
    what: str
    message: Message | None = None
    instants: int = 0
