"""What is looked at in each step of a simulation, with states and clients that are wrong in each way."""

from dataclasses import dataclass, field

import pytest

from atomix_election.core.campaign import Granted
from atomix_election.core.candidacy import Place
from atomix_election.core.election import Candidate, Election
from atomix_election.model import SessionId
from atomix_election.testing.history import Gone
from atomix_election.testing.invariants import Invariants, RunRecords, Stint


@dataclass
class Client:
    """A client that believes what it is told to."""

    process: str
    granted: Granted | None = None
    stints: set[Stint] = field(default_factory=set[Stint])

    def now(self) -> float:
        """See ``Observed.now``."""
        return 0.0

    def places(self) -> list[Place]:
        """See ``Observed.places``."""
        return [("e", self.process)]

    def leads(self, place: Place) -> Granted | None:
        """See ``Observed.leads``."""
        return self.granted


def queue(*names: str, number: int = 1, revision: int = 1) -> Election:
    """Return an election with these candidates, each of a session of its own."""
    candidates = tuple(Candidate(name, SessionId("default", name, 1)) for name in names)
    return Election(candidates, number, revision)


@pytest.fixture
def violations() -> list[str]:
    """What was called at the first violation."""
    return []


@pytest.fixture
def invariants(violations: list[str]) -> Invariants:
    """Those of a run at time 0."""
    return Invariants(lambda: 0.0, lambda: violations.append("first"))


def test_whatever_comes_last_stands_last(invariants: Invariants, violations: list[str]) -> None:
    """And who was there keeps the order; the first violation counts, and is told once."""
    invariants.committed("e", queue("a", "b"))
    invariants.committed("e", queue("a", "b", "c", revision=2))
    assert invariants.violation is None
    invariants.committed("e", queue("a", "d", "b", "c", revision=3))
    assert invariants.violation is not None
    assert "the order of e changed" in invariants.violation
    invariants.fail("another one")
    assert violations == ["first"]


def test_an_operator_may_change_the_order(invariants: Invariants) -> None:
    """While one is at work, and once more where the outcome was not known."""
    invariants.committed("e", queue("a", "b", "c"))
    invariants.operators = 1
    invariants.committed("e", queue("a", "c", "b", revision=2))
    invariants.operators = 0
    invariants.unsure.add("e")
    invariants.committed("e", queue("a", "b", "c", revision=3))
    assert invariants.violation is None
    invariants.committed("e", queue("a", "c", "b", revision=4))
    assert invariants.violation is not None


@pytest.mark.parametrize("after", [queue("b", number=1, revision=3), queue("a", number=2, revision=1)])
def test_nothing_falls(invariants: Invariants, after: Election) -> None:
    """Neither the number nor the revision, also not what a server finds when it is started."""
    invariants.committed("e", queue("a", number=2, revision=2))
    invariants.found("e", after)
    assert invariants.violation is not None
    assert "fell below" in invariants.violation


def test_another_leader_has_another_number(invariants: Invariants) -> None:
    """Also the same id of another session."""
    invariants.committed("e", queue("a"))
    other = Candidate("a", SessionId("default", "a", 2))
    invariants.committed("e", Election((other,), 1, 2))
    assert invariants.violation is not None
    assert "did not grow" in invariants.violation


def test_nobody_is_admitted_during_a_hold(invariants: Invariants) -> None:
    """While leaders from before a restore may act; who is there may leave."""
    invariants.committed("e", queue("a", "b"))
    invariants.nobody_before = 1.0
    invariants.committed("e", queue("a", revision=2))
    assert invariants.violation is None
    invariants.committed("e", queue("a", "c", revision=3))
    assert invariants.violation is not None
    assert "was admitted" in invariants.violation


def test_nobody_leads_beside_another_one(invariants: Invariants) -> None:
    """It is looked at when the one runs that may have begun to lead."""
    former, next_one = Client("a", Granted("e", 1, "a")), Client("b")
    invariants.clients += [former, next_one]
    invariants.step("a")
    invariants.step("b")
    assert invariants.violation is None
    assert invariants.leader_changes == 1
    next_one.granted = Granted("e", 2, "b")
    invariants.step("")
    assert invariants.violation is None
    invariants.step("b")
    assert invariants.violation is not None
    assert "two lead e" in invariants.violation


def test_a_token_is_never_lower_than_one_before(invariants: Invariants) -> None:
    """Nor the same for another one."""
    for process, number in (("a", 2), ("b", 1)):
        invariants.clients[:] = [Client(process, Granted("e", number, process))]
        invariants.step(process)
    assert invariants.violation is not None
    assert "after somebody did under 2" in invariants.violation


def test_records_count_for_the_trace_until_they_are_over(invariants: Invariants) -> None:
    """Equal histories have equal traces."""
    other = Invariants(lambda: 0.0, lambda: None)
    records = RunRecords(invariants)
    assert invariants.trace == other.trace
    records(Gone("a", 1.0, 0.0))
    RunRecords(other)(Gone("a", 1.0, 0.0))
    trace = invariants.trace
    assert trace == other.trace
    records.are_over = True
    records(Gone("b", 1.0, 0.0))
    assert (invariants.trace, len(records.history)) == (trace, 1)
