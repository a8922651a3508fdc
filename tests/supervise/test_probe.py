"""The port for probes, asked as those do that start, stop and route to a process."""

import json
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator
from typing import Any

import anyio.to_thread
import pytest

from atomix_election.supervise import Phase, Status, serve_probe
from atomix_election.supervise.probe import LIVE_S

pytestmark = pytest.mark.anyio

LEADS = Status(Phase.RUNNING, leads=True, token=7, pid=42, is_connected=True, silent_s=0.1)
WAITS = Status(Phase.WAITING, leads=False, token=None, pid=None, is_connected=True, silent_s=0.1)
CUT_OFF = Status(Phase.WAITING, leads=False, token=None, pid=None, is_connected=False, silent_s=0.1)
STUCK = Status(Phase.RUNNING, leads=False, token=None, pid=42, is_connected=True, silent_s=LIVE_S)


class Probed:
    """A port, and what it is to answer with."""

    def __init__(self) -> None:
        self.status = WAITS
        self.url = ""

    async def get(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """Ask, and return the status and the body."""
        return await anyio.to_thread.run_sync(_get, urllib.request.Request(self.url + path, method=method))


def _get(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            body = response.read()
            return response.status, json.loads(body) if body else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Threads serve the port, whichever event loop there is."""
    return "asyncio"


@pytest.fixture(scope="module")
async def served(anyio_backend: str) -> AsyncGenerator[Probed]:
    """A port that answers as a test says."""
    probed = Probed()
    async with serve_probe(lambda: probed.status, "e", "a", "127.0.0.1", 0) as probed.url:
        yield probed


@pytest.fixture
def probed(served: Probed) -> Probed:
    """The port, as if nothing had been asked."""
    served.status = WAITS
    return served


async def test_each_probe_has_its_question(probed: Probed) -> None:
    """That a server is away is no reason to restart anything; that an event loop is stuck is one."""
    for status, wanted in (
        (LEADS, [200, 200, 200]),
        (WAITS, [503, 200, 200]),
        (CUT_OFF, [503, 503, 200]),
        (STUCK, [503, 200, 503]),
    ):
        probed.status = status
        assert [(await probed.get(path))[0] for path in ("/leader", "/ready", "/live")] == wanted, status


async def test_the_answer_is_for_people_too(probed: Probed) -> None:
    """One object for all, whatever the status."""
    probed.status = LEADS
    assert (await probed.get("/leader"))[1] == {
        "election": "e",
        "candidate": "a",
        "phase": "running",
        "leader": True,
        "token": 7,
        "pid": 42,
        "connected": True,
    }
    assert (await probed.get("/leader", "HEAD")) == (200, None)


async def test_nothing_else_is_there(probed: Probed) -> None:
    """It says what is."""
    assert await probed.get("/") == (404, {"error": "there are /leader, /ready, /live"})
    assert (await probed.get("/leader", "POST"))[0] == 405
