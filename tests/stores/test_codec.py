"""Records: whatever is written is read, and nothing else."""

import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomix_election.core.election import Displaced, Election
from atomix_election.errors import StoreError
from atomix_election.model import Candidate, SessionId
from atomix_election.stores.base import StoredSession
from atomix_election.stores.codec import (
    RECORD_VERSION,
    decode_election,
    decode_session,
    encode_election,
    encode_session,
)

A, B, C = SessionId("default", "s", 1), SessionId("default", "s", 2), SessionId("other", "t", 3)
ELECTION = Election(
    (Candidate("a", A), Candidate("候補 b", B)),
    3,
    7,
    frozenset({A, B}),
    MappingProxyType({A: 5, C: 0}),
    (Displaced(Candidate("c", C), 2), Displaced(Candidate("a", B), 1)),
    MappingProxyType({Candidate("a", A): 1767578400.25}),
    1767578401.5,
)
FIELDS: dict[str, Any] = json.loads(encode_election(ELECTION))
SESSION_FIELDS: dict[str, Any] = json.loads(encode_session(StoredSession(A, 1.5, kept_alive=True)))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
sessions = st.builds(SessionId, texts, texts, st.integers(0, 2**63 - 1))
numbers = st.integers(0, 2**63 - 1)
elections = st.builds(
    Election,
    st.lists(st.builds(Candidate, texts, sessions), unique_by=lambda each: each.id, max_size=4).map(tuple),
    numbers,
    numbers,
    st.frozensets(sessions, max_size=3),
    st.dictionaries(sessions, numbers, max_size=3).map(MappingProxyType),
    st.lists(st.builds(Displaced, st.builds(Candidate, texts, sessions), numbers), max_size=3).map(tuple),
    st.just(MappingProxyType({})),
    st.just(0.0),
)
times = st.floats(allow_nan=False, allow_infinity=False)


@given(elections, st.data())
def test_every_election_is_read_as_it_was_written(election: Election, data: st.DataObject) -> None:
    """All of its fields, its sessions' full identity, and the times that are known, to the last bit."""
    known = [each for each in election.candidates if data.draw(st.booleans())]
    entered_at = MappingProxyType({each: data.draw(times) for each in known})
    election = election._replace(entered_at=entered_at, began_at=data.draw(times))
    assert decode_election(encode_election(election)) == election


@given(elections, st.data())
def test_records_are_what_json_would_write(election: Election, data: st.DataObject) -> None:
    """Byte for byte, also what is written by hand: any text as an id, any time."""
    entered_at = MappingProxyType({each: data.draw(times) for each in election.candidates})
    record = encode_election(election._replace(entered_at=entered_at, began_at=data.draw(times)))
    assert json.dumps(json.loads(record), ensure_ascii=False, separators=(",", ":")).encode() == record


@given(sessions, st.floats(0.001, 1e6), st.booleans())
def test_every_session_is_read_as_it_was_written(session: SessionId, ttl_s: float, kept_alive: bool) -> None:
    """With its time-to-live to the last bit."""
    stored = StoredSession(session, ttl_s, kept_alive)
    assert decode_session(encode_session(stored)) == stored


def test_equal_elections_have_equal_records() -> None:
    """Whatever order their sets were made in, so that a run can be repeated byte for byte."""
    backwards = Election(
        ELECTION.candidates,
        3,
        7,
        frozenset([B, A]),
        MappingProxyType({C: 0, A: 5}),
        ELECTION.displaced,
        ELECTION.entered_at,
        ELECTION.began_at,
    )
    assert encode_election(backwards) == encode_election(ELECTION)


def test_every_field_of_an_election_is_in_the_record() -> None:
    """The format of version 1, as it will be found on disks."""
    assert FIELDS == {
        "version": 1,
        "number": 3,
        "revision": 7,
        "sessions": [["default", "s", 1], ["default", "s", 2], ["other", "t", 3]],
        "candidates": [{"id": "a", "session": 0, "entered_at": 1767578400.25}, {"id": "候補 b", "session": 1}],
        "registered": [0, 1],
        "operations": [[0, 5], [2, 0]],
        "displaced": [{"id": "c", "session": 2, "number": 2}, {"id": "a", "session": 1, "number": 1}],
        "began_at": 1767578401.5,
    }
    assert SESSION_FIELDS == {"version": 1, "session": ["default", "s", 1], "ttl_s": 1.5, "kept_alive": True}


