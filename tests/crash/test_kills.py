"""A server on a file is killed with SIGKILL under load, tens of times: all that its clients were told holds."""

import time
from pathlib import Path

from tests.crash.history import Led
from tests.crash.soak import CLIENTS, KILLS, PROCESSES, soak

ROUNDS = 3


def test_what_clients_were_told_outlives_any_number_of_kills(tmp_path: Path) -> None:
    """Acknowledged changes, tokens, sessions and leaderships; ``make soak`` goes on for longer."""
    seed = time.time_ns() % 10**9
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    report = soak(seed, tmp_path, rounds=ROUNDS)
    assert not report.violations, f"{report}; the records are in {tmp_path}"
    assert report.kills == ROUNDS * KILLS + 1
    assert report.kept() > 0
    led = [each for each in report.history if isinstance(each, Led)]
    assert len({each.who for each in led}) >= PROCESSES * CLIENTS
    print(report)  # noqa: T201 - shown by ``pytest -s``
