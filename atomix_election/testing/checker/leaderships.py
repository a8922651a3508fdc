"""What clients believed of their own leaderships: tokens, nobody beside another one, and losses that have a reason."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from math import inf
from operator import attrgetter

from atomix_election.errors import LossReason
from atomix_election.testing.checker.asked import Asked
from atomix_election.testing.checker.ends import Ends
from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.checker.promises import Promises
from atomix_election.testing.checker.spec import WITHDRAW
from atomix_election.testing.checker.timeline import Timeline
from atomix_election.testing.history import DONE, Answered, Emptied, Entry, Fault, Led, Restored, Up

_BY_OPERATORS = {LossReason.EVICTED.name, LossReason.SUPERSEDED.name}
"""How a leadership may end where others anoint, promote and evict."""


def check_tokens(election: str, led: Sequence[Led]) -> Iterator[Finding]:
    """Return leaderships, in order of their beginnings, that have no token of their own, higher than all before it."""
    for former, latter in pairwise(led):
        if latter.token <= former.token:
            what = "a token was given twice" if latter.token == former.token else "a token fell"
            yield found(Rule.TOKENS_RISE, election, what, [former, latter])


def check_tokens_of_terms(
    election: str,
    led: Sequence[Led],
    timeline: Timeline,
    earliest: Sequence[float],
    asked_for: Callable[[int], Iterable[Asked]],
) -> Iterator[Finding]:
    """Return leaderships under a number that is another leader's, or nobody's, or nobody's yet.

    Args:
        election: where.
        led: the leaderships.
        timeline: its terms.
        earliest: before when each of them has not begun, also as nobody had asked for it.
        asked_for: returns the calls that may have made one.
    """
    numbers = [each.number for each in timeline.terms]
    for each in led:
        first, after = bisect_left(numbers, each.token), bisect_right(numbers, each.token)
        for place in range(first, after):
            leader = timeline.terms[place].leader
            if leader not in (None, each.candidate):
                what = f"{each.candidate} leads under the number of {leader}"
                yield found(Rule.TOKENS_OF_TERMS, election, what, [each, timeline.shown(place)])
                break
        else:
            begins, lower = timeline.not_before(first)
            what = f"{each.candidate} leads under a number that nobody has yet"
            if each.begun < begins:
                yield found(Rule.TOKENS_OF_TERMS, election, what, [each, lower])
            elif first < after and timeline.follows(first) and each.begun < earliest[first]:
                asked = [call.entry for call in asked_for(first)]
                shown = [each, *asked, *timeline.evidence(first - 1, first)]
                yield found(Rule.TOKENS_OF_TERMS, election, what, shown, fixed=asked)
            elif first == after and first < len(timeline) and timeline.follows(first):
                what = f"{each.candidate} leads under a number that no term has"
                shown = [timeline.shown(first - 1), timeline.shown(first)]
                yield found(Rule.TOKENS_OF_TERMS, election, what, [each, *shown])


def check_withdrawn(election: str, led: Sequence[Led], entries: Iterable[Entry], ends: Ends) -> Iterator[Finding]:
    """Return leaderships that went on after their own client was answered that it has withdrawn its candidate."""
    own: defaultdict[tuple[str, str], list[Led]] = defaultdict(list)
    for each in led:
        own[each.who, each.candidate].append(each)
    for call in entries:
        if isinstance(call, Answered) and (call.what, call.outcome) == (WITHDRAW, DONE):
            mine = own[call.who, call.candidate]
            place = bisect_left(mine, call.begun, key=attrgetter("begun")) - 1
            if place >= 0 and ends.of(mine[place]) > call.ended:
                what = f"{call.candidate} leads on after it has withdrawn"
                yield found(Rule.TOKENS_OF_TERMS, election, what, [mine[place], call])


def check_alone(election: str, led: Sequence[Led], ends: Ends) -> Iterator[Finding]:
    """Return leaderships, in order of their beginnings, that began before others had ended."""
    latest: tuple[float, Led] | None = None
    for each in led:
        if latest is not None and each.begun < latest[0]:
            what = "two led at once" if latest[0] == inf else f"two led at once, for {latest[0] - each.begun:.3f} s"
            gone = ends.gone(latest[1].who) if latest[1].until is None else None
            yield found(Rule.ALONE, election, what, [latest[1], each, gone])
        until = ends.of(each)
        if latest is None or until > latest[0]:
            latest = until, each


def check_kept(history: Sequence[Entry], promises: Promises) -> Iterator[Finding]:
    """A leadership is lost only when no server was there for its client in time, or an operator took it."""
    servers = [each for each in history if isinstance(each, Up)]
    replaced = [each for each in history if isinstance(each, Restored | Emptied)]
    faults = [each for each in history if isinstance(each, Fault)]
    for each in history:
        if not isinstance(each, Led) or not each.lost:
            continue
        if any(each.begun < other.ended and (each.until or inf) > other.ended for other in replaced):
            continue
        if each.lost in _BY_OPERATORS and each.election not in promises.calm:
            continue
        hindered = [fault for fault in faults if fault.is_of(each.who)]
        # Who was stopped may hear of what came of that before it looks at its own clock.
        excusable = hindered or each.lost == LossReason.EXPIRED.name
        served = _could_renew(each, servers, hindered, promises) if excusable else None
        if excusable and served is None:
            continue
        shown = [each, served, *hindered]
        yield found(Rule.KEPT, each.election, "a leadership was lost for no reason that is one", shown)


def _could_renew(lost: Led, servers: list[Up], hindered: list[Fault], promises: Promises) -> Up | None:
    """Return a server that was there for its client for long enough after the next renewal was due."""
    assert lost.until is not None
    since = lost.until - lost.ttl_s / 2  # two thirds, less the grace and the margin
    for up in servers:
        times = [(max(up.begun, since), min(up.until, lost.until))]
        for fault in hindered:
            times = [
                part
                for begun, until in times
                for part in ((begun, min(until, fault.begun)), (max(begun, fault.ended), until))
            ]
        if any(until - begun >= promises.settle_s for begun, until in times):
            return up
    return None
