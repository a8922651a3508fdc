"""``term``: who leads, who waits, and the token."""

import json
import os
import socket

import pytest

from atomix_election.cli import main
from tests.cli.processes import enter, run


def test_json_has_the_shape_that_scripts_rely_on(target: str) -> None:
    """One object, with these names, in one line."""
    enter(target, "json", "a", "b")
    result = run("term", "json", "--target", target, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == {
        "election": "json",
        "leader": "a",
        "candidates": ["a", "b"],
        "number": 1,
        "revision": 2,
    }


def test_json_of_an_election_that_nobody_entered(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody leads: null."""
    assert main(["term", "empty", "--target", target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "election": "empty",
        "leader": None,
        "candidates": [],
        "number": 0,
        "revision": 0,
    }


def test_for_people(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each fact in a line of its own."""
    enter(target, "people", "anna", "bruno", "clara")
    assert main(["term", "people", "--target", target]) == 0
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["election", "people"],
        ["leader", "anna"],
        ["waiting", "bruno, clara"],
        ["term", "1"],
        ["revision", "3"],
    ]
    assert main(["term", "nobody", "--target", target]) == 0
    assert capsys.readouterr().out.count("(nobody)") == 2


def test_the_environment_names_target_and_namespace(target: str) -> None:
    """Where no option does; an option wins."""
    enter(target, "env", "there", namespace="elsewhere")
    enter(target, "env", "here")
    variables = {"ATOMIX_ELECTION_TARGET": target, "ATOMIX_ELECTION_NAMESPACE": "elsewhere"}
    assert json.loads(run("term", "env", "--json", variables=variables).stdout)["leader"] == "there"
    result = run("term", "env", "--json", "--namespace", "default", "--target", target, variables=variables)
    assert json.loads(result.stdout)["leader"] == "here"


def test_an_unreachable_server_is_a_failure_in_words() -> None:
    """Status 1, the address is named, and nothing is printed that a script could take for a term."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = "{}:{}".format(*gone.getsockname())
    for command in ("term", "watch"):
        result = run(command, "e", "--target", f"grpc://{address}", "--json")
        assert result.returncode == 1
        assert result.stdout == ""
        assert address in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["term", "watch"])
@pytest.mark.parametrize(
    "target", ["", "nowhere", "http://127.0.0.1:1", "grpc://", "grpc://h:0", "grpc://h:65536", "grpc://::1:1"]
)
def test_a_bad_target_is_a_wrong_command_line(command: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and the message quotes it."""
    assert main([command, "e", "--target", target]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("atomix-election: ")
    assert repr(target) in said.err


@pytest.mark.parametrize("command", ["term", "watch"])
def test_bad_ids_are_a_wrong_command_line(command: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also those of the environment."""
    assert main([command, "", "--target", target]) == 2
    assert "election name is empty" in capsys.readouterr().err
    assert main([command, "e", "--target", target, "--namespace", "é"]) == 2
    assert "namespace" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_host_that_cannot_be_is_a_failure_in_words(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that DNS cannot carry are no reason for a traceback."""
    assert main(["term", "e", "--target", f"grpc://{host}:1"]) in (1, 2)
    assert host in capsys.readouterr().err


def test_output_that_nobody_reads_is_no_traceback(target: str) -> None:
    """As ``term ... | true``, also with output that is only flushed at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = run("term", "e", "--target", target, output=writing)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")
