"""What happened to each of the stores that were there one after the other, where one is lost with its server."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from atomix_election.testing.history import (
    Answered,
    Called,
    Emptied,
    Entry,
    Fault,
    Gone,
    Led,
    Renewed,
    Restored,
    Seen,
    Stood,
    Up,
    Waited,
)


def lives(history: Sequence[Entry]) -> list[Sequence[Entry]]:
    """Return the records of each store that there was. Where none was lost, those are all.

    A client that learns of a new store late, by the end of its lease at the latest, still acts by the former one until
    then; so what a client does belongs to the store that was there when it began. A call that began with one store and
    ended with the next is of neither, as nobody can tell which one it was answered from.

    Args:
        history: what happened.
    """
    losses = sorted((each for each in history if isinstance(each, Emptied)), key=lambda each: each.begun)
    return [list(_Life(*ends).records(history)) for ends in pairwise([None, *losses, None])] if losses else [history]


@dataclass(frozen=True, slots=True)
class _Life:
    """The time of one store, from the loss of the former one to its own."""

    former: Emptied | None
    loss: Emptied | None

    @property
    def begun(self) -> float:
        return self.former.begun if self.former else -inf

    @property
    def until(self) -> float:
        """When the next one begins."""
        return self.loss.begun if self.loss else inf

    def records(self, history: Sequence[Entry]) -> Iterator[Entry]:
        watches: set[str] = set()
        for each in history:
            match each:
                case Answered() | Renewed():
                    belongs = self._has(each.begun) and self._has(each.ended)
                case Waited():
                    belongs = self._has(each.since) and self._has(each.until)
                case Seen():
                    belongs = self._has(each.at)
                case Called() | Led() | Up() | Restored():
                    belongs = self._has(each.begun)
                case Stood() | Fault():
                    belongs = each.begun < self.until and _until(each) >= self.begun
                case Gone():
                    belongs = True
                case Emptied():
                    belongs = each is self.loss
            if belongs:
                yield self._seen_by(each, watches)

    def _seen_by(self, each: Entry, watches: set[str]) -> Entry:
        """Return a record as it is within this time."""
        if isinstance(each, Stood):
            ended = self.loss.ended if self.loss else inf
            until = min(_until(each), ended)
            return replace(each, begun=max(each.begun, self.begun), until=None if until == inf else until)
        if isinstance(each, Seen) and each.watch not in watches:
            watches.add(each.watch)
            return replace(each, snapshot=True)  # a watch goes on with the next store, from what is there then
        return each

    def _has(self, at: float) -> bool:
        return self.begun <= at < self.until


def _until(each: Stood | Fault) -> float:
    if isinstance(each, Fault):
        return each.ended
    return inf if each.until is None else each.until
