"""The transcripts in tests/transcripts: a command, then the exact line that results.

    == TITLE                       a new election begins
    # ...                          a comment
    end session=S                  the session is no longer open, and not yet swept
    confirming session=S           its client steps down by itself and says so
    floor N                        the least number of a term that begins from here on
    enter a session=S   -> RESULT  and so on: withdraw, anoint, promote, evict, create, close, expire
    stepped-down session=S term=N  -> RESULT
    forget              -> forgotten, RESULT
    owners              -> a=S     who entered which candidate
    acting              -> a       who may act as leader, or nobody

Every write may carry ``session=S operation=N``. S is a session id, or id.incarnation (1 when left out). RESULT names
all that changed: the term, registered sessions, newest operations and displaced leaders (id=S@term). Otherwise it is
``unchanged``, or ``refused: why``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from atomix_election import errors
from atomix_election.core import commands
from atomix_election.core.commands import Command, Operation
from atomix_election.core.election import Election, apply
from atomix_election.model import SessionId

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
LEAST_FILES, LEAST_SCENARIOS = 11, 93
KNOWN_FAULTS = (
    "a leader that enters again is queued behind itself",
    "Withdraw of a waiting candidate does nothing",
    "Anoint elects another than the one named",
    "the last leader's end is not announced",
    "a restarted process stays bound to its dead session and is evicted when that one expires",
    "an old session's end removes the candidate that a new one entered",
)
"""Those of the design's list that the core decides. That watchers are never removed is tested with the engine."""

REFUSALS: dict[type[errors.ElectionError], str] = {
    errors.CandidateTaken: "taken",
    errors.InvalidRequest: "in use",
    errors.NotACandidate: "not a candidate",
    errors.NotOwner: "not the owner",
    errors.OutcomeUnknown: "late duplicate",
    errors.SessionEnded: "session ended",
}
OF_A_CANDIDATE = {"anoint": commands.Anoint, "promote": commands.Promote, "evict": commands.Evict}
OF_AN_OWNER = {"enter": commands.Enter, "withdraw": commands.Withdraw}
OF_A_SESSION = {"create": commands.Create, "close": commands.Close, "expire": commands.ExpireSession}
WRITE = re.compile(
    r"(?P<verb>[a-z]+)(?: (?P<id>[a-z]))?"
    r"(?: session=(?P<session>\d+(?:\.\d+)?))?(?: operation=(?P<operation>\d+))?"
)


@dataclass
class Scenario:
    """One election's story: numbered lines under a title."""

    place: str
    title: str
    lines: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def parse(place: str, text: str) -> list[Scenario]:
    """Split a transcript at its titles, without comments and blank lines."""
    scenarios: list[Scenario] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = " ".join(line.split())
        if words.startswith("== "):
            scenarios.append(Scenario(place, words.removeprefix("== ")))
        elif words and not words.startswith("#"):
            assert scenarios, f"{place}:{number}: a line before the first title"
            scenarios[-1].lines.append((number, words))
    return scenarios


def session_id(text: str) -> SessionId:
    name, _, incarnation = text.partition(".")
    return SessionId("default", name, int(incarnation or 1))


def session_name(session: SessionId) -> str:
    return session.id if session.incarnation == 1 else f"{session.id}.{session.incarnation}"


def write_of(line: str) -> tuple[Command, Operation | None]:
    """Read a write. A line that is none raises ValueError."""
    if line == "forget":
        return commands.Forget(), None
    if report := re.fullmatch(r"stepped-down session=([\d.]+) term=(\d+)", line):
        return commands.SteppedDown(session_id(report[1]), int(report[2])), None
    match = WRITE.fullmatch(line)
    if match is None:
        raise ValueError(f"unknown line: {line}")
    verb, candidate = match["verb"], match["id"]
    session = session_id(match["session"]) if match["session"] else None
    number = match["operation"]
    operation = Operation(session, int(number)) if session and number else None
    if verb in OF_A_CANDIDATE and candidate and (session is None) == (number is None):
        return OF_A_CANDIDATE[verb](candidate), operation
    if verb in OF_AN_OWNER and candidate and session:
        return OF_AN_OWNER[verb](candidate, session), operation
    if verb in OF_A_SESSION and not candidate and session:
        return OF_A_SESSION[verb](session), operation
    raise ValueError(f"unknown line: {line}")


