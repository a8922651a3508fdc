"""What the README shows works as it stands there."""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import manual

README = (Path(__file__).parents[1] / "README.md").read_text()
WAIT_S = 20.0


@contextmanager
def _server(directory: Path) -> Generator[str]:
    """Run the README's own command, on a free port, and give its target."""
    command = _command("serve").replace("127.0.0.1:5678", "127.0.0.1:0")
    with _started(command, directory) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("listening on ").strip()
        process.terminate()
        assert process.wait(WAIT_S) == 0


@contextmanager
def _started(command: str, directory: Path | None = None) -> Generator["subprocess.Popen[str]"]:
    words = shlex.split(command)
    assert words[0] == ".venv/bin/python"
    process = subprocess.Popen(
        [sys.executable, *words[1:]], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _command(name: str) -> str:
    found = re.findall(rf"^    (.venv/bin/python -m atomix_election {name}\b.*)$", README, re.MULTILINE)
    assert found, f"the README shows no command {name}"
    return found[0]


def _example() -> str:
    found = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0]


def _run(example: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_the_example_runs_as_it_is() -> None:
    """It prints who leads."""
    assert "node-1" in _run(_example())


def test_the_example_runs_against_a_server_too(tmp_path: Path) -> None:
    """With nothing but its target replaced."""
    with _server(tmp_path) as target:
        example = _example()
        assert example.count('target="memory://"') == 1
        assert "node-1" in _run(example.replace("memory://", target))


def test_the_commands_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """serve, term, list, describe and watch, as they stand there but for the port."""
    with _server(tmp_path) as target:
        monkeypatch.setenv("ATOMIX_ELECTION_TARGET", target)
        with _started(_command("term")) as term:
            out, _ = term.communicate(timeout=WAIT_S)
            assert term.returncode == 0
            assert "nightly-report" in out
        for name in ("list", "describe"):
            with _started(_command(name)) as looking:
                looking.communicate(timeout=WAIT_S)
                assert looking.returncode == 0
        with _started(_command("watch")) as watch:
            assert watch.stdout is not None
            assert '"type": "NONE"' in watch.stdout.readline()
            watch.send_signal(signal.SIGINT)
            assert watch.wait(WAIT_S) == 130


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_targets_of_make_are_run_before_a_change_goes_in(page: str) -> None:
    """Each with all that it makes, by the script that the tests are run by too; it has no other lines."""
    project = Path(__file__).parents[1]
    shown = [
        line.partition("#")[0].strip()
        for block in manual.blocks((project / page).read_text())
        for line in block.text.splitlines()
        if "make" in line.split("#")[0]
    ]
    run = (project / ".ci" / "run").read_text().replace("--no-print-directory ", "").splitlines()
    assert len(shown) >= 2
    assert set(shown) <= set(run)
