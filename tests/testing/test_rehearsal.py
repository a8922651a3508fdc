"""A network in one process: real clients, which lose what they lead in each way there is, when a test says so."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import pytest

from atomix_election import InvalidRequest, LeaderElection, LossReason, NotACandidate, SessionKind, Unavailable
from atomix_election.errors import LeadershipLost
from atomix_election.tasks import background_tasks
from atomix_election.testing import (
    Direction,
    DriftingClock,
    Faults,
    Network,
    VirtualClock,
    run_virtually,
)

TTL_S = 10.0
GRACE_AND_MARGIN_S = 1.25
PROMPT_S = 0.5
"""How long what happens at once may take, pauses between tries included."""
BY_CALL = (LossReason.EVICTED, LossReason.SUPERSEDED, LossReason.SESSION_ENDED, LossReason.STORE_CHANGED)


class Over(Exception):
    """Ends a scenario from inside a block."""


class Job:
    """Leads whenever it can, and notes under which token, from when to when, and why no longer."""

    def __init__(self, election: LeaderElection) -> None:
        self.election = election
        self.tokens: list[int] = []
        self.began: list[float] = []
        self.ended: list[float] = []
        self.reasons: list[LossReason] = []

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            try:
                async with self.election.lead() as leadership:
                    self.tokens.append(leadership.token)
                    self.began.append(anyio.current_time())
                    try:
                        await anyio.sleep_forever()
                    finally:
                        self.ended.append(anyio.current_time())
            except LeadershipLost as lost:
                self.reasons.append(lost.reason)


@asynccontextmanager
async def two_jobs(network: Network, **settings: object) -> AsyncGenerator[tuple[Job, Job]]:
    """Let client a lead, and b wait behind it."""
    async with (
        network.client("a", session_ttl=TTL_S, **settings) as a,  # type: ignore[arg-type]
        network.client("b", session_ttl=TTL_S) as b,
        background_tasks() as tasks,
    ):
        first, second = (Job(each.election("e", candidate_id=name)) for name, each in (("a", a), ("b", b)))
        tasks.start_soon(first.run)
        await anyio.sleep(1.0)
        tasks.start_soon(second.run)
        await anyio.sleep(1.0)
        assert (first.election.is_leader, second.election.is_leader) == (True, False)
        yield first, second


def virtually(scenario: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Make a test of an async function, which runs in virtual time."""

    def test() -> None:
        run_virtually(scenario)

    test.__doc__ = scenario.__doc__
    return test


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("reason", BY_CALL)
def test_a_leader_is_deposed_by_a_call(reason: LossReason, backend: Literal["trio", "asyncio"]) -> None:
    """At once, with the reason that was asked for; another one leads, and it stands again."""

    async def scenario() -> None:
        async with Network() as network, two_jobs(network) as (first, second):
            term = await network.depose("e", reason)
            deposed = anyio.current_time()
            assert term.candidates == {LossReason.SUPERSEDED: ("b", "a"), LossReason.STORE_CHANGED: ()}.get(
                reason, ("b",)
            )
            await anyio.sleep(3.0)
            assert first.reasons == [reason]
            assert deposed <= first.ended[0] <= deposed + PROMPT_S
            assert [first.election.is_leader, second.election.is_leader].count(True) == 1
            assert sorted((await first.election.get_term()).candidates) == ["a", "b"]
            if reason is LossReason.STORE_CHANGED:
                assert sorted(first.tokens + second.tokens) == [1, 1]
            else:
                assert (first.tokens, second.tokens) == ([1], [2])
                assert first.ended[0] <= second.began[0]

    run_virtually(scenario, backend=backend)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_leader_is_cut_off_until_its_session_has_ended(backend: Literal["trio", "asyncio"]) -> None:
    """Its own clock tells it so before the server may elect another one; after that its link is whole."""

    async def scenario() -> None:
        async with Network() as network, two_jobs(network) as (first, second):
            began = anyio.current_time()
            term = await network.depose("e", LossReason.EXPIRED)
            assert term.leader == "b"
            assert TTL_S * 2 / 3 < anyio.current_time() - began <= TTL_S + 0.1
            assert first.ended[0] <= anyio.current_time() - GRACE_AND_MARGIN_S
            await anyio.sleep(PROMPT_S)
            assert first.reasons == [LossReason.EXPIRED]
            assert second.tokens == [2]
            assert (await first.election.get_term()).candidates == ("b", "a")

    run_virtually(scenario, backend=backend)


