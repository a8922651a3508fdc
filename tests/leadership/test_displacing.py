"""From whom an operator takes the lead: who waits for them, for what, and how long at most."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskGroup

from atomix_election import LeadershipLost
from atomix_election.engine import Connection
from atomix_election.errors import Unavailable
from atomix_election.service import Call
from atomix_election.testing import Direction
from tests.leadership.world import LATE_S, TTL_S, Replica, World, a_group, a_world

pytestmark = pytest.mark.anyio

PROMPT_S = 0.2
"""How long what happens at once may take: no delays, but steps of the watcher below."""


class Stage:
    """Replicas a, b, c, which lead whenever they can, and a watcher that sees who works when."""

    def __init__(self, world: World, tasks: TaskGroup, replicas: list[Replica]) -> None:
        self.world = world
        self.replicas = {each.election.candidate_id: each for each in replicas}
        self.began: dict[str, list[tuple[float, int]]] = {name: [] for name in self.replicas}
        self.ended: dict[str, list[float]] = {name: [] for name in self.replicas}
        self.working: set[str] = set()
        self._tasks = tasks

    async def line_up(self, **lingers_s: float) -> None:
        """Let all of them stand, in order; each lingers so long when its block is cancelled."""
        for name in self.replicas:
            self._tasks.start_soon(self._lead, name, lingers_s.get(name, 0.0))
            while name not in (await self.world.term()).candidates:  # noqa: ASYNC110 - the store tells nobody
                await anyio.sleep(0.01)
        await anyio.sleep(1.0)
        assert (await self.world.term()).candidates == tuple(self.replicas)
        assert self.working == {next(iter(self.replicas))}

    async def _lead(self, name: str, linger_s: float) -> None:
        try:
            async with self.replicas[name].election.lead() as leadership:
                assert not self.working, f"{name} begins while {self.working} works"
                self.working.add(name)
                self.began[name].append((anyio.current_time(), leadership.token))
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(linger_s)
                    self.working.discard(name)
                    self.ended[name].append(anyio.current_time())
        except LeadershipLost:
            await anyio.sleep_forever()

    async def granted(self, name: str, token: int) -> float:
        """Wait until one leads under a token, and return when it began."""
        with anyio.fail_after(3 * TTL_S):
            while not self.began[name]:  # noqa: ASYNC110 - nothing tells it
                await anyio.sleep(0.01)
        ((when, under),) = self.began[name]
        assert under == token
        return when

    async def waits_for(self) -> list[tuple[str, int]]:
        """Return whom the next leader waits for, as the store has it."""
        election = (await self.world.store.read(Call("e").election_id)).election
        return [(each.candidate.id, each.number) for each in election.displaced]


@asynccontextmanager
async def a_stage(world: World, names: str = "abc") -> AsyncGenerator[Stage]:
    """Connect the replicas; at the end they leave as after a crash, whatever way is cut."""
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(world.replica(name)) for name in names]
        tasks = await stack.enter_async_context(a_group())
        yield Stage(world, tasks, replicas)
        for replica in replicas:
            replica.crash()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("linger_s", [0.0, 0.5, 4.0])
async def test_all_that_were_displaced_are_waited_for(linger_s: float) -> None:
    """The one that was to lead between, and never did, confirms at once; the last one waits for the block."""
    async with a_world() as world, a_stage(world) as stage:
        await stage.line_up(a=linger_s)
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        await world.operate("anoint", "c")
        assert await stage.waits_for() == [("a", 1), ("b", 2)]
        began = await stage.granted("c", 3)
        assert changed + linger_s <= stage.ended["a"][0] <= began <= changed + linger_s + PROMPT_S
        assert not stage.began["b"]


@pytest.mark.parametrize("cut", ["a", "b", "ab"])
async def test_one_of_several_that_were_displaced_is_cut_off(cut: str) -> None:
    """That the others have confirmed does not help: its session has to end."""
    async with a_world() as world, a_stage(world) as stage:
        await stage.line_up(a=0.5)
        cut_at = anyio.current_time()
        for name in cut:
            stage.replicas[name].service.link.cut()
        await anyio.sleep(1.0)
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        await world.operate("anoint", "c")
        await anyio.sleep(1.0)
        assert await stage.waits_for() == [each for each in [("a", 1), ("b", 2)] if each[0] in cut]
        began = await stage.granted("c", 3)
        assert cut_at + TTL_S * 2 / 3 - 0.1 <= began <= cut_at + TTL_S + LATE_S
        assert began < changed + TTL_S
        assert stage.ended["a"][0] <= began


@pytest.mark.parametrize("names", ["a", "b", "ab"])
async def test_one_of_several_that_were_displaced_ends_its_session(names: str) -> None:
    """That is as good as a confirmation, for its own part. They hear nothing, and have stopped by their own clocks."""
    async with a_world() as world, a_stage(world) as stage:
        await stage.line_up()
        for name in "ab":
            stage.replicas[name].service.link.cut(Direction.BACK)
        sessions = {name: stage.replicas[name].keeper.session_id for name in "ab"}
        await world.operate("anoint", "b")
        await world.operate("anoint", "c")
        await anyio.sleep(TTL_S - 0.5)
        assert stage.ended["a"]
        assert await stage.waits_for() == [("a", 1), ("b", 2)]
        for name in names:
            await world.server().end_session("default", sessions[name])
        await anyio.sleep(0.1)
        rest = [each for each in [("a", 1), ("b", 2)] if each[0] not in names]
        assert await stage.waits_for() == rest
        acting = (await world.store.read(Call("e").election_id)).election.acting
        assert (acting is None) == bool(rest)


async def test_a_block_that_drains_is_not_confirmed() -> None:
    """Until the moment when it has ended."""
    async with a_world() as world, a_stage(world, "ab") as stage:
        await stage.line_up(a=3.0)
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        await anyio.sleep(PROMPT_S)
        assert not stage.replicas["a"].election.is_leader
        while anyio.current_time() < changed + 2.95:
            assert await stage.waits_for() == [("a", 1)]
            assert stage.working == {"a"}
            assert not stage.replicas["b"].election.is_leader
            await anyio.sleep(0.05)
        began = await stage.granted("b", 2)
        assert stage.ended["a"][0] == pytest.approx(changed + 3.0, abs=0.01)
        assert began <= stage.ended["a"][0] + PROMPT_S


async def test_back_in_the_lead_while_its_own_block_drains() -> None:
    """Displaced, and anointed again: it leads under the new number when its work under the old one has ended."""
    async with a_world() as world, world.replica("a") as first, world.replica("b") as second, a_group() as tasks:
        log: list[tuple[str, int, float]] = []

        async def run() -> None:
            for _ in range(2):
                try:
                    async with first.election.lead() as leadership:
                        log.append(("began", leadership.token, anyio.current_time()))
                        try:
                            await anyio.sleep_forever()
                        finally:
                            with anyio.CancelScope(shield=True):
                                await anyio.sleep(2.0)
                            log.append(("ended", leadership.token, anyio.current_time()))
                except LeadershipLost:
                    pass

        tasks.start_soon(run)
        await anyio.sleep(1.0)
        await second.election.enter()
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        await anyio.sleep(0.5)
        await world.operate("anoint", "a")
        while anyio.current_time() < changed + 1.95:
            assert not first.election.is_leader
            assert not second.election.is_leader
            await anyio.sleep(0.05)
        await anyio.sleep(0.5)
        assert second.election.is_leader or first.election.is_leader
        assert [each[:2] for each in log[:2]] == [("began", 1), ("ended", 1)]
        await world.operate("evict", "b")
        await anyio.sleep(1.0)
        assert log[2][:2][0] == "began"
        assert log[2][1] > 3
        assert log[2][2] >= changed + 2.0
        tasks.cancel_scope.cancel()


async def test_cut_off_with_its_session_ending() -> None:
    """Neither hears the other: the session ends before the wait would."""
    async with a_world() as world, a_stage(world, "ab") as stage:
        await stage.line_up(a=0.5)
        stage.replicas["a"].service.link.cut()
        await anyio.sleep(2.0)
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        began = await stage.granted("b", 2)
        assert began <= changed - 2.0 + TTL_S + LATE_S
        assert stage.ended["a"][0] <= began


async def test_cut_off_with_its_session_going_on() -> None:
    """Its renewals arrive, the news does not: one time-to-live after the change it has stopped by its own clock."""
    async with a_world() as world, a_stage(world, "ab") as stage:
        await stage.line_up(a=0.5)
        stage.replicas["a"].service.link.cut(Direction.BACK)
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        await anyio.sleep_until(changed + TTL_S - 0.01)
        assert await stage.waits_for() == [("a", 1)]
        began = await stage.granted("b", 2)
        assert changed + TTL_S <= began <= changed + TTL_S + LATE_S
        assert stage.ended["a"][0] <= began - 0.1
        assert len(world.engine.sessions) == 2


async def test_published_sessions_are_not_waited_for() -> None:
    """They confirm nothing; one that leads, or was to lead between, costs no time."""
    async with a_world() as world, a_stage(world, "a") as stage:
        published = Connection(world.engine)
        for name in ("p", "q"):
            call = Call("e", session=name)
            await published.create(call)
            await published.enter(call, name)
        tasks = [("promote", "q"), ("anoint", "p"), ("anoint", "q")]
        for command, candidate_id in tasks:
            term = await world.operate(command, candidate_id)
            assert term.leader == candidate_id
            assert await stage.waits_for() == []
        election = (await world.store.read(Call("e").election_id)).election
        assert election.acting == election.candidates[0]
        stage._tasks.start_soon(stage._lead, "a", 1.0)
        await anyio.sleep(1.0)
        changed = anyio.current_time()
        number = (await world.operate("anoint", "a")).number
        assert await stage.granted("a", number) <= changed + PROMPT_S
        await world.operate("anoint", "p")
        await world.operate("anoint", "q")
        assert await stage.waits_for() == [("a", number)]
        await anyio.sleep(1.0 + PROMPT_S)
        assert await stage.waits_for() == []
        assert stage.ended["a"]
        published.disconnect()


@pytest.mark.parametrize("down_s", [0.5, 3.0])
async def test_the_wait_starts_anew_after_a_restart(down_s: float) -> None:
    """A whole time-to-live, as the new engine cannot know how much of it has passed."""
    async with a_world() as world, a_stage(world, "ab") as stage:
        await stage.line_up(a=0.5)
        stage.replicas["a"].service.link.cut(Direction.BACK)
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        await anyio.sleep_until(changed + 6.0)
        await world.stop_server()
        with pytest.raises(Unavailable):
            world.server()
        await anyio.sleep(down_s)
        await world.start_server()
        restarted = anyio.current_time()
        assert await stage.waits_for() == [("a", 1)]
        await anyio.sleep_until(restarted + TTL_S - 0.01)
        assert await stage.waits_for() == [("a", 1)]
        assert not stage.began["b"]
        began = await stage.granted("b", 2)
        assert restarted + TTL_S <= began <= restarted + TTL_S + LATE_S


async def test_a_confirmation_counts_after_a_restart() -> None:
    """Whose block ends while the engine is down, or after, says so to the next one."""
    async with a_world() as world, a_stage(world, "ab") as stage:
        await stage.line_up(a=4.0)
        changed = anyio.current_time()
        await world.operate("anoint", "b")
        await anyio.sleep(1.0)
        await world.stop_server()
        await anyio.sleep(0.5)
        await world.start_server()
        began = await stage.granted("b", 2)
        assert stage.ended["a"][0] == pytest.approx(changed + 4.0, abs=0.01)
        assert stage.ended["a"][0] <= began <= stage.ended["a"][0] + PROMPT_S
