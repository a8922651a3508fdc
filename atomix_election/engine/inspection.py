"""What an engine knows of its elections, for people to look at. Nothing here changes anything."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from atomix_election.core.election import Election
from atomix_election.engine.sessions import Sessions
from atomix_election.errors import InvalidRequest
from atomix_election.model import (
    CandidateDescription,
    DisplacedDescription,
    ElectionDescription,
    ElectionPage,
    ElectionSummary,
    SessionDescription,
    SessionId,
    SessionKind,
    check_metadata_id,
)
from atomix_election.service import MAX_PAGE_SIZE
from atomix_election.stores.base import Store

_TOKEN_PREFIX = "after:"  # noqa: S105 - a place in a list, not a secret


async def list_elections(store: Store, namespace: str, page_size: int, page_token: str) -> ElectionPage:
    """Return a page of a namespace's elections, see ``InspectionService.list_elections``."""
    check_metadata_id("namespace", namespace)
    if page_size < 1:
        raise InvalidRequest(f"a page of {page_size} elections has no room: ask for 1 to {MAX_PAGE_SIZE}")
    size = min(page_size, MAX_PAGE_SIZE)
    found = await store.page(namespace, after=_name_in(page_token), limit=size + 1)
    elections = tuple(_summary(name, election) for name, election in found[:size])
    return ElectionPage(elections, _token(elections[-1].name) if len(found) > size else "")


async def describe(election: Election, sessions: Sessions) -> ElectionDescription:
    """Return all that may be known of an election and of the sessions in it."""
    concerned = {each.session for each in election.candidates} | {each.candidate.session for each in election.displaced}
    known = await _describe_sessions(concerned, sessions)
    return ElectionDescription(
        election.term,
        tuple(
            CandidateDescription(each.id, known[each.session], _point_in_time(election.entered_at.get(each, 0.0)))
            for each in election.candidates
        ),
        tuple(
            DisplacedDescription(each.candidate.id, each.number, known[each.candidate.session])
            for each in election.displaced
        ),
        _point_in_time(election.began_at),
    )


def _summary(name: str, election: Election) -> ElectionSummary:
    return ElectionSummary(
        name,
        election.term.leader,
        len(election.candidates),
        election.number,
        election.revision,
        _point_in_time(election.began_at),
    )


async def _describe_sessions(
    identities: Iterable[SessionId], sessions: Sessions
) -> Mapping[SessionId, SessionDescription]:
    known = {each: SessionDescription(each.digest, SessionKind.ENDED) for each in identities}
    found = [sessions.find(each.namespace, each.id) for each in known]
    open_ = [each for each in found if each is not None and each.id in known]
    left_s = await sessions.left_s(open_)
    for each in open_:
        kind = SessionKind.RENEWALS if each.kept_alive else SessionKind.CONNECTIONS
        known[each.id] = SessionDescription(each.id.digest, kind, each.ttl_s, left_s[each.id], each.peer)
    return known


def _point_in_time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _token(name: str) -> str:
    """Return what asks for the elections after one; callers take it as it is."""
    return base64.urlsafe_b64encode((_TOKEN_PREFIX + name).encode()).decode()


def _name_in(token: str) -> str:
    if not token:
        return ""
    try:
        text = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise _bad_token() from error
    if not text.startswith(_TOKEN_PREFIX):
        raise _bad_token()
    return check_metadata_id("election name in the page token", text.removeprefix(_TOKEN_PREFIX))


def _bad_token() -> InvalidRequest:
    return InvalidRequest("the page token is none that this service gave: begin with the first page")
