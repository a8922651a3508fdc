"""When what was recorded at its beginning alone has ended: with its client."""

from collections.abc import Iterable, Iterator
from math import inf

from atomix_election.testing.history import Entry, Gone, Led, Stood


class Ends:
    """The ends of all clients of a history."""

    def __init__(self, history: Iterable[Entry]) -> None:
        self._gone: dict[str, Gone] = {}
        for each in history:
            if isinstance(each, Gone) and (each.who not in self._gone or each.at < self._gone[each.who].at):
                self._gone[each.who] = each

    def __bool__(self) -> bool:
        return bool(self._gone)

    def gone(self, who: str) -> Gone | None:
        """Return since when a client does nothing any more: by itself, or with its process."""
        found = [self._gone[name] for name in names(who) if name in self._gone]
        return min(found, key=lambda each: each.at, default=None)

    def of(self, each: Led | Stood) -> float:
        """Return when something ended: of its own will, by its deadline, or with its client; infinity if it goes on."""
        if each.until is not None:
            return each.until
        gone = self.gone(each.who)
        latest = each.deadline if isinstance(each, Led) else inf
        return latest if gone is None else min(latest, gone.at)


def names(who: str) -> Iterator[str]:
    """Return the name of a client, and those of the processes that it may be of."""
    while who:
        yield who
        who = who.rpartition(".")[0]