def test_what_is_missing_has_its_default() -> None:
    """So that a field can be added without a new version."""
    record = json.dumps({"version": 1, "number": 0, "revision": 0, "sessions": [], "candidates": []})
    assert decode_election(record.encode()) == Election()
    assert not decode_session(b'{"version":1,"session":["n","s",1],"ttl_s":1}').kept_alive


@pytest.mark.parametrize("decode", [decode_election, decode_session])
def test_a_newer_version_is_refused_by_name(decode: Any) -> None:
    """Whatever else is in it; the message names both versions, and what to do."""
    record = json.dumps({"version": RECORD_VERSION + 1, "anything": 1}).encode()
    with pytest.raises(
        StoreError, match=rf"version {RECORD_VERSION + 1}.*newer than {RECORD_VERSION}.*run the release"
    ):
        decode(record)


def _changed(fields: dict[str, Any], *path: Any, to: Any) -> bytes:
    copy = json.loads(json.dumps(fields))
    at = copy
    for each in path[:-1]:
        at = at[each]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return json.dumps(copy).encode()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version":1}',
        encode_election(ELECTION)[:-1],
        encode_election(ELECTION) + b"}",
        encode_session(StoredSession(A, 1.0, kept_alive=False)),
        *[_changed(FIELDS, name, to=None) for name in ("version", "number", "revision", "sessions", "candidates")],
        *[_changed(FIELDS, "number", to=value) for value in (-1, 1.0, "1", True, float("nan"), [1])],
        *[_changed(FIELDS, "version", to=value) for value in (0, -1, "1", True)],
        *[_changed(FIELDS, "sessions", 0, to=value) for value in ([], ["a", "b"], ["a", "b", "c"], [1, "b", 2], "abc")],
        *[_changed(FIELDS, "candidates", 0, to=value) for value in ([], {}, {"id": "x"}, {"id": 1, "session": 0})],
        _changed(FIELDS, "candidates", 0, "session", to=3),
        _changed(FIELDS, "candidates", 0, "session", to=-1),
        _changed(FIELDS, "candidates", 0, "more", to=1),
        _changed(FIELDS, "candidates", 1, "id", to="a"),
        _changed(FIELDS, "registered", 0, to=9),
        _changed(FIELDS, "operations", 0, to=[0]),
        _changed(FIELDS, "displaced", 0, "number", to=None),
        _changed(FIELDS, "more", to=1),
        *[_changed(FIELDS, "began_at", to=value) for value in (True, "1", [1], float("inf"), float("nan"))],
        *[_changed(FIELDS, "candidates", 0, "entered_at", to=value) for value in (True, "1", float("inf"), {})],
        encode_election(ELECTION).replace(b"1767578401.5", b"1e999"),
    ],
    ids=lambda record: record[:60],
)
def test_what_is_no_election_is_refused(record: bytes) -> None:
    """Half of one, one with wrong types, or one with something in it that would be lost."""
    with pytest.raises(StoreError, match="damaged"):
        decode_election(record)


@pytest.mark.parametrize(
    "record",
    [
        *[_changed(SESSION_FIELDS, "ttl_s", to=value) for value in (0, -1, "1", True, float("inf"), float("nan"))],
        *[_changed(SESSION_FIELDS, "kept_alive", to=value) for value in (0, 1, "true")],
        _changed(SESSION_FIELDS, "ttl_s", to=None),
        _changed(SESSION_FIELDS, "session", to=None),
        _changed(SESSION_FIELDS, "more", to=1),
    ],
    ids=lambda record: record[:60],
)
def test_what_is_no_session_is_refused(record: bytes) -> None:
    """As with elections."""
    with pytest.raises(StoreError, match="damaged"):
        decode_session(record)
