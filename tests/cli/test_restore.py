"""``restore``: from a backup to a server whose tokens are above all that were given."""

import json
import re
import signal
from pathlib import Path

import pytest

from atomix_election.core.floors import RESTORE_JUMP
from atomix_election.errors import Unavailable
from tests.cli.processes import Running, enter, run

SERVE = ("serve", "--listen", "127.0.0.1:0")


def test_a_server_on_a_restored_store_gives_higher_tokens_after_a_while(tmp_path: Path) -> None:
    """Terms can be read at once; who enters is told for how long nobody is admitted."""
    with Running(*SERVE, cwd=tmp_path) as server:
        enter(server.target(), "e", "a", "b")
        assert run("backup", "atomix-election.db", "backup.db", cwd=tmp_path).returncode == 0
        server.end(signal.SIGTERM)
    result = run("restore", "backup.db", "sqlite:///restored.db", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"its tokens begin above {1 + RESTORE_JUMP};" in result.stdout
    with Running(*SERVE, "--store", "sqlite:///restored.db", cwd=tmp_path) as server:
        target = server.target()
        with pytest.raises(Unavailable, match=r"nobody is admitted for another \d+ s; try again then"):
            enter(target, "e", "a")
        term = json.loads(run("term", "e", "--json", "--target", target).stdout)
        assert (term["leader"], term["candidates"]) == (None, [])
        assert term["number"] == 1 + RESTORE_JUMP
        assert term["revision"] > RESTORE_JUMP
        assert re.search("Traceback", server.end(signal.SIGTERM)[2]) is None


def test_a_known_token_and_what_is_no_token(tmp_path: Path) -> None:
    """It is the floor where it is higher; what is none is a wrong command line."""
    with Running(*SERVE, cwd=tmp_path) as server:
        server.target()
        assert run("backup", "atomix-election.db", "backup.db", cwd=tmp_path).returncode == 0
    assert (
        "above 9000000000000;" in run("restore", "backup.db", "a.db", "--above", "9000000000000", cwd=tmp_path).stdout
    )
    for wrong in ("-5", "many"):
        result = run("restore", "backup.db", "b.db", f"--above={wrong}", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
    assert not (tmp_path / "b.db").exists()


def test_it_overwrites_nothing_and_wants_a_backup(tmp_path: Path) -> None:
    """Each message says what to do."""
    with Running(*SERVE, cwd=tmp_path) as server:
        server.target()
        assert run("backup", "atomix-election.db", "backup.db", cwd=tmp_path).returncode == 0
        result = run("restore", "backup.db", "atomix-election.db", cwd=tmp_path)
        assert result.returncode == 1
        assert f"is in use by process {server.process.pid}" in result.stderr
        server.end(signal.SIGTERM)
    result = run("restore", "backup.db", "atomix-election.db", cwd=tmp_path)
    assert result.returncode == 2
    assert "exists and is not overwritten" in result.stderr
    result = run("restore", "atomix-election.db", "new.db", cwd=tmp_path)
    assert result.returncode == 1
    assert "is no backup: make one of it with `atomix-election backup" in result.stderr
