"""What a server can do: the real lease table, election and granting, and around them what the engine does.

Each step takes the state of a server and returns the one after it, with what was sent.
"""

from atomix_election.core.campaign import Answer
from atomix_election.core.commands import Command, Enter, ExpireSession, Operation, SteppedDown, Withdraw
from atomix_election.core.election import Election, apply
from atomix_election.core.floors import RESTORE_JUMP, Floors
from atomix_election.core.granting import newly_confirmed, revoked_from, waits_until
from atomix_election.errors import SessionEnded
from atomix_election.model import SessionId
from tests.model.messages import ELECTION, TTL, Answered, Kind, Renewal, Replied, Write
from tests.model.server import STORE_ID, Reaction, Server, Wait, answers, leases_of, table_of


class Servers:
    """What a server can do, each from its state. Each argument leaves out a rule, to show what it is good for.

    Args:
        restored_ttl: how long sessions last after a restart, in ticks.
        waits_for_displaced: whether a new leader waits for the one from whom an operator took the lead.
        waits_anew: whether it goes on waiting after a restart.
        holds: whether nobody is admitted after the restore of a backup before former leaders are gone.
        keeps_tokens: whether tokens are above all that were given, after the restore of a backup from the beginning.
        checks_operations: whether late duplicates of writes are refused.
    """

    def __init__(
        self,
        *,
        restored_ttl: int = TTL,
        waits_for_displaced: bool = True,
        waits_anew: bool = True,
        holds: bool = True,
        keeps_tokens: bool = True,
        checks_operations: bool = True,
    ) -> None:
        self._restored_ttl = restored_ttl
        self._waits_for_displaced = waits_for_displaced
        self._waits_anew = waits_anew
        self._holds = holds
        self._keeps_tokens = keeps_tokens
        self._checks_operations = checks_operations

    def renew(self, server: Server, renewal: Renewal) -> Reaction:
        """A renewal comes, for a session that is open or to be opened: see ``EngineKeepAlive.send``."""
        lease = server.find(renewal.client, renewal.session)
        if lease is None and not renewal.opens:
            ended = Answer(renewal.renewal, STORE_ID, ended=True)
            return Reaction(server, (Answered(renewal.client, renewal.session, ended),))
        if lease is None and server.hold > 0:
            return Reaction(server)
        before = server
        table = table_of(server.leases)
        if lease is None:
            server = server._replace(opened=server.opened + 1)
            session = SessionId("default", f"{renewal.client}{renewal.session}", server.opened)
            table.grant(session, TTL, 0)
        else:
            session = lease.session
            table.renew(session, 0)
        streams = {each.session: each.renewal for each in server.leases}
        streams[session] = max(streams.get(session, 0), renewal.renewal)
        owed = {each.session: each.owed for each in server.leases} | {session: TTL}
        server = server._replace(leases=leases_of(table, owed, streams))
        revoked = revoked_from(session, ELECTION, server.election)
        number = newly_confirmed(revoked, renewal.stepped_down)
        if number is not None:
            server = self._apply(server, SteppedDown(session, number))
        return Reaction(server, answers(before, server, asked_by=session))

    def write(self, server: Server, write: Write) -> Reaction:
        """A write comes."""
        lease = server.find(write.client, write.session)
        if lease is None:
            return Reaction(server, (Replied(write.client, write.session, write.operation, None),))
        kind = Enter if write.kind is Kind.ENTER else Withdraw
        operation = Operation(lease.session, write.operation) if self._checks_operations else None
        transition = apply(
            server.election, kind(write.client, lease.session), is_open=server.is_open, operation=operation
        )
        if transition.refusal is not None:
            assert not isinstance(transition.refusal, SessionEnded)
            return Reaction(server)
        after = self._take(server, transition.election)
        reply = Replied(write.client, write.session, write.operation, transition.election.term)
        return Reaction(after, (reply, *answers(server, after)))

    def operate(self, server: Server, command: Command) -> Reaction:
        """An operator gives a command."""
        after = self._apply(server, command)
        return Reaction(after, answers(server, after))

    def expire(self, server: Server) -> Reaction:
        """Sessions whose time has passed end, and leave the queue: see ``Engine._expire_sessions``."""
        table = table_of(server.leases)
        ended = table.expire(0)
        owed = {each.session: each.owed for each in server.leases}
        streams = {each.session: each.renewal for each in server.leases}
        after = server._replace(leases=leases_of(table, owed, streams))
        early = [session.id for session in ended if owed[session] > 0]
        if early:
            after = after._replace(fault=f"the server ended session {early[0]} before one time-to-live had passed")
        for session in ended:
            after = self._apply(after, ExpireSession(session))
        return Reaction(after, answers(server, after))

    def end_waits(self, server: Server) -> Reaction:
        """Displaced leaders are waited for no longer: see ``Engine._end_waiting``."""
        after = server
        for wait in server.waits:
            if wait.left <= 0:
                after = self._apply(after, SteppedDown(wait.displaced.candidate.session, wait.displaced.number))
        return Reaction(after, answers(server, after))

    def restart(self, server: Server) -> Reaction:
        """It ends and begins anew with what is stored: see ``Engine._restore``.

        How long it was away does not matter: a server that does nothing for a while is the same to everybody else.
        """
        leases = tuple(each._replace(left=self._restored_ttl, renewal=0) for each in server.leases)
        waits = tuple(Wait(wait.displaced, int(waits_until(0, TTL))) for wait in server.waits if self._waits_anew)
        return Reaction(server._replace(leases=leases, waits=waits, hold=TTL if server.hold else 0))

    def restore(self, server: Server) -> Reaction:
        """A backup takes the place of the store: see ``Floors.restored`` and ``Engine._begin_hold``.

        Nobody is in its elections, whenever it was made.
        """
        number = server.number + RESTORE_JUMP if self._keeps_tokens else 0
        begun = Floors(number, number).begin()
        hold = TTL if self._holds else 0
        restored = Server(opened=server.opened, number=begun.number, revision=begun.revision, floor=begun.number)
        return Reaction(restored._replace(hold=hold, given=server.given))

    def later(self, server: Server, ticks: int) -> Server:
        """Return how it is when so many ticks of its clock have passed."""
        leases = tuple(
            each._replace(left=max(each.left - ticks, 0), owed=max(each.owed - ticks, 0)) for each in server.leases
        )
        waits = tuple(each._replace(left=max(each.left - ticks, 0)) for each in server.waits)
        return server._replace(leases=leases, waits=waits, hold=max(server.hold - ticks, 0))

    def _apply(self, server: Server, command: Command) -> Server:
        transition = apply(
            server.election, command, is_open=server.is_open, confirms=lambda _: self._waits_for_displaced
        )
        return server if transition.refusal is not None else self._take(server, transition.election)

    def _take(self, server: Server, election: Election) -> Server:
        """Take over what became of the election, begin to wait for whom it displaced, and see whom it gave a token."""
        waiting = {wait.displaced: wait for wait in server.waits}
        waits = tuple(waiting.get(each, Wait(each, int(waits_until(0, TTL)))) for each in election.displaced)
        operations = tuple(sorted(election.operations.items()))
        after = server._replace(
            queue=election.candidates,
            number=election.number,
            revision=election.revision,
            operations=operations,
            waits=waits,
        )
        leader = election.acting
        if leader is None or server.given == (election.number, leader):
            return after
        if server.given is not None and election.number <= server.given[0]:
            fault = f"token {election.number} is given to {leader.session.id}, after {server.given[0]} was given to "
            return after._replace(fault=fault + server.given[1].session.id)
        return after._replace(given=(election.number, leader))
