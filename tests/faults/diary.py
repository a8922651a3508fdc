"""What all candidates said, in order, and the rules that it must keep."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import anyio

from tests.faults.worker import now

WAIT_S = 15.0
"""How long anything that must happen may take on a slow machine."""
SLACK_S = 1.5
"""What a busy machine may add to a time that has an upper bound."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a candidate says, or is done to it: ``begin``, ``write``, ``stopping``, ``end``; ``killed``, ``paused``."""

    who: str
    what: str
    at: float
    token: int = 0
    deadline: float = 0.0
    is_leader: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """From when to when somebody worked."""

    who: str
    token: int
    begin: float
    end: float


@dataclass
class Diary:
    """Entries of one election, whose times come from one clock."""

    entries: list[Entry] = field(default_factory=list[Entry])
    overdue: set[str] = field(default_factory=set[str])
    """Whose work is known to go on past its deadline: it counts until it was told to stop."""
    stores: list[float] = field(default_factory=lambda: [0.0])
    """Since when there was which store; the rules hold within each."""
    _news: anyio.Event = field(default_factory=anyio.Event)

    def add(self, entry: Entry) -> None:
        """Take note, and wake whoever waits."""
        self.entries.append(entry)
        self._news.set()
        self._news = anyio.Event()

    def note(self, who: str, what: str) -> Entry:
        """Take note of something done to a candidate, at this moment."""
        entry = Entry(who, what, now())
        self.add(entry)
        return entry

    def find(self, who: str, what: str, *, since: float = 0.0) -> Entry | None:
        """Return the first such entry after a time."""
        return next((each for each in self.entries if (each.who, each.what) == (who, what) and each.at > since), None)

    def last(self, who: str, what: str) -> Entry:
        """Return the last such entry."""
        return next(each for each in reversed(self.entries) if (each.who, each.what) == (who, what))

    async def wait(self, who: str, what: str, *, since: float = 0.0) -> Entry:
        """Wait for the first such entry after a time."""
        return await self.wait_until(lambda: self.find(who, what, since=since), f"{who} {what}")

    async def wait_until(self, found: Callable[[], Entry | None], wanted: str) -> Entry:
        """Wait until there is an entry as wanted."""
        with anyio.move_on_after(WAIT_S):
            while True:
                entry = found()
                if entry is not None:
                    return entry
                await self._news.wait()
        raise AssertionError(f"{wanted}: not within {WAIT_S:g} s; last: {self.entries[-5:]}")

    def deadline(self, who: str) -> float:
        """Return the latest deadline that a candidate said."""
        return max(each.deadline for each in self.entries if each.who == who)

    def intervals(self) -> list[Interval]:
        """Return who worked when, by its beginning."""
        begins = [each for each in self.entries if each.what == "begin"]
        return sorted((self._interval(each) for each in begins), key=lambda each: each.begin)

    def new_store(self) -> None:
        """What begins from now on, begins in a store that knows nothing of the former one."""
        self.stores.append(now())

    def check(self) -> None:
        """Fail if two worked at a time, a token did not grow, or somebody wrote past a deadline of its own."""
        for since, until in pairwise([*self.stores, float("inf")]):
            intervals = [each for each in self.intervals() if since < each.begin < until]
            for one, other in combinations(intervals, 2):
                assert one.end <= other.begin, f"{one} and {other} overlap"
            for former, latter in pairwise(intervals):
                assert former.token < latter.token, f"token of {latter} does not exceed that of {former}"
        for each in self.entries:
            if each.what == "write":
                assert each.at < each.deadline or not each.is_leader, f"{each} came too late"

    def _interval(self, begin: Entry) -> Interval:
        own = [each for each in self.entries if each.who == begin.who and each.at >= begin.at]
        last_words = ("stopping" if begin.who in self.overdue else "end", "killed")
        ends = [each.at for each in own if each.what in last_words and each.token in (0, begin.token)]
        end = min(ends, default=float("inf"))
        last = max((each.at for each in own if each.what == "write" and each.token == begin.token), default=begin.at)
        pauses = [each.at for each in own if each.what == "paused" and last <= each.at <= end]
        return Interval(begin.who, begin.token, begin.at, min([end, *pauses]))
