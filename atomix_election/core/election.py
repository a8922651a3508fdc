"""All transitions of an election: ``apply(election, command) -> Transition``.

One entry per command in the table at the end of this file; the laws are in ``core/__init__.py``. Whether a session is
still open, and the lowest number that the next term may have, are facts of the world and come in as arguments.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from atomix_election.core.commands import (
    Anoint,
    Close,
    Command,
    Create,
    Enter,
    Evict,
    ExpireSession,
    Forget,
    Operation,
    Promote,
    SteppedDown,
    Withdraw,
)
from atomix_election.errors import (
    CandidateTaken,
    ElectionError,
    InvalidRequest,
    LimitExceeded,
    NotACandidate,
    NotOwner,
    OutcomeUnknown,
    SessionEnded,
)
from atomix_election.model import Candidate, SessionId, Term

_NO_OPERATIONS: Mapping[SessionId, int] = MappingProxyType({})
_NO_TIMES: MappingProxyType[Candidate, float] = MappingProxyType({})


class Displaced(NamedTuple):
    """A leader from whom somebody else's command took the lead, and who may not know it yet.

    Attributes:
        candidate: who led.
        number: under which term.
    """

    candidate: Candidate
    number: int


class Election(NamedTuple):
    """The whole state of one election.

    Attributes:
        candidates: the queue, the leader first.
        number: the number of the current or, when nobody leads, of the last term.
        revision: counts the visible changes.
        registered: the sessions that created the election and have not closed it.
        operations: the newest numbered write of each session that was accepted here.
        displaced: former leaders that the next one waits for.
        entered_at: when each candidate entered, and
        began_at: when the current term began, in seconds of a wall clock; 0 where that is not known or nobody leads.
            For people only: nothing is decided by them.
    """

    candidates: tuple[Candidate, ...] = ()
    number: int = 0
    revision: int = 0
    registered: frozenset[SessionId] = frozenset()
    operations: Mapping[SessionId, int] = _NO_OPERATIONS
    displaced: tuple[Displaced, ...] = ()
    entered_at: MappingProxyType[Candidate, float] = _NO_TIMES
    began_at: float = 0.0

    @property
    def term(self) -> Term:
        """The election as its users see it."""
        return Term(tuple([candidate.id for candidate in self.candidates]), self.number, self.revision)

    @property
    def acting(self) -> Candidate | None:
        """The leader, once nobody is waited for: who may act as such."""
        return self.candidates[0] if self.candidates and not self.displaced else None

    def sessions(self) -> set[SessionId]:
        """Return the sessions that have left anything here."""
        displaced = {each.candidate.session for each in self.displaced}
        return {each.session for each in self.candidates} | self.registered | self.operations.keys() | displaced

    def has_of(self, session: SessionId) -> bool:
        """Return whether a session has left anything here."""
        return (
            session in self.operations
            or session in self.registered
            or any(each.session == session for each in self.candidates)
            or any(each.candidate.session == session for each in self.displaced)
        )

    def find(self, candidate_id: str) -> Candidate | None:
        """Return the candidate of that id, or None."""
        for each in self.candidates:
            if each.id == candidate_id:
                return each
        return None


class Transition(NamedTuple):
    """What became of a command.

    Args:
        election: the state after it.
        refusal: why it was refused, where it was.
        forgotten: whether its record is to be removed; the number and the revision then stay as the least that the
            store goes on from.
    """

    election: Election
    refusal: ElectionError | None = None
    forgotten: bool = False


def every_session_is_open(_: SessionId) -> bool:
    """The view of sessions for callers that know of no end."""
    return True


def no_session_confirms(_: SessionId) -> bool:
    """The view of sessions for callers that know only published clients."""
    return False


def apply(
    election: Election,
    command: Command,
    *,
    is_open: Callable[[SessionId], bool] = every_session_is_open,
    confirms: Callable[[SessionId], bool] = no_session_confirms,
    floor: int = 0,
    operation: Operation | None = None,
    at: float = 0.0,
    max_candidates: int | None = None,
) -> Transition:
    """Apply one command.

    Args:
        election: the state before it; not changed.
        command: what is asked.
        is_open: tells whether a session is still open.
        confirms: tells whether a session's client steps down by itself and says so, so that it is worth waiting for.
        floor: the least number of a term that begins now. A store raises it above the numbers that it may have
            forgotten, after a restore for example.
        operation: the caller's number for this write. A repeat of the newest is accepted without effect, an older
            one is refused, as it is a late duplicate.
        at: what a wall clock says, to be remembered for people.
        max_candidates: how many candidates there may be; None for any number. An election that has more keeps them.
    """
    if operation is not None:
        if not is_open(operation.session):
            return _refuse(election, _session_ended(operation.session))
        newest = election.operations.get(operation.session, -1)
        if operation.number == newest:
            return Transition(election)
        if operation.number < newest:
            return _refuse(election, _late(operation, newest))
    transition = _RULES[type(command)](election, command, is_open)
    if transition.refusal is not None or transition.forgotten:
        return transition
    queue = transition.election.candidates
    if max_candidates is not None and len(queue) > max(len(election.candidates), max_candidates):
        return _refuse(election, _full(max_candidates))
    after = _count(election, command, transition.election, floor, at)
    if type(command) in _DISPLACING:
        after = _displace(election, after, lambda session: is_open(session) and confirms(session))
    if operation is not None:
        newest_of_each = MappingProxyType({**after.operations, operation.session: operation.number})
        after = after._replace(operations=newest_of_each)
    return Transition(after)


def _count(before: Election, command: Command, after: Election, floor: int, at: float) -> Election:
    """Give the state after a command its number and revision (laws 2 to 4).

    Candidates are compared with their sessions: an id that another session enters in the same command leads anew.
    """
    if after.candidates == before.candidates:
        return after
    number, began_at = before.number, before.began_at if after.candidates else 0.0
    if after.candidates and after.candidates[:1] != before.candidates[:1]:
        number, began_at = max(number + 1, floor), at
    return after._replace(
        number=number,
        revision=before.revision + 1,
        entered_at=_times(command, after, at),
        began_at=began_at,
    )


def _times(command: Command, after: Election, at: float) -> MappingProxyType[Candidate, float]:
    """Return when each candidate entered; the rules have left out who is gone, and an entry is at the end.

    Copied without looking at each, as queues can be long.
    """
    if not isinstance(command, Enter):
        return after.entered_at
    return MappingProxyType(after.entered_at | {after.candidates[-1]: at})


def _displace(before: Election, after: Election, is_waited_for: Callable[[SessionId], bool]) -> Election:
    """Let the next leader wait for one from whom the lead was taken and whose client confirms that it stepped down.

    One entry for each session: a client confirms a number only when it does nothing under that one or a lower one.
    """
    former = before.candidates[:1]
    if not former or after.candidates[:1] == former or not is_waited_for(former[0].session):
        return after
    others = tuple(each for each in after.displaced if each.candidate.session != former[0].session)
    return after._replace(displaced=(*others, Displaced(former[0], before.number)))


_IsOpen = Callable[[SessionId], bool]


def _create(election: Election, command: Create, is_open: _IsOpen) -> Transition:
    if not is_open(command.session):
        return _refuse(election, _session_ended(command.session))
    if command.session in election.registered:
        return Transition(election)
    return Transition(election._replace(registered=election.registered | {command.session}))


def _close(election: Election, command: Close, is_open: _IsOpen) -> Transition:
    if not is_open(command.session):
        return _refuse(election, _session_ended(command.session))
    return Transition(_without_session(election, command.session))


def _enter(election: Election, command: Enter, is_open: _IsOpen) -> Transition:
    if not is_open(command.session):
        return _refuse(election, _session_ended(command.session))
    candidate = Candidate(command.candidate_id, command.session)
    present = election.find(command.candidate_id)
    if present == candidate:
        return Transition(election)
    if present is not None:
        if is_open(present.session):
            taken = (
                f"candidate id {present.id!r} belongs to another live session: choose another id, or wait for its end"
            )
            return _refuse(election, CandidateTaken(taken))
        election = _without(election, present)
    return Transition(election._replace(candidates=(*election.candidates, candidate)))


def _withdraw(election: Election, command: Withdraw, is_open: _IsOpen) -> Transition:
    if not is_open(command.session):
        return _refuse(election, _session_ended(command.session))
    present = election.find(command.candidate_id)
    if present is None:
        return Transition(election)
    if present.session != command.session:
        owner = f"candidate {present.id!r} was entered by another session: Evict removes a candidate of others"
        return _refuse(election, NotOwner(owner))
    return Transition(_without(election, present))


def _anoint(election: Election, command: Anoint, _: _IsOpen) -> Transition:
    present = election.find(command.candidate_id)
    if present is None:
        return _refuse(election, _not_a_candidate(command.candidate_id))
    if present == election.candidates[0]:
        return Transition(election)
    return Transition(election._replace(candidates=(present, *_all_but(election, present))))


def _promote(election: Election, command: Promote, _: _IsOpen) -> Transition:
    present = election.find(command.candidate_id)
    if present is None:
        return _refuse(election, _not_a_candidate(command.candidate_id))
    queue = list(election.candidates)
    place = queue.index(present)
    if place == 0:
        return Transition(election)
    queue.insert(place - 1, queue.pop(place))
    return Transition(election._replace(candidates=tuple(queue)))


def _evict(election: Election, command: Evict, _: _IsOpen) -> Transition:
    present = election.find(command.candidate_id)
    if present is None:
        return _refuse(election, _not_a_candidate(command.candidate_id))
    return Transition(_without(election, present))


def _expire_session(election: Election, command: ExpireSession, _: _IsOpen) -> Transition:
    after = _without_session(election, command.session)
    if command.session in after.operations:
        rest = {session: number for session, number in after.operations.items() if session != command.session}
        after = after._replace(operations=MappingProxyType(rest))
    if any(each.candidate.session == command.session for each in after.displaced):
        waited_for = tuple(each for each in after.displaced if each.candidate.session != command.session)
        after = after._replace(displaced=waited_for)
    return Transition(after)


def _stepped_down(election: Election, command: SteppedDown, _: _IsOpen) -> Transition:
    waited_for = tuple(
        each for each in election.displaced if each.candidate.session != command.session or each.number > command.number
    )
    return Transition(election if waited_for == election.displaced else election._replace(displaced=waited_for))


def _forget(election: Election, _: Forget, is_open: _IsOpen) -> Transition:
    """Nobody may lose anything by it: no place, no registration, no protection from late duplicates.

    The displaced are waited for to the end, as a leader who enters meanwhile would act beside them.
    """
    if election.candidates:
        return _refuse(election, _in_use(f"candidates stand in it, {len(election.candidates)} of them"))
    if election.displaced:
        return _refuse(election, _in_use("a leader from whom the lead was taken may not have stepped down yet"))
    using = sum(is_open(session) for session in election.sessions())
    if using:
        return _refuse(election, _in_use(f"{using} open sessions have created it or written to it"))
    return Transition(Election(number=election.number, revision=election.revision), forgotten=True)


def _without(election: Election, candidate: Candidate) -> Election:
    times = election.entered_at.copy()
    times.pop(candidate, None)
    return election._replace(candidates=_all_but(election, candidate), entered_at=MappingProxyType(times))


def _all_but(election: Election, candidate: Candidate) -> tuple[Candidate, ...]:
    place = election.candidates.index(candidate)
    return election.candidates[:place] + election.candidates[place + 1 :]


def _without_session(election: Election, session: SessionId) -> Election:
    if session not in election.registered and all(each.session != session for each in election.candidates):
        return election
    times = election.entered_at.copy()
    for each in election.candidates:
        if each.session == session:
            times.pop(each, None)
    return election._replace(
        candidates=tuple(each for each in election.candidates if each.session != session),
        registered=election.registered - {session},
        entered_at=MappingProxyType(times),
    )


def _refuse(election: Election, refusal: ElectionError) -> Transition:
    return Transition(election, refusal)


def _session_ended(session: SessionId) -> SessionEnded:
    return SessionEnded(f"session {session.digest} is not open: open a new one and enter again")


def _not_a_candidate(candidate_id: str) -> NotACandidate:
    return NotACandidate(f"{candidate_id!r} is not a candidate of this election")


def _in_use(why: str) -> InvalidRequest:
    return InvalidRequest(f"the election is in use and cannot be forgotten: {why}; end its clients first, or wait")


def _full(max_candidates: int) -> LimitExceeded:
    return LimitExceeded(
        f"the election has {max_candidates} candidates, the limit: try later, or raise max_candidates of the server "
        "(serve --max-candidates)",
        limit="max_candidates",
    )


def _late(operation: Operation, newest: int) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"write {operation.number} of session {operation.session.digest} came after its write {newest}: "
        "a late duplicate, which was not applied again; read the term for what is there now"
    )


_RULES: Mapping[type[Command], Callable[[Election, Any, _IsOpen], Transition]] = {
    Create: _create,
    Close: _close,
    Enter: _enter,
    Withdraw: _withdraw,
    Anoint: _anoint,
    Promote: _promote,
    Evict: _evict,
    ExpireSession: _expire_session,
    SteppedDown: _stepped_down,
    Forget: _forget,
}
_DISPLACING = frozenset({Anoint, Promote, Evict})
