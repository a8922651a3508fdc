"""A client's campaign under anything that may happen to it; after each step its laws are checked.

``Watched`` stands between the campaign and what happens. It keeps what the laws speak of, worked out from the answers
that were given and the actions that came back: never from the campaign's own state.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atomix_election.core.campaign import (
    Abandon,
    Action,
    Answer,
    Campaign,
    GiveBack,
    Granted,
    Reconnect,
    Renew,
    Revoked,
    StartLeading,
    StepDown,
    Timing,
)
from atomix_election.errors import LossReason
from atomix_election.model import Term

ELECTIONS, CANDIDATES = "xy", "ab"
TIME_TO_LIVES_S = (1.0, 12.0, 300.0)


def leadership(election: str, number: int) -> Granted:
    """A number belongs to one candidate for ever."""
    return Granted(election, number, CANDIDATES[number % 3 % 2])


class Watched:
    """A campaign whose every action is held against its laws when it comes back."""

    def __init__(self, ttl_s: float, jitter: float) -> None:
        self.campaign = Campaign(jitter)
        self.timing = Timing(ttl_s)
        self.jitter = jitter
        self.now = 1000.0
        self.on_stream = False
        self.known = False
        self.sent: dict[int, float] = {}
        self.stream: list[int] = []
        self.answered = 0
        self.deadlines: dict[Granted, float] = {}
        self.named: frozenset[Granted] = frozenset()
        self.revoked: frozenset[Granted] = frozenset()
        self.confirmed: set[Granted] = set()
        self.given_up: dict[str, int] = {}
        self.held: set[Granted] = set()
        self.working: set[Granted] = set()
        self.stepped_down: set[Granted] = set()
        self.abandoned: set[Granted] = set()
        self.started: set[Granted] = set()
        self.seen: dict[str, tuple[Term, int]] = {}

    @property
    def over(self) -> bool:
        return self.campaign.over is not None

    @property
    def unanswered(self) -> list[float]:
        return [self.sent[each] for each in self.stream if each > self.answered]

    def is_held(self, granted: Granted) -> bool:
        """Whether it leads if the deadline is left aside."""
        return self.campaign.leads(granted.election, granted.candidate_id, -math.inf) == granted

    def give_up(self, granted: Granted) -> None:
        self.given_up[granted.election] = max(self.given_up.get(granted.election, 0), granted.number)

    def is_given_up(self, granted: Granted) -> bool:
        return granted.number <= self.given_up.get(granted.election, 0)

    def is_outdated(self, granted: Granted, renewal: int) -> bool:
        """Whether a term that was seen after that renewal had been sent says something else, and is not older."""
        term, sent_by_then = self.seen.get(granted.election, (Term(), 0))
        same = (granted.number, granted.candidate_id) == (term.number, term.leader)
        return renewal <= sent_by_then and granted.number <= term.number and not same

    def is_busy(self, granted: Granted) -> bool:
        """Whether work goes on that keeps a step-down from being confirmed."""
        return any(each.election == granted.election and each.number <= granted.number for each in self.working)

    def carry_out(self, actions: list[Action], reason: LossReason | None = None) -> None:
        """Check each action, and take note of it.

        Args:
            actions: what came back.
            reason: the only one for which a leadership may be lost now, where there is just one.
        """
        was_over = self.over and not any(isinstance(each, Abandon | StepDown) for each in actions)
        self.started = set()
        for action in actions:
            match action:
                case Renew():
                    self.renew(action)
                case StepDown(granted, why):
                    assert reason in {None, why}
                    self.step_down(granted)
                case Abandon(granted):
                    self.abandon(granted)
                case StartLeading(granted):
                    self.start(granted)
                case GiveBack(granted):
                    self.give_back(granted)
                case Reconnect():
                    self.reconnect()
        assert not was_over or not actions, "it is over, and acts"
        self.settle()

    def renew(self, renew: Renew) -> None:
        """One that confirms something new, or that is due; and never after the end, or without a stream."""
        assert not self.over
        assert self.on_stream, "sent into nothing"
        assert renew.renewal > max(self.sent, default=0)
        confirmed = set(renew.stepped_down)
        assert confirmed <= self.revoked
        assert not any(map(self.is_busy, confirmed)), "confirmed while work goes on"
        assert not any(self.is_held(each) for each in confirmed), "confirmed while it leads"
        if self.stream and confirmed <= self.confirmed:
            passed_s = self.now - self.sent[self.stream[-1]]
            assert passed_s >= self.timing.renew_interval_s * 0.75 * (1 - 1e-9)
        self.sent[renew.renewal] = self.now
        self.stream.append(renew.renewal)
        self.confirmed |= confirmed

    def step_down(self, granted: Granted) -> None:
        assert granted in self.working, "nothing to step down from"
        assert granted not in self.stepped_down, "told twice"
        self.stepped_down.add(granted)
        self.give_up(granted)

    def abandon(self, granted: Granted) -> None:
        assert granted in self.working
        assert granted not in self.abandoned, "told twice"
        assert self.now >= self.deadlines[granted]
        assert self.over
        self.abandoned.add(granted)

    def start(self, granted: Granted) -> None:
        assert not self.over, "over, and starts to lead"
        assert granted in self.named
        assert not self.is_given_up(granted)
        assert granted not in self.held
        self.started.add(granted)

    def give_back(self, granted: Granted) -> None:
        assert not self.over
        assert granted in self.named
        assert self.is_given_up(granted)
        assert granted not in self.working, "withdrawn while work goes on"

    def reconnect(self) -> None:
        assert self.on_stream, "there is no stream to give up"
        assert any(self.now >= sent + self.timing.answer_timeout_s for sent in self.unanswered)
        self.lose_stream()

    def lose_stream(self) -> None:
        self.on_stream = False
        self.stream = []

    def settle(self) -> None:
        """Whoever leads no longer has given the number up, and has stepped down if work went on."""
        held = {each for each in self.deadlines if self.is_held(each)}
        assert held - self.held == self.started, "whoever begins to lead is told so, and nobody else is"
        for granted in self.held - held:
            self.give_up(granted)
        self.held = held
        assert self.working - held <= self.stepped_down, "work goes on, and was not told to stop"

    def connected(self) -> None:
        self.lose_stream()
        self.confirmed = set()
        self.on_stream = True
        self.carry_out(self.campaign.connected(self.now))
        assert len(self.stream) == (not self.over)

    def disconnected(self) -> None:
        self.lose_stream()
        self.campaign.disconnected()
        self.carry_out([])

    def answer(self, answer: Answer, store_id: str = "s") -> None:
        """An answer to a renewal of this stream, to the last answered or a later one."""
        assert answer.renewal in self.stream
        if self.over:
            self.say_nothing(answer)
        elif answer.ended or answer.store_id != store_id:
            changed = answer.store_id != store_id
            reason = LossReason.STORE_CHANGED if changed and self.known else LossReason.SESSION_ENDED
            assume(self.known or answer.ended)
            self.end(reason, lambda: self.campaign.renewed(answer, self.now))
        else:
            self.take_answer(answer)

    def take_answer(self, answer: Answer) -> None:
        self.answered = answer.renewal
        self.stream = [each for each in self.stream if each >= answer.renewal]
        expired = {each for each in self.held if self.now >= self.deadlines[each] - self.timing.grace_s}
        overdue = {each for each in self.working if self.now >= self.deadlines[each]}
        for granted in expired:
            self.give_up(granted)
        self.named = frozenset(answer.leaderships)
        self.revoked = frozenset(each.granted for each in answer.revoked)
        evicted = {each.granted for each in answer.revoked if each.evicted}
        for granted in {*self.revoked, *self.held - self.named}:  # a term that contradicts a held one has ended it
            self.give_up(granted)
        outdated = frozenset(each for each in self.named if self.is_outdated(each, answer.renewal))
        self.named -= outdated
        if not overdue:  # else the session is over, and the answer comes too late
            self.count_from(self.sent[answer.renewal])
        self.known = True
        before = self.working - self.stepped_down
        actions = self.campaign.renewed(answer, self.now)
        for action in actions:
            if isinstance(action, StepDown) and not overdue:
                lost = LossReason.EVICTED if action.granted in evicted else LossReason.SUPERSEDED
                assert action.reason is (LossReason.EXPIRED if action.granted in expired else lost)
        self.carry_out(actions)
        assert before & expired <= self.stepped_down
        assert overdue <= self.abandoned
        if not self.over:
            self.check_named(actions)

    def count_from(self, sent: float) -> None:
        """Law 1: what the answer names lasts from the sending of its renewal, if it was not given up."""
        deadline = sent + self.timing.ttl_s - self.timing.margin_s
        for granted in self.named:
            if not self.is_given_up(granted):
                self.deadlines[granted] = deadline

    def check_named(self, actions: list[Action]) -> None:
        """What was named is led under, or given back, unless work still goes on or the answer was late."""
        for granted in self.named:
            if self.is_given_up(granted):
                assert (GiveBack(granted) in actions) == (granted not in self.working)
            else:
                in_time = self.now < self.deadlines[granted] - self.timing.grace_s
                assert self.is_held(granted) == in_time

    def say_nothing(self, answer: Answer) -> None:
        """An answer to what was not sent on this stream, or after the end."""
        assert self.campaign.renewed(answer, self.now) == []
        self.carry_out([])

    def end(self, reason: LossReason, happen: Callable[[], list[Action]]) -> None:
        told, lost = self.working - self.stepped_down, self.held & self.working
        was_over = self.campaign.over
        self.carry_out(happen(), reason)
        assert told == lost, "work under no leadership was not told before"
        assert lost <= self.stepped_down
        assert not self.held
        assert self.campaign.over is (was_over or reason)

    def see_term(self, election: str, term: Term) -> None:
        before = self.seen.get(election)
        if before is None or (term.number, term.revision) > (before[0].number, before[0].revision):
            self.seen[election] = (term, max(self.sent, default=0))
        held = {each for each in self.held if each.election == election and each.number <= term.number}
        lost = {each for each in held if (each.number, each.candidate_id) != (term.number, term.leader)}
        others = self.held - lost
        gone = any(each.candidate_id not in term.candidates for each in lost)
        self.carry_out(self.campaign.term_seen(election, term), LossReason.EVICTED if gone else LossReason.SUPERSEDED)
        assert self.held.isdisjoint(lost)
        assert others <= self.held, "an older term, or one of another election, ended it"

    def begin_work(self, granted: Granted) -> None:
        self.campaign.work_began(granted)
        self.working.add(granted)
        self.carry_out([])

    def end_work(self, granted: Granted) -> None:
        self.working.discard(granted)
        was_held = self.is_held(granted)
        actions = self.campaign.work_ended(granted, self.now)
        assert all(isinstance(each, Renew) for each in actions)
        assert not was_held or not self.is_held(granted), "the work has ended, and it still leads"
        self.carry_out(actions)

    def tick(self) -> bool:
        """Let time do its work; return whether anything came of it."""
        was_on_stream = self.on_stream and not self.over
        actions = self.campaign.tick(self.now)
        self.carry_out(actions, LossReason.EXPIRED)
        assert all(self.now < self.deadlines[each] - self.timing.grace_s for each in self.held), "held for too long"
        assert all(self.now < self.deadlines[each] for each in self.working - self.abandoned), "not abandoned"
        if was_on_stream and self.known and not self.over:
            late = [each for each in self.unanswered if self.now >= each + self.timing.answer_timeout_s]
            assert not late, "an answer is waited for too long"
            assert not self.on_stream or self.now < self.next_renewal()
        return bool(actions)

    def next_renewal(self) -> float:
        return self.sent[self.stream[-1]] + self.timing.renew_interval_s

    def next_due(self) -> float:
        """When at the latest somebody has to look."""
        if not self.known:
            return math.inf
        due = [self.now + self.timing.ttl_s / 10]
        due += [self.deadlines[each] - self.timing.grace_s for each in self.held]
        due += [self.deadlines[each] for each in self.working - self.abandoned]
        if self.on_stream and not self.over:
            due += [self.next_renewal(), *(each + self.timing.answer_timeout_s for each in self.unanswered)]
        return min(due)


class Campaigning(RuleBasedStateMachine):
    """Each rule may follow each other one."""

    @initialize(ttl_s=st.sampled_from(TIME_TO_LIVES_S), jitter=st.sampled_from([0.0, 0.3, 1.0]))
    def begin(self, ttl_s: float, jitter: float) -> None:
        self.watched = Watched(ttl_s, jitter)
        self.newest = dict.fromkeys(ELECTIONS, 1)
        self.former: list[int] = []

    @rule()
    def connect(self) -> None:
        self.former += self.watched.stream
        self.watched.connected()

    @rule()
    def disconnect(self) -> None:
        self.former += self.watched.stream
        self.watched.disconnected()

    def draw_answer(self, data: st.DataObject, renewal: int) -> Answer:
        """Leaderships old and new, right and wrong; what is revoked is older than what is named, as numbers grow."""
        leads: list[Granted] = []
        revoked: list[Revoked] = []
        for election in ELECTIONS:
            held = [each.number for each in self.watched.held | self.watched.working if each.election == election]
            newest = self.newest[election]
            choices = st.one_of(st.just(0), st.integers(1, newest + 1), *map(st.just, sorted(held) * 3))
            number = data.draw(choices, label=f"leads {election}")
            if number:
                leads.append(leadership(election, number))
            below = number or newest + 1
            taken = st.sets(st.integers(max(1, below - 3), below - 1), max_size=2) if below > 1 else st.just(set[int]())
            numbers = sorted(data.draw(taken, label=f"revoked {election}"))
            revoked += [Revoked(leadership(election, each), data.draw(st.booleans())) for each in numbers]
            self.newest[election] = max(newest, number)
        return Answer(renewal, "s", self.watched.timing.ttl_s, 1.0, tuple(leads), tuple(revoked))

    @precondition(lambda self: self.watched.stream)
    @rule(data=st.data(), work_begins=st.booleans())
    def answer(self, data: st.DataObject, work_begins: bool) -> None:
        """Some are pushed: they repeat the number of the last answered renewal. Work may begin at once."""
        renewal = data.draw(st.sampled_from(self.watched.stream), label="renewal")
        self.watched.answer(self.draw_answer(data, renewal))
        for granted in sorted(self.watched.started if work_begins else ()):
            self.watched.begin_work(granted)

    @rule()
    def connect_if_need_be(self) -> None:
        if not self.watched.stream:
            self.watched.connected()

    @precondition(lambda self: not self.watched.over)
    @rule(election=st.sampled_from(ELECTIONS), higher=st.integers(1, 2))
    def lead(self, election: str, higher: int) -> None:
        """What mostly happens: a new leadership, and work under it."""
        watched = self.watched
        if not watched.stream:
            watched.connected()
        self.newest[election] += higher
        others = sorted(each for each in watched.held if each.election != election)
        named = (*others, leadership(election, self.newest[election]))
        watched.answer(Answer(watched.stream[-1], "s", watched.timing.ttl_s, 1.0, named))
        for granted in sorted(watched.started):
            watched.begin_work(granted)

    @precondition(lambda self: self.watched.stream and self.watched.known)
    @rule()
    def answer_as_before(self) -> None:
        """The newest renewal is answered, and what is held goes on."""
        self.watched.answer(
            Answer(self.watched.stream[-1], "s", self.watched.timing.ttl_s, 1.0, tuple(sorted(self.watched.held)))
        )

    @precondition(lambda self: self.watched.sent)
    @rule(data=st.data(), ended=st.booleans())
    def answer_something_else(self, data: st.DataObject, ended: bool) -> None:
        """A renewal of a former stream, one that was answered before the last one, or one that was never sent."""
        others = [each for each in [*self.watched.sent, max(self.watched.sent) + 1] if each not in self.watched.stream]
        assume(others)
        answer = self.draw_answer(data, data.draw(st.sampled_from(others), label="renewal"))
        self.watched.say_nothing(replace(answer, ended=ended))

    @precondition(lambda self: self.watched.stream)
    @rule(data=st.data(), ended=st.booleans(), rarely=st.integers(0, 7))
    def end(self, data: st.DataObject, ended: bool, rarely: int) -> None:
        assume(rarely == 7)
        store_id = data.draw(st.sampled_from("st")) if ended else "t"
        self.watched.answer(Answer(data.draw(st.sampled_from(self.watched.stream)), store_id, ended=ended))

    @rule(reason=st.sampled_from([LossReason.SESSION_ENDED, LossReason.EXPIRED]), rarely=st.integers(0, 11))
    def learn_of_the_end(self, reason: LossReason, rarely: int) -> None:
        assume(rarely == 11)
        self.watched.end(reason, lambda: self.watched.campaign.ended(reason))

    @rule(data=st.data(), election=st.sampled_from(ELECTIONS))
    def see_term(self, data: st.DataObject, election: str) -> None:
        number = data.draw(st.integers(max(self.newest[election] - 2, 0), self.newest[election] + 1), label="number")
        self.newest[election] = max(self.newest[election], number)
        leader = leadership(election, number).candidate_id
        queues: list[tuple[str, ...]] = [(), (leader,), *([tuple(CANDIDATES)] if leader == "a" else [("b", "a")])]
        self.watched.see_term(election, Term(data.draw(st.sampled_from(queues)), number, 1))

    @precondition(lambda self: self.watched.held - self.watched.working)
    @rule(data=st.data())
    def begin_work(self, data: st.DataObject) -> None:
        """It may begin wherever it leads at this moment."""
        idle = sorted(self.watched.held - self.watched.working)
        granted = data.draw(st.sampled_from(idle))
        assume(self.watched.campaign.leads(granted.election, granted.candidate_id, self.watched.now))
        self.watched.begin_work(granted)

    @precondition(lambda self: self.watched.working)
    @rule(data=st.data())
    def end_work(self, data: st.DataObject) -> None:
        self.watched.end_work(data.draw(st.sampled_from(sorted(self.watched.working))))

    @rule(part=st.sampled_from([0.001, 0.01, 0.05, 0.09]) | st.floats(0, 0.3))
    def let_time_pass(self, part: float) -> None:
        """Nobody looks meanwhile."""
        self.watched.now += part * self.watched.timing.ttl_s

    @rule(part=st.floats(0.5, 2) | st.floats(1, 1e6), rarely=st.integers(0, 3))
    def fall_asleep(self, part: float, rarely: int) -> None:
        """The machine, for as long as it likes."""
        if rarely == 3:
            self.watched.now += part * self.watched.timing.ttl_s

    @rule()
    def tick(self) -> None:
        self.watched.tick()
        assert not self.watched.tick(), "what was due was done"

    @precondition(lambda self: self.watched.known)
    @rule(times=st.integers(1, 12))
    def sleep_until_woken(self, times: int) -> None:
        """Who looks whenever it is told to misses nothing, and is not kept busy: all is done at the first look."""
        for _ in range(times):
            watched = self.watched
            watched.now = max(watched.now, watched.campaign.wake_at(watched.now))
            watched.tick()
            assert watched.campaign.wake_at(watched.now) > watched.now, "busy"

    @precondition(lambda self: self.watched.known)
    @rule(time_to_lives=st.integers(1, 3))
    def the_number_of_ticks_is_bounded(self, time_to_lives: int) -> None:
        """Ten for each time-to-live by the watchdog, four renewals, and once for each end."""
        watched = self.watched
        until, ticks = watched.now + time_to_lives * watched.timing.ttl_s, 0
        ends = 2 * len(watched.held | watched.working)
        while watched.now < until:
            watched.now = max(watched.now, watched.campaign.wake_at(watched.now))
            watched.tick()
            ticks += 1
            assert ticks <= 16 * time_to_lives + ends + 4, "busy"

    @invariant()
    def it_leads_until_its_deadline_and_no_longer(self) -> None:
        """Law 1, to the moment; and law 2."""
        watched = self.watched
        for election in ELECTIONS:
            leading = [each for each in watched.held if each.election == election]
            assert len(leading) <= 1
            for granted in leading:
                deadline = watched.deadlines[granted]
                assert not watched.is_given_up(granted)
                assert watched.campaign.leads(election, granted.candidate_id, deadline) is None
                assert watched.campaign.leads(election, granted.candidate_id, math.nextafter(deadline, 0)) == granted
                assert watched.campaign.remaining_s(granted, watched.now) == max(deadline - watched.now, 0.0)
            for candidate_id in CANDIDATES:
                granted = watched.campaign.leads(election, candidate_id, watched.now)
                assert granted is None or granted in watched.held
        assert not (watched.over and watched.held)

    @invariant()
    def who_stepped_down_does_not_lead(self) -> None:
        """Although work goes on."""
        assert not any(map(self.watched.is_held, self.watched.stepped_down))
        assert all(self.watched.campaign.remaining_s(each, 0.0) == 0.0 for each in self.watched.stepped_down)
        assert self.watched.campaign.working == bool(self.watched.working)

    @invariant()
    def what_can_be_confirmed_is_confirmed(self) -> None:
        """At once, while there is a stream."""
        watched = self.watched
        if watched.on_stream and not watched.over:
            assert {each for each in watched.revoked if not watched.is_busy(each)} <= watched.confirmed

    @invariant()
    def it_wakes_in_time(self) -> None:
        """Never later than what is due next."""
        assert self.watched.campaign.wake_at(self.watched.now) <= self.watched.next_due()


TestCampaigning = Campaigning.TestCase
TestCampaigning.settings = settings(deadline=None, print_blob=True, max_examples=300, stateful_step_count=60)
