"""The command as a whole."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

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
    assert result.stdout.startswith("usage: atomix-election ")
    for command in ("serve", "list", "term", "describe", "watch", "new-token", "demo"):
        assert re.search(rf"^    {command}\s", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["term"], ["nothing"], ["term", "e", "--nothing"], ["term", "e", "f"]])
def test_a_wrong_command_line_has_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And the usage is shown."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert "usage: atomix-election" in capsys.readouterr().err


def test_the_exit_status_reaches_the_shell() -> None:
    """What ``main`` returns is the status of the process."""
    result = run("term", "e", "--target", "nowhere")
    assert result.returncode == 2
    assert result.stderr.startswith("atomix-election: target 'nowhere' is not known; known are memory://")
