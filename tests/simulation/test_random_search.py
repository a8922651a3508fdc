"""The simulator finds nothing in the package, and repeats itself. That it finds something: ``test_planted_bugs``."""

import os
import subprocess
import sys

import pytest

from atomix_election.testing.search import replay_command
from atomix_election.testing.simulation import HOSTS

SEEDS = 12
"""Runs of a search in this suite, each with some ten virtual seconds of faults and what comes after them."""


def _search(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "atomix_election.testing.search", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=55, check=False)


@pytest.mark.parametrize("first", [0, 1000, 2000])
@pytest.mark.parametrize("store", sorted(HOSTS))
def test_no_seed_breaks_a_rule(store: str, first: int) -> None:
    """A failure names the seed and the command that replays it."""
    found = _search("--store", store, "--first", str(first), "--seeds", str(SEEDS), "--processes", "1")
    assert found.returncode == 0, found.stdout + found.stderr
    assert f"{SEEDS} runs: {SEEDS} {store}" in found.stdout


@pytest.mark.parametrize("store", sorted(HOSTS))
def test_a_replay_repeats_the_run(store: str) -> None:
    """Equal seeds give equal traces, in processes of their own too; other seeds give others."""
    traces = [_search("--store", store, "--seed", seed).stdout.splitlines()[-1] for seed in ("7", "7", "8")]
    assert all(trace.startswith("trace ") for trace in traces)
    assert traces[0] == traces[1] != traces[2]


def test_a_search_in_several_processes_says_what_it_has_covered() -> None:
    """Each seed chooses the store; what is printed is enough to repeat it."""
    found = _search("--first", "5", "--seeds", "8", "--processes", "2")
    assert found.returncode == 0, found.stdout + found.stderr
    runs, covered, faults, last = found.stdout.splitlines()
    assert runs.startswith("8 runs: ")
    assert "hours simulated" in covered
    assert "commands acknowledged" in covered
    assert "forget" in faults
    assert last == "from seed 5, 0 broke a rule"
    assert replay_command(5, "sqlite") == "make simulate SEED=5 STORE=sqlite"
