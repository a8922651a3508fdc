"""The state of the server, and what it tells sessions.

All times are counted from this moment, in ticks of the server's clock.
"""

from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple

from atomix_election.core.campaign import Answer
from atomix_election.core.election import Displaced, Election
from atomix_election.core.granting import leadership_of, revoked_from
from atomix_election.core.leases import LeaseTable
from atomix_election.model import Candidate, SessionId
from tests.model.messages import ELECTION, TTL, TTL_S, Answered, ToClient

STORE_ID = "s"


class Lease(NamedTuple):
    """An open session.

    Args:
        session: its identity.
        left: for how long it lasts.
        owed: for how long it has to last at least, as it was renewed: nothing decides by that, it is checked.
        renewal: the last one that came on its stream; 0 when it has none, as after a restart.
    """

    session: SessionId
    left: int
    owed: int
    renewal: int = 0


class Wait(NamedTuple):
    """A displaced leader, and for how long it is waited for."""

    displaced: Displaced
    left: int


class Server(NamedTuple):
    """The server and its store.

    Args:
        leases: the open sessions.
        opened: how many sessions were ever opened.
        queue: candidates of the election.
        number, revision: of its term.
        floor: below which no number is, since the last restore.
        operations: see ``Election``.
        waits: for whom the leader waits.
        hold: for how long nobody is admitted, after a restore.
        given: the token that was given last, and to which candidate: nothing decides by that, it is checked.
        fault: what has gone wrong.
    """

    leases: tuple[Lease, ...] = ()
    opened: int = 0
    queue: tuple[Candidate, ...] = ()
    number: int = 0
    revision: int = 0
    floor: int = 0
    operations: tuple[tuple[SessionId, int], ...] = ()
    waits: tuple[Wait, ...] = ()
    hold: int = 0
    given: tuple[int, Candidate] | None = None
    fault: str | None = None

    @property
    def election(self) -> Election:
        """The election as the core has it."""
        displaced = tuple(wait.displaced for wait in self.waits)
        return Election(
            self.queue,
            self.number,
            self.revision,
            operations=MappingProxyType(dict(self.operations)),
            displaced=displaced,
        )

    def is_open(self, session: SessionId) -> bool:
        """Return whether a session is open."""
        return any(lease.session == session for lease in self.leases)

    def find(self, client: str, session: int) -> Lease | None:
        """Return what is open under the id of a client's nth session."""
        return next((lease for lease in self.leases if lease.session.id == f"{client}{session}"), None)

    def due_in(self) -> list[int]:
        """Return in how many ticks of its clock something is due."""
        times = [lease.left for lease in self.leases] + [wait.left for wait in self.waits] + [self.hold]
        return [each for each in times if each > 0]


class Reaction(NamedTuple):
    """What the server does: how it is afterwards, and what it sends."""

    server: Server
    sent: tuple[ToClient, ...] = ()


def table_of(leases: Iterable[Lease]) -> LeaseTable:
    """Return a lease table whose clock shows 0 and whose sessions last as long as these."""
    table = LeaseTable()
    for lease in leases:
        table.grant(lease.session, TTL, lease.left - TTL)
    return table


def leases_of(table: LeaseTable, owed: dict[SessionId, int], streams: dict[SessionId, int]) -> tuple[Lease, ...]:
    left = {session: table.left_s(session, 0) for session in sorted(owed) if session in table}
    return tuple(
        Lease(session, int(each or 0), owed[session], streams.get(session, 0)) for session, each in left.items()
    )


def _says(server: Server, lease: Lease) -> Answer:
    leadership = leadership_of(lease.session, ELECTION, server.election)
    revoked = revoked_from(lease.session, ELECTION, server.election)
    leaderships = () if leadership is None else (leadership,)
    return Answer(lease.renewal, STORE_ID, TTL_S, TTL_S, leaderships, revoked)


def answers(before: Server, after: Server, asked_by: SessionId | None = None) -> tuple[ToClient, ...]:
    """Return what is said on the streams: to whom asked, and wherever it is something new."""
    former = {lease.session: lease for lease in before.leases}
    told: list[ToClient] = []
    for lease in after.leases:
        said = _says(after, lease)
        was = former.get(lease.session)
        if lease.session == asked_by or (lease.renewal and was and _says(before, was) != said):
            told.append(_answered(lease.session, said))
    gone = [lease for lease in before.leases if lease.renewal and not after.is_open(lease.session)]
    told += [_answered(lease.session, Answer(lease.renewal, STORE_ID, ended=True)) for lease in gone]
    return tuple(told)


def _answered(session: SessionId, answer: Answer) -> Answered:
    return Answered(session.id[0], int(session.id[1:]), answer)
