"""How far the protocol is explored as it is: in the tests, and further by ``python -m tests.model.lease_protocol``."""

from dataclasses import dataclass, field

from tests.model.client import Clients, Use
from tests.model.parts import CORNERS, Bounds, Faults


@dataclass(frozen=True)
class Case:
    """What may happen, and how far that is explored.

    Args:
        name: what may happen, beside messages that are delayed and lost, and everybody being paused.
        bounds: how far.
        states: how many there are at least: an exploration that has become empty, or nearly so, proves nothing.
        clients: how they learn that they lead.
    """

    name: str
    bounds: Bounds
    states: int
    clients: Clients = field(default_factory=Clients)


_BY_IS_LEADER = Clients(use=Use.IS_LEADER)

CASES = (
    Case("clocks go wrong in all ways", Bounds(rates=CORNERS), 10_000),
    Case("a clock changes its rate", Bounds(Faults(changes=1)), 9_000),
    Case("nobody has connected yet", Bounds(renewals=1, begun=False), 9_000),
    Case("a connection is lost", Bounds(Faults(cuts=1)), 12_000),
    Case("a message comes twice", Bounds(Faults(duplicates=1)), 8_000),
    Case("clients open another session", Bounds(renewals=1, sessions=2), 13_000),
    Case("a leader steps down in time", Bounds(Faults(pauses=1), terms=2), 58_000),
    Case("clients ask is_leader alone", Bounds(), 27_000, _BY_IS_LEADER),
    Case("an operator takes the lead from somebody", Bounds(Faults(commands=1), terms=2), 78_000),
    Case("the server restarts, a connection is lost", Bounds(Faults(restarts=1, cuts=1)), 44_000),
    Case("a backup is restored", Bounds(Faults(restores=1), renewals=1, sessions=2, terms=1), 10_000),
    Case("two commands at one moment", Bounds(Faults(commands=2), terms=4, timeless=True), 28_000),
)
"""Explored by the tests."""

LONG_CASES = (
    Case(
        "clocks go wrong in all ways, a leader steps down in time", Bounds(Faults(pauses=1), CORNERS, terms=2), 400_000
    ),
    Case("time stops twice on its way", Bounds(Faults(pauses=2), terms=2), 180_000),
    Case("clocks change their rates twice, a message comes twice", Bounds(Faults(changes=2, duplicates=1)), 180_000),
    Case(
        "two commands and a Withdraw given up on, at one moment",
        Bounds(Faults(commands=2, given_up=1), terms=4, timeless=True),
        70_000,
    ),
    Case(
        "a command, a departure, a message twice, at one moment",
        Bounds(Faults(commands=1, departures=1, duplicates=1), terms=4, timeless=True),
        68_000,
    ),
    Case(
        "two departures, a lost connection, a message twice, at one moment",
        Bounds(Faults(departures=2, cuts=1, duplicates=1), timeless=True),
        21_000,
    ),
    Case("three clients", Bounds(rates=((101, 99, 99, 99),), terms=2), 33_000),
    Case("the server restarts, two connections are lost", Bounds(Faults(restarts=1, cuts=2)), 100_000),
    Case("the same with one, for is_leader alone", Bounds(Faults(restarts=1, cuts=1)), 380_000, _BY_IS_LEADER),
    Case("an operator and a restart", Bounds(Faults(commands=1, restarts=1), terms=2), 290_000),
    Case(
        "two commands and a lost connection, at one moment, for is_leader alone",
        Bounds(Faults(commands=2, cuts=1), renewals=3, terms=4, timeless=True),
        110_000,
        _BY_IS_LEADER,
    ),
    Case(
        "a backup is restored, a connection is lost",
        Bounds(Faults(restores=1, cuts=1), renewals=1, sessions=2, terms=2),
        150_000,
    ),
)
"""Left to the command."""
