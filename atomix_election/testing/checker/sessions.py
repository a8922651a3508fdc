"""What is known of sessions: until when each has certainly lasted, and since when it has certainly ended.

The end of a session removes its candidates, which nobody has to ask for. It comes no sooner than one time-to-live after
the server received the last renewal, and so not before one time-to-live after it was sent.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from atomix_election.testing.checker.findings import Finding, Rule, found
from atomix_election.testing.history import DONE, Answered, Called, Entry, Renewed

CLOCK_RATE = 0.01
"""How much faster than the recorder's the clock of a server may run."""


@dataclass(slots=True)
class _Known:
    """What is known of a session."""

    who: str = ""
    lasts_until: float = -inf
    renewed: Renewed | None = None
    releases: bool = False
    asked_to_end: float = inf
    over_since: float = inf
    over: Entry | None = None
    opened: float = -inf
    opened_anew: bool = False
    overs: list[Renewed | Answered] = field(default_factory=list[Renewed | Answered])
    """What says that it has ended."""
    acts: list[Renewed | Answered] = field(default_factory=list[Renewed | Answered])
    """What only an open session can do."""


class Sessions:
    """All sessions of a history.

    Args:
        history: the records.
        early_ends: see ``Promises``.
    """

    def __init__(self, history: Iterable[Entry], *, early_ends: bool = False) -> None:
        self._early_ends = early_ends
        self._known: defaultdict[str, _Known] = defaultdict(_Known)
        for each in history:
            if isinstance(each, Renewed):
                self._renewed(each)
            elif isinstance(each, Called | Answered) and each.session:
                self._called(each)
        for known in self._known.values():
            self._find_over(known)

    def _renewed(self, entry: Renewed) -> None:
        known = self._known[entry.session]
        known.who = entry.who
        known.releases |= entry.releases
        if not entry.open:
            known.overs.append(entry)
            return
        if entry.opens:
            known.opened = max(known.opened, entry.ended)
        known.acts.append(entry)
        lasts_until = entry.begun + entry.ttl_s * (1 - CLOCK_RATE)
        if lasts_until > known.lasts_until:
            known.lasts_until, known.renewed = lasts_until, entry

    def _called(self, entry: Called | Answered) -> None:
        known = self._known[entry.session]
        known.who = known.who or entry.who
        if entry.what == "end_session":
            known.asked_to_end = min(known.asked_to_end, entry.begun)
        elif entry.what == "create":
            known.opened_anew = True
        if not isinstance(entry, Answered):
            return
        if entry.outcome == "SessionEnded" or (entry.what, entry.outcome) == ("end_session", DONE):
            known.overs.append(entry)
        elif entry.what == "enter" and entry.outcome == DONE:
            known.acts.append(entry)

    def _find_over(self, known: _Known) -> None:
        """Find out since when it is over for good: one that its client had not been told of may be opened again."""
        for entry in known.overs:
            if known.opened <= entry.ended < known.over_since:
                known.over_since, known.over = entry.ended, entry

    def client_of(self, session: str) -> str:
        """Return whose session it is; "" if that is not known."""
        return self._known[session].who if session in self._known else ""

    def may_end(self, session: str, by: float) -> bool:
        """Return whether a session can have ended by a time."""
        known = self._known.get(session)
        if self._early_ends or known is None or known.renewed is None or known.releases:
            return True
        return by >= min(known.lasts_until, known.asked_to_end)

    def is_over(self, session: str, at: float) -> bool:
        """Return whether a session had certainly ended at a time."""
        known = self._known.get(session)
        return known is not None and not known.opened_anew and known.over_since < at

    def proof(self, session: str) -> list[Entry]:
        """Return the renewal that a session lasts the longest by, and what says that it has ended."""
        known = self._known.get(session, _Known())
        return [each for each in (known.renewed, known.over) if each is not None]

    def check(self) -> Iterator[Finding]:
        """A session that has ended is not renewed any more, and nobody enters with it."""
        for known in self._known.values():
            if known.over is None or known.renewed is None or known.opened_anew:
                continue  # who kept no session by renewals may open one of the same id again
            for act in known.acts:
                if act.begun > known.over_since:
                    election = act.election if isinstance(act, Answered) else ""
                    what = "something was done with a session that had ended"
                    yield found(Rule.SESSIONS_END, election, what, [known.renewed, known.over, act])
