"""Every example runs, as a process of its own. One of them: ``pytest tests/test_examples.py -k fenced_write``."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(path.name for path in FOLDER.glob("*.py"))
APPLICATION = FOLDER / "tested_application"
BUGS = {
    "no fence": (r" *guard.check.*\n", "", "test_a_former_leader_removes_nothing"),
    "gives up after a loss": (
        r"await self._election.run\((.*)\)",
        r"await once(self._election, \1)",
        "test_it_leads_again",
    ),
}
"""For each one: what stands in the application, what takes its place, and the test that has to fail."""
ONCE = """

async def once(election, work):
    async with election.lead() as leadership:
        await work(leadership)
"""
LONGEST_RUN_S = 30.0


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs(name: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(FOLDER / name)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_are_examples() -> None:
    assert "fenced_write.py" in EXAMPLES


def run_application_tests(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run them as a user does, in a copy."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_S,
        check=False,
    )


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A copy of the application and its tests, as pytest leaves files behind."""
    return Path(shutil.copytree(APPLICATION, tmp_path / "application"))


def test_the_tests_of_the_application_pass(application: Path) -> None:
    ended = run_application_tests(application)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "9 passed" in ended.stdout


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_in_the_application_is_found(name: str, application: Path) -> None:
    """By the test that says so."""
    right, wrong, test = BUGS[name]
    path = application / "cleaner.py"
    text, replaced = re.subn(right, wrong, path.read_text())
    assert replaced == 1
    path.write_text(text.replace("\n\nclass Cleaner", ONCE + "\n\nclass Cleaner"))
    ended = run_application_tests(application, f"test_cleaner.py::{test}")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "1 failed" in ended.stdout
