"""What clients were told, and what was done to them: frozen records, kept in memory or written to files as they come.

A history is of one namespace of one store, or of what was restored from it. All its times are in seconds of one clock,
which all who record have in common: that of the machine, or a virtual one. What begins and ends has a record when it
begins, which the one of its end replaces: so what a process was in the middle of when it was killed is known.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Protocol, Self

from atomix_election.clock import SystemClock
from atomix_election.model import Term

DONE = "done"
"""The outcome of a call that was carried out; another one is the name of the error that it raised."""
NO_TERM = Term()
WITHOUT_TERM = frozenset({"create", "close", "end_session"})
"""The calls that are answered without a term."""
now: Callable[[], float] = SystemClock().now
"""The time in seconds that all processes of a machine share."""


@dataclass(frozen=True, slots=True)
class Called:
    """A call that was made. ``Answered`` replaces it when it has ended; nobody knows what became of one that has not.

    Args:
        who: the client.
        what: the name of the method of ``ElectionService``.
        election: where; "" for the end of a session.
        candidate: whom it named, if anybody.
        begun: when it was made.
        session: stands for the session that it named, as in ``model.session_digest``; "" for none.
        operation: the session's number for it, if it has one.
        number: tells it from other calls of its client; 0 for one whose beginning has no record of its own.
    """

    who: str
    what: str
    election: str
    candidate: str
    begun: float
    session: str = ""
    operation: int | None = None
    number: int = 0

    def answered(self, ended: float, outcome: str, term: Term = NO_TERM) -> "Answered":
        """Return the record of its end."""
        what = (self.who, self.what, self.election, self.candidate, self.begun, ended, outcome, term)
        return Answered(*what, self.session, self.operation, self.number)


@dataclass(frozen=True, slots=True)
class Answered:
    """A call that has ended.

    Args:
        who: the client.
        what: the name of the method.
        election: where.
        candidate: whom it named, if anybody.
        begun: when it was made.
        ended: when its outcome was known.
        outcome: DONE, or the name of the error that it raised.
        term: what it returned.
        session: see ``Called``, also for the others.
        operation: its number within the session.
        number: its number within its client.
    """

    who: str
    what: str
    election: str
    candidate: str
    begun: float
    ended: float
    outcome: str = DONE
    term: Term = NO_TERM
    session: str = ""
    operation: int | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Renewed:
    """A sign of life of a session that was answered.

    Args:
        who: the client.
        session: see ``Called``.
        begun: when the renewal was sent.
        ended: when its answer was there.
        ttl_s: the time-to-live that was granted.
        open: whether the session was open. One that had been open and is not any more has ended for good.
        releases: whether it ends as soon as its connection closes.
        opens: whether it was to be opened, as the client had not been answered that it was open.
    """

    who: str
    session: str
    begun: float
    ended: float
    ttl_s: float
    open: bool = True
    releases: bool = False
    opens: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """An event that a watcher was given.

    Args:
        watch: names one watch, together with its election and when it was opened; the client and a space come first.
        election: which one.
        begun: when the watch was opened.
        at: when the event was given.
        term: what it says.
        snapshot: whether it is the first one of its watch.
        skipped: whether it says that others were left out before it.
        since: since when it was waited for; infinity where that was not recorded.
    """

    watch: str
    election: str
    begun: float
    at: float
    term: Term
    snapshot: bool = False
    skipped: bool = False
    since: float = inf


@dataclass(frozen=True, slots=True)
class Waited:
    """A watcher has waited for an event and was given none: it waits no more, or its watch has ended.

    Args:
        watch: see ``Seen``, also for the others.
        election: which one.
        begun: when the watch was opened.
        since: since when it waited.
        until: until when.
    """

    watch: str
    election: str
    begun: float
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Led:
    """A leadership by its own client's view: as long as it may act, and until its work has ended or its deadline came.

    Args:
        who: the client.
        election: where.
        candidate: who leads.
        token: its number.
        ttl_s: time-to-live of the session.
        begun: since when.
        until: when it ended by the client's own view; None as long as it goes on.
        lost: the name of the reason, if its work was told to stop.
        deadline: until when it may last at most, as it is known so far; infinity where that was not recorded.
    """

    who: str
    election: str
    candidate: str
    token: int
    ttl_s: float
    begun: float
    until: float | None = None
    lost: str = ""
    deadline: float = inf


@dataclass(frozen=True, slots=True)
class Gone:
    """A client that does nothing any more since then; the server may have to wait for its session's end.

    Args:
        who: the client, or a process with all of its clients, whose names begin with ``who`` and a dot.
        ttl_s: the longest time-to-live that it had.
        at: since when.
    """

    who: str
    ttl_s: float
    at: float


@dataclass(frozen=True, slots=True)
class Stood:
    """A client that wants to lead, in the queue or on its way into it. Its end replaces its beginning, as with ``Led``.

    Args:
        who: the client.
        election: where.
        begun: since when.
        until: when it gave up of its own will; None as long as it goes on.
    """

    who: str
    election: str
    begun: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Up:
    """A server from when it was ready until it was killed; of several, a time in which they promise to serve."""

    begun: float
    until: float


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to servers or their store, until all of them were there again; or to clients.

    Args:
        kind: what.
        begun: since when.
        ended: until when.
        who: the client that it was done to, or the process of clients (see ``Gone``); "" for servers.
    """

    kind: str
    begun: float
    ended: float
    who: str = ""

    def is_of(self, who: str) -> bool:
        """Return whether it was done to a client."""
        return self.who != "" and (who == self.who or who.startswith(f"{self.who}."))


