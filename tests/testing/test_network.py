"""What a bad network does to calls and streams: delay, loss, repeats, disorder, and cuts, each alone."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from atomix_election.engine import Connection, Engine, SessionLimits
from atomix_election.errors import (
    ElectionError,
    LimitExceeded,
    NotACandidate,
    NotSessionOwner,
    OutcomeUnknown,
    PermissionDenied,
    SessionEnded,
    StoreError,
    Unauthenticated,
    Unavailable,
)
from atomix_election.model import Event, Term
from atomix_election.service import Call, Renewal, Service
from atomix_election.stores.memory import MemoryStore
from atomix_election.tasks import background_tasks
from atomix_election.testing import Direction, Faults, FaultyService, VirtualClock, run_virtually

DELAY_S = 1.0
CALL = Call("e", session="s")


class Noted(Connection):
    """A connection to an engine that notes which writes arrive, and when."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.arrived: list[tuple[str, float]] = []

    async def enter(self, call: Call, candidate_id: str) -> Term:
        """See ``Service.enter``."""
        self.arrived.append((candidate_id, anyio.current_time()))
        return await super().enter(call, candidate_id)

    async def get_term(self, call: Call) -> Term:
        """See ``Service.get_term``."""
        self.arrived.append((call.election, anyio.current_time()))
        return await super().get_term(call)


@asynccontextmanager
async def a_way(
    faults: Faults | None = None, seed: int = 0, kind: type[Noted] = Noted
) -> AsyncGenerator[tuple[FaultyService, Noted]]:
    """Give both ends of a network; the session "s" is open and may enter candidates."""
    async with background_tasks() as tasks:
        engine = Engine(MemoryStore(), clock=VirtualClock(), limits=SessionLimits(max_ttl_s=300.0))
        async with engine.running():
            server = kind(engine)
            async with server.keep_alive("default", "s") as stream:
                await stream.send(Renewal(1, open=True, ttl_s=300.0))
                await stream.receive()
                service: Service = server
                yield FaultyService(lambda: service, tasks, random.Random(seed), faults), server


