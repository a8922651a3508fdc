"""The command as a whole."""

import gc
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules

import pytest

from atomix_election import cli
from tests.cli.processes import environment, run


def test_the_installed_command_is_the_module(tmp_path: Path) -> None:
    """``atomix-election`` and ``python -m atomix_election`` are the same, from any directory."""
    (script,) = entry_points(group="console_scripts", name="atomix-election")
    assert script.load() is cli.main
    result = subprocess.run(
        [sys.executable, "-m", "atomix_election", "--help"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: atomix-election ")
    for command in cli.COMMANDS:
        assert re.search(rf"^  {command}\s", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["term"], ["nothing"], ["term", "e", "--nothing"], ["term", "e", "f"]])
def test_a_wrong_command_line_has_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And the usage is shown."""
    assert cli.main(arguments) == 2
    assert "Usage: atomix-election" in capsys.readouterr().err


def test_the_exit_status_reaches_the_shell() -> None:
    """What ``main`` returns is the status of the process."""
    result = run("term", "e", "--target", "nowhere")
    assert result.returncode == 2
    assert result.stderr.startswith("atomix-election: target 'nowhere' is not known; known are memory://")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every one that is listed is there, and says first what the list says."""
    assert cli.main([command, "--help"]) == 0
    usage, what, *_ = capsys.readouterr().out.split("\n\n")
    assert usage.startswith(f"Usage: atomix-election {command} ")
    assert " ".join(what.split()) == cli.COMMANDS[command]


def test_every_command_is_listed() -> None:
    """A module that has a command is one."""
    modules = [import_module(f"{cli.__name__}.{each.name}") for each in iter_modules(cli.__path__)]
    found = {each.__name__.rpartition(".")[2].replace("_", "-") for each in modules if hasattr(each, "command")}
    assert found == set(cli.COMMANDS)


def test_the_collector_of_a_caller_is_left_alone() -> None:
    """Who calls ``main`` with arguments has a process of their own."""
    before = gc.get_freeze_count()
    assert cli.main(["term", "e", "--target", "nowhere"]) == 2
    assert gc.isenabled()
    assert gc.get_freeze_count() == before
