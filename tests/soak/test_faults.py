"""Servers and clients killed, stopped and cut off, disks full, clocks set: all that clients were told holds.

``make soak`` goes on for longer, and has more of everything.
"""

import time
from pathlib import Path

import anyio
import pytest

from atomix_election.testing.history import DONE, Answered, Led, Seen
from tests.soak import faked_clocks
from tests.soak.clients import (
    BRIEFLY,
    CLOCKS_JUMPED,
    CONNECTIONS_CUT,
    DEAF,
    DUMB,
    FOR_LONG,
    KILLED,
    STOPPED,
)
from tests.soak.one_server import (
    SERVER_CLOCK_JUMPED,
    SERVER_KILLED,
    SERVER_STOPPED_BRIEFLY,
    SERVER_STOPPED_FOR_LONG,
)
from tests.soak.report import Report
from tests.soak.run import soak
from tests.soak.site import MEMORY, SQLITE, Plan
from tests.soak.sqlite_server import DISK_FULL

TTL_S, SETTLE_S = 3.0, 1.2
OF_CLIENTS = (f"{STOPPED}, {FOR_LONG}", (SERVER_STOPPED_BRIEFLY, f"{DUMB}, {BRIEFLY}"), SERVER_KILLED)
OF_SERVERS = ((DISK_FULL, f"{DEAF}, {BRIEFLY}"), (SERVER_STOPPED_FOR_LONG, CONNECTIONS_CUT))
OF_CLOCKS = ((SERVER_CLOCK_JUMPED, CLOCKS_JUMPED),)
Kinds = tuple[str | tuple[str, ...], ...]


def run(plan: Plan, directory: Path, kinds: Kinds) -> Report:
    """Do these, and see that nothing is broken."""
    print(f"seed {plan.seed}")  # noqa: T201 - shown when it fails
    report = anyio.run(soak, plan, directory, kinds)
    print(report)  # noqa: T201 - shown by ``pytest -s``
    assert not report.violations, f"the records are in {directory}"
    assert all(report.counts[kind] for each in kinds for kind in ([each] if isinstance(each, str) else each))
    assert report.counts[KILLED] >= len(kinds)
    assert any(isinstance(each, Seen) and not each.snapshot for each in report.history)
    assert any(isinstance(each, Answered) and (each.what, each.outcome) == ("enter", DONE) for each in report.history)
    return report


def test_clients_of_a_server_in_memory_are_kept_away_from_it_and_it_is_lost(tmp_path: Path) -> None:
    """Within the life of each server all holds, and with the next one its clients begin anew."""
    report = run(Plan(MEMORY, _seed(), False, TTL_S, SETTLE_S), tmp_path, OF_CLIENTS)
    assert report.kept(SERVER_STOPPED_BRIEFLY)
    tokens = [each.token for each in report.history if isinstance(each, Led) and each.election == "lasting"]
    assert tokens.count(1) == 2


def test_a_server_on_a_file_has_no_room_and_is_stopped(tmp_path: Path) -> None:
    """Writes are refused, and nothing is lost; it goes on without a restart."""
    report = run(Plan(SQLITE, _seed(), False, TTL_S, SETTLE_S, small_disk=True), tmp_path, OF_SERVERS)
    assert report.kept(DISK_FULL)
    assert any(each.outcome == "StoreError" for each in report.history if isinstance(each, Answered))


@pytest.mark.skipif(faked_clocks.library() is None, reason=faked_clocks.ABSENT)
def test_nothing_comes_of_wall_clocks_that_are_set(tmp_path: Path) -> None:
    """By hours, forwards or back, at the server and at clients."""
    plan = Plan(MEMORY, _seed(), False, TTL_S, SETTLE_S, library=faked_clocks.library())
    report = run(plan, tmp_path, OF_CLOCKS)
    lost = [each.lost for each in report.history if isinstance(each, Led) and each.election == "lasting"]
    assert set(lost) == {""}


def _seed() -> int:
    return time.time_ns() % 10**9
