"""The simulator finds nothing in the package, and repeats itself. That it finds something: ``test_planted_bugs``."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atomix_election.testing.search import main, replay_command
from atomix_election.testing.simulation import HOSTS
from tests.cli.processes import kill_session, processes_of_session

SEEDS = 7
"""Runs of a search in this suite, each with ten to thirty virtual seconds of faults and what comes after them."""
PROMPT_S = 5.0
"""Ending takes a fraction of a second; a bound for slow machines, and far less than a search takes."""
START_S = 30.0
WORKERS = 2

ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0"}

BROKEN_SEARCH = """
import os, sys, time
from atomix_election.testing import search

search.LONGEST_RUN_S = 0.05
search.simulate = lambda *_: {}

if __name__ == "__main__":
    sys.exit(search.main())
"""


def _command(*arguments: str, program: str | None = None) -> list[str]:
    what = ["-m", "atomix_election.testing.search"] if program is None else [program]
    return [sys.executable, *what, *arguments]


def _search(*arguments: str, program: str | None = None) -> subprocess.CompletedProcess[str]:
    command = _command(*arguments, program=program)
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
            kill_session(search.pid)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_that_never_ends_is_reported(processes: str, tmp_path: Path) -> None:
    """With its seed; the others are done, and what they covered is said."""
    program = tmp_path / "search.py"
    program.write_text(BROKEN_SEARCH.format("time.sleep(60)"))
    found = _search("--first", "5", "--seeds", "2", "--processes", processes, program=str(program))
    lines = found.stdout.splitlines()
    assert found.returncode == 1, found.stdout + found.stderr
    for seed in (5, 6):
        assert any(line.startswith(f"seed {seed} on ") and "it was not over after 0.05 s" in line for line in lines)
        assert f"broke a rule: make simulate SEED={seed}" in lines
    assert lines[-1] == "from seed 5, 2 broke a rule"
    assert any(line.startswith("2 runs: ") for line in lines)
    assert "Traceback" not in found.stderr


def test_a_process_that_dies_is_reported(tmp_path: Path) -> None:
    """With the seeds of all runs that had begun, as it may have been any of them."""
    program = tmp_path / "search.py"
    program.write_text(BROKEN_SEARCH.format("os._exit(3)"))
    found = _search("--first", "5", "--seeds", "50", "--processes", "2", program=str(program))
    lines = found.stdout.splitlines()
    assert found.returncode == 1, found.stdout + found.stderr
    assert any(line.startswith("seed 5 on ") and "a process died" in line for line in lines)
    assert "broke a rule: make simulate SEED=5" in lines
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("more", ["--minutes", "--seeds", "--first"])
def test_a_replay_takes_no_time_of_a_search(
    more: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What belongs to a search is refused."""
    monkeypatch.setattr(sys, "argv", ["search", "--seed", "7", more, "1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "give either a seed, or how long to search" in capsys.readouterr().err
