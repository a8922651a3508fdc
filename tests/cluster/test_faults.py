"""Two servers on etcd, whose members and connections are taken away under load: all that clients were told holds."""

import time
from pathlib import Path

import anyio
import pytest

from atomix_election.testing.history import DONE, Answered, Seen
from tests.cluster.faults import (
    ALL_DOWN,
    FOLLOWER_KILLED,
    LEADER_KILLED,
    MEMBER_PAUSED,
    OUTAGES,
    PANICKED,
    QUORUM_LOST,
    RESTARTED,
    SERVER_CUT_OFF,
    SERVER_KILLED,
    SERVER_PAUSED,
)
from tests.soak.clients import CONNECTIONS_CUT
from tests.soak.run import soak
from tests.soak.site import ETCD, Plan

# An outage comes last: a lease that runs out after it ends a leadership, which the fault after it would be blamed for.
OF_MEMBERS = (LEADER_KILLED, SERVER_CUT_OFF, MEMBER_PAUSED, QUORUM_LOST)
OF_SERVERS = (SERVER_KILLED, FOLLOWER_KILLED, CONNECTIONS_CUT, SERVER_PAUSED)
OF_ONE = (RESTARTED, ALL_DOWN)


@pytest.mark.parametrize(
    ("kinds", "size", "secured", "ttl_s", "settle_s"),
    [(OF_MEMBERS, 3, False, 6.0, 2.5), (OF_SERVERS, 3, True, 6.0, 2.5), (OF_ONE, 1, False, 3.0, 1.2)],
    ids=["members", "servers, with TLS and users", "one member"],
)
def test_what_clients_were_told_outlives_faults(
    tmp_path: Path, kinds: tuple[str, ...], size: int, secured: bool, ttl_s: float, settle_s: float
) -> None:
    """Acknowledged changes, tokens, events, sessions and leaderships; and in the end nothing is left of anybody.

    ``make soak STORE=etcd`` goes on for longer, and has more of them.
    """
    plan = Plan(ETCD, time.time_ns() % 10**9, secured, ttl_s, settle_s, size)
    print(f"seed {plan.seed}")  # noqa: T201 - shown when it fails
    report = anyio.run(soak, plan, tmp_path, kinds)
    print(report)  # noqa: T201 - shown by ``pytest -s``
    assert not report.violations, f"the records are in {tmp_path}"
    counts = report.counts
    assert all(counts[kind] == 1 for kind in kinds)
    assert counts[PANICKED] or all(report.kept(kind) for kind in kinds if kind not in OUTAGES)
    assert any(isinstance(each, Seen) and not each.snapshot for each in report.history)
    assert any(isinstance(each, Answered) and (each.what, each.outcome) == ("forget", DONE) for each in report.history)
