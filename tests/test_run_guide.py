"""``docs/run.md``: its command, its unit and its container run, and its tables have all that there is."""

import json
import re
import shlex
import signal
import subprocess
import urllib.request
from collections.abc import Generator
from configparser import ConfigParser
from pathlib import Path

import pytest

from atomix_election.cli import run as command
from atomix_election.supervise import Lease
from atomix_election.supervise.rules import FIRST_RESTART_S, LONGEST_RESTART_S
from tests import manual
from tests.cli.processes import Running

COMMANDS = manual.commands(manual.RUN)
FIRST = ("Running a command on one machine at a time", "")
PLACES = {FIRST}
WAIT_S = 20.0


@pytest.fixture(scope="module")
def environment() -> Generator[dict[str, str]]:
    """An environment that names a running server."""
    with Running("serve", "--listen", "127.0.0.1:0", "--store", "memory://", "--log-level", "error") as server:
        yield manual.environment() | {"ATOMIX_ELECTION_TARGET": server.target()}


def program(path: Path, script: str) -> str:
    """Write a program, and return where it is."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_first_command(environment: dict[str, str], tmp_path: Path) -> None:
    """It finds the script where it is started, and in its environment what the table says."""
    program(tmp_path / "report.sh", "env | cut -d= -f1 | grep ^ATOMIX_ELECTION_")
    (line,) = COMMANDS[FIRST]
    told = manual.run(line, directory=tmp_path, environment=environment, timeout_s=WAIT_S).split()
    table = re.findall(r"^\| `(ATOMIX_ELECTION_\w+)`", manual.section("The command", manual.RUN), re.MULTILINE)
    assert sorted(told) == sorted([*table, "ATOMIX_ELECTION_TARGET"])


def unit() -> list[str]:
    """Return the command line of the unit, which takes the exit status for a success that SIGTERM gives."""
    parser = ConfigParser()
    parser.read_string(block("ini"))
    assert parser["Service"]["SuccessExitStatus"] == str(128 + signal.SIGTERM)
    return shlex.split(parser["Service"]["ExecStart"])


def container() -> list[str]:
    """Return the command line of the container."""
    found = re.search(r"command: (\[.*?\])\n", block("yaml"), re.DOTALL)
    assert found
    return json.loads(found[1])


def block(language: str) -> str:
    """Return the one block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", manual.RUN, re.MULTILINE | re.DOTALL)
    return found


@pytest.mark.parametrize("line", [unit(), container()], ids=["systemd", "kubernetes"])
def test_a_service(line: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    """It runs, with another program and on another port; the probes of the container are there, and SIGTERM ends it."""
    name, *words = line
    assert Path(name).name == "atomix-election"
    here = [re.sub(r"^[0-9.]+:9465$", "127.0.0.1:0", word).replace("$(POD_NAME)", "pod") for word in words[:-1]]
    assert "127.0.0.1:0" in here
    worker = program(tmp_path / "worker", "echo runs; exec sleep 100")
    with subprocess.Popen(
        ["atomix-election", *here, worker],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            url = re.search(r"http://[0-9.:]+", process.stderr.readline())
            assert url
            assert process.stdout.readline() == "runs\n"
            for path in {"/leader", *re.findall(r"path: ([/\w]+)", block("yaml"))}:
                with urllib.request.urlopen(url[0] + path, timeout=WAIT_S) as answer:
                    assert answer.status == 200
            process.terminate()
            assert process.wait(WAIT_S) == 128 + signal.SIGTERM
        finally:
            process.terminate()


def test_the_tables_have_all_options_and_statuses() -> None:
    """And no others."""
    options = {name for each in command.command.params for name in each.opts if name.startswith("--")}
    assert options == set(re.findall(r"--[a-z][a-z-]+", manual.section("Options", manual.RUN)))
    statuses = re.findall(r"^\| ([0-9, ]+) \|", manual.section("Exit statuses", manual.RUN), re.MULTILINE)
    assert sorted(statuses) == sorted(each for each in command.STATUSES if each[0].isdigit())


def test_the_figures() -> None:
    """They are those of the rules."""
    lease = Lease(1.0)
    assert lease.grace_s == 0.25
    assert f"at most {int(lease.longest_grace_s * 1000) / 10:g} % of the time-to-live" in manual.RUN
    assert f"({lease.margin_s * 100:g} % of the time-to-live)" in manual.RUN
    assert f"after {FIRST_RESTART_S:g} s, then twice as long each time, up to {LONGEST_RESTART_S:g} s" in manual.RUN