class Stage:
    """An election, and what it is told of the world."""

    def __init__(self) -> None:
        self.election = Election()
        self.ended: set[SessionId] = set()
        self.confirming: set[SessionId] = set()
        self.floor = 0

    def perform(self, line: str) -> str | None:
        """Do what a line says, and return the result; None where it has none."""
        if fact := re.fullmatch(r"floor (\d+)", line):
            self.floor = int(fact[1])
            return None
        if fact := re.fullmatch(r"end session=([\d.]+)", line):
            self.ended.add(session_id(fact[1]))
            return None
        if fact := re.fullmatch(r"confirming session=([\d.]+)", line):
            self.confirming.add(session_id(fact[1]))
            return None
        if line == "owners":
            return " ".join(f"{each.id}={session_name(each.session)}" for each in self.election.candidates)
        if line == "acting":
            return self.election.acting.id if self.election.acting else "nobody"
        return self.write(*write_of(line))

    def write(self, command: Command, operation: Operation | None) -> str:
        """Apply a command, and say all that it changed."""
        if isinstance(command, commands.ExpireSession):
            self.ended.add(command.session)
        before = self.election
        transition = apply(
            before,
            command,
            is_open=lambda session: session not in self.ended,
            confirms=lambda session: session in self.confirming,
            floor=self.floor,
            operation=operation,
        )
        self.election = transition.election
        if transition.refusal is not None:
            assert self.election == before, f"refused, and changed: {self.election}"
            return f"refused: {REFUSALS[type(transition.refusal)]}"
        return "forgotten, " * transition.forgotten + changes(before, self.election)


def changes(before: Election, after: Election) -> str:
    """Say in one line what differs."""
    said = ["unchanged"]
    if after.term != before.term:
        term = after.term
        leader = f"leader {term.leader}" if term.leader else "no leader"
        said = [f"term {term.number} rev {term.revision} {leader} [{' '.join(term.candidates)}]"]
    if after.registered != before.registered:
        names = [session_name(session) for session in sorted(after.registered)]
        said.append(f"registered {' '.join(names) or 'none'}")
    if after.operations != before.operations:
        counters = [f"{session_name(session)}:{number}" for session, number in sorted(after.operations.items())]
        said.append(f"operations {' '.join(counters) or 'none'}")
    if after.displaced != before.displaced:
        waits = [f"{each.id}={session_name(each.session)}@{number}" for each, number in after.displaced]
        said.append(f"waits for {' '.join(waits) or 'nobody'}")
    assert said != ["unchanged"] or after == before, f"changed out of sight: {before} to {after}"
    return ", ".join(said)


def play(scenario: Scenario) -> None:
    """Perform a scenario; the first line that does not hold fails with its place."""
    stage = Stage()
    for number, line in scenario.lines:
        place = f"{scenario.place}:{number}"
        action, arrow, expected = (part.strip() for part in line.partition("->"))
        try:
            result = stage.perform(action)
        except (ValueError, AssertionError) as error:
            pytest.fail(f"{place}: {error}", pytrace=False)
        assert (result is not None) == bool(arrow), f"{place}: {action}: a result belongs to a command, and to each"
        if arrow and result != expected:
            pytest.fail(f"{place}: {action}\n  expected: {expected}\n  came out: {result}", pytrace=False)


FILES = sorted(TRANSCRIPTS.glob("*.txt"))
SCENARIOS = [scenario for path in FILES for scenario in parse(f"tests/transcripts/{path.name}", path.read_text())]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: f"{Path(each.place).stem}: {each.title}")
def test_the_transcript_holds(scenario: Scenario) -> None:
    """What a transcript says is what happens, line for line."""
    assert scenario.lines, "a title without a line"
    play(scenario)


def test_no_transcript_got_lost() -> None:
    """The files are found, and each title is used once in its file."""
    assert len(FILES) >= LEAST_FILES
    assert len(SCENARIOS) >= LEAST_SCENARIOS
    titles = [(scenario.place, scenario.title) for scenario in SCENARIOS]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("fault", KNOWN_FAULTS)
def test_each_known_fault_has_a_transcript(fault: str) -> None:
    """Every fault of other implementations that the core can have is marked where it is ruled out."""
    assert any(f"# known fault: {fault}\n" in path.read_text() for path in FILES)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("entre a session=1 -> unchanged", "unknown line: entre a session=1"),
        ("enter a -> unchanged", "unknown line: enter a"),
        ("create a session=1 -> unchanged", "unknown line: create a session=1"),
        ("anoint a session=1 -> unchanged", "unknown line: anoint a session=1"),
        ("enter a session=1 please -> unchanged", "unknown line: enter a session=1 please"),
        ("enter a session=1 -> unchanged", "came out: term 1 rev 1 leader a [a]"),
        ("enter a session=1", "a result belongs to a command"),
        ("floor 3 -> unchanged", "a result belongs to a command"),
    ],
)
def test_a_line_that_does_not_hold_fails_with_its_place(line: str, message: str) -> None:
    """An unknown line, a wrong result and a missing one are errors, never skipped."""
    (scenario,) = parse("some.txt", f"# a comment\n\n== title\n{line}\n")
    with pytest.raises((pytest.fail.Exception, AssertionError)) as failure:
        play(scenario)
    assert "some.txt:4: " in str(failure.value)
    assert message in str(failure.value)


def test_a_line_without_a_title_fails_with_its_place() -> None:
    """A transcript begins with a title."""
    with pytest.raises(AssertionError, match=r"some\.txt:1: "):
        parse("some.txt", "enter a session=1 -> unchanged\n")
