"""What a recorded client does, is told and believes becomes records, without any of it changing."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from atomix_election import Client, ElectionServer, LeadershipLost, LossReason, NotACandidate, Term, connect
from atomix_election.model import session_digest
from atomix_election.service import Call
from atomix_election.testing import History, Recorder, RecordingService, VirtualClock, read_history, recorded
from atomix_election.testing.clocks import DriftingClock
from atomix_election.testing.history import DONE, Answered, Called, Gone, Led, Renewed, Seen, Stood, Waited
from atomix_election.testing.recording import record_keeper
from tests.leadership.world import LATE_S, TTL_S, Replica, World, a_group, a_world

pytestmark = pytest.mark.anyio


@pytest.fixture
def history() -> History:
    """Records in virtual time."""
    return History(anyio.current_time)


@asynccontextmanager
async def a_client(history: History, who: str, target: str) -> AsyncGenerator[Client]:
    """Connect a recorded client in virtual time."""
    async with recorded(connect(target, clock=VirtualClock()), history, who=who) as client:
        yield client


@asynccontextmanager
async def a_replica(history: History, world: World, name: str, rate: float = 1.0) -> AsyncGenerator[Replica]:
    """Connect a recorded client by way of a network that a test can cut, with a clock that may run at another rate."""
    async with world.replica(name, clock=DriftingClock(VirtualClock(), rate, 1000.0)) as replica:
        record_keeper(replica.keeper, history, who=name)
        yield replica


def answered(history: History) -> list[tuple[str, str, str, Term]]:
    """Return what became of each call."""
    found = [each for each in history if isinstance(each, Answered)]
    return [(each.what, each.candidate, each.outcome, each.term) for each in found]


def led(history: History) -> list[Led]:
    """Return the leaderships."""
    return [each for each in history if isinstance(each, Led)]


async def test_calls_and_events_are_recorded(history: History) -> None:
    """With what they named, the session, the outcome and the term; each call once it has ended has one record."""
    async with a_client(history, "a", "memory://recorded") as client:
        election = client.election("e", candidate_id="x")
        async with election.events() as events:
            await election.enter()
            with pytest.raises(NotACandidate):
                await election.evict("nobody")
            for _ in range(2):
                await anext(events)
        digest = session_digest("default", client.keeper.session_id)
        await election.get_term()
    entered = Term(("x",), 1, 1)
    assert answered(history) == [
        ("enter", "x", DONE, entered),
        ("evict", "nobody", "NotACandidate", Term()),
        ("get_term", "", DONE, entered),
        ("end_session", "", DONE, Term()),
    ]
    calls = [each for each in history if isinstance(each, Answered)]
    assert [(each.session, each.operation) for each in calls] == [(digest, 1), (digest, 2), ("", None), (digest, None)]
    assert not any(isinstance(each, Called) for each in history)
    seen = [each for each in history if isinstance(each, Seen)]
    assert [(each.term, each.snapshot) for each in seen] == [(Term(), True), (entered, False)]
    assert len({(each.watch, each.election, each.begun) for each in seen}) == 1
    (renewed,) = [each for each in history if isinstance(each, Renewed)]
    assert renewed == Renewed("a", digest, renewed.begun, renewed.ended, 10.0, open=True, opens=True)
    assert [each for each in history if isinstance(each, Gone)] == [Gone("a", 10.0, anyio.current_time())]


async def test_calls_of_a_service_without_a_client(history: History) -> None:
    """A candidate without an id has that of its session; a watch is known from others; nothing is made up."""
    async with a_world() as world:
        service = RecordingService(world.server(), history, "p")
        call = Call("e", session="s")
        await service.create(call)
        await service.enter(call, "")
        for _ in range(2):
            async with service.events(call) as events:
                await anext(events)
        await service.close(call)
    first = Term(("s",), 1, 1)
    assert answered(history) == [
        ("create", "", DONE, Term()),
        ("enter", "s", DONE, first),
        ("close", "", DONE, Term()),
    ]
    assert len({each.watch for each in history if isinstance(each, Seen)}) == 2


async def test_since_when_an_event_was_waited_for(history: History) -> None:
    """Also one that does not come, whether its reader gives up or the watch ends; who does not read does not wait."""
    async with a_world() as world, a_replica(history, world, "a") as replica, replica.election.events() as events:
        await anext(events)
        await anyio.sleep(1.0)
        begun = anyio.current_time()
        with anyio.move_on_after(2.0):
            await anext(events)
        await anyio.sleep(1.0)
        read = anyio.current_time()
        await replica.election.enter()
        await anext(events)
        await anyio.sleep(1.0)
    seen = [each for each in history if isinstance(each, Seen)]
    waited = [each for each in history if isinstance(each, Waited)]
    watch = seen[0].watch, seen[0].election, seen[0].begun
    assert watch[0].rpartition(" ")[0] == "a"
    assert waited == [Waited(*watch, begun, begun + 2.0)]
    assert [each.since for each in seen] == [seen[0].begun, read]


async def test_a_call_without_an_end_is_one_that_has_begun(history: History) -> None:
    """Also when it is broken off."""
    async with a_world() as world, a_group() as tasks, a_replica(history, world, "a") as replica:
        await replica.election.enter()
        replica.service.link.cut()
        tasks.start_soon(replica.election.anoint, "a")
        await anyio.sleep(0.1)
        (called,) = [each for each in history if isinstance(each, Called)]
        assert (called.what, called.candidate, called.operation) == ("anoint", "a", 2)
        tasks.cancel_scope.cancel()
    assert [each.outcome for each in history if isinstance(each, Answered) and each.what == "anoint"] == ["Cancelled"]


async def test_a_leadership_lasts_as_long_as_its_block(history: History) -> None:
    """From when it is granted until the work has ended, before the withdrawal is sent; and who wants to lead."""
    async with a_client(history, "a", "memory://led") as client:
        await anyio.sleep(1.0)
        async with client.election("e", candidate_id="x").lead() as leadership:
            began = anyio.current_time()
            await anyio.sleep(20.0)
        ended = anyio.current_time()
    (one,) = led(history)
    assert one == Led("a", "e", "x", leadership.token, 10.0, one.begun, one.until, "", one.deadline)
    assert one.begun == pytest.approx(began, abs=LATE_S)
    assert one.until == pytest.approx(ended, abs=LATE_S)
    assert one.until is not None
    (withdrawn,) = [each for each in history if isinstance(each, Answered) and each.what == "withdraw"]
    assert one.until <= withdrawn.begun
    assert [each for each in history if isinstance(each, Stood)] == [Stood("a", "e", 1.0, one.until)]


async def test_who_is_entered_leads_without_a_block(history: History) -> None:
    """As ``is_leader`` says: until somebody else is known to lead, or the candidate is withdrawn."""
    async with a_world() as world, a_replica(history, world, "a") as first, a_replica(history, world, "b") as second:
        for each in (first, second):
            await each.election.enter()
            await anyio.sleep(1.0)
        await second.election.anoint("b")
        await anyio.sleep(1.0)
        assert second.election.is_leader
        await second.election.withdraw()
        await anyio.sleep(1.0)
        assert [(each.who, each.token, each.until is None) for each in led(history)] == [
            ("a", 1, False),
            ("b", 2, False),
            ("a", 3, True),
        ]
        one, other, again = led(history)
        assert one.begun < (one.until or 0.0) <= other.begun < (other.until or 0.0) <= again.begun
        stood = [(each.who, each.until is None) for each in history if isinstance(each, Stood)]
        assert stood == [("a", True), ("b", False)]
    assert not any(each.until is None for each in history if isinstance(each, Stood))


async def test_renewals_are_recorded(history: History) -> None:
    """The first one opens the session; one that has ended is found to have."""
    async with a_world() as world, a_replica(history, world, "a") as replica:
        await replica.election.enter()
        first = replica.keeper.session_id
        await anyio.sleep(TTL_S)
        await world.server().end_session("default", first)
        await anyio.sleep(TTL_S)
    digest = session_digest("default", first)
    renewed = [each for each in history if isinstance(each, Renewed)]
    of_first = [(each.open, each.opens) for each in renewed if each.session == digest]
    of_next = [(each.open, each.opens) for each in renewed if each.session != digest]
    assert of_first[0] == of_next[0] == (True, True)
    assert set(of_first[1:-1]) == set(of_next[1:]) == {(True, False)}
    assert of_first[-1] == (False, False)
    assert all(latter.begun > former.begun for former, latter in pairwise(renewed) if latter.open)


async def test_a_loss_has_its_reason(history: History) -> None:
    """The work may go on for a moment: it counts until it has ended."""
    evicted = 0.0
    async with a_world() as world, a_replica(history, world, "a") as replica:
        with suppress(LeadershipLost):
            async with replica.election.lead():
                await anyio.sleep(1.0)
                await world.operate("evict", "a")
                evicted = anyio.current_time()
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(2.0)
    (one,) = led(history)
    assert one.lost == LossReason.EVICTED.name
    assert one.until == pytest.approx(evicted + 2.0, abs=LATE_S)


@pytest.mark.parametrize("rate", [0.99, 1.0, 1.01])
async def test_what_is_left_of_a_leadership_counts_by_the_clock_of_its_client(history: History, rate: float) -> None:
    """Work that does not stop leads until its deadline, and not until its end."""
    until = 0.0
    async with a_world() as world, a_replica(history, world, "a", rate) as replica:
        with suppress(LeadershipLost):
            async with replica.election.lead() as leadership:
                await anyio.sleep(TTL_S)
                replica.service.link.cut()
                (one,) = led(history)
                assert one.until is None
                until = anyio.current_time() + leadership.remaining / rate
                assert one.deadline == pytest.approx(until, abs=0.01 * TTL_S)
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(2 * TTL_S)
        replica.service.link.mend()
    (one,) = led(history)
    assert one.lost == LossReason.EXPIRED.name
    assert one.until == pytest.approx(until, abs=0.002 * TTL_S)


async def test_a_client_that_ends_loses_nothing(history: History) -> None:
    """The end of its block is its own will."""
    async with a_world() as world, a_group() as tasks:

        async def work() -> None:
            with suppress(LeadershipLost):
                async with replica.election.lead():
                    await anyio.sleep_forever()

        async with a_replica(history, world, "a") as replica:
            tasks.start_soon(work)
            await anyio.sleep(1.0)
        tasks.cancel_scope.cancel()
    (one,) = led(history)
    assert (one.lost, one.until is not None) == ("", True)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_recorded_client_of_a_server(tmp_path: Path) -> None:
    """The same line as in-process, and records in a file."""
    with Recorder(tmp_path / "a") as record:
        async with (
            ElectionServer() as server,
            recorded(connect(server.target, session_ttl=2.0), record, who="a") as client,
            client.election("e", candidate_id="x").lead() as leadership,
        ):
            token = leadership.token
    history = read_history([tmp_path / "a"])
    (one,) = [each for each in history if isinstance(each, Led)]
    assert (one.candidate, one.token, one.ttl_s, one.until is not None) == ("x", token, 2.0, True)
    whats = [each.what for each in history if isinstance(each, Answered)]
    assert [each for each in whats if each != "get_term"] == ["enter", "withdraw", "end_session"]
    (renewed, *_) = [each for each in history if isinstance(each, Renewed)]
    assert renewed.begun <= renewed.ended
    assert not any(isinstance(each, Called) for each in history)
    assert isinstance(history[-1], Gone)
    assert replace(history[-1], at=0.0) == Gone("a", 2.0, 0.0)
