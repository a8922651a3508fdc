"""``forget``: what is no longer used goes, after a question or with ``--yes``."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from atomix_election.service import Call
from tests.cli.processes import Running, ask, command, enter, environment, run, with_service

WAIT_S = 20.0


@pytest.fixture
def target(tmp_path: Path) -> Iterator[str]:
    """A server on a file, where nobody is left in the election "e", of term 1."""
    with Running("serve", "--listen", "127.0.0.1:0", cwd=tmp_path) as server:
        target = server.target()
        enter(target, "e", "a")
        with_service(target, lambda service: service.close(Call("e", session="of-the-test")))
        yield target
        server.end(signal.SIGTERM)


def test_it_removes_an_election_and_says_where_it_goes_on(target: str) -> None:
    """As a line or as JSON; doing it again is no error."""
    result = run("forget", "e", "--yes", "--target", target)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "forgot e; should it come back, its tokens go on above 1\n"
    result = run("forget", "e", "--yes", "--json", "--target", target)
    term = {"election": "e", "leader": None, "candidates": [], "number": 1, "revision": 2}
    assert json.loads(result.stdout) == term


def test_on_a_terminal_it_asks(target: str) -> None:
    """Anything but yes keeps the election."""
    status, said, asked = ask("n", "forget", "e", "--target", target)
    assert (status, said) == (1, "")
    assert "Forget e in namespace default, term 1? [y/N] " in asked
    status, said, _ = ask("y", "forget", "e", "--target", target)
    assert (status, said) == (0, "forgot e; should it come back, its tokens go on above 1\n")


def test_where_nobody_can_be_asked_it_needs_yes() -> None:
    """Status 2, before anything is sent."""
    result = subprocess.run(
        command("forget", "e"),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "forget e needs --yes where nobody can be asked" in result.stderr


def test_an_election_in_use_is_kept(target: str) -> None:
    """The message says what keeps it."""
    enter(target, "busy", "a")
    result = run("forget", "busy", "--yes", "--target", target)
    assert (result.returncode, result.stdout) == (2, "")
    assert "the election is in use and cannot be forgotten: candidates stand in it, 1 of them" in result.stderr
