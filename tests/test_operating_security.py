"""Section "TLS and access" of ``docs/operating.md``: its commands and its example work as they stand there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import manual
from tests.certificates import Authority
from tests.ports import free_port

SECTION = "TLS and access"
HEADINGS = (
    "A certificate for the server",
    "Who may do what",
    "Serving",
    "Client certificates",
    "Clients",
    "Replacing certificates and tokens",
    "With systemd",
)
PLACES = {(SECTION, each) for each in HEADINGS}
WAIT_S = 20.0
PLACE = "elections.example:5678"


def commands(heading: str) -> list[str]:
    """Return the command lines under a heading."""
    return manual.commands()[SECTION, heading]


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell in a directory of its own that knows the command."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's settings."""
        return manual.environment()

    def run(self, *lines: str) -> str:
        """Run lines that must go well, and return their output."""
        return manual.run(*lines, directory=self.directory, environment=self.environment, timeout_s=WAIT_S)


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


@contextmanager
def serving(shell: Shell, line: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run a server, and say where it listens."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {line}"],
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


@pytest.fixture
def server(shell: Shell) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The server of the document, on a free port of loopback, and where it listens."""
    (line,) = commands("Serving")
    assert "0.0.0.0:5678" in line
    with serving(shell, line.replace("0.0.0.0:5678", "127.0.0.1:0")) as server:
        yield server


def test_the_commands_and_the_example(shell: Shell, server: tuple[subprocess.Popen[str], str]) -> None:
    """In order, with nothing but the address and the process id replaced."""
    process, place = server
    assert (shell.directory / "alice.token").stat().st_mode & 0o077 == 0
    lines = commands("Clients")
    assert any(PLACE in line for line in lines)
    assert shell.run(*(line.replace(PLACE, place) for line in lines)).count("leader    (nobody)") == 2

    (example,) = re.findall(r"^```python\n(.*?)^```$", manual.section(SECTION), re.MULTILINE | re.DOTALL)
    script = shell.directory / "example.py"
    script.write_text(example.replace(PLACE, place))
    assert "fencing token 1" in shell.run(f"{sys.executable} -W error example.py")

    (line,) = commands("Replacing certificates and tokens")
    shell.run(re.sub(r"\bPID\b", str(process.pid), line))
    assert process.stderr is not None
    assert any("were read again" in said for said in process.stderr)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_client_certificates(shell: Shell) -> None:
    """With nothing but the port replaced; without its certificate the client is refused."""
    *before, serve, term = commands("Client certificates")
    shell.run(*before)
    with serving(shell, serve.replace("127.0.0.1:5678", "127.0.0.1:0")) as (_, place):
        line = term.replace("127.0.0.1:5678", place)
        assert "leader    (nobody)" in shell.run(line)
        without = line.replace(" --certificate reporting.pem --key reporting.key", "")
        assert without != line
        said = shell.run(f"! {without} 2>&1")
        assert "client certificate" in said
        stranger = "--certificate server.pem --key server.key"  # signed by itself, and not by the clients' authority
        shell.run(f"! {without} {stranger} 2>&1")


def unit_of(directory: Path, name: str) -> str:
    """Return what a unit sets last, from its file and its drop-in; an empty setting takes back those before it."""
    texts = [(directory / "atomix-election.service"), *sorted((directory / "atomix-election.service.d").iterdir())]
    values: list[str] = []
    for value in re.findall(rf"^{name}=(.*)$", "\n".join(each.read_text() for each in texts), re.MULTILINE):
        values = [*values, value] if value else []
    (found,) = values
    return found


def test_with_systemd(shell: Shell) -> None:
    """The lines as they stand there, below another root; what needs systemd or the package index is only named.

    Then the unit's own command serves with the files that were installed, and its own reload reads them again.
    """
    root = shell.directory / "root"
    contrib = manual.MANUAL.parents[1] / "contrib"
    shutil.copytree(contrib, shell.directory / "contrib")
    outside = ("groupadd ", "systemctl ", "/opt/atomix-election/bin/pip install ", "python3 -m venv ")
    lines = commands("With systemd")
    named = [line for line in lines if line.startswith(outside)]
    installed = [line for line in lines if line not in named]
    assert named == [
        "python3 -m venv /opt/atomix-election",
        "/opt/atomix-election/bin/pip install 'atomix-election[cli,server]'",
        "groupadd --system election-files",
        "systemctl daemon-reload",
        "systemctl enable --now atomix-election",
        "systemctl reload atomix-election",
    ]
    assert all(line.startswith("install ") for line in installed)
    own = [
        re.sub(r" /etc/", f" {root}/etc/", line.replace("-g election-files", f"-g {os.getgid()}")) for line in installed
    ]
    *first, again = own
    shell.run(f"mkdir -p {root}/etc", *first)
    files = root / "etc" / "atomix-election"
    assert files.stat().st_mode & 0o777 == 0o750
    assert {each.name: each.stat().st_mode & 0o777 for each in files.iterdir()} == dict.fromkeys(
        ("server.pem", "server.key", "access.toml"), 0o640
    )
    units = root / "etc" / "systemd" / "system"
    assert unit_of(units, "SupplementaryGroups") in next(line for line in named if line.startswith("groupadd"))
    command, reload = unit_of(units, "ExecStart"), unit_of(units, "ExecReload")
    assert command.startswith(f"{named[0].split()[-1]}/bin/atomix-election serve --listen 0.0.0.0:5678 ")
    for former, ours in (
        ("/opt/atomix-election/bin/", ""),
        ("/etc/", f"{root}/etc/"),
        ("0.0.0.0:5678", "127.0.0.1:0"),
        ("9464", str(free_port())),
    ):
        assert former in command
        command = command.replace(former, ours)
    with serving(shell, command) as (process, place):
        options = f"--target grpcs://{place} --ca ca.pem --token-file newcomer.token"
        (line,) = (line for line in commands("Who may do what") if "reporting" in line)
        shell.run(line.replace("reporting", "newcomer").replace('"reports"', '"*"'))
        shell.run(f"! atomix-election term nightly-report {options}")
        shell.run(again, f"MAINPID={process.pid}; {reload}")
        assert process.stderr is not None
        assert any("were read again" in said for said in process.stderr)
        assert "leader    (nobody)" in shell.run(f"atomix-election term nightly-report {options}")
