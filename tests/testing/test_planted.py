"""Histories of the real engine and clients, in virtual time: right as they are, and wrong with a mistake put in."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest

from atomix_election import ElectionError, Event, Term
from atomix_election.core import election as core
from atomix_election.core.commands import Anoint, Command, Enter, Evict, ExpireSession, Promote, Withdraw
from atomix_election.core.election import Election, Transition
from atomix_election.engine import Connection
from atomix_election.errors import NotACandidate, OutcomeUnknown
from atomix_election.service import Call
from atomix_election.testing import History
from atomix_election.testing.checker import Promises, Rule, check_history
from atomix_election.testing.history import Fault, Gone
from atomix_election.testing.recording import record_keeper
from tests.leadership.world import TTL_S, Replica, World, a_group, a_world

pytestmark = pytest.mark.anyio

NAMES = "abcd"
PLAY_S = 100.0
MOST_HISTORIES = 10
"""Not each of them has what shows a mistake."""
SETTLING_S = 5.0
"""What the longest failover does not count: a call that is on its way, and a pause after it."""
PROMISES = Promises(late_copies=False, longest_failover_s=TTL_S + SETTLING_S, longest_silence_s=TTL_S + SETTLING_S)

Rules = Callable[[Election, Any, Any], Transition]


class Player:
    """A client that does this and that."""

    def __init__(self, replica: Replica, chance: random.Random, *, operates: bool) -> None:
        self._replica = replica
        self._chance = chance
        self._acts = [self._lead, self._lead, self._enter, self._read]
        if operates:
            self._acts += 3 * [self._operate]

    async def play(self) -> None:
        """Go on for ever."""
        while True:
            with suppress(ElectionError):
                await self._chance.choice(self._acts)()
            await anyio.sleep(self._chance.uniform(0.0, 1.0))

    async def _lead(self) -> None:
        async with self._replica.election.lead():
            await anyio.sleep(self._chance.uniform(0.0, 5.0))

    async def _enter(self) -> None:
        await self._replica.election.enter()
        await anyio.sleep(self._chance.uniform(0.0, 5.0))
        await self._replica.election.withdraw()

    async def _read(self) -> None:
        await self._replica.election.get_term()

    async def _operate(self) -> None:
        election = self._replica.election
        await self._chance.choice([election.anoint, election.promote, election.evict])(self._chance.choice(NAMES))


async def a_history(seed: int, *, operates: bool) -> History:
    """Let clients play, whose connections are cut, and of which one dies."""
    history, chance = History(anyio.current_time), random.Random(seed)
    async with a_world() as world, a_group() as tasks:
        for name in NAMES:
            await tasks.start(_join, world, history, name, random.Random(chance.random()), operates)
        await anyio.sleep(PLAY_S)
        tasks.cancel_scope.cancel()
    return history


async def _join(
    world: World, history: History, name: str, chance: random.Random, operates: bool, *, task_status: Any
) -> None:
    async with world.replica(name, chance=chance) as replica, a_group() as tasks:
        record_keeper(replica.keeper, history, who=name)
        tasks.start_soon(Player(replica, chance, operates=operates).play)
        task_status.started()
        for _ in range(2):
            await anyio.sleep(chance.uniform(0.0, 2 * TTL_S))
            begun = anyio.current_time()
            replica.service.link.cut()
            await anyio.sleep(chance.uniform(0.0, 1.5 * TTL_S))
            replica.service.link.mend()
            history(Fault(f"the connection of {name} cut", begun, anyio.current_time()))
        if name == NAMES[-1]:
            while not replica.election.is_leader:  # noqa: ASYNC110 - nobody is told of it
                await anyio.sleep(0.1)
            replica.crash()
            tasks.cancel_scope.cancel()
            history(Gone(name, TTL_S, anyio.current_time()))
        await anyio.sleep_forever()


async def is_found(*broken: Rule) -> bool:
    """Return whether the checker finds that a rule is broken, in one history or another."""
    for seed in range(MOST_HISTORIES):
        verdict = check_history(await a_history(seed, operates=True), PROMISES)
        if any(each.rule in broken for each in verdict.violations):
            return True
    return False


@pytest.mark.parametrize("operates", [True, False])
@pytest.mark.parametrize("seed", range(2))
async def test_what_the_engine_does_is_right(seed: int, operates: bool) -> None:
    """And all of it is decided: who waits to lead watches, so that no term goes by that nobody saw."""
    history = await a_history(seed, operates=operates)
    verdict = check_history(history, replace(PROMISES, calm=frozenset[str]() if operates else frozenset({"e"})))
    assert str(verdict) == "0 promises broken"
    assert len(history) > 100


def enter_at_the_front(before: Election, after: Election) -> Election:
    """Who enters stands before who is there."""
    return after._replace(candidates=(*after.candidates[-1:], *before.candidates))


def anoint_another(before: Election, after: Election) -> Election:
    """The last one becomes the leader, whoever was named."""
    return after._replace(candidates=(*before.candidates[-1:], *before.candidates[:-1]))


def do_nothing(before: Election, _after: Election) -> Election:
    """The command is answered, and not carried out."""
    return before


def remove_two(_before: Election, after: Election) -> Election:
    """Another one leaves as well."""
    return after._replace(candidates=after.candidates[:-1])


def keep_the_leader(before: Election, after: Election) -> Election:
    """Who leads stays when its session ends."""
    stays = [each for each in before.candidates[:1] if each not in after.candidates]
    return after._replace(candidates=(*stays, *after.candidates))


RULES: list[tuple[type[Command], Callable[[Election, Election], Election], set[Rule]]] = [
    (Enter, enter_at_the_front, {Rule.STEPS}),
    (Enter, do_nothing, {Rule.ACKNOWLEDGED}),
    (Withdraw, do_nothing, {Rule.ACKNOWLEDGED}),
    (Withdraw, remove_two, {Rule.ASKED, Rule.SESSIONS_LAST}),
    (Anoint, anoint_another, {Rule.ASKED, Rule.ACKNOWLEDGED}),
    (Promote, do_nothing, {Rule.ACKNOWLEDGED}),
    (Evict, remove_two, {Rule.ASKED, Rule.SESSIONS_LAST}),
    (ExpireSession, keep_the_leader, {Rule.LEFT_BEHIND, Rule.LED}),
]


@pytest.mark.parametrize(("command", "mistake", "broken"), RULES, ids=lambda each: getattr(each, "__name__", ""))
async def test_mistakes_in_the_rules_are_found(
    command: type[Command],
    mistake: Callable[[Election, Election], Election],
    broken: set[Rule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each command, done in a wrong way."""
    right: Rules = core._RULES[command]

    def wrong(election: Election, command: Any, is_open: Any) -> Transition:
        transition = right(election, command, is_open)
        changed = transition.election.candidates != election.candidates
        return transition._replace(election=mistake(election, transition.election)) if changed else transition

    monkeypatch.setitem(core._RULES, command, wrong)
    assert await is_found(*broken)


