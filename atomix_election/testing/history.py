"""What clients were told, and what was done to them: frozen records, which processes write to files as they go."""

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Self

from atomix_election.clock import SystemClock
from atomix_election.model import Term

DONE = "done"
"""The outcome of a call that was answered with a term; another one is the name of an error."""
NO_TERM = Term()
now = SystemClock().now
"""The time in seconds that all processes of a machine share."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A call that has ended. One that its client did not live to see the end of has no record.

    Args:
        who: the client.
        what: the method's name.
        election: where.
        candidate: whom it named, if anybody.
        begun: when it was made.
        ended: when its outcome was known.
        outcome: DONE, or the name of the error that it raised.
        term: what it returned.
    """

    who: str
    what: str
    election: str
    candidate: str
    begun: float
    ended: float
    outcome: str = DONE
    term: Term = NO_TERM


@dataclass(frozen=True, slots=True)
class Seen:
    """An event that a watcher was given.

    Args:
        watch: one watch of one election.
        election: which one.
        begun: when the watch was opened.
        at: when the event was given.
        term: what it says.
        snapshot: whether it is the first one of its watch.
        skipped: whether it says that others were left out before it.
    """

    watch: str
    election: str
    begun: float
    at: float
    term: Term
    snapshot: bool = False
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Led:
    """A leadership by its own client's view. One that begins has a record, which a second one replaces at its end.

    Args:
        who: the client.
        election: where.
        candidate: who leads.
        token: its number.
        ttl_s: time-to-live of the session.
        begun: since when.
        until: when it ended by the client's own view; None as long as it goes on.
        lost: the name of the reason, if it did not end of its own will.
    """

    who: str
    election: str
    candidate: str
    token: int
    ttl_s: float
    begun: float
    until: float | None = None
    lost: str = ""


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

    def is_of(self, who: str) -> bool:
        """Return whether this is about a client."""
        return _is_of(self.who, who)


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
        return self.who != "" and _is_of(self.who, who)


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


Entry = Answered | Seen | Led | Stood | Gone | Up | Fault | Restored | Emptied
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Answered, Seen, Led, Stood, Gone, Up, Fault, Restored, Emptied)
}


def _is_of(process: str, who: str) -> bool:
    return who == process or who.startswith(f"{process}.")


def end_of(each: Led | Stood, gone: Iterable[Gone]) -> float:
    """Return when something ended: of its own will, or with its client; infinity if it goes on."""
    if each.until is not None:
        return each.until
    return min((one.at for one in gone if one.is_of(each.who)), default=inf)


class Recorder:
    """Writes records to a file, each at once and whole, so that a process that is killed leaves what it has seen."""

    def __init__(self, path: Path) -> None:
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
    lines = [line for path in paths for line in path.read_text().splitlines(keepends=True)]
    entries: dict[object, Entry] = {}
    for line in lines:
        if line.endswith("\n"):
            entry = _decoded(*json.loads(line))
            entries[_key(entry) or len(entries)] = entry
    return list(entries.values())


def _key(entry: Entry) -> object:
    """Return what the record of a beginning and that of its end have in common; None if there is only one."""
    match entry:
        case Led():
            return Led, entry.who, entry.election, entry.token, entry.begun
        case Stood():
            return Stood, entry.who, entry.election, entry.begun
        case _:
            return None


def _decoded(kind: str, fields: dict[str, Any]) -> Entry:
    term = fields.get("term")
    if term is not None:
        fields["term"] = Term(tuple(term["candidates"]), term["number"], term["revision"])
    return _KINDS[kind](**fields)