@dataclass(frozen=True, slots=True)
class Restored:
    """A store was made of a backup, and served in the place of the former one.

    Args:
        ended: when nobody was served any more from the former one.
        begun: when the first server on the new one was started.
        hold_s: how long nobody may be admitted from then on.
        floor: below what all numbers and revisions of the new one are said to be.
    """

    ended: float
    begun: float
    hold_s: float
    floor: int


@dataclass(frozen=True, slots=True)
class Emptied:
    """A store that is kept by its server alone was lost with it: with the next server everything begins anew.

    Args:
        ended: when the former server ended.
        begun: when the next one was started.
    """

    ended: float
    begun: float


Entry = Called | Answered | Renewed | Seen | Waited | Led | Stood | Gone | Up | Fault | Restored | Emptied
KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Called, Answered, Renewed, Seen, Waited, Led, Stood, Gone, Up, Fault, Restored, Emptied)
}
"""Each kind of record, by its name in files."""


class Records(Protocol):
    """Where records go, and the clock that they have in common."""

    def now(self) -> float:
        """Return the time, in seconds."""
        ...

    def __call__(self, entry: Entry) -> None:
        """Take a record."""
        ...


class History:
    """Records in memory, of one event loop.

    Args:
        now: returns the time in seconds; by default that of the machine. In virtual time it is ``anyio.current_time``.
    """

    def __init__(self, now: Callable[[], float] = now) -> None:
        self.now = now
        self._entries: dict[object, Entry] = {}

    def __call__(self, entry: Entry) -> None:
        """Take a record; that of an end replaces that of its beginning."""
        self._entries[_key(entry) or len(self._entries)] = entry

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    @property
    def entries(self) -> list[Entry]:
        """The records, in order of their beginnings."""
        return list(self._entries.values())


class Recorder:
    """Writes records to a file, each at once and whole, so that a process that is killed leaves what it has seen.

    Args:
        path: the file; what is there already is kept. Each process needs one of its own.
        now: returns the time in seconds, of a clock that all processes share; by default that of the machine.
    """

    def __init__(self, path: Path, now: Callable[[], float] = now) -> None:
        self.now = now
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def __call__(self, entry: Entry) -> None:
        """Write a record."""
        line = json.dumps([type(entry).__name__, dataclasses.asdict(entry)]) + "\n"
        os.write(self._file, line.encode())


def read_history(paths: Iterable[Path]) -> list[Entry]:
    """Return the records in files; a line that a killed process has not finished is left out."""
    history = History()
    for path in paths:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                history(_decoded(*json.loads(line)))
    return history.entries


def _key(entry: Entry) -> object:
    """Return what the record of a beginning and that of its end have in common; None if there is only one."""
    match entry:
        case Led():
            return Led, entry.who, entry.election, entry.token, entry.begun
        case Stood():
            return Stood, entry.who, entry.election, entry.begun
        case Called() | Answered() if entry.number:
            return Called, entry.who, entry.number, entry.begun
        case _:
            return None


def _decoded(kind: str, fields: dict[str, Any]) -> Entry:
    term = fields.get("term")
    if term is not None:
        fields["term"] = Term(tuple(term["candidates"]), term["number"], term["revision"])
    return KINDS[kind](**fields)
