"""Whether somebody leads wherever somebody wants to, within the time that a takeover may take."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from math import inf
from operator import attrgetter

from atomix_election.testing.history import Answered, Entry, Fault, Gone, Led, Seen, Stood, end_of


def led_again(history: Sequence[Entry], elections: Collection[str], longest_s: float) -> Iterator[str]:
    """Return where nobody led for too long, although a client wanted to all the time.

    The time begins anew with each fault of servers that has ended, and with each client that has gone, or that a fault
    begins to keep from the servers, as its own session has to end.

    Args:
        history: what happened.
        elections: those where nobody has to wait for a leader that an operator has displaced.
        longest_s: how long a takeover may take.
    """
    gone = [each for each in history if isinstance(each, Gone)]
    faults = [each for each in history if isinstance(each, Fault)]
    for election in sorted(elections):
        wanted = [each for each in history if isinstance(each, Stood) and each.election == election]
        for begun, until in _unled(history, election, gone):
            for start, end in _undisturbed(begun, until, faults, gone):
                for each in wanted:
                    since, to = max(start, each.begun), min(end, end_of(each, gone))
                    since = max(
                        [since, *(fault.ended for fault in faults if fault.is_of(each.who) and fault.begun < to)]
                    )
                    if to - since > longest_s:
                        yield f"{election}: nobody led for {to - since:.3f} s, from {since} to {to}, in spite of {each}"
                        break


def _unled(history: Sequence[Entry], election: str, gone: list[Gone]) -> Iterator[tuple[float, float]]:
    """Return from when to when nobody led."""
    led = sorted(
        (each for each in history if isinstance(each, Led) and each.election == election), key=attrgetter("begun")
    )
    until = -inf
    for each in led:
        if each.begun > until:
            yield until, each.begun
        until = max(until, end_of(each, gone))
    yield until, _last(history)


def _undisturbed(begun: float, until: float, faults: list[Fault], gone: list[Gone]) -> Iterator[tuple[float, float]]:
    """Return the parts of a time in which nothing happened that would let it begin anew."""
    disturbed = [(each.begun, each.begun if each.who else each.ended) for each in faults]
    disturbed = sorted([*disturbed, *((each.at, each.at) for each in gone)])
    ends = [(begun, begun), *disturbed, (until, until)]
    latest = -inf
    for (_, former), (latter, _) in pairwise(ends):
        latest = max(latest, former)
        start, end = max(latest, begun), min(latter, until)
        if end > start:
            yield start, end


def _last(history: Sequence[Entry]) -> float:
    """Return when the last thing happened of which there is a record."""
    return max((_at(each) for each in history), default=0.0)


def _at(entry: Entry) -> float:
    match entry:
        case Led() | Stood():
            return entry.begun if entry.until is None else entry.until
        case Gone() | Seen():
            return entry.at
        case Fault() | Answered():
            return entry.ended
        case _:
            return -inf
