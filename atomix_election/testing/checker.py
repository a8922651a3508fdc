"""Whether a history keeps the promises: pure, over the records of ``history``, afterwards.

Unknown outcomes are fine either way; what was told must be explained by one sequence of terms for each election.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from operator import attrgetter

from atomix_election import LossReason, Term
from atomix_election.testing.history import DONE, Answered, Emptied, Entry, Fault, Gone, Led, Restored, Seen, Up, end_of
from atomix_election.testing.liveness import led_again
from atomix_election.testing.lives import lives

_BY_OPERATORS = {LossReason.EVICTED.name, LossReason.SUPERSEDED.name}
"""How a leadership may end where others anoint, promote and evict."""


@dataclass(frozen=True, slots=True)
class Promises:
    """What the promises amount to in this run.

    Where a store was lost with its server (``Emptied``), they hold within the time of each store, and nothing holds
    from one to the next: tokens begin anew, and a leader by the former store may act until it hears of that, or its
    lease ends.

    Args:
        calm: elections in which nobody moves or removes another's candidate.
        settle_s: how long a server is up until each client has been answered a renewal by it.
        forgotten: elections that are forgotten now and then, and so may go on from the floor of their namespace.
        expiry_slack_s: how much later than one time-to-live the end of a session may come, on this machine.
        numbers_jump: whether the number of a new term may be any higher one, and not only the next.
        longest_failover_s: how long a takeover may take at most, as the servers announce it; None if it is not known.
    """

    calm: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    settle_s: float = 1.5
    expiry_slack_s: float = 2.0
    numbers_jump: bool = False
    longest_failover_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """A term of an election that somebody was told, read no earlier than ``begun`` and no later than ``ended``."""

    begun: float
    ended: float
    term: Term
    entry: Entry


def check(history: Sequence[Entry], promises: Promises) -> list[str]:
    """Return each broken promise, with the records that show it."""
    return [each for life in lives(history) for each in _check_life(life, promises)]


def _check_life(history: Sequence[Entry], promises: Promises) -> list[str]:
    """Check what happened with one store."""
    told = _told(history)
    leaderships = _by_election(each for each in history if isinstance(each, Led))
    found: list[str] = []
    for election, terms in told.items():
        sequence = {each.term.revision: each.term for each in terms}
        found += _one_sequence(election, terms, sequence, promises)
        found += _in_order_of_time(election, terms)
        found += _effects(election, terms, sequence)
        found += _tokens_of_terms(sequence, leaderships.get(election, []))
    found += _complete(history)
    for each in leaderships.values():
        found += _tokens(each)
        found += _alone(each, [gone for gone in history if isinstance(gone, Gone)])
    found += _kept(history, promises)
    found += _left_behind(history, promises)
    if promises.longest_failover_s is not None:
        found += led_again(history, promises.calm, promises.longest_failover_s + promises.expiry_slack_s)
    for each in history:
        if isinstance(each, Restored):
            found += _nobody_admitted(history, each)
            found += _above(told, leaderships, each)
    return found


def _told(history: Iterable[Entry]) -> dict[str, list[_Told]]:
    told: dict[str, list[_Told]] = defaultdict(list)
    for each in history:
        if isinstance(each, Answered) and each.outcome == DONE:
            told[each.election].append(_Told(each.begun, each.ended, each.term, each))
        elif isinstance(each, Seen):
            # A later event may be old news by the time that it is read, so that only the first one has a beginning.
            told[each.election].append(_Told(each.begun if each.snapshot else -inf, each.at, each.term, each))
    return told


def _by_election(leaderships: Iterable[Led]) -> dict[str, list[Led]]:
    found: dict[str, list[Led]] = defaultdict(list)
    for each in sorted(leaderships, key=attrgetter("begun")):
        found[each.election].append(each)
    return found


def _one_sequence(election: str, told: list[_Told], sequence: dict[int, Term], promises: Promises) -> Iterator[str]:
    """Equal revision, equal term; the next revision is one command later; numbers never fall; one leader each."""
    for each in told:
        if each.term != (other := sequence[each.term.revision]):
            yield f"{election}: revision {each.term.revision} was two terms: {other}; {each.entry}"
    terms = [sequence[revision] for revision in sorted(sequence)]
    leaders: dict[int, str] = {}
    for term in terms:
        if term.leader and leaders.setdefault(term.number, term.leader) != term.leader:
            yield f"{election}: number {term.number} was of two leaders: {leaders[term.number]}, and {term}"
    for before, after in pairwise(terms):
        if after.number < before.number:
            yield f"{election}: the number fell: {before} to {after}"
        elif election in promises.forgotten and not before.candidates and not after.candidates:
            continue
        elif after.revision == before.revision + 1 and not _is_one_command(before, after, promises):
            yield f"{election}: no command leads from {before} to {after}"


def _is_one_command(before: Term, after: Term, promises: Promises) -> bool:
    old, new = before.candidates, after.candidates
    leads_anew = after.leader is not None and (after.leader != before.leader or old == new)
    risen = after.number - before.number
    if bool(risen) != leads_anew or (risen > 1 and not promises.numbers_jump):
        return False
    if sorted(old) == sorted(new):  # anointed, promoted, or entered anew by another session
        return old == new or any(new == _moved(old, at, to) for at in range(len(old)) for to in (0, at - 1, len(old)))
    if set(new) < set(old):  # withdrawn, evicted, closed, or its session has ended
        return new == tuple(each for each in old if each in new)
    return new[:-1] == old


def _moved(candidates: tuple[str, ...], at: int, to: int) -> tuple[str, ...]:
    rest, to = candidates[:at] + candidates[at + 1 :], max(to, 0)
    return (*rest[:to], candidates[at], *rest[to:])


def _in_order_of_time(election: str, told: list[_Told]) -> Iterator[str]:
    """Whoever asks after something was told is told that, or something newer: also of another server on the file."""
    by_end = sorted(told, key=attrgetter("ended"))
    newest: _Told | None = None
    place = 0
    for each in sorted(told, key=attrgetter("begun")):
        while place < len(by_end) and by_end[place].ended < each.begun:
            if newest is None or by_end[place].term.revision > newest.term.revision:
                newest = by_end[place]
            place += 1
        if newest is not None and each.term.revision < newest.term.revision:
            yield f"{election}: what was told is gone: {newest.entry}, and then {each.entry}"


def _effects(election: str, told: list[_Told], sequence: dict[int, Term]) -> Iterator[str]:
    """An acknowledged command has left its trace in a term that was there between the call and its answer."""
    by_end = sorted(told, key=attrgetter("ended"))
    floor, place = 0, 0
    for each in sorted(told, key=attrgetter("begun")):
        while place < len(by_end) and by_end[place].ended < each.begun:
            floor = max(floor, by_end[place].term.revision)
            place += 1
        whole = each.term.revision - floor < len(sequence)  # else a revision in between was told to nobody
        if isinstance(each.entry, Answered) and whole:
            between = [sequence.get(revision) for revision in range(floor, each.term.revision + 1)]
            if None not in between and not any(term and _shows(term, each.entry) for term in between):
                yield f"{election}: no term shows what was acknowledged: {each.entry}"


def _shows(term: Term, call: Answered) -> bool:
    match call.what:
        case "enter":
            return call.candidate in term.candidates
        case "withdraw" | "evict":
            return call.candidate not in term.candidates
        case "anoint":
            return term.leader == call.candidate
        case _:
            return True


def _complete(history: Iterable[Entry]) -> Iterator[str]:
    """A watch is given every change in order, or told that some were left out."""
    last: dict[str, Seen] = {}
    for each in history:
        if not isinstance(each, Seen):
            continue
        before = last.get(each.watch)
        last[each.watch] = each
        if before is None:
            if not each.snapshot:
                yield f"a watch began without a snapshot: {each}"
        elif each.term.revision <= before.term.revision:
            yield f"a watch went back: {before}, and then {each}"
        elif each.term.revision > before.term.revision + 1 and not each.skipped:
            yield f"a watch left changes out, and did not say so: {before}, and then {each}"


def _tokens(leaderships: list[Led]) -> Iterator[str]:
    """Each leadership has a token of its own, higher than all before it."""
    for former, latter in pairwise(leaderships):
        if latter.token == former.token:
            yield f"a token was given twice: {former}; {latter}"
        elif latter.token < former.token:
            yield f"a token fell: {former}; {latter}"


def _tokens_of_terms(sequence: dict[int, Term], leaderships: list[Led]) -> Iterator[str]:
    """Whoever leads under a number is the leader of the terms of that number."""
    leaders = {term.number: term.leader for term in sequence.values() if term.leader}
    for each in leaderships:
        if leaders.get(each.token, each.candidate) != each.candidate:
            yield f"{each} leads under the number of {leaders[each.token]}"


def _alone(leaderships: list[Led], gone: list[Gone]) -> Iterator[str]:
    """No two lead at once, by what each of them knows itself."""
    latest: tuple[float, Led] | None = None
    for each in leaderships:
        if latest is not None and each.begun < latest[0]:
            yield f"two led at once, for {latest[0] - each.begun:.3f} s: {latest[1]}; {each}"
        until = end_of(each, gone)
        if latest is None or until > latest[0]:
            latest = until, each


def _kept(history: Sequence[Entry], promises: Promises) -> Iterator[str]:
    """A leadership is lost only when no server was there for its client in time, or an operator took it."""
    servers = [each for each in history if isinstance(each, Up)]
    restored = [each for each in history if isinstance(each, Restored | Emptied)]
    for each in history:
        if not isinstance(each, Led) or not each.lost:
            continue
        if any(each.begun < other.ended and (each.until or inf) > other.ended for other in restored):
            continue
        if each.lost in _BY_OPERATORS and each.election not in promises.calm:
            continue
        hindered = [fault for fault in history if isinstance(fault, Fault) and fault.is_of(each.who)]
        # Who was stopped may hear of what came of that before it looks at its own clock.
        if (hindered or each.lost == LossReason.EXPIRED.name) and not _could_renew(each, servers, hindered, promises):
            continue
        yield f"a leadership was lost for no reason that is one: {each}"


def _could_renew(lost: Led, servers: list[Up], hindered: list[Fault], promises: Promises) -> bool:
    """Return whether one server was there for its client for long enough after the next renewal was due."""
    assert lost.until is not None
    since = lost.until - lost.ttl_s / 2  # two thirds, less the grace and the margin
    times = [(max(up.begun, since), min(up.until, lost.until)) for up in servers]
    for fault in hindered:
        times = [
            part
            for begun, until in times
            for part in ((begun, min(until, fault.begun)), (max(begun, fault.ended), until))
        ]
    return any(until - begun >= promises.settle_s for begun, until in times)


def _left_behind(history: Sequence[Entry], promises: Promises) -> Iterator[str]:
    """The candidates of a client that has gone follow it, one time-to-live later or after the last restart or fault."""
    gone = {each.who: each for each in history if isinstance(each, Gone)}
    faults = [each for each in history if isinstance(each, Fault) and not each.who]
    starts = [-inf, *sorted([each.begun for each in history if isinstance(each, Up)] + [each.ended for each in faults])]
    for each in history:
        if not isinstance(each, Answered) or each.outcome != DONE:
            continue
        if any(fault.begun < each.begun <= fault.ended for fault in faults):
            continue  # its lease may be beginning anew at this moment
        started = starts[bisect_left(starts, each.begun) - 1]
        for candidate in each.term.candidates:
            left = gone.get(candidate) or gone.get(candidate.rpartition(".")[0])
            if left and each.begun > max(left.at, started) + left.ttl_s + promises.expiry_slack_s:
                yield f"a candidate outlived its session: {left}, and then {each}"


def _nobody_admitted(history: Sequence[Entry], restored: Restored) -> Iterator[str]:
    """Nobody enters and nobody begins to lead before those who led by the former store have ended."""
    until = restored.begun + restored.hold_s
    for each in history:
        if isinstance(each, Led) and restored.begun < each.begun < until:
            yield f"a leadership began during the hold of {restored}: {each}"
        elif (
            isinstance(each, Answered)
            and (each.what, each.outcome) == ("enter", DONE)
            and each.begun > restored.ended
            and each.ended < until
        ):
            yield f"somebody was admitted during the hold of {restored}: {each}"


def _above(told: dict[str, list[_Told]], leaderships: dict[str, list[Led]], restored: Restored) -> Iterator[str]:
    """All that was told before is below the floor, and all that is told after it is not."""
    for election, terms in told.items():
        for each in terms:
            lowest, highest = sorted((each.term.number, each.term.revision))
            if each.ended < restored.ended and highest >= restored.floor:
                yield f"{election}: a term from before is not below the floor of {restored}: {each.entry}"
            if each.begun > restored.begun and lowest < restored.floor:
                yield f"{election}: a term from after it is below the floor of {restored}: {each.entry}"
    for each in (led for all_of_one in leaderships.values() for led in all_of_one):
        if (each.token > restored.floor) != (each.begun > restored.begun):
            yield f"a token is on the wrong side of the floor of {restored}: {each}"
