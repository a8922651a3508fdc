"""The calls of one election that may have changed it: what each asked for, and when and where it can have been done.

A call that was answered was carried out before that, and no later than in the term that it was answered with; just in
that one, unless it carries a number and may have been sent again, when there was another term already. What became of
one that was not answered is open: it may be carried out at any time after it began, once or never. There is a
bound all the same if it carries a number: when a later write of its session was accepted, it comes too late.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from atomix_election.testing.checker.promises import Promises
from atomix_election.testing.checker.spec import REFUSALS, WRITES
from atomix_election.testing.checker.timeline import Timeline
from atomix_election.testing.history import DONE, WITHOUT_TERM, Answered, Called, Entry

UNKNOWN_SESSION = ""
"""One that was not recorded."""
_WITHOUT_EFFECT = REFUSALS | {"Unavailable", "StoreError"}
"""Errors that promise that nothing was done; after all others, something may have been."""


@dataclass(eq=False, slots=True)
class Asked:
    """A call that may have changed its election.

    Args:
        entry: its record.
        begun: before when it was not carried out.
        ended: after when it was not.
        first: revision of the first term that it can have made.
        last: that of the last one; infinity if any.
        done: whether it was acknowledged, and so was certainly carried out.
    """

    entry: Called | Answered
    begun: float
    ended: float
    first: float
    last: float
    done: bool

    @property
    def what(self) -> str:
        """The command."""
        return self.entry.what

    @property
    def candidate(self) -> str:
        """Whom it names; nobody for a command that is about all of its session's."""
        return self.entry.candidate

    @property
    def session(self) -> str:
        """Whose it is."""
        return self.entry.session

    @property
    def key(self) -> tuple[str, str]:
        """The command and whom it names."""
        return self.entry.what, self.entry.candidate


def asked_in(entries: Iterable[Entry], timeline: Timeline, promises: Promises) -> list[Asked]:
    """Return the calls of an election that were carried out, or may have been."""
    found: list[Asked] = []
    for each in entries:
        if isinstance(each, Called) and each.what in WRITES:
            found.append(Asked(each, each.begun, inf, -inf, inf, done=False))
        elif isinstance(each, Answered) and each.what in WRITES:
            ended = _may_be_done_until(each, promises)
            if ended is not None:
                first, last = _revisions(each)
                found.append(Asked(each, each.begun, ended, first, last, each.outcome == DONE))
    _bound(found, timeline)
    return found


def _may_be_done_until(call: Answered, promises: Promises) -> float | None:
    """Return until when a call may be carried out; None if it certainly is not."""
    if call.outcome in (DONE, "SessionEnded"):  # which may be the answer to the repeat of a write that was carried out
        return call.ended
    if call.outcome == "InvalidRequest":
        return None
    copies = promises.late_copies and call.operation is not None
    return inf if copies or call.outcome not in _WITHOUT_EFFECT else None


def _revisions(call: Answered) -> tuple[float, float]:
    """Return the revisions of the first and the last term that a call can have made.

    What carries no number is not sent twice, and so answered with just the term after it.
    """
    if call.outcome != DONE or call.what in WITHOUT_TERM:
        return -inf, inf
    return -inf if call.operation is not None else call.term.revision, call.term.revision


def _bound(asked: list[Asked], timeline: Timeline) -> None:
    """Give what is open the bound that the next accepted write of its session is."""
    by_session: dict[str, list[tuple[int, Asked]]] = defaultdict(list)
    for each in asked:
        if each.session and each.entry.operation is not None:
            by_session[each.session].append((each.entry.operation, each))
    for numbered in by_session.values():
        last = inf
        for _, each in sorted(numbered, key=lambda pair: pair[0], reverse=True):
            if each.done:
                last = min(last, each.last)
            else:
                each.last = last
                place = timeline.newest(last)
                if last < inf and place >= 0:
                    each.ended = min(each.ended, timeline.latest[place])


class Pool:
    """Calls, by when they can have been carried out."""

    def __init__(self, asked: Iterable[Asked]) -> None:
        self._asked = sorted(asked, key=lambda each: each.begun)
        self._begun = [each.begun for each in self._asked]
        self._ended: list[float] = []
        """The latest end of each and all before it."""
        for each in self._asked:
            self._ended.append(max(each.ended, self._ended[-1]) if self._ended else each.ended)

    def within(self, since: float, until: float, first: float, last: float) -> Iterator[Asked]:
        """Return those that can have made one of some terms, the last calls first.

        Args:
            since: before when none of these terms has begun.
            until: by when all of them have.
            first: revision of the first one.
            last: that of the last one.
        """
        place = bisect_right(self._begun, until) - 1
        while place >= 0 and self._ended[place] >= since:
            each = self._asked[place]
            if each.ended >= since and each.first <= last and each.last >= first:
                yield each
            place -= 1


class Pools:
    """The calls of an election, all of them and for each command and candidate.

    Those that may be carried out for ever are apart, so that they do not have all others looked through.
    """

    def __init__(self, asked: list[Asked]) -> None:
        by_key: dict[tuple[str, str], list[Asked]] = defaultdict(list)
        for each in asked:
            by_key[each.key].append(each)
        self._all = _split(asked)
        self._by_key = {key: _split(some) for key, some in by_key.items()}

    def within(
        self, since: float, until: float, first: float, last: float, key: tuple[str, str] | None = None
    ) -> Iterator[Asked]:
        """Return calls, see ``Pool.within``; of one command and candidate, or all."""
        for pool in self._all if key is None else self._by_key.get(key, ()):
            yield from pool.within(since, until, first, last)


def _split(asked: list[Asked]) -> tuple[Pool, Pool]:
    return Pool(each for each in asked if each.ended < inf), Pool(each for each in asked if each.ended == inf)