@virtually
async def test_it_takes_two_to_supersede() -> None:
    """And a leader to be deposed, whose withdrawing is its own."""
    async with Network() as network, network.client("a") as a:
        for reason in (*BY_CALL, LossReason.EXPIRED):
            with pytest.raises(NotACandidate, match="nobody leads 'e'"):
                await network.depose("e", reason)
        await a.election("e", candidate_id="a").enter()
        with pytest.raises(InvalidRequest, match="'a' is the only candidate of 'e'"):
            await network.depose("e", LossReason.SUPERSEDED)
        with pytest.raises(InvalidRequest, match="withdraws itself"):
            await network.depose("e", LossReason.WITHDRAWN)
        with pytest.raises(NotACandidate):
            await network.depose("e", namespace="elsewhere")
        await network.stop_server()
        with pytest.raises(Unavailable, match="the server is stopped"):
            await network.depose("e")


@virtually
async def test_a_restart_of_the_server_loses_nothing() -> None:
    """Calls are refused meanwhile; token, place and leadership stay."""
    async with Network() as network, two_jobs(network) as (first, second):
        await network.stop_server()
        with pytest.raises(Unavailable, match="the server is stopped"):
            await first.election.get_term()
        await anyio.sleep(TTL_S / 2)
        assert first.election.is_leader
        await network.start_server()
        await anyio.sleep(3 * TTL_S)
        assert (first.tokens, first.ended, second.tokens) == ([1], [], [])
        assert first.election.is_leader
        assert (await first.election.get_term()).candidates == ("a", "b")


@virtually
async def test_a_server_that_is_away_for_long() -> None:
    """Costs the leadership, and both stand again when it is back."""
    async with Network() as network, two_jobs(network) as (first, second):
        await network.stop_server()
        await anyio.sleep(2 * TTL_S)
        assert not first.election.is_leader
        assert len(first.ended) == 1
        await network.start_server()
        await anyio.sleep(3 * TTL_S)
        assert first.reasons == [LossReason.EXPIRED]
        assert [first.election.is_leader, second.election.is_leader].count(True) == 1


@virtually
async def test_a_client_may_come_before_the_server() -> None:
    """It waits for it."""
    async with Network() as network:
        await network.stop_server()
        async with network.client("a") as a, background_tasks() as tasks:
            job = Job(a.election("e"))
            tasks.start_soon(job.run)
            await anyio.sleep(60.0)
            assert not job.tokens
            await network.start_server()
            await anyio.sleep(2.0)
            assert job.tokens == [1]


@virtually
async def test_a_link_is_cut_and_mended_in_time() -> None:
    """In one direction or in both: a lost connection is no lost leadership."""
    async with Network() as network, two_jobs(network) as (first, _):
        for directions in ((), (Direction.THERE,), (Direction.BACK,)):
            network.link("a").cut(*directions)
            await anyio.sleep(TTL_S / 2)
            network.link("a").mend()
            await anyio.sleep(TTL_S / 2)
        assert (first.tokens, first.ended) == ([1], [])
        network.link("a").cut(Direction.BACK)
        await anyio.sleep(TTL_S)
        assert len(first.ended) == 1
        network.link("a").mend()


@virtually
async def test_a_machine_sleeps() -> None:
    """Nothing is cancelled before it wakes up; another one leads by then, and its own clock says so at any time."""
    async with Network() as network, two_jobs(network) as (first, second):
        slept = anyio.current_time()
        async with background_tasks() as tasks:
            tasks.start_soon(network.sleep, "a", 3 * TTL_S)
            await anyio.sleep(TTL_S + 0.2)
            assert second.tokens == [2]
            assert not first.election.is_leader
            await anyio.sleep(2 * TTL_S - 0.3)
            assert not first.ended
            await anyio.sleep(TTL_S / 10 + 0.2)
            assert first.ended[0] >= slept + 3 * TTL_S
            await anyio.sleep(TTL_S / 10 + PROMPT_S)
        assert first.reasons == [LossReason.EXPIRED]
        assert (await first.election.get_term()).candidates == ("b", "a")


