"""Makes histories that are right: clients of one election whose commands take effect one by one, at moments of chance.

What each client is told then comes late, twice or never; sessions end, and watches miss something and say so.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from atomix_election import Term
from atomix_election.testing.history import DONE, Called, Entry, Led, Renewed, Seen

TTL_S = 4.0
ELECTION = "e"
OWN = ("enter", "enter", "withdraw")
OPERATIONS = ("anoint", "promote", "evict")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a history is to have.

    Args:
        calls: how many calls there are, about.
        clients: how many clients.
        unknown: whether the outcome of some calls is unknown.
        operators: whether somebody moves and removes candidates.
        ends: whether sessions end.
        skips: whether watches other than the first one miss something.
        jumps: whether the number of a new term may be any higher one.
        copies: whether numbered calls come a second time, late.
    """

    calls: int = 30
    clients: int = 3
    unknown: bool = True
    operators: bool = True
    ends: bool = True
    skips: bool = True
    jumps: bool = False
    copies: bool = False


class Election:
    """The election itself: commands one after the other, each with what it is answered."""

    def __init__(self, chance: random.Random, *, jumps: bool) -> None:
        self.queue: list[tuple[str, str]] = []
        self.term = Term()
        self.ended: set[str] = set()
        self._newest: dict[str, int] = {}
        self._chance = chance
        self._jumps = jumps

    def do(self, call: Called) -> Term | str:
        """Carry out a call, and return the term after it, or the name of the error."""
        if call.session in self.ended:
            return "SessionEnded"
        if call.operation is not None:
            newest = self._newest.get(call.session, 0)
            if call.operation <= newest:
                return self.term if call.operation == newest else "OutcomeUnknown"
        queue, refusal = self._command(call)
        if refusal:
            return refusal
        if call.operation is not None:
            self._newest[call.session] = call.operation
        self._become(queue)
        return self.term

    def end(self, session: str) -> None:
        """End a session."""
        self.ended.add(session)
        self._become([each for each in self.queue if each[1] != session])

    def _command(self, call: Called) -> tuple[list[tuple[str, str]], str]:
        owner = dict(self.queue).get(call.candidate)
        present = [each for each in self.queue if each[0] == call.candidate]
        rest = [each for each in self.queue if each[0] != call.candidate]
        match call.what:
            case "get_term":
                return self.queue, ""
            case "enter" if owner is None:
                return [*rest, (call.candidate, call.session)], ""
            case "enter":
                return self.queue, "" if owner == call.session else "CandidateTaken"
            case "withdraw":
                return rest, "" if owner in (None, call.session) else "NotOwner"
            case _ if owner is None:
                return rest, "NotACandidate"
            case "evict":
                return rest, ""
            case "anoint":
                return present + rest, ""
            case _:
                place = max(self.queue.index(present[0]) - 1, 0)
                return rest[:place] + present + rest[place:], ""

    def _become(self, queue: list[tuple[str, str]]) -> None:
        if queue == self.queue:
            return
        anew = bool(queue) and queue[:1] != self.queue[:1]
        number = self.term.number + (self._chance.randint(1, 9) if anew and self._jumps else anew)
        self.queue = queue
        self.term = Term(tuple(each for each, _ in queue), number, self.term.revision + 1)


@dataclass(slots=True)
class _Client:
    name: str
    session: str
    operations: int = 0
    received: float = 0.0
    silent: bool = False


@dataclass(slots=True)
class _Watch:
    seen: Seen
    skips: bool
    last: float
    skipped: bool = False


