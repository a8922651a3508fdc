"""The simulator finds nothing in the package, and repeats itself. That it finds something: ``test_planted_bugs``."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from atomix_election.testing.search import replay_command
from atomix_election.testing.simulation import HOSTS
from tests.cli.processes import processes_of_session

SEEDS = 12
"""Runs of a search in this suite, each with some ten virtual seconds of faults and what comes after them."""
PROMPT_S = 5.0
"""Ending takes a fraction of a second; a bound for slow machines, and far less than a search takes."""
START_S = 30.0
WORKERS = 2

ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0"}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "atomix_election.testing.search", *arguments]


def _search(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = _command(*arguments)
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=55, check=False)


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_a_search_ends_all_its_processes(number: signal.Signals) -> None:
    """At once: they would go on with their runs, and then wait for others for ever. All of them have its output."""
    command = _command("--minutes", "5", "--processes", str(WORKERS))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=ENVIRONMENT, start_new_session=True) as search:
        try:
            deadline = time.monotonic() + START_S
            while len(processes_of_session(search.pid)) < 2 + WORKERS:  # with itself and what clears up after it
                assert time.monotonic() < deadline
                time.sleep(0.05)  # they tell nobody
            search.send_signal(number)
            assert search.communicate(timeout=PROMPT_S)[0] == b""
            assert search.returncode == -number
        finally:
            for process in processes_of_session(search.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
