"""What sessions that come and go leave behind in servers and in etcd: nothing."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.soak.leaks import MEMORY_BYTES, REMEMBERED_ON_ETCD, Growth, leaks
from tests.soak.measured import Figures
from tests.soak.site import ETCD

WARM_UP, SESSIONS = 60, 200


def test_nothing_is_left_of_sessions(tmp_path: Path) -> None:
    """No task, thread or descriptor of the servers, no memory, and no key or lease in etcd.

    ``make soak STORE=etcd`` opens more of them.
    """
    growth = anyio.run(leaks, ETCD, tmp_path, WARM_UP, SESSIONS)
    print(growth)  # noqa: T201 - shown when it fails
    assert growth.leaks() == []


@pytest.mark.parametrize(
    ("after", "leaking"),
    [
        ({"tasks": 10}, 1),
        ({"threads": 2, "descriptors": 9}, 2),
        ({"objects": 1000 + REMEMBERED_ON_ETCD}, 0),
        ({"objects": 1010 + REMEMBERED_ON_ETCD}, 1),
        ({"memory_bytes": 1000 + 2 * MEMORY_BYTES}, 1),
        ({"tasks": 8}, 0),
    ],
)
def test_each_kind_of_leak_is_found(after: dict[str, int], leaking: int) -> None:
    """And the noise of a process is not taken for one."""
    before = Figures(9, 1, 8, 1000, 1000)
    figures = ((before, before), (before, replace(before, **after)))
    growth = Growth((SESSIONS,), 0, figures, remembered=REMEMBERED_ON_ETCD)
    assert len(growth.leaks()) == leaking
    assert Growth((SESSIONS,), SESSIONS // 5, ((before,), (before,))).leaks()
