"""Whether somebody leads wherever somebody wants to, within the time that a takeover may take."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from math import inf
from operator import attrgetter

from atomix_election.testing.checker.ends import Ends, names
from atomix_election.testing.checker.findings import Finding, Rule, found, when
from atomix_election.testing.history import Answered, Called, Entry, Fault, Gone, Led, Stood


def check_led(history: Sequence[Entry], elections: Collection[str], longest_s: float, ends: Ends) -> Iterator[Finding]:
    """Return where nobody led for too long, although a client wanted to all the time.

    The time begins anew with each fault of servers that has ended, and with each client of the election that has gone,
    or that a fault begins to keep from the servers, as its own session has to end.

    Args:
        history: what happened.
        elections: those where nobody has to wait for a leader that an operator has displaced.
        longest_s: how long a takeover may take.
        ends: of all clients.
    """
    faults = [each for each in history if isinstance(each, Fault)]
    last = max(history, key=lambda each: when(each)[1], default=None)
    for election in sorted(elections):
        here = [
            each for each in history if isinstance(each, Led | Stood | Called | Answered) if each.election == election
        ]
        clients = {name for each in here for name in names(each.who)}
        disturbed: list[Fault | Gone] = [*faults]
        disturbed += [each for each in history if isinstance(each, Gone) and each.who in clients]
        wanted = [each for each in here if isinstance(each, Stood)]
        for former, latter, begun, until in _unled([each for each in here if isinstance(each, Led)], last, ends):
            for start, end, *around in _undisturbed(begun, until, disturbed) if until - begun > longest_s else ():
                for each in wanted:
                    since, to = max(start, each.begun), min(end, ends.of(each))
                    kept_away = [fault for fault in faults if fault.is_of(each.who) and fault.begun < to]
                    since = max([since, *(fault.ended for fault in kept_away)])
                    if to - since > longest_s:
                        long_s = f"nobody led for {to - since:.3f} s, from {since:.3f} to {to:.3f}"
                        gone = None if former is None else ends.gone(former.who)
                        shown = [former, each, latter, gone, *around]
                        yield found(Rule.LED, election, f"{long_s}: it may take {longest_s:g} s", shown)
                        break


def _unled(led: list[Led], last: Entry | None, ends: Ends) -> Iterator[tuple[Led | None, Entry | None, float, float]]:
    """Return from when to when nobody led, and which records say so."""
    until, former = -inf, None
    for each in sorted(led, key=attrgetter("begun")):
        if each.begun > until:
            yield former, each, until, each.begun
        if ends.of(each) > until:
            until, former = ends.of(each), each
    if last is not None:
        yield former, last, until, when(last)[1]


def _undisturbed(
    begun: float, until: float, disturbed: list[Fault | Gone]
) -> Iterator[tuple[float, float, Fault | Gone | None, Fault | Gone | None]]:
    """Return the parts of a time in which nothing happened that would let it begin anew, and what is around each."""
    times = sorted([(*_disturbance(each), each) for each in disturbed], key=lambda each: each[:2])
    ends: list[tuple[float, float, Fault | Gone | None]] = [(begun, begun, None), *times, (until, until, None)]
    latest, after = -inf, None
    for (_, former, cause), (latter, _, before) in pairwise(ends):
        if former > latest:
            latest, after = former, cause
        start, end = max(latest, begun), min(latter, until)
        if end > start:
            yield start, end, after, before


def _disturbance(each: Fault | Gone) -> tuple[float, float]:
    """Return from when to when nobody has to lead: as soon as a client is kept away, the time runs for the others."""
    begun, ended = when(each)
    return (begun, begun) if isinstance(each, Fault) and each.who else (begun, ended)
