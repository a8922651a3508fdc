"""What must hold at every step of a simulation, and the history that tells two runs apart."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from atomix_election.core.campaign import Granted
from atomix_election.core.candidacy import Place
from atomix_election.core.election import Election
from atomix_election.core.floors import Floors
from atomix_election.leadership import Leadership
from atomix_election.testing.history import Entry, History, Records

HISTORY_LINES = 4000
"""How many of the newest lines of a history are kept to be shown; all of them count for its digest."""


@dataclass(slots=True, eq=False)
class Stint:
    """One block that leads, as its own code sees it: until its deadline it may act, unless it has ended."""

    place: Place
    leadership: Leadership
    deadline: float = 0.0


class Observed(Protocol):
    """A client as it is looked at: only what the client itself can see."""

    process: str
    stints: set[Stint]

    def now(self) -> float:
        """Return the time by its own clock."""
        ...

    def places(self) -> list[Place]:
        """Return where it may be a candidate."""
        ...

    def leads(self, place: Place) -> Granted | None:
        """Return what ``is_leader`` and the token say."""
        ...


class RunRecords(Records):
    """The records of a run, which count for the digest of its history.

    Args:
        invariants: of the run.
    """

    def __init__(self, invariants: "Invariants") -> None:
        self.history: History = History(invariants.now)
        self.are_over = False
        """Whether nothing is recorded any more."""
        self._invariants = invariants

    def now(self) -> float:
        """See ``Records.now``."""
        return self.history.now()

    def __call__(self, entry: Entry) -> None:
        """Take a record."""
        if not self.are_over:
            self.history(entry)
            self._invariants.digest(entry)


@dataclass(slots=True)
class Invariants:
    """Looks at every step, and collects the first violation, and the history.

    Args:
        now: the real time.
        on_violation: called at the first one.
        clients: those that are alive.
        operators: how many are at work.
        unsure: elections whose next state may show what became of an operator's command of unknown outcome.
        leader_changes: how often somebody began to lead under a new token.
        nobody_before: when leaders from before the last restore have ended, at the latest.
    """

    now: Callable[[], float]
    on_violation: Callable[[], None]
    clients: list[Observed] = field(default_factory=list[Observed])
    operators: int = 0
    unsure: set[str] = field(default_factory=set[str])
    nobody_before: float = 0.0
    violation: str | None = None
    leader_changes: int = 0
    last_led: dict[str, float] = field(default_factory=dict[str, float])
    history: list[str] = field(default_factory=list[str])
    _digest: Any = field(default_factory=hashlib.sha256)
    _newest: dict[str, int] = field(default_factory=dict[str, int])
    _before: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    _latest: dict[str, Election] = field(default_factory=dict[str, Election])
    _highest: dict[str, Floors] = field(default_factory=dict[str, Floors])
    _granted: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])

    @property
    def trace(self) -> str:
        """The digest of everything that happened, in order and with its time."""
        return self._digest.hexdigest()

    def digest(self, what: object) -> None:
        """Let something count for the digest."""
        self._digest.update(f"{what!r}\n".encode())

    def note(self, what: str) -> None:
        """Add a line to the history."""
        line = f"{self.now():.6f} {what}"
        self._digest.update(line.encode() + b"\n")
        self.history.append(line)
        if len(self.history) > 2 * HISTORY_LINES:
            del self.history[:HISTORY_LINES]

    def fail(self, what: str) -> None:
        """A rule is broken; the first time counts."""
        if self.violation is None:
            self.violation = what
            self.note(f"VIOLATION {what}")
            self.on_violation()

    def step(self, process: str) -> None:
        """Nobody leads while another one does, by what each client sees itself, and tokens only grow.

        Args:
            process: whose task has just run. Nobody else can have begun to lead.
        """
        if not any(client.process == process and self._acting(client) for client in self.clients):
            return
        acting = [(client, each) for client in self.clients for each in self._acting(client)]
        leaders: dict[str, str] = {}
        for client, (place, token, how) in acting:
            who = f"{client.process} ({how} token {token})"
            other = leaders.setdefault(place[0], who)
            if not other.startswith(f"{client.process} "):
                self.fail(f"two lead {place[0]}: {other} and {who}")
        for client, (place, token, _) in acting:
            self._token(client, place, token)
        for election in leaders:
            self.last_led[election] = self.now()

    def committed(self, election: str, after: Election) -> None:
        """Who was there keeps the order, who is new comes last, unless an operator is at work; numbers never fall.

        Args:
            election: its name.
            after: its state now. Not every state has to be told, but none late: others may follow from it already.
        """
        self.note(f"commit {election} {after.term} waits for {[each.candidate.id for each in after.displaced]}")
        before = self._latest.get(election, Election())
        stayed = [each for each in before.candidates if each in after.candidates]
        one_step = after.revision == before.revision + 1  # else somebody may have left and entered again
        moved = self.operators or election in self.unsure
        if one_step and not moved and list(after.candidates[: len(stayed)]) != stayed:
            self.fail(f"the order of {election} changed: {before.term} to {after.term}")
        self._see(election, before, after)

    def found(self, election: str, after: Election) -> None:
        """A server was started, and this is what its store has of an election: nothing that was told before is gone."""
        self.note(f"found {election} {after.term}")
        self._see(election, self._latest.get(election, Election()), after)

    def revision(self, election: str) -> int:
        """Return the newest revision of an election, or 0."""
        return self._latest.get(election, Election()).revision

    def before(self, election: str, revision: int) -> int:
        """Return the revision of the change before the one that led to a revision, or 0 where there was none."""
        return self._before.get((election, revision), 0)

    def _see(self, election: str, before: Election, after: Election) -> None:
        if after.revision > before.revision:
            self._before[election, after.revision] = before.revision
        self._latest[election] = after
        self.unsure.discard(election)
        highest = self._highest.get(election, Floors())
        if after.number < highest.number or after.revision < highest.revision:
            self.fail(f"{election} fell below {highest}, which it had before: {after.term}")
        self._highest[election] = highest.over(after)
        first = after.candidates[:1]
        if first and first != before.candidates[:1] and after.number == before.number:
            self.fail(f"the number of {election} did not grow: {before.term} to {after.term}")
        if set(after.candidates) - set(before.candidates) and self.now() < self.nobody_before:
            self.fail(f"somebody was admitted to {election} while leaders from before a restore may act: {after.term}")

    def _acting(self, client: Observed) -> list[tuple[Place, int, str]]:
        """Return where a client may act, under which token, and how it knows."""
        now = client.now()
        acting: list[tuple[Place, int, str]] = []
        for stint in sorted(client.stints, key=lambda each: (each.place, each.leadership.token)):
            if (remaining := stint.leadership.remaining) > 0:
                stint.deadline = max(stint.deadline, now + remaining)
            if now < stint.deadline:
                acting.append((stint.place, stint.leadership.token, "in a block under"))
        for place in client.places():
            granted = client.leads(place)
            if granted is not None:
                acting.append((place, granted.number, "is_leader under"))
        return acting

    def _token(self, client: Observed, place: Place, token: int) -> None:
        who = f"{client.process} as {place[1]}"
        other = self._granted.setdefault((place[0], token), who)
        if other != who:
            self.fail(f"token {token} of {place[0]} was given to {other} and to {who}")
        newest = self._newest.get(place[0], 0)
        if token > newest:
            self._newest[place[0]] = token
            self.leader_changes += 1
            self.note(f"{who} leads {place[0]} under {token}")
        elif token < newest and not any(stint.leadership.token == token for stint in client.stints):
            self.fail(f"{who} leads {place[0]} under {token}, after somebody did under {newest}")
