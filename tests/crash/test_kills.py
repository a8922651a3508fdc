"""A server on a file is killed with SIGKILL under load, tens of times: all that its clients were told holds."""

import time
from pathlib import Path

import anyio
import pytest

from atomix_election.testing.history import DONE, Answered, Led
from tests.soak.one_server import CREW, CREWS, SERVER_KILLED
from tests.soak.run import soak
from tests.soak.site import SQLITE, Plan
from tests.soak.sqlite_server import KILLED_IN_A_ROW, KILLS, RESTORED

KILLED = (KILLED_IN_A_ROW,)


@pytest.mark.parametrize(("kinds", "secured"), [(2 * KILLED, False), ((*KILLED, RESTORED), True)])
def test_what_clients_were_told_outlives_any_number_of_kills(
    tmp_path: Path, kinds: tuple[str, ...], secured: bool
) -> None:
    """Acknowledged changes, tokens, sessions and leaderships; the one with TLS and access is restored as well.

    ``make soak`` goes on for longer, and restores both.
    """
    plan = Plan(SQLITE, time.time_ns() % 10**9, secured, 8.0, 1.5, pause_s=0.03, quiet_s=1.7, expiry_slack_s=2.0)
    print(f"seed {plan.seed}")  # noqa: T201 - shown when it fails
    report = anyio.run(soak, plan, tmp_path, kinds)
    print(report)  # noqa: T201 - shown by ``pytest -s``
    assert not report.violations, f"the records are in {tmp_path}"
    rounds, restores = kinds.count(KILLED_IN_A_ROW), kinds.count(RESTORED)
    assert report.counts[SERVER_KILLED] == rounds * KILLS + restores + 1
    assert report.kept(SERVER_KILLED) > 0
    assert (report.counts[KILLED_IN_A_ROW], report.counts[RESTORED]) == (rounds, restores)
    led = [each for each in report.history if isinstance(each, Led)]
    assert len({each.who for each in led}) >= CREWS * CREW
    assert any(isinstance(each, Answered) and (each.what, each.outcome) == ("forget", DONE) for each in report.history)
