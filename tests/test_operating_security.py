"""Section "TLS and access" of ``docs/operating.md``: its commands and its example work as they stand there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Authority

DOCUMENT = (Path(__file__).parents[1] / "docs" / "operating.md").read_text()
WAIT_S = 20.0
PLACE = "elections.example:5678"


def section() -> str:
    """Return the text of the section."""
    found = re.search(r"^## TLS and access\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def commands(heading: str) -> list[str]:
    """Return the command lines under a heading."""
    found = re.search(rf"^### {heading}\n(.*?)(?=^### |\Z)", section(), re.MULTILINE | re.DOTALL)
    assert found, heading
    text = re.sub(r"^```.*?^```$", "", found[1], flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    assert lines, heading
    return lines


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell in a directory of its own that knows the command."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's settings."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ATOMIX_ELECTION_")}
        return ours | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, *lines: str) -> str:
        """Run lines that must go well, and return their output."""
        script = "\n".join(["set -e", *lines])
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture
def shell(tmp_path: Path, authority: Authority) -> Shell:
    """One where the first two steps have been taken."""
    shell = Shell(tmp_path)
    if shutil.which("openssl"):
        shell.run(*commands("A certificate for the server"))
    else:
        files = authority.issue("127.0.0.1")
        shutil.copy(files.certificate, tmp_path / "server.pem")
        shutil.copy(files.key, tmp_path / "server.key")
        shutil.copy(authority.ca, tmp_path / "ca.pem")
    shell.run(*commands("Who may do what"))
    return shell


@pytest.fixture
def server(shell: Shell) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server of the document, on a free port of loopback, and where it listens."""
    (line,) = commands("Serving")
    assert "0.0.0.0:5678" in line
    process = subprocess.Popen(
        ["bash", "-c", f"exec {line.replace('0.0.0.0:5678', '127.0.0.1:0')}"],
        cwd=shell.directory,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready.startswith("listening on grpcs://"), ready
            yield process, ready.strip().removeprefix("listening on grpcs://")
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()


def test_the_commands_and_the_example(shell: Shell, server: tuple[subprocess.Popen[str], str]) -> None:
    """In order, with nothing but the address and the process id replaced."""
    process, place = server
    assert (shell.directory / "alice.token").stat().st_mode & 0o077 == 0
    lines = commands("Clients")
    assert any(PLACE in line for line in lines)
    assert shell.run(*(line.replace(PLACE, place) for line in lines)).count("leader    (nobody)") == 2

    (example,) = re.findall(r"^```python\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL)
    script = shell.directory / "example.py"
    script.write_text(example.replace(PLACE, place))
    assert "fencing token 1" in shell.run(f"{sys.executable} -W error example.py")

    (line,) = commands("Replacing certificates and tokens")
    shell.run(re.sub(r"\bPID\b", str(process.pid), line))
    assert process.stderr is not None
    assert any("were read again" in said for said in process.stderr)
