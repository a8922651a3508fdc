"""The fixtures in each kind of test, run as a user runs them."""

from pathlib import Path

import pytest

from tests.pytest_plugin.inner import outcomes, run_pytest

LOSSES = '''
import asyncio

import pytest

from atomix_election import Client, LeadershipLost, LossReason, connect
from atomix_election.pytest_plugin import BackgroundServer

BY_THE_SERVER = [each for each in LossReason if each is not LossReason.WITHDRAWN]


async def lose(server: BackgroundServer, client: Client, reason: LossReason) -> None:
    """Lead, lose that for a reason, and lead again."""
    async with connect(server.target, session_ttl=1.0) as other, asyncio.timeout(10):
        election = client.election("e", candidate_id="leader")
        with pytest.raises(LeadershipLost) as lost:
            async with election.lead():
                await other.election("e", candidate_id="rival").enter()
                if reason is LossReason.WITHDRAWN:
                    await election.withdraw()
                else:
                    await asyncio.to_thread(server.depose, "e", reason)
                await asyncio.sleep(60)
        assert lost.value.reason is reason
        await other.election("e", candidate_id="rival").withdraw()
        async with election.lead() as leadership:
            leadership.ensure()
'''
ANYIO = (
    LOSSES
    + '''

pytestmark = pytest.mark.anyio


@pytest.fixture
async def leading(election_client, anyio_backend):
    """A user's own fixture, on top of ours, that leads for as long as the test lasts."""
    return election_client.election("mine")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("reason", LossReason, ids=lambda reason: reason.name)
@pytest.mark.election_client(session_ttl=1.0)
async def test_losses(election_server, election_client, anyio_backend, reason):
    await lose(election_server, election_client, reason)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_fixture_of_a_user(leading, election_client):
    async with leading.lead() as leadership:
        assert leadership.token == 1
        assert (await election_client.election("mine").get_term()).number == 1


async def test_a_server_beside_any_event_loop(election_server, anyio_backend_name):
    election_server.restart()
    assert election_server.target.startswith("grpc://127.0.0.1:")


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_client_on_trio(election_client):
    raise AssertionError("it is not reached")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_virtual_time(virtual_election):
    raise AssertionError("it is not reached")
'''
)
PYTEST_ASYNCIO = (
    LOSSES
    + '''

import pytest_asyncio


@pytest_asyncio.fixture
async def leading(election_client):
    """A user's own fixture, on top of ours, entered and left in different tasks."""
    await election_client.election("mine", candidate_id="me").enter()
    yield election_client.election("mine", candidate_id="me")


@MARK
@pytest.mark.parametrize("reason", LossReason, ids=lambda reason: reason.name)
@pytest.mark.election_client(session_ttl=1.0)
async def test_losses(election_server, election_client, reason):
    await lose(election_server, election_client, reason)


@MARK
async def test_fixture_of_a_user(leading, election_client):
    assert (await leading.get_term()).leader == "me"
    async with leading.lead() as leadership:
        leadership.ensure()


@pytest.mark.asyncio(loop_scope="module")
async def test_module_loop(election_client):
    async with election_client.election("e").lead() as leadership:
        assert leadership.token == 1


@pytest.mark.asyncio(loop_scope="session")
class TestSessionLoop:
    async def test_session_loop(self, election_client):
        async with election_client.election("e").lead() as leadership:
            assert leadership.token == 1


@MARK
async def test_virtual_time(virtual_election):
    raise AssertionError("it is not reached")
'''
)
BLOCKING = '''
import threading

import pytest

from atomix_election import LossReason


@pytest.fixture
def election_server_options(tmp_path):
    return {"store": f"sqlite:///{tmp_path}/elections.db"}


def test_options_of_a_folder(election_server, tmp_path):
    assert (tmp_path / "elections.db").exists()
    election_server.restart()


@pytest.mark.election_server(session_ttl=5.0)
class TestMarkers:
    @pytest.mark.election_server(max_session_ttl=7.0)
    def test_markers(self, election_server):
        raise AssertionError("not reached")
'''


def test_anyio(tmp_path: Path) -> None:
    """The server on both of its backends, the client on asyncio; what is not for them says what is."""
    ended = run_pytest(tmp_path, ANYIO)
    found = outcomes(ended)
    refused = {"test_a_client_on_trio[trio]", "test_virtual_time[asyncio]"}
    assert {name for name, outcome in found.items() if outcome != "PASSED"} == refused, ended.stdout
    assert len(found) == 6 + 1 + 2 + 2
    assert "election_client needs asyncio, as grpclib does: under Trio, use virtual_election" in ended.stdout
    assert "make the test a plain `def` that calls virtual_election(scenario)" in ended.stdout
    assert "assert left == []" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncio(mode: str, tmp_path: Path) -> None:
    """In both modes, and in event loops of every kind; only in its strict mode tests have to be marked."""
    mark = "pytest.mark.asyncio" if mode == "strict" else "pytest.mark.usefixtures()"
    ended = run_pytest(tmp_path, PYTEST_ASYNCIO.replace("@MARK", f"@{mark}"), f"--asyncio-mode={mode}")
    found = outcomes(ended)
    assert {name for name, outcome in found.items() if outcome != "PASSED"} == {"test_virtual_time"}, ended.stdout
    assert len(found) == 6 + 1 + 2 + 1
    assert "assert left == []" not in ended.stdout + ended.stderr