@pytest.mark.parametrize("stays", [False, True], ids=["right", "wrong"])
async def test_who_stays_after_its_session_is_found_while_its_client_lives(
    stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut off, gave up meanwhile, and goes on with another session."""
    if stays:
        monkeypatch.setitem(core._RULES, ExpireSession, lambda election, *_: Transition(election))
    history = History(anyio.current_time)
    async with a_world() as world, world.replica("a") as a, world.replica("b") as b:
        for name, replica in (("a", a), ("b", b)):
            record_keeper(replica.keeper, history, who=name)
        await a.election.enter()
        await b.election.enter()
        b.service.link.cut()
        with pytest.raises(OutcomeUnknown):
            await b.election.withdraw()
        await anyio.sleep(3 * TTL_S)
        b.service.link.mend()
        await b.keeper.opened()
        await anyio.sleep(5 * TTL_S)
        await a.election.get_term()
        found = [each.rule for each in check_history(history, PROMISES).violations]
        assert found == ([Rule.LEFT_BEHIND] if stays else [])


async def test_a_candidate_of_two_sessions_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who enters an id that another session has is told that it is there, which it is."""
    right: Rules = core._RULES[Enter]

    def wrong(election: Election, command: Any, is_open: Any) -> Transition:
        present = any(each.id == command.candidate_id for each in election.candidates)
        return Transition(election) if present else right(election, command, is_open)

    monkeypatch.setitem(core._RULES, Enter, wrong)
    history = History(anyio.current_time)
    async with a_world() as world, world.replica("a") as a, world.replica("b") as b:
        for name, replica in (("a", a), ("b", b)):
            record_keeper(replica.keeper, history, who=name)
        await a.election.get_term()
        await anyio.sleep(1.0)
        await a.election.enter()
        await anyio.sleep(1.0)
        await b.client.election("e", candidate_id="a").enter()
        assert [each.rule for each in check_history(history, PROMISES).violations] == [Rule.ACKNOWLEDGED]


async def test_a_number_that_does_not_rise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next leader has the token of the one before."""
    count = core._count

    def wrong(before: Election, *rest: Any) -> Election:
        after = count(before, *rest)
        return after._replace(number=before.number) if before.candidates else after

    monkeypatch.setattr(core, "_count", wrong)
    assert await is_found(Rule.STEPS)


async def test_a_refusal_without_a_reason_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is there is said not to be."""

    def wrong(election: Election, *_: Any) -> Transition:
        return Transition(election, NotACandidate("nobody is"))

    for command in (Anoint, Promote, Evict):
        monkeypatch.setitem(core._RULES, command, wrong)
    assert await is_found(Rule.REFUSED)


class Silent:
    """A watch that tells what is there, and nothing after that."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events
        self._told = False

    def __aiter__(self) -> "Silent":
        return self

    async def __anext__(self) -> Event:
        if self._told:
            await anyio.sleep_forever()
        self._told = True
        return await anext(self._events)


async def test_a_watch_that_falls_silent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither tells what has changed, nor ends."""
    events = Connection.events

    @asynccontextmanager
    async def wrong(self: Connection, call: Call, *, buffer: int) -> AsyncGenerator[AsyncIterator[Event]]:
        async with events(self, call, buffer=buffer) as right:
            yield Silent(right)

    monkeypatch.setattr(Connection, "events", wrong)
    assert await is_found(Rule.TOLD)


async def test_an_old_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is told what was there a while ago."""
    read, old = Connection.get_term, list[Term]()

    async def wrong(self: Connection, call: Call) -> Term:
        old.append(await read(self, call))
        return old[max(len(old) - 3, 0)]

    monkeypatch.setattr(Connection, "get_term", wrong)
    assert await is_found(Rule.FRESH)
