"""Runs pytest as a user does: in a process and a folder of its own, where every warning is an error and nothing may stay behind."""

import subprocess
import sys
from pathlib import Path

LONGEST_RUN_S = 50.0
CONFTEST = '''
"""No thread of anybody's may be left at the end, but for those that Trio keeps for its next use."""

import gc
import threading

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    gc.collect()
    left = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    left = [name for name in left if not name.startswith("Trio thread")]
    assert left == [], left
'''
INI = "[pytest]\naddopts = --strict-markers --strict-config\nasyncio_default_fixture_loop_scope = function\n"


def run_pytest(directory: Path, tests: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a module of tests, and return how that ended."""
    (directory / "pytest.ini").write_text(INI)
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_inner.py").write_text(tests)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-W", "error", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_S,
        check=False,
    )


def outcomes(ended: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """Return what became of each test: "PASSED", "FAILED" or "ERROR"."""
    lines = [line.split(" - ")[0].split(" ", 1) for line in ended.stdout.splitlines()]
    kept = {"PASSED", "FAILED", "ERROR"}
    return {line[1].partition("::")[2]: line[0] for line in lines if line[0] in kept}
