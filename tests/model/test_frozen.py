"""A frozen campaign and a real one that time passes for, in lockstep: they decide the same, and stay the same."""

import random
from collections.abc import Callable

import pytest

from atomix_election.core.campaign import Action, Answer, Campaign, Granted, Revoked
from atomix_election.errors import LossReason
from atomix_election.model import Term
from tests.model.frozen import EARLIEST, FIELDS, Frozen, freeze, later, thaw
from tests.model.messages import TICKS_PER_S, TTL, TTL_S

STEPS = 150
BEGAN_S = 4096.0
ELECTIONS, CANDIDATES = "xy", "ab"


class Pair:
    """A real campaign, whose clock shows the time since it began, and a frozen one, whose clock shows 0."""

    def __init__(self) -> None:
        self.real = Campaign()
        self.frozen = freeze(self.real)
        self.now = BEGAN_S

    def both(self, act: Callable[[Campaign, float], list[Action] | None]) -> list[Action]:
        """Let the same happen to both."""
        actions = act(self.real, self.now)
        thawed = thaw(self.frozen)
        assert act(thawed, 0.0) == actions
        self.frozen = freeze(thawed)
        self.check()
        return actions or []

    def pass_time(self, ticks: int) -> None:
        """Let time pass for both."""
        self.now += ticks / TICKS_PER_S
        self.frozen = later(self.frozen, ticks)
        self.check()

    def check(self) -> None:
        """Compare all that there is to see, inside and outside."""
        assert freeze(self.real, self.now) == self.frozen
        thawed = thaw(self.frozen)
        for election in ELECTIONS:
            for candidate_id in CANDIDATES:
                leads = self.real.leads(election, candidate_id, self.now)
                assert thawed.leads(election, candidate_id, 0.0) == leads
                if leads is not None:
                    assert thawed.remaining_s(leads, 0.0) == pytest.approx(self.real.remaining_s(leads, self.now))


def leadership(chance: random.Random, election: str) -> Granted:
    number = chance.randint(1, 4)
    return Granted(election, number, CANDIDATES[number % 2])


def pass_time(chance: random.Random, pair: Pair) -> None:
    pair.pass_time(chance.choice([1, 1000, TTL // 12, TTL // 4, TTL // 3, TTL]))


def answer(chance: random.Random, pair: Pair) -> None:
    """Mostly the last renewal is answered, and mostly so that the campaign can go on."""
    renewal = max(pair.real._renewal - chance.choice([0, 0, 0, 1, 2]), 0)
    named = tuple(leadership(chance, election) for election in ELECTIONS if chance.random() < 0.7)
    taken = [leadership(chance, election) for election in ELECTIONS if chance.random() < 0.3]
    revoked = tuple(Revoked(granted, chance.random() < 0.5) for granted in taken)
    answer = Answer(renewal, "s", TTL_S, TTL_S, named, revoked, ended=chance.random() < 0.02)
    pair.both(lambda campaign, now: campaign.renewed(answer, now))


def tick(_: random.Random, pair: Pair) -> None:
    pair.both(lambda campaign, now: campaign.tick(now))


def connect(chance: random.Random, pair: Pair) -> None:
    """Or lose the connection, or be refused on it."""
    match chance.choice(["connected", "disconnected", "refused"]):
        case "connected":
            pair.both(lambda campaign, now: campaign.connected(now))
        case "disconnected":
            pair.both(lambda campaign, _: campaign.disconnected())
        case _:
            pair.both(lambda campaign, now: campaign.refused(now))


def see_term(chance: random.Random, pair: Pair) -> None:
    number, election = chance.randint(0, 5), chance.choice(ELECTIONS)
    term = Term(chance.choice([(), ("a",), ("b", "a")]), number, chance.randint(number, 9))
    pair.both(lambda campaign, _: campaign.term_seen(election, term))


def leave(chance: random.Random, pair: Pair) -> None:
    """Or be heard to have left, or not be heard of, or to have written since."""
    election = chance.choice(ELECTIONS)
    if pair.real._leaving[election, "a"] > 0 and chance.random() < 0.5:
        pair.both(lambda campaign, _: campaign.left(election, "a"))
        if chance.random() < 0.5:
            pair.both(lambda campaign, _: campaign.may_still_leave(election, "a"))
    elif chance.random() < 0.5:
        pair.both(lambda campaign, _: campaign.leaving(election, "a"))
    else:
        pair.both(lambda campaign, _: campaign.written(election))


def work(_: random.Random, pair: Pair) -> None:
    """Where it leads and does not work yet."""
    idle = [granted for granted in pair.real._held.values() if granted not in pair.real._working]
    if idle:
        pair.both(lambda campaign, _: campaign.work_began(idle[0]))


def stop(_: random.Random, pair: Pair) -> None:
    working = sorted(pair.real._working)
    if working:
        pair.both(lambda campaign, now: campaign.work_ended(working[0], now))


def end(chance: random.Random, pair: Pair) -> None:
    """Not often."""
    if chance.random() < 0.2:
        pair.both(lambda campaign, _: campaign.ended(LossReason.SESSION_ENDED))


HAPPENINGS = [*[pass_time, tick] * 3, *[answer] * 4, connect, connect, see_term, leave, work, stop, end]


@pytest.mark.parametrize("seed", range(20))
def test_frozen_and_real_campaigns_go_the_same_way(seed: int) -> None:
    """Whatever happens. A field that holds a time and is not known as such fails here."""
    chance, pair = random.Random(seed), Pair()
    pair.both(lambda campaign, now: campaign.connected(now))
    for _ in range(STEPS):
        chance.choice(HAPPENINGS)(chance, pair)
        if pair.real.over and not pair.real.working:
            pair = Pair()
            pair.both(lambda campaign, now: campaign.connected(now))


def test_the_fields_with_times_are_those_of_a_campaign() -> None:
    """None of them was renamed."""
    assert set(FIELDS) == set(vars(Campaign()))
    assert set(EARLIEST) <= set(FIELDS)


def test_what_is_long_over_makes_no_difference() -> None:
    """So that there are not more and more states."""
    campaign = Campaign()
    campaign.connected(0.0)
    campaign.renewed(Answer(1, "s", TTL_S, TTL_S, (Granted("x", 1, "a"),)), 0.0)

    def after(ticks: int) -> Frozen:
        return later(freeze(campaign), ticks)

    assert after(TTL) == after(2 * TTL)
    assert after(TTL - 1) != after(TTL)
    assert hash(after(TTL)) == hash(after(2 * TTL))
