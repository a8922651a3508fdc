"""Sees what is committed in a simulated etcd, at the moment that it is, and compares with it all that servers say.

What a server answers rests on its own view, which may be behind. So each answer is held against what was committed
between the call and the answer: a term that was there then, and under which somebody could act.
"""

from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from atomix_election.core.campaign import Answer
from atomix_election.core.election import Election
from atomix_election.core.steps import replay
from atomix_election.errors import ElectionError, OutcomeUnknown
from atomix_election.etcd import Change, Get, WatchEvent, prefix_end
from atomix_election.model import Event, SessionId, Term
from atomix_election.stores.etcd_keys import Envelope, Layout, decode_envelope
from atomix_election.testing.etcd import SimulatedEtcd
from atomix_election.testing.invariants import Invariants

_NOTHING = Election()


class Witness:
    """Everything that was ever committed.

    Args:
        etcd: where.
        invariants: are told of each commit, and of what contradicts them.
    """

    def __init__(self, etcd: SimulatedEtcd, invariants: Invariants) -> None:
        self._etcd = etcd
        self._invariants = invariants
        self._layout = Layout()
        self._elections: dict[str, Election] = {}
        self._versions: dict[str, int] = {}
        self._terms: defaultdict[str, dict[int, Term]] = defaultdict(dict)
        self._acting: set[tuple[str, int, str]] = set()
        self._moves = Counter[tuple[str, str]]()
        self._movers = Counter[tuple[str, str]]()
        self._has_forgotten = self._has_compacted = False
        etcd.observers.append(self._see)

    def restored(self) -> None:
        """All elections begin where the floors of the restored store are, those that it does not know too."""
        self._has_forgotten = True

    def compacted(self) -> None:
        """Changes are forgotten from now on, so that servers may miss some, and then tell the last term only."""
        self._has_compacted = True

    def latest(self, election: str) -> Term:
        """Return the term of an election that was committed last."""
        return self._elections.get(election, _NOTHING).term

    def numbers(self) -> Mapping[str, int]:
        """Return the number of each election's term."""
        return {name: election.number for name, election in self._elections.items()}

    def answered(self, election: str, since: int, term: Term) -> None:
        """A call was answered with a term.

        Args:
            election: of which one.
            since: the revision that it had when the call came.
            term: what was answered.
        """
        if term.revision < since:
            self._invariants.fail(f"{election}: {term} was answered to a call from after revision {since}")
        self._check(election, term, "answered")

    @contextmanager
    def moving(self, election: str, candidate_id: str) -> Generator[None]:
        """Somebody calls for a candidate to be moved ahead, inside the block: once at most, and not after a failure."""
        key = (election, candidate_id)
        self._movers[key] += 1
        moves, may_have_moved = self._moves[key], True
        try:
            yield
            may_have_moved = self._moves[key] > moves  # else it was there already
        except ElectionError as error:
            may_have_moved = isinstance(error, OutcomeUnknown)
            raise
        finally:
            self._movers[key] -= not may_have_moved
            self._check_moves(key)

    def told(self, election: str, before: Term | None, event: Event, buffer: int) -> None:
        """A watcher was given an event.

        Args:
            election: of which one.
            before: the term of the event before it; None for the snapshot.
            event: this one.
            buffer: how many may wait for it before some are skipped.
        """
        self._check(election, event.term, "announced")
        if before is None:
            return
        missed = event.term.revision - before.revision - 1
        may_miss = self._has_compacted or self._has_forgotten or missed >= buffer
        if missed < 0 or (missed and not may_miss) or bool(missed) != event.skipped:
            self._invariants.fail(f"{election}: {event} was announced after {before}")

    def granted(self, since: Mapping[str, int], answer: Answer) -> None:
        """A session was told where it may act.

        Args:
            since: the numbers of all elections when the renewal came that is answered.
            answer: what it was told.
        """
        for each in answer.leaderships:
            if each.number < since.get(each.election, 0):
                self._invariants.fail(f"{each} was granted to a renewal from after that number")
            if (each.election, each.number, each.candidate_id) not in self._acting:
                self._invariants.fail(f"{each} was granted before anybody could act under that number")

    def _see(self, revision: int, events: Sequence[WatchEvent]) -> None:
        for event in events:
            key = event.item.key
            if key.startswith(self._layout.all_sessions):
                what = "opened" if event.change is Change.PUT else "gone"
                session = key.removeprefix(self._layout.all_sessions).split(b"\0")[1].decode()
                self._invariants.note(f"etcd {revision}: session {session} {what}")
            elif key.startswith(self._layout.all_elections):
                name = self._layout.election_id(key).name
                if event.change is Change.PUT:
                    self._commit(name, revision, decode_envelope(event.item.value))
                else:
                    self._forget(name, revision)

    def _commit(self, name: str, revision: int, envelope: Envelope) -> None:
        before, after = self._elections.get(name, _NOTHING), envelope.election
        terms = (after.term,)
        if envelope.steps and envelope.start == self._versions.get(name, 0):
            terms = replay(before.term, envelope.steps)
            if terms[-1] != after.term:
                self._invariants.fail(f"{name}: the steps of a record lead to {terms[-1]}, and not to {after.term}")
        for term in terms:
            self._terms[name][term.revision] = term
        for session in sorted(after.sessions() - before.sessions()):
            if not self._is_open(session):
                self._invariants.fail(f"{name}: {session} left something in {after.term} after its end")
        for session, operation in after.operations.items():
            if operation < before.operations.get(session, 0):
                self._invariants.fail(f"{name}: operation {operation} of {session} came after a newer one")
        if len(terms) == 1:
            self._look_who_moved(name, before, after)
        self._elections[name], self._versions[name] = after, revision
        if after.acting is not None:
            self._acting.add((name, after.number, after.acting.id))
        self._invariants.committed(name, after)

    def _look_who_moved(self, name: str, before: Election, after: Election) -> None:
        """Of those who stayed, one at most is ahead of others that were ahead of it."""
        if set(before.candidates) == set(after.candidates):
            for place, candidate in enumerate(after.candidates):
                if place < before.candidates.index(candidate):
                    self._moves[name, candidate.id] += 1
                    self._check_moves((name, candidate.id))

    def _check_moves(self, key: tuple[str, str]) -> None:
        if self._moves[key] > self._movers[key]:
            self._invariants.fail(f"{key[0]}: {key[1]} was moved ahead more often than anybody asked for")

    def _forget(self, name: str, revision: int) -> None:
        self._has_forgotten = True
        before = self._elections.get(name, _NOTHING)
        self._elections[name] = Election(number=before.number, revision=before.revision)
        self._versions.pop(name, None)
        self._invariants.note(f"etcd {revision}: {name} is gone after {before.term}")

    def _is_open(self, session: SessionId) -> bool:
        prefix = self._layout.sessions(session.namespace, session.id)
        keys = self._etcd.state.get(Get(prefix, prefix_end(prefix), keys_only=True)).items
        return any(each.create_revision == session.incarnation for each in keys)

    def _check(self, election: str, term: Term, what: str) -> None:
        """A term has to have been committed, but for where an election begins that has no record."""
        is_nothing = not term.candidates and (not term.revision or self._has_forgotten)
        if self._terms[election].get(term.revision) != term and not is_nothing:
            self._invariants.fail(f"{election}: {term} was {what}, which was never committed")