class Run:
    """One history on its way.

    Args:
        chance: decides everything.
        wishes: what it is to have.
    """

    def __init__(self, chance: random.Random, wishes: Wishes) -> None:
        self.chance = chance
        self.wishes = wishes
        self.now = 0.0
        self.entries: list[Entry] = []
        self._numbers = count(1)
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._election = Election(chance, jumps=wishes.jumps)
        self._watches: list[_Watch] = []
        self._led: Led | None = None
        self._sent: dict[str, float] = {}
        """When the last renewal of each session was sent that was answered."""
        self._leads = ""
        """The session of who leads."""
        self._left = wishes.calls

    def history(self) -> list[Entry]:
        """Return it: the records of each client and watch in their order."""
        self._open_watch(skips=False)
        for number in range(self.wishes.clients):
            self._start(_Client(f"C{number}", f"C{number}.1"))
        while self._jobs:
            self.now, _, job = heapq.heappop(self._jobs)
            before = self._election.term
            job()
            if self._election.term != before:
                self._changed(before)
        if self._led is not None:
            self.entries.append(self._led)
        return self.entries

    def _later(self, longest_s: float, job: Callable[[], None]) -> None:
        self._at(self.now + self.chance.uniform(0.0, longest_s), job)

    def _at(self, when: float, job: Callable[[], None]) -> None:
        heapq.heappush(self._jobs, (when, next(self._numbers), job))

    def _start(self, client: _Client) -> None:
        client.received = self.now
        self._renewed(client.name, client.session, self.now)
        self._later(1.0, lambda: self._renew(client))
        self._later(1.0, lambda: self._call(client))

    def _renew(self, client: _Client) -> None:
        if client.silent or client.session in self._election.ended or self._left <= 0:
            return
        sent, session = self.now, client.session

        def receive() -> None:
            if session not in self._election.ended:
                client.received = self.now
                self._later(0.5, lambda: self._renewed(client.name, session, sent))

        self._later(0.5, receive)
        self._at(self.now + 1.0, lambda: self._renew(client))

    def _renewed(self, name: str, session: str, sent: float) -> None:
        """Let the answer to a renewal arrive."""
        self._sent[session] = max(sent, self._sent.get(session, 0.0))
        self.entries.append(Renewed(name, session, sent, self.now, TTL_S))

    def _call(self, client: _Client) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        if self.wishes.ends and self.chance.random() < 0.1:
            self._fall_silent(client)
            return
        if self.chance.random() < 0.1:
            self._open_watch(skips=self.wishes.skips)
        what = self.chance.choice(OWN + ("get_term",) + (OPERATIONS if self.wishes.operators else ()))
        candidate = self._candidate(client, what)
        numbered = what in OWN or (what != "get_term" and self.chance.random() < 0.5)
        client.operations += numbered
        session, operation = (client.session, client.operations) if numbered else ("", None)
        called = Called(client.name, what, ELECTION, candidate, self.now, session, operation, next(self._numbers))
        if self.wishes.copies and numbered and self.chance.random() < 0.2:
            self._later(5.0, lambda: self._do(called))
        fate = self.chance.random() if self.wishes.unknown and what != "get_term" else 1.0
        if fate < 0.1:
            self._lose(client, called)
        elif fate < 0.2 and numbered:
            self._repeat(client, called)
        elif fate < 0.25:
            self._die(client, called)
        else:
            self._later(0.5, lambda: self._answer(client, called, self._election.do(called)))

    def _candidate(self, client: _Client, what: str) -> str:
        if what == "get_term":
            return ""
        if what in OWN and self.chance.random() < 0.9:
            return client.name.lower()
        return f"c{self.chance.randrange(self.wishes.clients)}"

    def _answer(self, client: _Client, called: Called, answer: Term | str) -> None:
        """Let an answer arrive, and the client go on."""

        def arrive() -> None:
            if isinstance(answer, Term):
                self.entries.append(called.answered(self.now, DONE, answer))
            else:
                self.entries.append(called.answered(self.now, answer))
            if answer == "SessionEnded":
                self._reopen(client)
            else:
                self._later(1.0, lambda: self._call(client))

        self._later(0.5, arrive)

    def _lose(self, client: _Client, called: Called) -> None:
        """Nobody tells the client, and it may be carried out long after."""
        if self.chance.random() < 0.7:
            self._later(3.0, lambda: self._do(called))
        self._later(1.0, lambda: self._answer(client, called, "OutcomeUnknown"))

    def _do(self, called: Called) -> None:
        self._election.do(called)

    def _repeat(self, client: _Client, called: Called) -> None:
        """It is carried out, and its answer is lost; the second try tells what there is then."""

        def try_once() -> None:
            self._election.do(called)
            self._later(0.5, lambda: self._answer(client, called, self._election.do(called)))

        self._later(0.5, try_once)

    def _die(self, client: _Client, called: Called) -> None:
        """The client is killed in the middle of it."""
        if self.chance.random() < 0.5:
            self._later(1.0, lambda: self._do(called))
        self.entries.append(called)
        self._fall_silent(client)

    def _fall_silent(self, client: _Client) -> None:
        """Its session ends, one time-to-live after its last renewal was received; another one follows."""
        client.silent = True

        def end() -> None:
            self._election.end(client.session)
            self._reopen(client)

        self._at(max(self.now, client.received + TTL_S + 1.0) + self.chance.uniform(0.0, 0.5), end)

    def _reopen(self, client: _Client) -> None:
        name, _, number = client.session.partition(".")
        self._start(_Client(client.name, f"{name}.{int(number) + 1}"))

    def _open_watch(self, *, skips: bool) -> None:
        begun = self.now

        def snapshot() -> None:
            seen = Seen(f"w{next(self._numbers)}", ELECTION, begun, 0.0, self._election.term, snapshot=True)
            watch = _Watch(seen, skips, self.now)
            self._watches.append(watch)
            self._deliver(watch, seen)

        if self.now:
            self._later(0.5, snapshot)
        else:
            snapshot()

    def _deliver(self, watch: _Watch, seen: Seen) -> None:
        watch.last = max(watch.last, self.now) + self.chance.uniform(0.001, 0.3)
        self.entries.append(replace(seen, at=watch.last))

    def _changed(self, before: Term) -> None:
        term = self._election.term
        for watch in self._watches:
            if watch.skips and self.chance.random() < 0.2:
                watch.skipped = True
            else:
                self._deliver(watch, replace(watch.seen, term=term, snapshot=False, skipped=watch.skipped))
                watch.skipped = False
        if term.number == before.number and term.leader == before.leader:
            return
        if self._led is not None:
            until = self.chance.uniform(self._led.begun, min(self.now, self._lease_ends()))
            self.entries.append(replace(self._led, until=until))
        self._led = None
        self._leads = self._election.queue[0][1] if term.leader else ""
        if term.leader and self._lease_ends() > self.now:
            self._led = Led(self._leads.partition(".")[0], ELECTION, term.leader, term.number, TTL_S, self.now)

    def _lease_ends(self) -> float:
        return self._sent[self._leads] + TTL_S


def a_history(chance: random.Random, wishes: Wishes) -> list[Entry]:
    """Return a history that is right."""
    return Run(chance, wishes).history()