def virtually(scenario: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Make a test of an async function, which runs in virtual time."""

    def test() -> None:
        run_virtually(scenario)

    test.__doc__ = scenario.__doc__
    return test


@virtually
async def test_nothing_is_wrong_by_default() -> None:
    """And nothing takes any time."""
    async with a_way() as (client, server):
        assert (await client.enter(CALL, "a")).candidates == ("a",)
        async with client.events(CALL) as events:
            assert (await anext(events)).term.candidates == ("a",)
        assert server.arrived == [("a", anyio.current_time())]


@virtually
async def test_messages_are_delayed() -> None:
    """Each by a time of its own, up to the longest, there and back."""
    async with a_way(Faults(delay_s=DELAY_S)) as (client, server):
        there: list[float] = []
        whole: list[float] = []
        for _ in range(50):
            began = anyio.current_time()
            await client.get_term(Call("e"))
            there.append(server.arrived[-1][1] - began)
            whole.append(anyio.current_time() - began)
        assert 0.0 <= min(there) < 0.1 * DELAY_S < 0.9 * DELAY_S < max(there) <= DELAY_S
        assert DELAY_S < max(whole) <= 2 * DELAY_S


@virtually
async def test_calls_overtake_each_other() -> None:
    """Those that are under way at the same time arrive in any order, and are answered in any other."""
    async with a_way(Faults(delay_s=DELAY_S)) as (client, server):
        answered: list[str] = []

        async def ask(name: str) -> None:
            await client.get_term(Call(name))
            answered.append(name)

        async with anyio.create_task_group() as tasks:
            for name in "abcdefgh":
                tasks.start_soon(ask, name)
                await anyio.sleep(0.001)
        arrived = [name for name, _ in server.arrived]
        assert sorted(arrived) == sorted(answered) == list("abcdefgh")
        assert arrived != sorted(arrived)
        assert answered != arrived


@virtually
async def test_a_stream_keeps_its_order() -> None:
    """As TCP does, however late each message is."""
    async with a_way(Faults(delay_s=DELAY_S)) as (client, server), client.events(Call("e")) as events:
        await anext(events)
        began = anyio.current_time()
        for number in range(40):
            await server.enter(CALL, str(number))
        seen = [(await anext(events)).term.revision for _ in range(20)]
        assert anyio.current_time() - began > DELAY_S
        await anyio.sleep(40 * DELAY_S)  # now the rest has arrived, and waits
        seen += [(await anext(events)).term.revision for _ in range(20)]
        assert seen == list(range(1, 41))
        async with client.keep_alive("default", "s") as stream:
            for number in range(2, 12):
                await stream.send(Renewal(number))
            answers = [0]
            while answers[-1] < 11:
                answers.append((await stream.receive()).renewal)
        assert answers == sorted(answers)


@virtually
async def test_requests_are_lost() -> None:
    """None arrives, and the caller is told that none was sent."""
    async with a_way(Faults(lost_request=1.0)) as (client, server):
        with pytest.raises(Unavailable):
            await client.enter(CALL, "a")
        with pytest.raises(Unavailable):
            async with client.events(CALL):
                pass
        assert not server.arrived


@virtually
async def test_replies_are_lost() -> None:
    """What was asked for is done, and the caller cannot know; a read says that it is not known."""
    async with a_way(Faults(lost_reply=1.0)) as (client, server):
        with pytest.raises(OutcomeUnknown):
            await client.enter(CALL, "a")
        with pytest.raises(Unavailable):
            await client.get_term(Call("e"))
        await anyio.sleep(0.01)
        assert (await server.get_term(Call("e"))).candidates == ("a",)


@virtually
async def test_numbered_writes_are_repeated_until_they_are_answered() -> None:
    """As the real client does; they are done once."""
    async with a_way(Faults(lost_reply=0.7), seed=3) as (client, server):
        term = await client.enter(Call("e", session="s", operation=1), "a")
        assert len(server.arrived) > 1
        assert (term.candidates, term.revision) == (("a",), 1)


class Refusing(Noted):
    """A connection where it is known what promotions come to: one after the other, and in the end all to the last."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.outcomes: list[ElectionError | None] = []
        self.reached = anyio.Event()

    async def promote(self, call: Call, candidate_id: str) -> Term:
        """See ``Service.promote``."""
        self.reached.set()
        outcome = self.outcomes.pop(0) if self.outcomes[1:] else self.outcomes[0]
        if outcome is not None:
            raise outcome
        return await super().promote(call, candidate_id)


@pytest.mark.parametrize("kind", [LimitExceeded, Unauthenticated, PermissionDenied, NotSessionOwner, StoreError])
def test_a_refusal_of_the_second_try_says_nothing_of_the_first_one(kind: type[ElectionError]) -> None:
    """As the real client has it; the same refusal of a first try is told as it is."""

    async def scenario() -> None:
        async with promoting() as promote:
            with pytest.raises(kind):
                await promote(1, kind("refused"))
            with pytest.raises(OutcomeUnknown, match="refused; an earlier try may have been applied") as found:
                await promote(2, None, kind("refused"))
            assert isinstance(found.value.__cause__, kind)

    run_virtually(scenario)


@virtually
async def test_the_end_of_a_session_says_whether_the_call_was_tried_before() -> None:
    """As that try may have been carried out while the session was open."""
    async with promoting() as promote:
        for number, outcomes, tried_before in ((1, [], False), (2, [None], True)):
            with pytest.raises(SessionEnded) as found:
                await promote(number, *outcomes, SessionEnded("it has ended"))
            assert found.value.tried_before is tried_before


@virtually
async def test_a_refusal_of_the_election_itself_counts() -> None:
    """A repeat of what was carried out is not refused, so what is refused was not."""
    async with promoting() as promote:
        with pytest.raises(NotACandidate):
            await promote(1, None, NotACandidate("it does not stand"))


@asynccontextmanager
async def promoting() -> AsyncGenerator[Callable[..., Awaitable[Term]]]:
    """Give what promotes under a number, with what each try comes to; where there are two, the first answer is lost."""
    async with a_way(kind=Refusing) as (client, server):
        assert isinstance(server, Refusing)
        await server.enter(CALL, "a")

        async def mend(reached: anyio.Event) -> None:
            await reached.wait()
            client.faults.lost_reply = 0.0

        async def promote(number: int, *outcomes: ElectionError | None) -> Term:
            server.outcomes, server.reached = [*outcomes], anyio.Event()
            client.faults.lost_reply = 1.0 if outcomes[1:] else 0.0
            async with background_tasks() as tasks:
                tasks.start_soon(mend, server.reached)
                return await client.promote(Call("e", session="s", operation=number), "a")
            raise AssertionError("the block returns")

        yield promote


@virtually
async def test_numbered_writes_arrive_twice() -> None:
    """The second one late: behind others that were sent after the first one was answered, which it must not undo."""
    async with a_way(Faults(delay_s=0.1, duplicate=1.0)) as (client, server):
        await client.enter(Call("e", session="s", operation=1), "a")
        client.faults.duplicate = 0.0
        await client.withdraw(Call("e", session="s", operation=2), "a")
        await anyio.sleep(2.0)
        assert [name for name, _ in server.arrived] == ["a", "a"]
        assert server.arrived[1][1] - server.arrived[0][1] > 0.1
        assert not (await server.get_term(Call("e"))).candidates


@virtually
async def test_streams_break() -> None:
    """At both ends."""
    async with a_way(Faults(broken_stream=1.0)) as (client, _):
        async with client.events(Call("e")) as events:
            with pytest.raises(Unavailable):
                await anext(events)
        async with client.keep_alive("default", "s") as stream:
            await stream.send(Renewal(2))
            with pytest.raises(Unavailable):
                await stream.receive()
        await anyio.sleep(0.01)
        assert client.open_streams == 0


@pytest.mark.parametrize("direction", list(Direction))
def test_one_way_is_cut(direction: Direction) -> None:
    """What goes the other way gets through; what waits arrives when it is whole again, or comes too late."""

    async def scenario() -> None:
        async with a_way() as (client, server), client.events(Call("e")) as events:
            await anext(events)
            client.link.cut(direction)
            with pytest.raises(OutcomeUnknown):
                await client.enter(CALL, "a")
            await server.enter(CALL, "b")
            assert [name for name, _ in server.arrived] == (["b"] if direction is Direction.THERE else ["a", "b"])
            event = await _next_within(events, 1.0)
            assert (event is None) == (direction is Direction.BACK)
            client.link.mend()
            await anyio.sleep(0.01)
            assert sorted(name for name, _ in server.arrived) == ["a", "b"]
            assert (await client.get_term(Call("e"))).revision == 2

    run_virtually(scenario)


@virtually
async def test_both_ways_are_cut() -> None:
    """Until they are mended; a call that can wait for it succeeds."""
    async with a_way() as (client, server):
        client.link.cut()
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.enter, CALL, "a")
            await anyio.sleep(3.0)
            assert not server.arrived
            client.link.mend()
        assert server.arrived == [("a", began + 3.0)]


async def _next_within(events: AsyncIterator[Event], limit_s: float) -> Event | None:
    with anyio.move_on_after(limit_s):
        return await anext(events)
    return None