@pytest.mark.parametrize(("rate", "overlaps"), [(0.99, False), (0.8, True)])
def test_clocks_drift(rate: float, overlaps: bool) -> None:
    """By up to 1 % on either side the next one leads later; a client whose clock is far slower is not safe."""

    async def scenario() -> None:
        slow = DriftingClock(VirtualClock(), rate=rate, offset=77.0)
        fast = DriftingClock(VirtualClock(), rate=1.01)
        async with Network(clock=fast) as network, two_jobs(network, clock=slow) as (first, second):
            network.link("a").cut()
            await anyio.sleep(2 * TTL_S)
            assert (first.ended[0] > second.began[0]) == overlaps
            network.link("a").mend()

    run_virtually(scenario)


@virtually
async def test_the_server_goes_by_its_own_clock() -> None:
    """One that runs twice as fast ends a session in half of the time."""
    async with (
        Network(clock=DriftingClock(VirtualClock(), rate=2.0)) as network,
        network.client("a", session_ttl=TTL_S) as a,
    ):
        await a.election("e").enter()
        began = anyio.current_time()
        await network.depose("e", LossReason.EXPIRED)
        assert anyio.current_time() - began == pytest.approx(TTL_S / 2)


@virtually
async def test_each_link_may_have_faults_of_its_own() -> None:
    """By default they are those of the network, which may be changed at any time."""
    async with (
        Network(faults=Faults(delay_s=1.0)) as network,
        network.client("a") as a,
        network.client("b", faults=Faults()) as b,
    ):

        async def duration_s(election: LeaderElection) -> float:
            began = anyio.current_time()
            for _ in range(10):
                await election.get_term()
            return anyio.current_time() - began

        assert await duration_s(b.election("e")) == 0
        assert 5.0 < await duration_s(a.election("e")) < 20.0
        network.faults.delay_s = 0.0
        assert await duration_s(a.election("e")) == 0
        with pytest.raises(AttributeError):  # clients that are there would not notice
            network.faults = Faults()  # type: ignore[misc]


@virtually
async def test_a_closed_connection_releases_who_wants_it() -> None:
    """Long before its time-to-live has passed."""
    async with Network() as network, two_jobs(network, release_on_disconnect=True) as (first, second):
        network.link("a").cut(Direction.BACK)
        await anyio.sleep(TTL_S * 0.7)
        network.link("a").mend()
        assert second.tokens == [2]
        assert first.ended[0] <= second.began[0]
        await anyio.sleep(PROMPT_S)
        assert first.reasons == [LossReason.SESSION_ENDED]


@virtually
async def test_clients_are_seen_by_their_names() -> None:
    """A description shows them where it shows addresses of real ones; when they have left, nothing of them is left."""
    async with Network() as network, network.client("z") as observer:
        async with network.client("a") as a:
            await a.election("e", candidate_id="x").enter()
            (candidate,) = (await observer.election("e").describe()).candidates
            assert (candidate.session.peer, candidate.session.kind) == ("a", SessionKind.RENEWALS)
        assert not (await observer.election("e").describe()).candidates
        async with network.client("a") as again:
            assert not (await again.election("e").get_term()).candidates
        assert network._server.engine is not None
        assert len(network._server.engine.sessions) == 0


@virtually
async def test_what_is_asked_for_wrongly_is_refused() -> None:
    """And says what to do."""
    network = Network()
    with pytest.raises(InvalidRequest, match="not running"):
        await network.start_server()
    with pytest.raises(InvalidRequest, match="not running"):
        async with network.client("a"):
            pass
    async with network, network.client("a"):
        with pytest.raises(InvalidRequest, match="entered already"):
            async with network:
                pass
        with pytest.raises(InvalidRequest, match="'a' is connected already"):
            async with network.client("a"):
                pass
        with pytest.raises(InvalidRequest, match="no client 'b' is connected: there are a"):
            network.link("b")
        with pytest.raises(InvalidRequest, match="no client 'b'"):
            await network.sleep("b", 1.0)
        with pytest.raises(InvalidRequest, match="time-to-live"):
            async with network.client("b", session_ttl=0.0):
                pass
        with pytest.raises(InvalidRequest, match="runs already"):
            await network.start_server()
        await network.stop_server()
        with pytest.raises(InvalidRequest, match="does not run"):
            await network.stop_server()
    with pytest.raises(InvalidRequest, match="there are none"):
        network.link("a")


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_an_error_in_the_block_comes_out_as_itself(backend: Literal["trio", "asyncio"]) -> None:
    """Not in a group; a network can be entered anew after it."""
    network = Network()

    async def scenario() -> None:
        async with network, network.client("a") as a, a.election("e").lead():
            raise Over

    for _ in range(2):
        with pytest.raises(Over):
            run_virtually(scenario, backend=backend)
