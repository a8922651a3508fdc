"""Whether nobody believed that it led for longer than the answers to its renewals allow."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import inf

from atomix_election.testing.checker.ends import Ends
from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.sessions import CLOCK_RATE
from atomix_election.testing.history import Entry, Led, Renewed


class _Leases:
    """The leases of one client, whichever sessions they are of."""

    def __init__(self, renewed: list[Renewed]) -> None:
        self._renewed = sorted(renewed, key=lambda each: each.ended)
        self._ended = [each.ended for each in self._renewed]
        self._best: list[Renewed] = []
        """Of each renewal and all that were answered before it, that by which one may lead the longest."""
        for each in self._renewed:
            longest = self._best[-1] if self._best and _until(self._best[-1]) > _until(each) else each
            self._best.append(longest)

    def ends(self, led: Led, until: float) -> Renewed | None:
        """Return after which renewal a leadership should have ended; None if it might go on until then."""
        at = led.begun
        while (place := bisect_right(self._ended, at) - 1) >= 0:
            best = self._best[place]
            if _until(best) >= until:
                return None
            if _until(best) <= at:
                return best
            at = _until(best)
        return self._renewed[0]


def check_leases(history: Sequence[Entry]) -> Iterator[Finding]:
    """Return leaderships that lasted longer than one time-to-live after the last renewal that was answered was sent.

    That is between a client and its clock: whether the store was lost meanwhile does not matter.
    """
    ends = Ends(history)
    renewed: defaultdict[str, list[Renewed]] = defaultdict(list)
    for each in history:
        if isinstance(each, Renewed) and each.open:
            renewed[each.who].append(each)
    leases = {who: _Leases(some) for who, some in renewed.items()}
    for each in history:
        if isinstance(each, Led) and each.who in leases and ends.of(each) < inf:
            last = leases[each.who].ends(each, ends.of(each))
            if last is not None:
                what = f"{each.candidate} led for longer than its session was renewed"
                gone = ends.gone(each.who) if each.until is None else None
                yield found(Rule.LEASED, each.election, what, [each, last, gone])


def _until(renewed: Renewed) -> float:
    return renewed.begun + renewed.ttl_s * (1 + CLOCK_RATE)
