"""The fixtures in each kind of test, run as a user runs them."""

import pytest

from tests.pytest_plugin.inner import outcomes, run_pytest

pytest_plugins = ["pytester"]

LOSSES = '''
import asyncio

import anyio
import pytest

from atomix_election import Client, LeadershipLost, LossReason, connect
from atomix_election.pytest_plugin import BackgroundServer


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


async def test_virtual_time(virtual_election):
    """It has a loop of its own, beside that of the test, and an hour of it is over at once."""

    async def scenario(network):
        async with network.client("a") as client, client.election("e").lead() as leadership:
            await anyio.sleep(1800)
            leadership.ensure()
            return leadership.token, anyio.current_time()

    token, now_s = virtual_election(scenario)
    assert token == 1
    assert now_s >= 1800
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
@pytest.mark.parametrize("reason", [LossReason.EVICTED, LossReason.SESSION_ENDED], ids=lambda reason: reason.name)
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
    """It has a loop of its own, beside that of the test, and an hour of it is over at once."""

    async def scenario(network):
        async with network.client("a") as client, client.election("e").lead() as leadership:
            await anyio.sleep(1800)
            leadership.ensure()
            return leadership.token, anyio.current_time()

    token, now_s = virtual_election(scenario)
    assert token == 1
    assert now_s >= 1800
'''
)
BLOCKING = """
from concurrent.futures import Future, ThreadPoolExecutor

import anyio
import pytest

from atomix_election import LeadershipLost, LossReason


async def lead_until_lost(client, election, leads):
    async with client.election(election, candidate_id="leader").lead():
        leads.set_result(None)
        await anyio.sleep(60)


@pytest.mark.parametrize("reason", [each for each in LossReason if each is not LossReason.WITHDRAWN])
@pytest.mark.election_client(session_ttl=1.0)
def test_losses(election_server, election_client, reason):
    leads, thread = Future(), ThreadPoolExecutor(1)
    with thread:
        ended = thread.submit(election_client.run, lead_until_lost, "e", leads=leads)
        leads.result(10)
        election_client.run(lambda client: client.election("e", candidate_id="rival").enter())
        election_server.depose("e", reason)
        with pytest.raises(LeadershipLost) as lost:
            ended.result(10)
    assert lost.value.reason is reason


@pytest.fixture
def election_server_options(tmp_path):
    return {"store": f"sqlite:///{tmp_path}/elections.db"}


def test_options_of_a_module(election_server, election_client, tmp_path):
    assert (tmp_path / "elections.db").exists()
    assert election_client.run(lambda client: client.election("e").enter()).number == 1
    election_server.restart()
    assert election_client.run(lambda client: client.election("e").get_term()).leader is not None


def test_virtual_time(virtual_election):
    async def scenario(network):
        await anyio.sleep(1800)
        return anyio.current_time()

    assert virtual_election(scenario) >= 1800
    assert virtual_election(scenario, backend="trio") >= 1800
"""


def test_every_kind(pytester: pytest.Pytester) -> None:
    """All three side by side, as pytest-asyncio's strict mode allows it; what is not for Trio says what is."""
    marked = PYTEST_ASYNCIO.replace("@MARK\n", "@pytest.mark.asyncio\n")
    ended = run_pytest(pytester, test_anyio=ANYIO, test_asyncio=marked, test_blocking=BLOCKING)
    found = outcomes(ended)
    refused = {name for name, outcome in found.items() if outcome != "PASSED"}
    assert refused == {"test_anyio.py::test_a_client_on_trio[trio]"}
    ended.assert_outcomes(passed=(6 + 1 + 2 + 2) + (2 + 1 + 2 + 1) + (5 + 2), errors=1)
    ended.stdout.fnmatch_lines("*election_client needs asyncio, as grpclib does: under Trio, use virtual_election*")


def test_pytest_asyncio_in_auto_mode(pytester: pytest.Pytester) -> None:
    """Where tests need no mark."""
    ended = run_pytest(pytester, "--asyncio-mode=auto", test_asyncio=PYTEST_ASYNCIO.replace("@MARK\n", ""))
    assert set(outcomes(ended).values()) == {"PASSED"}
    ended.assert_outcomes(passed=2 + 1 + 2 + 1)
