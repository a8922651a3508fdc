"""A server on a file is killed with SIGKILL under load, tens of times: all that its clients were told holds."""

import time
from pathlib import Path

import pytest

from atomix_election.testing.history import DONE, Answered, Led
from tests.crash.soak import CLIENTS, KILLS, PROCESSES, soak


@pytest.mark.parametrize(("rounds", "secured"), [(2, False), (1, True)])
def test_what_clients_were_told_outlives_any_number_of_kills(tmp_path: Path, rounds: int, secured: bool) -> None:
    """Acknowledged changes, tokens, sessions and leaderships; the one with TLS and access is restored as well.

    ``make soak`` goes on for longer, and restores both.
    """
    seed = time.time_ns() % 10**9
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    report = soak(seed, tmp_path, rounds=rounds, secured=secured, restores=secured)
    assert not report.violations, f"{report}; the records are in {tmp_path}"
    assert report.kills == rounds * KILLS + 1 + secured
    assert report.kept() > 0
    assert report.backups == rounds
    assert len(report.admissions) == secured
    led = [each for each in report.history if isinstance(each, Led)]
    assert len({each.who for each in led}) >= PROCESSES * CLIENTS
    assert any(isinstance(each, Answered) and (each.what, each.outcome) == ("forget", DONE) for each in report.history)
    print(report)  # noqa: T201 - shown by ``pytest -s``
