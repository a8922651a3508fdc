"""What a check finds: which rule was broken, and the few records that show it, as lines in order of time."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import inf

from atomix_election.model import Term
from atomix_election.testing.history import (
    DONE,
    NO_TERM,
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


class Rule(Enum):
    """What must hold. docs/histories.md says more of each."""

    ONE_TERM = "one revision is one term"
    NUMBERS_RISE = "the number never falls"
    ONE_LEADER = "one number is of one leader"
    FRESH = "what was told stays"
    STEPS = "each change is one command, or the end of one session"
    ASKED = "each change was asked for, once"
    ACKNOWLEDGED = "what was acknowledged was done"
    REFUSED = "what was refused could not be done"
    ORDER = "who comes later stands behind who is there"
    SESSIONS_LAST = "a session lasts for its time-to-live"
    SESSIONS_END = "a session that has ended stays so"
    EVENTS = "a watch begins with a snapshot, and is given every change or told that some were skipped"
    TOLD = "who watches is told of each change in time"
    TOKENS_RISE = "each leadership has a higher token than those before it"
    TOKENS_OF_TERMS = "a token is the number of a term of its leader"
    ALONE = "nobody leads while another one does"
    LEASED = "nobody leads for longer than its lease"
    KEPT = "a leadership is lost for a reason"
    LEFT_BEHIND = "the candidates of a session that has ended, or of a client that has gone, follow it"
    LED = "somebody leads where somebody wants to"
    HOLD = "nobody is admitted to a restored store before those who led by the former one have ended"
    FLOOR = "all that a restored store says is above what the former one said"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken.

    Args:
        rule: which one.
        election: where; "" where it is about none.
        what: how it was broken.
        entries: the records that show it, in order of time: without any of them they would not.
    """

    rule: Rule
    election: str
    what: str
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        """Return it with its records, one in a line."""
        where = f"{self.election}: " if self.election else ""
        head = f"{where}{self.what} (broken: {self.rule.value})"
        return "\n  ".join([head, *(line(each) for each in self.entries)])


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation that was found, with records among which are those that show it.

    Args:
        violation: the rule, and all of the records.
        fixed: those that are shown in any case: what might have been meant is not to be left out.
    """

    violation: Violation
    fixed: frozenset[Entry] = frozenset()


def found(
    rule: Rule, election: str, what: str, entries: Iterable[Entry | None], *, fixed: Iterable[Entry] = ()
) -> Finding:
    """Return a finding; records may be named more than once, and in any order."""
    fixed = frozenset(fixed)
    shown = {each for each in entries if each is not None} | fixed
    return Finding(Violation(rule, election, what, tuple(sorted(shown, key=_in_time))), fixed)


def line(entry: Entry) -> str:  # noqa: C901 - one case for each kind of record
    """Return a record as a line for people: from when to when, who, and what."""
    match entry:
        case Called():
            return f"{_span(entry.begun, inf)} {entry.who}: {_call(entry)} -> never answered"
        case Answered():
            return f"{_span(entry.begun, entry.ended)} {entry.who}: {_call(entry)} -> {_outcome(entry)}"
        case Renewed():
            how = "opened" if entry.opens else "renewed"
            what = f"{how} for {entry.ttl_s:g} s" if entry.open else "found to have ended"
            return f"{_span(entry.begun, entry.ended)} {entry.who}: session {entry.session} {what}"
        case Seen():
            kind = "snapshot" if entry.snapshot else "change after skipped ones" if entry.skipped else "change"
            return f"{_span(entry.at, entry.at)} watch {entry.watch}: {kind} {term_text(entry.term)}"
        case Waited():
            return f"{_span(entry.since, entry.until)} watch {entry.watch}: waits in vain"
        case Led():
            lost = f", lost: {entry.lost}" if entry.lost else ""
            until = entry.deadline if entry.until is None else entry.until
            return f"{_span(entry.begun, until)} {entry.who}: {entry.candidate} leads under {entry.token}{lost}"
        case Stood():
            until = inf if entry.until is None else entry.until
            return f"{_span(entry.begun, until)} {entry.who}: wants to lead"
        case Gone():
            return f"{_span(entry.at, inf)} {entry.who}: gone, with a time-to-live of {entry.ttl_s:g} s"
        case Up():
            return f"{_span(entry.begun, entry.until)} a server is up"
        case Fault():
            what = f"{entry.who}: {entry.kind}" if entry.who else entry.kind
            return f"{_span(entry.begun, entry.ended)} {what}"
        case Emptied():
            return f"{_span(entry.ended, entry.begun)} the store was lost with its server"
        case Restored():
            return f"{_span(entry.ended, entry.begun)} restored above {entry.floor}, held for {entry.hold_s:g} s"


def term_text(term: Term) -> str:
    """Return a term as lines show it."""
    return f"term {term.number} revision {term.revision} [{' '.join(term.candidates)}]"


def _call(entry: Called | Answered) -> str:
    what = f"{entry.what} {entry.candidate}" if entry.candidate else entry.what
    return f"{what} by {entry.session}" if entry.session else what


def _outcome(entry: Answered) -> str:
    return entry.outcome if entry.outcome != DONE or entry.term == NO_TERM else term_text(entry.term)


def _span(begun: float, ended: float) -> str:
    until = "..." if ended == inf else f"{ended:.3f}"
    return f"{begun:.3f}" if begun == ended else f"{begun:.3f} to {until}"


def _in_time(entry: Entry) -> tuple[float, float, str]:
    begun, ended = when(entry)
    return begun, ended, repr(entry)


def when(entry: Entry) -> tuple[float, float]:
    """Return from when to when something was, as far as its record knows."""
    match entry:
        case Called():
            return entry.begun, entry.begun
        case Seen():
            return entry.at, entry.at
        case Gone():
            return entry.at, entry.at
        case Waited():
            return entry.since, entry.until
        case Led() | Stood():
            return entry.begun, entry.begun if entry.until is None else entry.until
        case Up():
            return entry.begun, entry.until
        case Restored() | Emptied():
            return entry.ended, entry.begun
        case Answered() | Renewed() | Fault():
            return entry.begun, entry.ended
