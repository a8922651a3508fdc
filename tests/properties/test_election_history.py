"""One election's random history: writes with and without numbers, sessions that end and come back, duplicates."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atomix_election.core.commands import (
    Anoint,
    Close,
    Command,
    Create,
    Enter,
    Evict,
    ExpireSession,
    Operation,
    Promote,
    SteppedDown,
    Withdraw,
)
from atomix_election.core.election import Election, Transition, apply
from atomix_election.errors import OutcomeUnknown, SessionEnded
from atomix_election.model import SessionId

candidate_ids = st.sampled_from("abcd")
names = st.sampled_from("123")
picks = st.integers(min_value=0, max_value=1000)
moves = st.sampled_from([Anoint, Promote, Evict])
registrations = st.sampled_from([Create, Close])
ownings = st.sampled_from([Enter, Enter, Withdraw])


class World:
    """An election and its sessions. A session name always has an open incarnation, and maybe ended ones."""

    def __init__(self) -> None:
        self.election = Election()
        self.open = {name: SessionId("default", name, 1) for name in "123"}
        self.ended: list[SessionId] = []
        self.swept: list[SessionId] = []
        self.floor = 0

    def confirms(self, session: SessionId) -> bool:
        """Clients of two sessions are ours, that of the third is of another make."""
        return session.id != "3"

    def is_open(self, session: SessionId) -> bool:
        return self.open[session.id] == session

    def end(self, name: str) -> None:
        """End a session, and open one of the same id at once."""
        session = self.open[name]
        self.ended.append(session)
        self.open[name] = session._replace(incarnation=session.incarnation + 1)

    def perform(self, command: Command, operation: Operation | None = None) -> Transition:
        transition = apply(
            self.election,
            command,
            is_open=self.is_open,
            confirms=self.confirms,
            floor=self.floor,
            operation=operation,
        )
        self.election = transition.election
        return transition

    def sweep(self, pick: int) -> SessionId:
        session = self.ended.pop(pick % len(self.ended))
        self.swept.append(session)
        self.perform(ExpireSession(session))
        return session


class History(RuleBasedStateMachine):
    """Each rule may follow each other one; after every step the laws are checked."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.before = self.world.election
        self.tokens: list[int] = []
        self.written: dict[SessionId, list[tuple[int, Command]]] = {}

    def write(self, command: Command, name: str, numbered: bool) -> None:
        session = self.world.open[name]
        if not numbered:
            self.world.perform(command)
            return
        history = self.written.setdefault(session, [])
        number = history[-1][0] + 1 if history else 0
        if self.world.perform(command, Operation(session, number)).refusal is None:
            history.append((number, command))

    @rule(kind=ownings, candidate=candidate_ids, name=names, numbered=st.booleans())
    def own(self, kind: type[Enter | Withdraw], candidate: str, name: str, numbered: bool) -> None:
        self.write(kind(candidate, self.world.open[name]), name, numbered)

    @rule(kind=moves, candidate=candidate_ids, name=names, numbered=st.booleans())
    def move(self, kind: type[Anoint | Promote | Evict], candidate: str, name: str, numbered: bool) -> None:
        self.write(kind(candidate), name, numbered)

    @rule(kind=registrations, name=names, numbered=st.booleans())
    def register(self, kind: type[Create | Close], name: str, numbered: bool) -> None:
        self.write(kind(self.world.open[name]), name, numbered)

    @rule(rise=st.integers(min_value=1, max_value=20))
    def raise_the_floor(self, rise: int) -> None:
        self.world.floor += rise

    @rule(name=names)
    def end(self, name: str) -> None:
        self.world.end(name)

    @precondition(lambda self: self.world.election.displaced)
    @rule(pick=picks, later=st.integers(min_value=-2, max_value=2))
    def step_down(self, pick: int, later: int) -> None:
        """It covers lower numbers. Nobody sees it in the term, and nobody else is waited for the less."""
        waited_for = self.world.election.displaced
        report = waited_for[pick % len(waited_for)]
        self.world.perform(SteppedDown(report.candidate.session, report.number + later))
        left = tuple(each for each in waited_for if each != report or later < 0)
        assert self.world.election.displaced == left
        assert self.world.election.term == self.before.term

    @precondition(lambda self: self.world.ended)
    @rule(pick=picks)
    def sweep(self, pick: int) -> None:
        """Whoever did not belong to the session stays, in order."""
        swept = self.world.sweep(pick)
        others = [each for each in self.before.candidates if each.session != swept]
        assert list(self.world.election.candidates) == others

    @precondition(lambda self: self.world.ended or self.world.swept)
    @rule(own=ownings, register=registrations, candidate=st.none() | candidate_ids, pick=picks)
    def a_late_call_of_an_ended_session_changes_nothing(
        self, own: type[Enter | Withdraw], register: type[Create | Close], candidate: str | None, pick: int
    ) -> None:
        ended = self.world.ended + self.world.swept
        session = ended[pick % len(ended)]
        late = own(candidate, session) if candidate else register(session)
        assert type(self.world.perform(late).refusal) is SessionEnded
        assert self.world.election == self.before

    @precondition(lambda self: any(self.written.values()))
    @rule(pick=picks, age=picks)
    def a_duplicate_changes_nothing(self, pick: int, age: int) -> None:
        """The newest write is answered again, an older one and those of ended sessions are refused."""
        session, history = sorted(each for each in self.written.items() if each[1])[pick % self.writers()]
        number, command = history[age % len(history)]
        refusal = type(self.world.perform(command, Operation(session, number)).refusal)
        newest = type(None) if number == history[-1][0] else OutcomeUnknown
        assert refusal is (newest if self.world.is_open(session) else SessionEnded)
        assert self.world.election == self.before

    def writers(self) -> int:
        return sum(1 for history in self.written.values() if history)

    @invariant()
    def the_laws_hold(self) -> None:
        """Checked after each step, against the state after the one before."""
        before, after = self.before, self.world.election
        ids = [candidate.id for candidate in after.candidates]
        assert len(set(ids)) == len(ids)
        assert after.term.leader == (ids[0] if ids else None)
        assert after.revision == before.revision + (after.candidates != before.candidates)
        begins = bool(ids) and after.candidates[:1] != before.candidates[:1]
        assert after.number == (max(before.number + 1, self.world.floor) if begins else before.number)
        if begins:
            assert after.number > max(self.tokens, default=0), "a token was given twice"
            self.tokens.append(after.number)
        self.before = after

    @invariant()
    def a_session_is_waited_for_once(self) -> None:
        displaced = self.world.election.displaced
        assert len({each.candidate.session for each in displaced}) == len(displaced)
        assert all(0 < each.number <= self.world.election.number for each in displaced)

    @invariant()
    def a_swept_session_has_left_no_trace(self) -> None:
        election = self.world.election
        traces = {each.session for each in election.candidates} | election.registered | election.operations.keys()
        traces |= {each.candidate.session for each in election.displaced}
        assert traces == election.sessions()
        assert traces.isdisjoint(self.world.swept)


TestHistory = History.TestCase
TestHistory.settings = settings(deadline=None, print_blob=True, max_examples=200, stateful_step_count=60)
