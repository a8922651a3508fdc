"""The command as a whole."""

import gc
import re
import socket
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules

import pytest

from atomix_election import cli
from atomix_election.cli import term
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


def test_what_was_misspelt_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands and options."""
    assert cli.main(["trem", "e"]) == 2
    assert "Did you mean 'term'" in capsys.readouterr().err
    assert cli.main(["term", "e", "--targte", "x"]) == 2
    assert "--target" in capsys.readouterr().err


def test_without_its_extra_it_says_which_one(tmp_path: Path) -> None:
    """Status 2 and one line; a module that lacks for another reason is not taken for it."""
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError(f'No module named {__name__!r}', name=__name__)")
    result = run("term", "e", variables={"PYTHONPATH": str(tmp_path)})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "atomix-election: the command needs its extra: pip install 'atomix-election[cli]'\n"
    (tmp_path / "click.py").write_text("import nothing_of_that_name")
    result = run("term", "e", variables={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1
    assert "nothing_of_that_name" in result.stderr


def test_who_named_no_target_is_told_how(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only where the default was taken, and nobody answers there."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = "grpc://{}:{}".format(*gone.getsockname())
    told = "nobody said where the elections are: give --target or ATOMIX_ELECTION_TARGET"
    (option,) = [each for each in term.command.params if each.name == "target"]
    monkeypatch.setattr(option, "default", nobody)
    assert cli.main(["term", "e"]) == 1
    assert told in capsys.readouterr().err
    assert cli.main(["term", "e", "--target", nobody]) == 1
    assert told not in capsys.readouterr().err


def test_etcd_options_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A token that is not there is missed; an option is stronger than its variable."""
    monkeypatch.setenv("ATOMIX_ELECTION_STORE_TOKEN_FILE", str(tmp_path / "variable"))
    assert cli.main(["raise-floor", "1", "etcds://127.0.0.1:1"]) == 2
    assert str(tmp_path / "variable") in capsys.readouterr().err
    option = str(tmp_path / "option")
    assert cli.main(["raise-floor", "1", "etcds://127.0.0.1:1", "--store-token-file", option]) == 2
    assert option in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("atomix-election re", {"restore", "recover"}),
        ("atomix-election term --na", {"--namespace"}),
        ("atomix-election serve --log-format ", {"text", "json"}),
    ],
)
def test_a_shell_completes(line: str, expected: set[str]) -> None:
    """The names of commands and options, and the values that are known."""
    words = line.split(" ")
    variables = {
        "_ATOMIX_ELECTION_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    completed = run(variables=variables)
    assert {each.partition(",")[2] for each in completed.stdout.split()} == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    """By the name of the installed command."""
    script = run(variables={"_ATOMIX_ELECTION_COMPLETE": f"{shell}_source"})
    assert script.returncode == 0
    assert "atomix-election" in script.stdout
