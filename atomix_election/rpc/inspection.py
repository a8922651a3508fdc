"""What is told of elections to people, as messages of the wire, and back."""

from atomix_election.errors import Unavailable
from atomix_election.model import (
    CandidateDescription,
    DisplacedDescription,
    ElectionDescription,
    ElectionPage,
    ElectionSummary,
    SessionDescription,
    SessionKind,
    Term,
)
from atomix_election.rpc._generated.atomix_election import v1
from atomix_election.rpc.convert import epoch_of, term_message, term_of, timestamp_message


def page_message(page: ElectionPage) -> v1.ListResponse:
    """Return the message of a page."""
    return v1.ListResponse(
        elections=[
            v1.Summary(
                election=each.name,
                leader_id=each.leader or "",
                candidates=each.candidate_count,
                timestamp=timestamp_message(each.number, each.revision),
                began=each.began_at,
            )
            for each in page.elections
        ],
        next_page_token=page.next_page_token,
    )


def page_of(message: v1.ListResponse) -> ElectionPage:
    """Return the page of a message.

    Raises:
        Unavailable: the message is none that a server of this protocol sends.
    """
    return ElectionPage(tuple(_summary_of(each) for each in message.elections), message.next_page_token)


def _summary_of(message: v1.Summary) -> ElectionSummary:
    leader = message.leader_id or None
    number, revision = epoch_of(message.timestamp)
    return ElectionSummary(message.election, leader, message.candidates, number, revision, message.began)


def description_message(description: ElectionDescription) -> v1.DescribeResponse:
    """Return the message of a description."""
    return v1.DescribeResponse(
        term=term_message(description.term),
        began=description.began_at,
        candidates=[
            v1.Candidate(candidate_id=each.id, entered=each.entered_at, session=_session_message(each.session))
            for each in description.candidates
        ],
        displaced=[
            v1.Displaced(candidate_id=each.id, number=each.number, session=_session_message(each.session))
            for each in description.displaced
        ],
    )


def description_of(message: v1.DescribeResponse) -> ElectionDescription:
    """Return the description of a message.

    Raises:
        Unavailable: the message is none that a server of this protocol sends.
    """
    term: Term = term_of(message.term)
    return ElectionDescription(
        term,
        tuple(
            CandidateDescription(each.candidate_id, _session_of(each.session), each.entered)
            for each in message.candidates
        ),
        tuple(
            DisplacedDescription(each.candidate_id, each.number, _session_of(each.session))
            for each in message.displaced
        ),
        message.began,
    )


def _session_message(session: SessionDescription) -> v1.Session:
    return v1.Session(
        digest=session.digest,
        kind=v1.SessionKind(session.kind.value),
        ttl_ms=int(session.ttl_s * 1000),
        lease_left_ms=None if session.lease_left_s is None else int(session.lease_left_s * 1000),
        peer=session.peer,
    )


def _session_of(message: v1.Session | None) -> SessionDescription:
    if message is None:
        raise Unavailable("the server described a candidate without its session: it is not a server of this package")
    try:
        kind = SessionKind(message.kind.value)
    except ValueError as error:
        raise Unavailable(f"the server described a session of the unknown kind {message.kind.value}") from error
    left_s = None if message.lease_left_ms is None else message.lease_left_ms / 1000
    return SessionDescription(message.digest, kind, message.ttl_ms / 1000, left_s, message.peer)
