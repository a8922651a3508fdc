"""What docs/testing.md shows runs as it stands there, finds what it is meant to find, and leaves nothing out."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from atomix_election import LossReason, testing
from atomix_election.testing import Faults, Network
from tests.manual import DOCS

GUIDE = (DOCS / "testing.md").read_text()
FILES: dict[str, str] = dict(re.findall(r"^`([a-z_]+\.py)`:\n\n```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
APPLICATION = "reports.py"
WAIT_S = 50.0
LOOPS = "asyncio_default_fixture_loop_scope=function"
"""pytest-asyncio warns where this is not said."""
BUGS = {
    "leads without asking": (
        "                leadership.ensure()\n",
        "",
        "test_reports.py::test_a_replica_that_is_paused_writes_nothing",
    ),
    "gives up when it is refused": (
        "except StaleToken:\n                pass",
        "finally:\n                pass",
        "test_reports.py::test_a_write_that_is_late_is_refused",
    ),
    "works on when it is told to stop": (
        "finally:\n",
        "finally:\n            with anyio.CancelScope(shield=True):\n                await anyio.sleep(40)\n",
        "test_reports.py::test_it_stops_when_it_loses_the_lead_and_comes_back",
    ),
    "writes without its token": ("self._guard.check(token)", "pass", "test_search.py"),
}
"""For each one: what stands in the application, what takes its place, and which tests have to fail."""


def run_tests(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Write the files of the guide, as far as they are not there, and run its tests as a user does."""
    for name, text in FILES.items():
        path = directory / name
        if not path.exists():
            path.write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-o", LOOPS, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def test_every_block_is_a_file() -> None:
    """So that none is left out."""
    assert len(FILES) == len(re.findall(r"^ *```+ *\w+", GUIDE, re.MULTILINE))
    assert APPLICATION in FILES
    assert all("def test_" in text for name, text in FILES.items() if name != APPLICATION)


def test_the_tests_pass(tmp_path: Path) -> None:
    """All of them, in a folder that has nothing else."""
    ended = run_tests(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_in_the_application_is_found(name: str, tmp_path: Path) -> None:
    """By the test that says so."""
    right, wrong, tests = BUGS[name]
    assert right in FILES[APPLICATION]
    (tmp_path / APPLICATION).write_text(FILES[APPLICATION].replace(right, wrong))
    ended = run_tests(tmp_path, "-x", tests)
    assert ended.returncode == 1, ended.stdout + ended.stderr


def test_everything_is_explained() -> None:
    """Here or in the guides to stores and histories: each name, method of a network, fault, and reason for a loss."""
    names = set(testing.__all__)
    names |= {name for name in vars(Network) if name[0] != "_"}
    names |= {each.name for each in fields(Faults)} | {each.name for each in LossReason}
    guides = GUIDE + (DOCS / "stores.md").read_text() + (DOCS / "histories.md").read_text()
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", guides)] == []
