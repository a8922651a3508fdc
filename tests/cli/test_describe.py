"""``describe``: who stands in an election, since when, and what keeps each session."""

import json

import pytest

from atomix_election.cli import main
from atomix_election.model import session_digest
from tests.cli.processes import enter


def test_json_has_the_shape_that_scripts_rely_on(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One object, with these names."""
    enter(target, "json", "a", "b", namespace="describe")
    assert main(["describe", "json", "--target", target, "--namespace", "describe", "--json"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    description = json.loads(said)
    candidates = description.pop("candidates")
    assert description == {
        "election": "json",
        "namespace": "describe",
        "leader": "a",
        "number": 1,
        "revision": 2,
        "began_at": candidates[0]["entered_at"],
        "waits_for": [],
    }
    assert [each["candidate"] for each in candidates] == ["a", "b"]
    session = candidates[0]["session"]
    assert session["peer"].startswith("127.0.0.1:")
    assert 0 < session["lease_left_s"] <= 100
    assert session == {
        "digest": session_digest("describe", "of-the-test"),
        "kind": "connections",
        "ttl_s": 100.0,
        "lease_left_s": session["lease_left_s"],
        "peer": session["peer"],
    }
    assert "of-the-test" not in said


def test_for_people(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The facts of the term, then the candidates in columns."""
    enter(target, "people", "anna", "b", namespace="describe")
    assert main(["describe", "people", "--target", target, "--namespace", "describe"]) == 0
    facts, _, table = capsys.readouterr().out.partition("\n\n")
    assert dict(line.split(None, 1) for line in facts.splitlines()).items() >= {
        ("election", "people"),
        ("namespace", "describe"),
        ("leader", "anna"),
        ("term", "1"),
        ("revision", "2"),
    }
    title, *rows = table.splitlines()
    digest = session_digest("describe", "of-the-test")
    assert [row.split()[0] for row in rows] == ["anna", "b"]
    assert all(row.index(digest) == title.index("SESSION") for row in rows)
    assert all(row[title.index("KEPT BY") :].startswith("connections") for row in rows)


def test_an_election_that_nobody_entered(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Says so, without a table."""
    assert main(["describe", "nobody", "--target", target]) == 0
    said = capsys.readouterr().out
    assert "leader     (nobody)\n" in said
    assert "CANDIDATE" not in said
