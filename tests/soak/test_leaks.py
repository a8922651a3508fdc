"""What sessions that come and go leave behind in a server with a store of its own, and in the process of clients."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.soak.leaks import REMEMBERED_OBJECTS, Growth, leaks, leaks_of_client
from tests.soak.measured import Figures
from tests.soak.site import MEMORY, SQLITE

WARM_UP, SESSIONS = 40, 100
CLIENTS = 30


@pytest.mark.parametrize("store", [MEMORY, SQLITE])
def test_nothing_is_left_of_sessions(tmp_path: Path, store: str) -> None:
    """No session, watch, connection, task, thread or descriptor, and no memory.

    Some are closed, some end with their clients by kill -9, some expire. ``make soak`` opens thousands.
    """
    growth = anyio.run(leaks, store, tmp_path, WARM_UP, SESSIONS)
    print(growth)  # noqa: T201 - shown when it fails
    assert growth.leaks() == []
    assert growth.failed == 0


def test_nothing_is_left_of_clients_in_their_process(tmp_path: Path) -> None:
    """That connect, watch, lead, and close."""
    growth = anyio.run(leaks_of_client, tmp_path, CLIENTS // 2, CLIENTS)
    print(growth)  # noqa: T201 - shown when it fails
    assert growth.sessions == CLIENTS
    assert growth.leaks() == []


@pytest.mark.parametrize("what", ["sessions", "watches", "connections", "tasks", "threads", "descriptors"])
def test_one_of_these_is_a_leak(what: str) -> None:
    """And of objects as many as no cache explains."""
    before = Figures(9, 1, 8, 1000, 1000)
    after = replace(before, **{what: getattr(before, what) + 1}, objects=1000 + REMEMBERED_OBJECTS)
    growth = Growth((SESSIONS,), 0, ((before,), (after,)), remembered=REMEMBERED_OBJECTS - SESSIONS // 50)
    assert len(growth.leaks()) == 1
    assert len(replace(growth, remembered=growth.remembered - 1).leaks()) == 2


def test_what_goes_on_growing_is_a_leak() -> None:
    """Also where it is little enough to be taken for what is remembered at first: that does not grow for ever."""

    def growth(*objects: int) -> Growth:
        figures = [(Figures(9, 1, 8, each, 1000),) for each in (1000, *objects)]
        return Growth((200,) * len(objects), 0, tuple(figures))

    assert growth(1500, 1600, 1600, 1550, 1600).leaks() == []
    assert growth(1000, 1300, 1300, 1000, 1300).leaks() == []
    (leak,) = growth(1110, 1220, 1330, 1440, 1550).leaks()
    assert leak == "server 0 has more objects in the latter half: 1110 -> 1440"
    assert growth(1550).leaks() == []
