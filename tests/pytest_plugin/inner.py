"""Runs pytest as a user does, in a folder of its own: every warning is an error, and no thread may stay behind."""

import sys

import pytest

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
# pytest-asyncio warns where nothing is said about its event loops.
INI = "[pytest]\naddopts = --strict-markers\nasyncio_default_fixture_loop_scope = function\n"
LEFT = "assert left == []"


def run_pytest(pytester: pytest.Pytester, *arguments: str, **modules: str) -> pytest.RunResult:
    """Run modules of tests in a process of its own, and return how that ended."""
    pytester.makefile(".ini", pytest=INI)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(**modules)
    options = ["-q", "-rA", "-W", "error", "-p", "no:cacheprovider", "-W", "ignore:Unknown config option"]
    ended = pytester.run(sys.executable, "-m", "pytest", *options, *arguments, timeout=LONGEST_RUN_S)
    assert LEFT not in "\n".join(ended.outlines + ended.errlines)
    return ended


def outcomes(ended: pytest.RunResult) -> dict[str, str]:
    """Return what became of each test, "PASSED", "FAILED" or "ERROR", by "MODULE::TEST"."""
    lines = [line.split(" - ")[0].split(" ", 1) for line in ended.outlines]
    kept = {"PASSED", "FAILED", "ERROR"}
    return {line[1]: line[0] for line in lines if line[0] in kept}
