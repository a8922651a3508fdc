"""``demo`` that is ended before its time leaves no process behind, and no traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

LIMIT_S = 30.0


@pytest.fixture
def demo() -> Generator["subprocess.Popen[str]"]:
    """The demonstration, in a process group of its own."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "atomix_election", "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            _kill_group(process.pid)


def _kill_group(group: int) -> None:
    try:  # noqa: SIM105
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _members(group: int) -> list[str]:
    """Return the command lines of the live processes of a group."""
    found: list[str] = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            fields = each.joinpath("stat").read_text().rpartition(")")[2].split()
            command = each.joinpath("cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(command.replace("\0", " "))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_takes_its_processes_along(demo: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Whoever ends it in the midst finds no server and no candidate running, and no traceback."""
    assert demo.stdout is not None
    for line in demo.stdout:
        if "I lead" in line:
            break
    demo.send_signal(number)
    demo.wait(LIMIT_S)
    left = _members(demo.pid)
    _kill_group(demo.pid)
    assert left == []
    assert demo.stderr is not None
    assert "Traceback" not in demo.stderr.read()


def test_it_ends_quietly_when_nobody_reads(demo: "subprocess.Popen[str]") -> None:
    """``demo | head -1`` shows no traceback and leaves nothing behind."""
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.stdout.close()
    demo.wait(LIMIT_S)
    left = _members(demo.pid)
    _kill_group(demo.pid)
    assert left == []
    assert demo.stderr is not None
    assert "Traceback" not in demo.stderr.read()
