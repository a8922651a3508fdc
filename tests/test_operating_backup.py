"""Section "Backup and restore" of ``docs/operating.md``: its commands work as they stand there."""

import re
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests import manual

SECTION = "Backup and restore"
PLACES = {(SECTION, each) for each in ("Backups", "Restoring", "Elections that are no longer used")}
WAIT_S = 20.0
ANY_PORT = "--listen 127.0.0.1:0"


def commands(heading: str) -> list[str]:
    """Return the command lines under a heading of the section."""
    return manual.commands()[SECTION, heading]


def run(line: str, directory: Path) -> str:
    """Run a line that must go well, and return its output."""
    return manual.run(line, directory=directory, environment=manual.environment(), timeout_s=WAIT_S)


@contextmanager
def serving(line: str, directory: Path) -> Generator[str]:
    """Run a server on any free port, and give its target."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {line} {ANY_PORT}"],
        cwd=directory,
        env=manual.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("listening on ").strip()
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()


def floor_in(output: str) -> int:
    """Return below what all tokens are, as the command says."""
    found = re.search(r"its tokens begin above (\d+);", output)
    assert found
    return int(found[1])


def test_the_commands_in_order(tmp_path: Path) -> None:
    """With nothing but the address replaced; each restore begins above the one before."""
    (backup,) = commands("Backups")
    restore, serve, restore_again, restore_above = commands("Restoring")
    with serving("atomix-election serve", tmp_path):
        run(backup, tmp_path)
    floors = [floor_in(run(restore, tmp_path))]
    with serving(serve, tmp_path) as target:
        assert f"term      {floors[0]}\n" in run(f"atomix-election term e --target {target}", tmp_path)
    floors += [floor_in(run(line, tmp_path)) for line in (restore_again, restore_above)]
    assert floors == sorted(set(floors))


def test_the_command_that_forgets(tmp_path: Path) -> None:
    """With nothing but the target added."""
    (forget,) = commands("Elections that are no longer used")
    with serving("atomix-election serve", tmp_path) as target:
        assert run(f"{forget} --target {target}", tmp_path).startswith("forgot nightly-report;")
