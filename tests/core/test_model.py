"""Ids are checked where they come in, and values do not change."""

import dataclasses

import pytest

from atomix_election.core import commands
from atomix_election.core.election import Election, Transition, apply
from atomix_election.errors import InvalidRequest
from atomix_election.model import (
    MAX_ID_BYTES,
    Candidate,
    ElectionId,
    Event,
    EventType,
    SessionId,
    Term,
    check_candidate_id,
    check_metadata_id,
)

SESSION = SessionId("default", "1", 1)
ASCII_IDS = ["a", "node-1", "host.example:5678/app", "two words", "~!@#$%^&*()", "x" * MAX_ID_BYTES]
WIDE_IDS = ["Übersicht", "候補者", "🦊", "é" * (MAX_ID_BYTES // 2), "字" * (MAX_ID_BYTES // 3)]
BAD_IDS = {
    "empty": "",
    "a space": " ",
    "space before": " a",
    "space after": "a ",
    "line end": "a\n",
    "line break": "a\nb",
    "tab": "a\tb",
    "nul": "a\0b",
    "escape": "a\x1b[31m",
    "delete": "a\x7f",
    "too long": "x" * (MAX_ID_BYTES + 1),
    "much too long": "x" * 1_000_000,
}
BAD_WIDE_IDS = {
    "lone surrogate": "a\ud800",
    "no-break space after": "a\u00a0",
    "text turned round": "a\u202eb",
    "zero width": "a\u200bb",
    "too long in bytes, not in characters": "é" * (MAX_ID_BYTES // 2 + 1),
    "one byte too long": "é" * (MAX_ID_BYTES // 2) + "x",
}


@pytest.mark.parametrize("good", ASCII_IDS + WIDE_IDS)
def test_a_candidate_id_is_printable_text(good: str) -> None:
    """Up to 256 bytes of UTF-8 in any script."""
    assert check_candidate_id(good) == good


@pytest.mark.parametrize("bad", (BAD_IDS | BAD_WIDE_IDS).values(), ids=(BAD_IDS | BAD_WIDE_IDS))
def test_a_malformed_candidate_id_is_refused(bad: str) -> None:
    """What is empty, too long, unprintable or padded is refused, in words that can be printed."""
    with pytest.raises(InvalidRequest) as refusal:
        check_candidate_id(bad)
    assert str(refusal.value).startswith("candidate id ")
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 8 * MAX_ID_BYTES


@pytest.mark.parametrize("good", ASCII_IDS)
def test_a_metadata_id_is_printable_ascii(good: str) -> None:
    """What gRPC metadata can carry."""
    assert check_metadata_id("namespace", good) == good


@pytest.mark.parametrize("bad", [*BAD_IDS.values(), *BAD_WIDE_IDS.values(), *WIDE_IDS])
def test_a_malformed_metadata_id_is_refused_by_name(bad: str) -> None:
    """The message begins with what the id is of, and can be sent as ASCII."""
    with pytest.raises(InvalidRequest) as refusal:
        check_metadata_id("session id", bad)
    assert str(refusal.value).startswith("session id ")
    assert str(refusal.value).isascii()
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 16 * MAX_ID_BYTES


@pytest.mark.parametrize(("bad", "says"), [("x" * 257, "257"), ("é" * 129, "258")])
def test_the_message_names_the_length_and_the_limit(bad: str, says: str) -> None:
    """Who reads it knows what to shorten, and by how much."""
    with pytest.raises(InvalidRequest, match=rf"{says}.*256"):
        check_candidate_id(bad)


@pytest.mark.parametrize(("bad", "says"), [("é" * 129, "258"), ("é" * 257, "257"), ("é" * 1_000_000, "1000000")])
def test_the_length_is_looked_at_before_the_characters(bad: str, says: str) -> None:
    """An over-long id is told its length, and is not repeated in the message, whatever it is made of."""
    with pytest.raises(InvalidRequest, match=rf"^namespace has {says} .*256") as refusal:
        check_metadata_id("namespace", bad)
    assert len(str(refusal.value)) < 80


def test_the_leader_is_the_first_candidate() -> None:
    """There is no other notion of leader."""
    assert Term().leader is None
    assert Term((), 7, 9).leader is None
    assert Term(("b", "a"), 7, 9).leader == "b"


def test_an_election_that_nobody_entered_has_term_zero() -> None:
    """And revision zero, and no candidates."""
    assert Election().term == Term((), 0, 0)
    assert Election().registered == frozenset()
    assert Election().operations == {}


def test_an_election_finds_its_candidates() -> None:
    """By id, or None."""
    election = Election((Candidate("a", SESSION),))
    assert election.find("a") == Candidate("a", SESSION)
    assert election.find("b") is None


@pytest.mark.parametrize(
    "value",
    [
        Term(("a",), 1, 1),
        Event(EventType.NONE, Term()),
        Election(),
        Transition(Election()),
        commands.Enter("a", SESSION),
        commands.ExpireSession(SESSION),
        commands.Anoint("a"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_do_not_change(value: object) -> None:
    """A term that was handed out stays what it was, and takes no new attributes."""
    names = [each.name for each in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else _fields(value)
    for name in names:
        with pytest.raises(AttributeError):
            setattr(value, name, None)
    assert not hasattr(value, "__dict__")


def _fields(value: object) -> tuple[str, ...]:
    assert isinstance(value, Election | Transition)
    return value._fields


def test_the_counters_of_an_election_do_not_change() -> None:
    """Also what apply returns is shared between readers."""
    operation = commands.Operation(SESSION, 1)
    after = apply(Election(), commands.Enter("a", SESSION), operation=operation).election
    expired = apply(after, commands.ExpireSession(SESSION)).election
    for election in (Election(), after, expired):
        with pytest.raises(TypeError):
            election.operations[SESSION] = 9  # pyright: ignore[reportIndexIssue]
    assert after.operations == {SESSION: 1}


def test_names_are_told_apart_by_every_part() -> None:
    """Two incarnations, namespaces or owners are two, whatever else is equal."""
    assert len({SESSION, SESSION._replace(incarnation=2), SESSION._replace(namespace="other")}) == 3
    assert Candidate("a", SESSION) != Candidate("a", SESSION._replace(incarnation=2))
    assert ElectionId("default", "nightly") != ElectionId("other", "nightly")
