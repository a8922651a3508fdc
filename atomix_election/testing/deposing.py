"""Taking the lead from whoever has it: by the commands of an operator, or by ending the leader's session."""

from atomix_election.client import Client
from atomix_election.errors import InvalidRequest, LossReason, NotACandidate
from atomix_election.model import Term
from atomix_election.service import Call, ElectionService

_BY_OTHER_MEANS = {
    LossReason.EXPIRED: "cut the leader off, or stop its server, for longer than its session lasts",
    LossReason.STORE_CHANGED: "start the server anew on another store",
    LossReason.WITHDRAWN: "a candidate withdraws itself, with its own withdraw()",
}


async def depose(client: Client, election: str, reason: LossReason = LossReason.EVICTED) -> Term:
    """Take the lead from whoever has it, and return the term after that. It works with any client, remote ones too.

    It returns when that is decided. The former leader hears of it a moment later: a test waits for what follows from
    it, as for ``leadership.lost.wait()``.

    Args:
        client: whose elections they are. To end a session it takes the leader's own, else any client will do.
        election: its name.
        reason: what the leader is to be told. EVICTED: it is removed from the queue. SUPERSEDED: the candidate behind
            it is put before it. SESSION_ENDED: the server ends its session.

    Raises:
        NotACandidate: nobody leads.
        InvalidRequest: nobody stands behind the leader, the session is not this client's, or it takes other means.
        Unavailable: the service could not be reached.
        OutcomeUnknown: it may or may not have been done.
    """
    if reason is LossReason.SESSION_ENDED:
        return await _end_session(client, election)
    if reason in _BY_OTHER_MEANS:
        raise InvalidRequest(f"nobody is deposed with reason {reason.name} by a call: {_BY_OTHER_MEANS[reason]}")
    return await displace(client.service, client.call(election), reason)


async def displace(service: ElectionService, call: Call, reason: LossReason) -> Term:
    """Do what an operator does: evict the leader, or put the next one before it; see ``depose``."""
    term = await service.get_term(call)
    if term.leader is None:
        raise nobody_leads(call.election)
    if reason is LossReason.EVICTED:
        return await service.evict(call, term.leader)
    if len(term.candidates) == 1:
        raise InvalidRequest(
            f"{term.leader!r} is the only candidate of {call.election!r}: nobody can be put before it until another "
            "one has entered"
        )
    return await service.anoint(call, term.candidates[1])


async def _end_session(client: Client, election: str) -> Term:
    """End the session of a client at the server, which the client is not asked about."""
    call = client.call(election)
    term = await client.service.get_term(call)
    if term.leader is None:
        raise nobody_leads(election)
    if client.leads((election, term.leader)) is None:
        raise InvalidRequest(f"this client does not lead {election!r}: the session of {term.leader!r} is not its own")
    keeper = client.candidates().keeper
    await keeper.service.end_session(client.namespace, keeper.session_id)
    return await client.service.get_term(call)


def nobody_leads(election: str) -> NotACandidate:
    """Nobody can be deposed."""
    return NotACandidate(f"nobody leads {election!r}: wait until somebody does")
