"""``restore``: from a backup to a server whose tokens are above all that were given."""

import json
import re
import signal
from pathlib import Path

import pytest

from atomix_election.clock import wall_clock_s
from atomix_election.core.floors import RESTORE_JUMP, reached_by
from atomix_election.errors import Unavailable
from tests.cli.processes import Running, enter, run


def floor_in(output: str) -> int:
    """Return below what all tokens are, as the command says."""
    found = re.search(r"its tokens begin above (\d+);", output)
    assert found
    return int(found[1])


SERVE = ("serve", "--listen", "127.0.0.1:0")


def test_a_server_on_a_restored_store_gives_higher_tokens_after_a_while(tmp_path: Path) -> None:
    """Terms can be read at once; who enters is told for how long nobody is admitted."""
    with Running(*SERVE, cwd=tmp_path) as server:
        enter(server.target(), "e", "a", "b")
        assert run("backup", "atomix-election.db", "backup.db", cwd=tmp_path).returncode == 0
        server.end(signal.SIGTERM)
    before_ms = int(wall_clock_s() * 1000)
    result = run("restore", "backup.db", "sqlite:///restored.db", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    floor = floor_in(result.stdout)
    assert reached_by(before_ms) <= floor <= reached_by(int(wall_clock_s() * 1000))
    assert "serve this store and no other one" in result.stdout
    assert "ahead of the clock" not in result.stdout
    with Running(*SERVE, "--store", "sqlite:///restored.db", cwd=tmp_path) as server:
        target = server.target()
        with pytest.raises(Unavailable, match=r"nobody is admitted for another \d+ s; try again then"):
            enter(target, "e", "a")
        term = json.loads(run("term", "e", "--json", "--target", target).stdout)
        assert (term["leader"], term["candidates"]) == (None, [])
        assert term["number"] == term["revision"] == floor
        assert re.search("Traceback", server.end(signal.SIGTERM)[2]) is None


def test_a_known_token_and_what_is_no_token(tmp_path: Path) -> None:
    """Where it is above the clock, so is the floor, and the output says what follows from it."""
    with Running(*SERVE, cwd=tmp_path) as server:
        server.target()
        assert run("backup", "atomix-election.db", "backup.db", cwd=tmp_path).returncode == 0
    result = run("restore", "backup.db", "a.db", "--above", f"{1 << 52}", cwd=tmp_path)
    assert floor_in(result.stdout) == (1 << 52) + RESTORE_JUMP
    assert re.search(r"ahead of the clock: until 2109-\d\d-\S+, name a\.db with --replaces in each", result.stdout)
    result = run("restore", "backup.db", "b.db", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.search(rf"tokens up to {(1 << 52) + RESTORE_JUMP} may have been given.*--above", result.stderr)
    for wrong in ("-5", "many"):
        result = run("restore", "backup.db", "b.db", f"--above={wrong}", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
    assert not (tmp_path / "b.db").exists()


def test_a_store_that_is_replaced_is_not_in_use_any_more(tmp_path: Path) -> None:
    """Or else two would be served; then its tokens count."""
    with Running(*SERVE, cwd=tmp_path) as server:
        server.target()
        assert run("backup", "atomix-election.db", "backup.db", cwd=tmp_path).returncode == 0
        result = run("restore", "backup.db", "a.db", "--replaces", "atomix-election.db", cwd=tmp_path)
        assert result.returncode == 1
        assert f"is in use by process {server.process.pid}: end that one first" in result.stderr
        server.end(signal.SIGTERM)
    replaced = ("--replaces", "sqlite:///atomix-election.db", "--replaces", "backup.db")
    assert run("restore", "backup.db", "a.db", *replaced, cwd=tmp_path).returncode == 0


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
