"""``backup``: a copy of a file that a server has."""

import os
import pty
import signal
import subprocess
from pathlib import Path

from atomix_election.service import Call
from tests.cli.processes import Running, command, enter, environment, run, with_service


def test_it_copies_what_a_running_server_has(tmp_path: Path) -> None:
    """By path or by target; the server serves on, and the copy is refused as its store."""
    with Running("serve", "--listen", "127.0.0.1:0", cwd=tmp_path) as server:
        target = server.target()
        enter(target, "e", "a", "b")
        for source, destination in (
            ("atomix-election.db", "one.db"),
            ("sqlite:///atomix-election.db", f"sqlite:////{tmp_path}/two.db"),
        ):
            result = run("backup", source, destination, cwd=tmp_path)
            assert (result.returncode, result.stderr) == (0, "")
        enter(target, "e", "c")
        assert with_service(target, lambda service: service.get_term(Call("e"))).candidates == ("a", "b", "c")
        server.end(signal.SIGTERM)
    assert {"one.db", "two.db"} <= {each.name for each in tmp_path.iterdir()}
    result = run("serve", "--listen", "127.0.0.1:0", "--store", "sqlite:///one.db", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "is a backup" in result.stderr
    assert "`atomix-election restore " in result.stderr


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    """Status 2, with what to do, and nothing else is done."""
    (tmp_path / "mine.txt").write_text("mine")
    result = run("backup", "store.db", "mine.txt", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "there is no file store.db" in result.stderr
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "sqlite:///store.db", cwd=tmp_path) as server:
        server.target()
        result = run("backup", "store.db", "mine.txt", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "mine.txt exists and is not overwritten" in result.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_target_that_is_no_file_is_a_wrong_command_line(tmp_path: Path) -> None:
    """The message says what is meant."""
    for source in ("grpc://localhost:1", "memory://"):
        result = run("backup", source, "backup.db", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"{source!r} names no file: write a path, or sqlite:///FILE" in result.stderr


def test_a_short_copy_says_nothing_on_a_terminal(tmp_path: Path) -> None:
    """But what it did."""
    with Running("serve", "--listen", "127.0.0.1:0", cwd=tmp_path) as server:
        server.target()
        terminal, end = pty.openpty()
        with (
            os.fdopen(terminal, "rb", buffering=0),
            subprocess.Popen(
                command("backup", "atomix-election.db", "backup.db"),
                cwd=tmp_path,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=end,
            ) as process,
        ):
            os.close(end)
            assert process.stdout is not None
            assert process.stdout.read() == b"backed up atomix-election.db to backup.db\n"
            os.set_blocking(terminal, False)
            try:
                said = os.read(terminal, 1000)
            except OSError:  # the other end is closed, and nothing was written
                said = b""
            assert said == b""
